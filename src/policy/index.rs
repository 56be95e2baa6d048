//! A register with what makes it quick to look at one voucher: built once for a state of the register, and never changed, so that it
//! cannot go stale. A slice taken from it costs as much as the voucher's enterprise has rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use crate::amount::{EarlierVoucher, take_in_order};
use crate::catalogue::Catalogue;
use crate::claim_place::ClaimPlace;
use crate::derived::{Derived, Taken};
use crate::in_force::Versions;
use crate::money::Yuan;
use crate::outliers::{Peer, peers_of};
use crate::register::{Gateway, Register, Voucher};
use crate::rulebook::Rulebook;

/// `R` is a register or a handle on one that nobody changes.
#[derive(Clone, Debug)]
pub struct Indexed<R> {
    register: R,
    /// Ids of an enterprise's vouchers, in order.
    by_enterprise: BTreeMap<String, Vec<String>>,
    /// Devices that are declared under more than one enterprise: the vouchers, in order.
    shared_devices: BTreeMap<String, Vec<String>>,
    /// Keys that stand for more than one gateway: the gateways, in order.
    shared_keys: BTreeMap<String, Vec<String>>,
    /// What each voucher takes from its enterprise's cap and from quotas: its approved amount, else the one computed under the
    /// rulebook and catalogue of its application.
    takes: BTreeMap<String, Yuan>,
    /// By (party, period): places with what all up to and including them take.
    quotas: BTreeMap<(String, String), Vec<(ClaimPlace, Taken)>>,
    /// By catalogue row, in order of application.
    peers: BTreeMap<u8, Vec<Peer>>,
}

fn shared_keys(register: &Register) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for gateway in register.gateways.values() {
        if let Some(key) = &gateway.public_key {
            by_key.entry(key.clone()).or_default().push(gateway.id.clone());
        }
    }
    by_key.retain(|_, gateways| gateways.len() > 1);
    by_key
}

impl<R: Deref<Target = Register>> Indexed<R> {
    pub fn of(register: R, rulebooks: &Versions<Rulebook>, catalogues: &Versions<Catalogue>) -> Indexed<R> {
        let mut by_enterprise: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for voucher in register.vouchers.values() {
            by_enterprise.entry(voucher.enterprise.clone()).or_default().push(voucher.id.clone());
        }
        let takes = takes(&register, &by_enterprise, rulebooks, catalogues);
        Indexed {
            shared_devices: shared_devices(&register),
            shared_keys: shared_keys(&register),
            quotas: quotas(&register, &takes),
            peers: peers(&register),
            by_enterprise,
            takes,
            register,
        }
    }

    pub fn register(&self) -> &R {
        &self.register
    }

    /// What a voucher takes from cap and quotas while it is not given up.
    pub fn takes(&self, voucher: &str) -> Yuan {
        self.takes.get(voucher).copied().unwrap_or_default()
    }

    /// All vouchers of an enterprise, in order of their id.
    pub fn vouchers_of(&self, enterprise: &str) -> impl Iterator<Item = &Voucher> {
        let ids = self.by_enterprise.get(enterprise).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.register.vouchers.get(id))
    }

    /// Vouchers of other enterprises that declare a device under the same name as this one does: (device, voucher), in order.
    pub fn same_devices(&self, voucher: &Voucher) -> Vec<(&str, &Voucher)> {
        let mut found = Vec::new();
        for declared in self.register.devices_of(&voucher.id) {
            let Some((device, ids)) = self.shared_devices.get_key_value(&declared.device) else { continue };
            let others = ids.iter().filter_map(|id| self.register.vouchers.get(id));
            found.extend(others.filter(|other| other.enterprise != voucher.enterprise).map(|other| (device.as_str(), other)));
        }
        found
    }

    /// Gateways of the voucher's enterprise whose key stands for another one too, with those others.
    pub fn sharing_a_key(&self, voucher: &Voucher) -> Vec<&Gateway> {
        let groups = self.shared_keys.values().map(|ids| ids.iter().filter_map(|id| self.register.gateways.get(id)).collect::<Vec<_>>());
        groups.filter(|group| group.iter().any(|gateway| gateway.enterprise == voucher.enterprise)).flatten().collect()
    }

    /// What is taken from a party's quota before it is the voucher's turn.
    pub fn taken_before(&self, party: &str, voucher: &Voucher) -> Taken {
        let Some(period) = &voucher.period else { return Taken::default() };
        let Some(places) = self.quotas.get(&(party.to_string(), period.clone())) else { return Taken::default() };
        let place = ClaimPlace::of(voucher);
        let before = places.partition_point(|(other, _)| *other < place);
        before.checked_sub(1).and_then(|last| places.get(last)).map_or_else(Taken::default, |(_, taken)| *taken)
    }

    pub fn derived(&self, voucher: &Voucher) -> Derived {
        let before = |other: &&Voucher| {
            other.period == voucher.period
                && other.status.takes_from_cap()
                && (other.applied_at, &other.id) < (voucher.applied_at, &voucher.id)
        };
        let mut earlier: Vec<&Voucher> = self.vouchers_of(&voucher.enterprise).filter(before).collect();
        earlier.sort_by(|a, b| (a.applied_at, &a.id).cmp(&(b.applied_at, &b.id)));
        let product = self.register.products.get(&voucher.product);
        Derived {
            voucher: voucher.id.clone(),
            earlier: earlier.into_iter().map(|other| EarlierVoucher { voucher: other.id.clone(), takes: self.takes(&other.id) }).collect(),
            quotas: if voucher.period.is_some() {
                parties(&self.register, voucher).map(|party| (party.to_string(), self.taken_before(party, voucher))).collect()
            } else {
                BTreeMap::new()
            },
            peers: product.and_then(|product| self.peers.get(&product.row)).map(|peers| peers_of(peers, voucher)).unwrap_or_default(),
        }
    }
}

/// Whose quotas a voucher draws on: its supplier's, and its city's (R28) or, for a pilot's, the pilot's pool instead (R29).
pub fn parties<'r>(register: &'r Register, voucher: &'r Voucher) -> impl Iterator<Item = &'r str> {
    let place = match &voucher.pilot {
        Some(pilot) => Some(pilot.as_str()),
        None => register.enterprises.get(&voucher.enterprise).map(|enterprise| enterprise.city.as_str()),
    };
    let supplier = register.products.get(&voucher.product).map(|product| product.supplier.as_str());
    [place, supplier].into_iter().flatten()
}

fn takes(
    register: &Register,
    by_enterprise: &BTreeMap<String, Vec<String>>,
    rulebooks: &Versions<Rulebook>,
    catalogues: &Versions<Catalogue>,
) -> BTreeMap<String, Yuan> {
    let mut takes = BTreeMap::new();
    for ids in by_enterprise.values() {
        let mut by_period: BTreeMap<&Option<String>, Vec<&Voucher>> = BTreeMap::new();
        for voucher in ids.iter().filter_map(|id| register.vouchers.get(id)).filter(|voucher| voucher.status.takes_from_cap()) {
            by_period.entry(&voucher.period).or_default().push(voucher);
        }
        for vouchers in by_period.into_values() {
            let taken =
                take_in_order(register, vouchers, |other| (rulebooks.in_force(other.applied_at), catalogues.in_force(other.applied_at)));
            takes.extend(taken.into_iter().map(|earlier| (earlier.voucher, earlier.takes)));
        }
    }
    takes
}

fn shared_devices(register: &Register) -> BTreeMap<String, Vec<String>> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut shared: BTreeSet<&str> = BTreeSet::new();
    let owner = |voucher: &str| register.vouchers.get(voucher).map(|voucher| voucher.enterprise.as_str());
    for declared in register.devices.values() {
        let Some(enterprise) = owner(&declared.voucher) else { continue };
        if *first.entry(&declared.device).or_insert(enterprise) != enterprise {
            shared.insert(&declared.device);
        }
    }
    let mut vouchers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for declared in register.devices.values().filter(|declared| shared.contains(declared.device.as_str())) {
        vouchers.entry(declared.device.clone()).or_default().push(declared.voucher.clone());
    }
    vouchers
}

fn quotas(register: &Register, takes: &BTreeMap<String, Yuan>) -> BTreeMap<(String, String), Vec<(ClaimPlace, Taken)>> {
    let mut quotas: BTreeMap<(String, String), Vec<(ClaimPlace, Taken)>> = BTreeMap::new();
    for voucher in register.vouchers.values().filter(|voucher| voucher.status.takes_from_cap()) {
        let Some(period) = &voucher.period else { continue };
        let own = Taken { vouchers: 1, amount: takes.get(&voucher.id).copied().unwrap_or_default() };
        for party in parties(register, voucher) {
            quotas.entry((party.to_string(), period.clone())).or_default().push((ClaimPlace::of(voucher), own));
        }
    }
    for places in quotas.values_mut() {
        places.sort_by(|a, b| a.0.cmp(&b.0));
        let mut sum = Taken::default();
        for (_, taken) in places {
            sum = Taken { vouchers: sum.vouchers + taken.vouchers, amount: sum.amount + taken.amount };
            *taken = sum;
        }
    }
    quotas
}

fn peers(register: &Register) -> BTreeMap<u8, Vec<Peer>> {
    let mut by_row: BTreeMap<u8, Vec<&Voucher>> = BTreeMap::new();
    for voucher in register.vouchers.values() {
        if let Some(product) = register.products.get(&voucher.product) {
            by_row.entry(product.row).or_default().push(voucher);
        }
    }
    let mut devices: BTreeMap<&str, u64> = BTreeMap::new();
    for declared in register.devices.values() {
        *devices.entry(&declared.voucher).or_default() += 1;
    }
    let peers = |mut vouchers: Vec<&Voucher>| {
        vouchers.sort_by(|a, b| (a.applied_at, &a.id).cmp(&(b.applied_at, &b.id)));
        vouchers.into_iter().map(|voucher| Peer::of(voucher, devices.get(voucher.id.as_str()).copied().unwrap_or_default())).collect()
    };
    by_row.into_iter().map(|(row, vouchers)| (row, peers(vouchers))).collect()
}
