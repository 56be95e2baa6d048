//! Figures over many rows of the register that a judgement rests on: they stand in its slice instead of the rows.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};

use crate::amount::EarlierVoucher;
use crate::money::Yuan;
use crate::policy_file::decimal;

/// Of one voucher.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Derived {
    pub voucher: String,
    /// Earlier vouchers of the enterprise in the period that take from its cap, in order of application (R24).
    pub earlier: Vec<EarlierVoucher>,
    /// What later ones of them take together (R27).
    #[serde(default)]
    pub later: Yuan,
    /// By party (city, supplier, pilot): what is taken from its quota in the period before it is the voucher's turn (R28, R29), as
    /// long as claiming lasts.
    pub quotas: BTreeMap<String, Taken>,
    /// The same once claiming has ended, where pilots that have lost their title then change it (R44).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quotas_claiming_ended: BTreeMap<String, Taken>,
    /// Contracts of the same catalogue row that were applied for before (R20).
    pub peers: Peers,
}

/// What vouchers take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub vouchers: u64,
    pub amount: Yuan,
}

/// Contracts that a contract is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    pub amount: Option<Spread>,
    pub amount_per_device: Option<Spread>,
    pub amount_per_module: Option<Spread>,
}

/// Median and median absolute deviation of so many figures, in yuan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    pub count: u64,
    #[serde(serialize_with = "shown", deserialize_with = "decimal")]
    pub median: Decimal,
    #[serde(serialize_with = "shown", deserialize_with = "decimal")]
    pub deviation: Decimal,
}

fn shown<S: Serializer>(figure: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(figure)
}
