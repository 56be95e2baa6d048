//! The rows of the register that one judgement rests on; their hash stands in the result. No gateway, so no token, is among them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::canonical::hash_of;
use crate::findings::same_serial;
use crate::register::{DeclaredDevice, Enterprise, IssuancePeriod, Line, Pilot, Product, Quota, Register, Supplier, Voucher};

/// The part of the register that decides about a voucher: judging from it gives the same result as from the whole.
pub fn slice(register: &Register, voucher: &Voucher) -> Register {
    let mut part = Register::default();
    let mut vouchers = vec![voucher];
    vouchers.extend(register.vouchers_of(&voucher.enterprise).filter(|other| other.id != voucher.id));
    for voucher in &vouchers {
        part.vouchers.insert(voucher.id.clone(), (*voucher).clone());
        if let Some(product) = register.products.get(&voucher.product) {
            part.products.insert(product.id.clone(), product.clone());
        }
        for device in register.devices_of(&voucher.id) {
            part.devices.insert((device.voucher.clone(), device.device.clone()), device.clone());
        }
    }
    for (device, other) in same_serial(register, voucher) {
        part.vouchers.insert(other.id.clone(), other.clone());
        let key = (other.id.clone(), device.to_string());
        if let Some(device) = register.devices.get(&key) {
            part.devices.insert(key, device.clone());
        }
    }
    let enterprise = register.enterprises.get(&voucher.enterprise);
    part.enterprises.extend(enterprise.map(|row| (row.id.clone(), row.clone())));
    let supplier = register.products.get(&voucher.product).and_then(|product| register.suppliers.get(&product.supplier));
    part.suppliers.extend(supplier.map(|row| (row.id.clone(), row.clone())));
    if let Some(period) = &voucher.period {
        part.periods.extend(register.periods.get(period).map(|row| (row.id.clone(), row.clone())));
        let supplier = register.products.get(&voucher.product).map(|product| &product.supplier);
        let parties = [enterprise.map(|row| &row.city), supplier, voucher.pilot.as_ref()];
        for party in parties.into_iter().flatten() {
            let key = (party.clone(), period.clone());
            part.quotas.extend(register.quotas.get(&key).map(|row| (key, row.clone())));
        }
    }
    part.pilots.extend(voucher.pilot.as_ref().and_then(|pilot| register.pilots.get(pilot)).map(|row| (row.id.clone(), row.clone())));
    let lines =
        register.lines.range((voucher.enterprise.clone(), String::new())..).take_while(|((owner, _), _)| *owner == voucher.enterprise);
    part.lines.extend(lines.map(|(key, row)| (key.clone(), row.clone())));
    part
}

/// The slice as JSON: each list in the order of its keys.
pub fn register_slice(register: &Register, voucher: &Voucher) -> Value {
    let part = slice(register, voucher);
    json!({
        "voucher": voucher.id,
        "enterprises": part.enterprises.values().collect::<Vec<_>>(),
        "suppliers": part.suppliers.values().collect::<Vec<_>>(),
        "products": part.products.values().collect::<Vec<_>>(),
        "periods": part.periods.values().collect::<Vec<_>>(),
        "quotas": part.quotas.values().collect::<Vec<_>>(),
        "pilots": part.pilots.values().collect::<Vec<_>>(),
        "vouchers": part.vouchers.values().collect::<Vec<_>>(),
        "devices": part.devices.values().collect::<Vec<_>>(),
        "lines": part.lines.values().collect::<Vec<_>>(),
    })
}

/// The register that a slice is, and its voucher.
pub fn read_register_slice(mut slice: Value) -> Result<(Register, String), String> {
    let voucher = slice["voucher"].as_str().ok_or("it names no voucher")?.to_string();
    let register = Register {
        enterprises: rows(&mut slice, "enterprises", |row: &Enterprise| row.id.clone())?,
        suppliers: rows(&mut slice, "suppliers", |row: &Supplier| row.id.clone())?,
        products: rows(&mut slice, "products", |row: &Product| row.id.clone())?,
        periods: rows(&mut slice, "periods", |row: &IssuancePeriod| row.id.clone())?,
        quotas: rows(&mut slice, "quotas", |row: &Quota| (row.party.clone(), row.period.clone()))?,
        pilots: rows(&mut slice, "pilots", |row: &Pilot| row.id.clone())?,
        vouchers: rows(&mut slice, "vouchers", |row: &Voucher| row.id.clone())?,
        devices: rows(&mut slice, "devices", |row: &DeclaredDevice| (row.voucher.clone(), row.device.clone()))?,
        lines: rows(&mut slice, "lines", |row: &Line| (row.enterprise.clone(), row.line.clone()))?,
        ..Register::default()
    };
    Ok((register, voucher))
}

fn rows<K: Ord, T: DeserializeOwned>(slice: &mut Value, list: &str, key: impl Fn(&T) -> K) -> Result<BTreeMap<K, T>, String> {
    let rows: Vec<T> = serde_json::from_value(slice[list].take()).map_err(|error| format!("{list}: {error}"))?;
    Ok(rows.into_iter().map(|row| (key(&row), row)).collect())
}

pub fn register_hash(register: &Register, voucher: &Voucher) -> String {
    hash_of(&register_slice(register, voucher))
}
