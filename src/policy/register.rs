//! The register's rows as the rules see them. What a row may hold, and how it is read, stands in `columns`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calendar::{self, Day, Instant};
use crate::derived::Derived;
use crate::money::Yuan;
use crate::regions;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnterpriseKind {
    Manufacturer,
    Integrator,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enterprise {
    pub id: String,
    pub name: String,
    pub city: String,
    pub kind: EnterpriseKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pilot_cap: Option<Yuan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conformance: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conformance_funded: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Supplier {
    pub id: String,
    pub name: String,
    pub city: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProductClass {
    A,
    B,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Product {
    pub id: String,
    pub supplier: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    pub class: ProductClass,
    pub row: u8,
    pub function_modules: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IssuancePeriod {
    pub id: String,
    #[serde(with = "calendar::instant")]
    pub claim_from: Instant,
    #[serde(with = "calendar::instant")]
    pub claim_to: Instant,
    #[serde(with = "calendar::instant")]
    pub redeem_from: Instant,
    #[serde(with = "calendar::instant")]
    pub redeem_to: Instant,
    #[serde(default, with = "calendar::instant_option", skip_serializing_if = "Option::is_none")]
    pub announced_at: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    pub party: String,
    pub period: String,
    pub amount: Yuan,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pilot {
    pub id: String,
    pub members: Vec<String>,
    pub enterprises: Vec<String>,
    pub benchmark: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoucherStatus {
    Applied,
    #[default]
    Issued,
    Redeeming,
    Approved,
    Returned,
    Refused,
    Void,
    Withdrawn,
    Paid,
}

impl VoucherStatus {
    pub const ALL: [VoucherStatus; 9] = [
        VoucherStatus::Applied,
        VoucherStatus::Issued,
        VoucherStatus::Redeeming,
        VoucherStatus::Approved,
        VoucherStatus::Returned,
        VoucherStatus::Refused,
        VoucherStatus::Void,
        VoucherStatus::Withdrawn,
        VoucherStatus::Paid,
    ];

    pub fn code(self) -> &'static str {
        match self {
            VoucherStatus::Applied => "applied",
            VoucherStatus::Issued => "issued",
            VoucherStatus::Redeeming => "redeeming",
            VoucherStatus::Approved => "approved",
            VoucherStatus::Returned => "returned",
            VoucherStatus::Refused => "refused",
            VoucherStatus::Void => "void",
            VoucherStatus::Withdrawn => "withdrawn",
            VoucherStatus::Paid => "paid",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            VoucherStatus::Applied => "已申领",
            VoucherStatus::Issued => "已发放",
            VoucherStatus::Redeeming => "申请兑现",
            VoucherStatus::Approved => "审核通过",
            VoucherStatus::Returned => "退回补充",
            VoucherStatus::Refused => "审核未通过",
            VoucherStatus::Void => "作废",
            VoucherStatus::Withdrawn => "撤回",
            VoucherStatus::Paid => "已兑付",
        }
    }

    /// The other way round than `code`.
    pub fn read(code: &str) -> Option<VoucherStatus> {
        VoucherStatus::ALL.into_iter().find(|status| status.code() == code)
    }

    /// Live vouchers compete for the same device; the others no longer claim anything.
    pub fn live(self) -> bool {
        !matches!(self, VoucherStatus::Withdrawn | VoucherStatus::Void | VoucherStatus::Refused | VoucherStatus::Paid)
    }

    /// Whether the voucher takes from the enterprise cap (R24: void, refused and withdrawn ones take nothing).
    pub fn takes_from_cap(self) -> bool {
        !matches!(self, VoucherStatus::Withdrawn | VoucherStatus::Void | VoucherStatus::Refused)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostLine {
    pub kind: String,
    pub amount: Yuan,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Voucher {
    pub id: String,
    pub enterprise: String,
    pub product: String,
    pub contract_no: String,
    pub contract_signed_on: Day,
    pub contract_total: Yuan,
    pub contract_amount: Yuan,
    pub contract_modules: Vec<String>,
    #[serde(with = "calendar::instant")]
    pub applied_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    #[serde(default)]
    pub status: VoucherStatus,
    #[serde(default, with = "calendar::instant_option", skip_serializing_if = "Option::is_none")]
    pub status_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void_cause: Option<String>,
    /// The approved amount; without it the computed one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Yuan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pilot: Option<String>,
    #[serde(default, with = "calendar::instant_option", skip_serializing_if = "Option::is_none")]
    pub redeem_at: Option<Instant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid: Option<Yuan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoiced: Option<Yuan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_proofs: Option<Yuan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_modules: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_lines: Option<Vec<CostLine>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplement_signed_on: Option<Day>,
    #[serde(default, with = "calendar::instant_option", skip_serializing_if = "Option::is_none")]
    pub supplier_confirmed_at: Option<Instant>,
    /// An open objection (六(三)): what it says, or only that there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objection: Option<serde_json::Value>,
}

impl Voucher {
    /// Whether an objection is open.
    pub fn objected(&self) -> bool {
        self.objection.as_ref().is_some_and(|objection| *objection != serde_json::Value::Bool(false))
    }
}

/// A device that a voucher claims; key (voucher, device).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclaredDevice {
    pub voucher: String,
    pub device: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub province: Option<String>,
}

/// A gateway as the register keeps it: of its token only the SHA-256, in hex.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    pub id: String,
    pub enterprise: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    #[serde(default)]
    pub sparkplug: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    Ip,
    Broadband,
    Sim,
}

/// A line of an enterprise that a carrier sees; key (enterprise, line).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub enterprise: String,
    pub line: String,
    pub kind: LineKind,
}

impl Line {
    /// Whether it leads to one place: an address or a broadband line, not a group of SIMs.
    pub fn fixed(&self) -> bool {
        matches!(self.kind, LineKind::Ip | LineKind::Broadband)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carrier {
    pub id: String,
    pub name: String,
}

/// One state of the register. Maps are ordered, so that every walk over it gives the same result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Register {
    pub enterprises: BTreeMap<String, Enterprise>,
    pub suppliers: BTreeMap<String, Supplier>,
    pub products: BTreeMap<String, Product>,
    pub periods: BTreeMap<String, IssuancePeriod>,
    /// By (party, period).
    pub quotas: BTreeMap<(String, String), Quota>,
    pub pilots: BTreeMap<String, Pilot>,
    pub vouchers: BTreeMap<String, Voucher>,
    /// By (voucher, device).
    pub devices: BTreeMap<(String, String), DeclaredDevice>,
    pub gateways: BTreeMap<String, Gateway>,
    /// By (enterprise, line).
    pub lines: BTreeMap<(String, String), Line>,
    pub carriers: BTreeMap<String, Carrier>,
    /// Only in the slice of one voucher: figures over rows that the slice leaves out.
    pub derived: Option<Box<Derived>>,
}

impl Register {
    /// The devices that a voucher declares, in order of their identity.
    pub fn devices_of<'a>(&'a self, voucher: &'a str) -> impl Iterator<Item = &'a DeclaredDevice> {
        self.devices
            .range((voucher.to_string(), String::new())..)
            .map(|(_, device)| device)
            .take_while(move |device| device.voucher == voucher)
    }

    /// The derived figures, where this is the slice of that voucher.
    pub fn derived_for(&self, voucher: &Voucher) -> Option<&Derived> {
        self.derived.as_deref().filter(|derived| derived.voucher == voucher.id)
    }

    /// The lines of an enterprise, in order of their names.
    pub fn lines_of<'a>(&'a self, enterprise: &'a str) -> impl Iterator<Item = &'a Line> {
        let rows = self.lines.range((enterprise.to_string(), String::new())..).map(|(_, line)| line);
        rows.take_while(move |line| line.enterprise == enterprise)
    }

    /// The quota of a city, supplier or pilot. Where a city has no row of its own, that of a place in it counts as the city's.
    pub fn quota(&self, party: &str, period: &str) -> Option<&Quota> {
        let of_place = || {
            let mut places = self.quotas.values().filter(|quota| quota.period == period);
            regions::city_known(party).then(|| places.find(|quota| regions::city_of(&quota.party) == party)).flatten()
        };
        self.quotas.get(&(party.to_string(), period.to_string())).or_else(of_place)
    }

    /// All vouchers of an enterprise, in order of their id. Looks at every voucher: of a whole register ask its index.
    pub fn vouchers_of<'a>(&'a self, enterprise: &'a str) -> impl Iterator<Item = &'a Voucher> {
        self.vouchers.values().filter(move |voucher| voucher.enterprise == enterprise)
    }
}
