//! The rows of the register that one judgement rests on, with figures derived from many more; their hash stands in the result. Of
//! gateways only those whose key stands for another one too, without their tokens; of other enterprises' lines those that are the same.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::canonical::hash_of;
use crate::index::{Indexed, parties};
use crate::register::*;

impl<R: Deref<Target = Register>> Indexed<R> {
    /// The part of the register that decides about a voucher: every judgement is made from it, so that nothing else can matter.
    pub fn slice(&self, voucher: &Voucher) -> Register {
        let register: &Register = self.register();
        let mut part = Register { derived: Some(Box::new(self.derived(voucher))), ..Register::default() };
        part.vouchers.insert(voucher.id.clone(), voucher.clone());
        let others = self.vouchers_of(&voucher.enterprise).filter(|other| other.id != voucher.id);
        part.vouchers.extend(others.map(|other| (other.id.clone(), other.clone())));
        for own in part.vouchers.values() {
            copy(&register.products, &own.product, &mut part.products);
            own.period.iter().for_each(|period| copy(&register.periods, period, &mut part.periods));
            let devices = register.devices_of(&own.id);
            part.devices.extend(devices.map(|device| ((device.voucher.clone(), device.device.clone()), device.clone())));
        }
        for (device, other) in self.same_devices(voucher).into_iter().filter(|(_, other)| other.status.live()) {
            part.vouchers.insert(other.id.clone(), other.clone());
            copy(&register.devices, &(other.id.clone(), device.to_string()), &mut part.devices);
        }
        copy(&register.enterprises, &voucher.enterprise, &mut part.enterprises);
        if let Some(product) = register.products.get(&voucher.product) {
            copy(&register.suppliers, &product.supplier, &mut part.suppliers);
        }
        if let Some(period) = &voucher.period {
            for party in parties(register, voucher) {
                let quota = register.quota(&party, period);
                part.quotas.extend(quota.map(|quota| ((quota.party.clone(), quota.period.clone()), quota.clone())));
            }
        }
        voucher.pilot.iter().for_each(|pilot| copy(&register.pilots, pilot, &mut part.pilots));
        for gateway in self.sharing_a_key(voucher) {
            part.gateways.insert(gateway.id.clone(), Gateway { token_sha256: None, ..gateway.clone() });
        }
        let lines = register.lines_of(&voucher.enterprise).chain(self.same_lines(voucher));
        part.lines.extend(lines.map(|line| ((line.enterprise.clone(), line.line.clone()), line.clone())));
        part
    }
}

fn copy<K: Ord + Clone, V: Clone>(from: &BTreeMap<K, V>, key: &K, to: &mut BTreeMap<K, V>) {
    to.extend(from.get(key).map(|row| (key.clone(), row.clone())));
}

/// The slice as JSON: each list in the order of its keys.
pub fn register_slice(part: &Register) -> Value {
    json!({
        "voucher": part.derived.as_ref().map(|derived| &derived.voucher),
        "derived": part.derived,
        "enterprises": part.enterprises.values().collect::<Vec<_>>(),
        "suppliers": part.suppliers.values().collect::<Vec<_>>(),
        "products": part.products.values().collect::<Vec<_>>(),
        "periods": part.periods.values().collect::<Vec<_>>(),
        "quotas": part.quotas.values().collect::<Vec<_>>(),
        "pilots": part.pilots.values().collect::<Vec<_>>(),
        "vouchers": part.vouchers.values().collect::<Vec<_>>(),
        "devices": part.devices.values().collect::<Vec<_>>(),
        "gateways": part.gateways.values().collect::<Vec<_>>(),
        "lines": part.lines.values().collect::<Vec<_>>(),
    })
}

/// The register that a slice is, and its voucher.
pub fn read_register_slice(mut slice: Value) -> Result<(Register, String), String> {
    let voucher = slice["voucher"].as_str().ok_or("it names no voucher")?.to_string();
    let derived = serde_json::from_value(slice["derived"].take()).map_err(|error| format!("derived: {error}"))?;
    let register = Register {
        derived: Some(Box::new(derived)),
        enterprises: rows(&mut slice, "enterprises", |row: &Enterprise| row.id.clone())?,
        suppliers: rows(&mut slice, "suppliers", |row: &Supplier| row.id.clone())?,
        products: rows(&mut slice, "products", |row: &Product| row.id.clone())?,
        periods: rows(&mut slice, "periods", |row: &IssuancePeriod| row.id.clone())?,
        quotas: rows(&mut slice, "quotas", |row: &Quota| (row.party.clone(), row.period.clone()))?,
        pilots: rows(&mut slice, "pilots", |row: &Pilot| row.id.clone())?,
        vouchers: rows(&mut slice, "vouchers", |row: &Voucher| row.id.clone())?,
        devices: rows(&mut slice, "devices", |row: &DeclaredDevice| (row.voucher.clone(), row.device.clone()))?,
        gateways: rows(&mut slice, "gateways", |row: &Gateway| row.id.clone())?,
        lines: rows(&mut slice, "lines", |row: &Line| (row.enterprise.clone(), row.line.clone()))?,
        ..Register::default()
    };
    Ok((register, voucher))
}

fn rows<K: Ord, T: DeserializeOwned>(slice: &mut Value, list: &str, key: impl Fn(&T) -> K) -> Result<BTreeMap<K, T>, String> {
    let rows: Vec<T> = serde_json::from_value(slice[list].take()).map_err(|error| format!("{list}: {error}"))?;
    Ok(rows.into_iter().map(|row| (key(&row), row)).collect())
}

pub fn register_hash(slice: &Register) -> String {
    hash_of(&register_slice(slice))
}
