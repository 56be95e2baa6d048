//! Which vouchers a change of the register concerns: every voucher whose judgement may look at a row that is not as it was. Rather
//! one too many than one too few.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use policy::index::parties;
use policy::regions::city_of;
use policy::register::{Gateway, Register, Voucher};

/// What changed rows lead to.
#[derive(Default)]
struct Reached<'r> {
    vouchers: BTreeSet<&'r str>,
    enterprises: BTreeSet<&'r str>,
    suppliers: BTreeSet<&'r str>,
    products: BTreeSet<&'r str>,
    periods: BTreeSet<&'r str>,
    pilots: BTreeSet<&'r str>,
    /// Names of devices: another enterprise may declare the same.
    devices: BTreeSet<&'r str>,
    /// Cities and suppliers whose quota in a period others share: (party, period).
    quotas: BTreeSet<(Cow<'r, str>, &'r str)>,
    /// Catalogue rows: contracts are compared with others of their row.
    rows: BTreeSet<u8>,
}

/// Vouchers of the register as it is now.
pub fn concerned(before: &Register, now: &Register) -> BTreeSet<String> {
    let mut reached = Reached::default();
    reached.suppliers.extend(changed(&before.suppliers, &now.suppliers).map(String::as_str));
    reached.products.extend(changed(&before.products, &now.products).map(String::as_str));
    reached.periods.extend(changed(&before.periods, &now.periods).map(String::as_str));
    reached.pilots.extend(changed(&before.pilots, &now.pilots).map(String::as_str));
    reached.enterprises.extend(changed(&before.enterprises, &now.enterprises).map(String::as_str));
    let lines: BTreeSet<&str> = changed(&before.lines, &now.lines).map(|(_, line)| line.as_str()).collect();
    for register in [before, now] {
        let rows = register.lines.values().filter(|row| lines.contains(row.line.as_str()));
        reached.enterprises.extend(rows.map(|row| row.enterprise.as_str()));
    }
    reached.quotas.extend(changed(&before.quotas, &now.quotas).map(|(party, period)| (city_of(party), period.as_str())));
    for (voucher, device) in changed(&before.devices, &now.devices) {
        reached.devices.insert(device);
        for register in [before, now] {
            if let Some(voucher) = register.vouchers.get(voucher) {
                reached.enterprises.insert(&voucher.enterprise);
                reached.rows.extend(row_of(register, voucher));
            }
        }
    }
    for id in changed(&before.vouchers, &now.vouchers) {
        for register in [before, now] {
            if let Some(voucher) = register.vouchers.get(id) {
                reached.voucher(register, voucher);
            }
        }
    }
    reached.reach_through_keys(before, now);
    for register in [before, now] {
        reached.reach_through_products_and_periods(register);
    }
    for register in [before, now] {
        reached.reach_through_quotas(register);
    }
    reached.reach_through_devices(now);
    now.vouchers.values().filter(|voucher| reached.concerns(now, voucher)).map(|voucher| voucher.id.clone()).collect()
}

/// Keys whose rows are not as they were.
fn changed<'r, K: Ord, V: PartialEq>(before: &'r BTreeMap<K, V>, now: &'r BTreeMap<K, V>) -> impl Iterator<Item = &'r K> {
    let new = now.iter().filter(|(key, row)| before.get(key) != Some(row)).map(|(key, _)| key);
    let gone = before.keys().filter(|key| !now.contains_key(key));
    new.chain(gone)
}

impl<'r> Reached<'r> {
    fn voucher(&mut self, register: &'r Register, voucher: &'r Voucher) {
        self.vouchers.insert(&voucher.id);
        self.enterprises.insert(&voucher.enterprise);
        self.pilots.extend(voucher.pilot.as_deref());
        self.devices.extend(register.devices_of(&voucher.id).map(|device| device.device.as_str()));
        self.quotas_of(register, voucher);
        self.rows.extend(row_of(register, voucher));
    }

    fn quotas_of(&mut self, register: &'r Register, voucher: &'r Voucher) {
        let Some(period) = &voucher.period else { return };
        self.quotas.extend(parties(register, voucher).map(|party| (party, period.as_str())));
    }

    /// A key leads to every enterprise that has a gateway with it.
    fn reach_through_keys(&mut self, before: &'r Register, now: &'r Register) {
        let both = || [before, now].into_iter();
        let rows = |id: &'r String| both().filter_map(move |register| register.gateways.get(id));
        let keys: BTreeSet<&str> =
            changed(&before.gateways, &now.gateways).flat_map(rows).filter_map(|gateway| gateway.public_key.as_deref()).collect();
        let with_key = |gateway: &&Gateway| gateway.public_key.as_deref().is_some_and(|key| keys.contains(key));
        let gateways = both().flat_map(|register| register.gateways.values()).filter(with_key);
        self.enterprises.extend(gateways.map(|gateway| gateway.enterprise.as_str()));
    }

    /// An enterprise's vouchers are looked at together: with one's product or period all are concerned. A product changes what its
    /// vouchers take and are compared with; product and period change what a pilot has done.
    fn reach_through_products_and_periods(&mut self, register: &'r Register) {
        for voucher in register.vouchers.values() {
            let of_product = self.products.contains(voucher.product.as_str());
            if of_product {
                self.rows.extend(row_of(register, voucher));
            }
            if of_product || voucher.period.as_deref().is_some_and(|period| self.periods.contains(period)) {
                self.enterprises.insert(&voucher.enterprise);
                self.pilots.extend(voucher.pilot.as_deref());
            }
        }
    }

    /// Quotas are counted over all vouchers of a city or supplier: an enterprise that moves takes its vouchers along, one voucher leaves
    /// the others of its enterprise more or less of the cap, and a pilot that loses its title its vouchers' turn.
    fn reach_through_quotas(&mut self, register: &'r Register) {
        for voucher in register.vouchers.values() {
            let of_pilot = voucher.pilot.as_deref().is_some_and(|pilot| self.pilots.contains(pilot));
            if of_pilot || self.enterprises.contains(voucher.enterprise.as_str()) {
                self.quotas_of(register, voucher);
            }
        }
    }

    fn reach_through_devices(&mut self, register: &'r Register) {
        let named = register.devices.values().filter(|device| self.devices.contains(device.device.as_str()));
        let vouchers: Vec<&str> = named.map(|device| device.voucher.as_str()).collect();
        self.vouchers.extend(vouchers);
    }

    fn concerns(&self, register: &Register, voucher: &Voucher) -> bool {
        let supplier = register.products.get(&voucher.product).map(|product| product.supplier.as_str());
        let period = voucher.period.as_deref();
        let shares_quota = || period.is_some_and(|period| parties(register, voucher).any(|party| self.quotas.contains(&(party, period))));
        self.vouchers.contains(voucher.id.as_str())
            || self.enterprises.contains(voucher.enterprise.as_str())
            || self.products.contains(voucher.product.as_str())
            || supplier.is_some_and(|supplier| self.suppliers.contains(supplier))
            || period.is_some_and(|period| self.periods.contains(period))
            || voucher.pilot.as_deref().is_some_and(|pilot| self.pilots.contains(pilot))
            || row_of(register, voucher).is_some_and(|row| self.rows.contains(&row))
            || shares_quota()
    }
}

fn row_of(register: &Register, voucher: &Voucher) -> Option<u8> {
    register.products.get(&voucher.product).map(|product| product.row)
}

#[cfg(test)]
#[path = "concerned_tests.rs"]
mod tests;
