//! A register with what makes it quick to look at one voucher: built once for a state of the register, and never changed, so that it
//! cannot go stale. A slice taken from it costs as much as the voucher's enterprise has rows.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use crate::amount::{EarlierVoucher, take_in_order};
use crate::calendar::Instant;
use crate::catalogue::Catalogue;
use crate::claim_place::ClaimPlace;
use crate::consortium;
use crate::derived::{Derived, Taken};
use crate::in_force::Versions;
use crate::money::Yuan;
use crate::outliers::{Peer, peers_of};
use crate::reasons::PilotTitle;
use crate::regions::city_of;
use crate::register::{Gateway, Line, Register, Voucher};
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
    /// Lines that stand under more than one enterprise: the enterprises, in order.
    shared_lines: BTreeMap<String, Vec<String>>,
    /// What each voucher takes from its enterprise's cap and from quotas: its approved amount, else the one computed under the
    /// rulebook and catalogue of its application.
    takes: BTreeMap<String, Yuan>,
    quotas: Quotas,
    /// The same as it is once claiming has ended, where a pilot has then lost its title.
    quotas_claiming_ended: Quotas,
    /// Pilots whose title is lost when claiming of a period ends: (pilot, period).
    titles_lost: BTreeSet<(String, String)>,
    /// By catalogue row, in order of application.
    peers: BTreeMap<u8, Vec<Peer>>,
}

/// By (party, period): places with what all up to and including them take.
type Quotas = BTreeMap<(String, String), Vec<(ClaimPlace, Taken)>>;

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

fn shared_lines(register: &Register) -> BTreeMap<String, Vec<String>> {
    let mut by_line: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in register.lines.values().filter(|line| line.fixed()) {
        by_line.entry(line.line.clone()).or_default().push(line.enterprise.clone());
    }
    by_line.retain(|_, enterprises| enterprises.len() > 1);
    by_line
}

impl<R: Deref<Target = Register>> Indexed<R> {
    pub fn of(register: R, rulebooks: &Versions<Rulebook>, catalogues: &Versions<Catalogue>) -> Indexed<R> {
        let mut by_enterprise: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for voucher in register.vouchers.values() {
            by_enterprise.entry(voucher.enterprise.clone()).or_default().push(voucher.id.clone());
        }
        let takes = takes(&register, &by_enterprise, rulebooks, catalogues);
        let titles_lost = titles_lost(&register, rulebooks);
        let titled = |voucher: &Voucher| of_titled_pilot(&register, voucher, &titles_lost);
        let quotas_claiming_ended = if titles_lost.is_empty() { Quotas::new() } else { quotas(&register, &takes, titled) };
        Indexed {
            shared_devices: shared_devices(&register),
            shared_keys: shared_keys(&register),
            shared_lines: shared_lines(&register),
            quotas: quotas(&register, &takes, |voucher| of_pilot(&register, voucher)),
            quotas_claiming_ended,
            peers: peers(&register),
            by_enterprise,
            takes,
            titles_lost,
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

    /// Lines of the voucher's enterprise that stand under others too, as they stand there.
    pub fn same_lines(&self, voucher: &Voucher) -> Vec<&Line> {
        let own = self.register.lines_of(&voucher.enterprise).filter(|line| line.fixed());
        let shared = own.filter_map(|line| self.shared_lines.get_key_value(&line.line));
        let rows = shared.flat_map(|(line, enterprises)| enterprises.iter().map(move |enterprise| (enterprise.clone(), line.clone())));
        rows.filter(|(enterprise, _)| *enterprise != voucher.enterprise).filter_map(|key| self.register.lines.get(&key)).collect()
    }

    /// What is taken from quotas before it is the voucher's turn: as long as claiming lasts, and once it has ended.
    fn taken_before(&self, voucher: &Voucher) -> (BTreeMap<String, Taken>, BTreeMap<String, Taken>) {
        let Some(period) = &voucher.period else { return Default::default() };
        let taken = |quotas: &Quotas, party: &Cow<'_, str>, place: &ClaimPlace| {
            let places = quotas.get(&(party.to_string(), period.clone()))?;
            let before = places.partition_point(|(other, _)| *other < *place);
            Some(before.checked_sub(1).and_then(|last| places.get(last)).map_or_else(Taken::default, |(_, taken)| *taken))
        };
        let (mut open, mut ended) = (BTreeMap::new(), BTreeMap::new());
        let first = ClaimPlace::of(voucher, of_pilot(&self.register, voucher));
        let then = ClaimPlace::of(voucher, of_titled_pilot(&self.register, voucher, &self.titles_lost));
        for party in parties(&self.register, voucher) {
            let at_first = taken(&self.quotas, &party, &first).unwrap_or_default();
            let at_last = taken(&self.quotas_claiming_ended, &party, &then).filter(|taken| *taken != at_first);
            ended.extend(at_last.map(|taken| (party.to_string(), taken)));
            open.insert(party.into_owned(), at_first);
        }
        (open, ended)
    }

    pub fn derived(&self, voucher: &Voucher) -> Derived {
        let place = |voucher: &Voucher| (voucher.applied_at, voucher.id.clone());
        let of_period =
            self.vouchers_of(&voucher.enterprise).filter(|other| other.period == voucher.period && other.status.takes_from_cap());
        let mut others: Vec<&Voucher> = of_period.filter(|other| other.id != voucher.id).collect();
        others.sort_by_key(|other| place(other));
        let later = others.split_off(others.partition_point(|other| place(other) < place(voucher)));
        let product = self.register.products.get(&voucher.product);
        let (quotas, quotas_claiming_ended) = self.taken_before(voucher);
        Derived {
            voucher: voucher.id.clone(),
            earlier: others.into_iter().map(|other| EarlierVoucher { voucher: other.id.clone(), takes: self.takes(&other.id) }).collect(),
            later: later.into_iter().map(|other| self.takes(&other.id)).sum(),
            quotas,
            quotas_claiming_ended,
            peers: product.and_then(|product| self.peers.get(&product.row)).map(|peers| peers_of(peers, voucher)).unwrap_or_default(),
        }
    }
}

/// Whose quotas a voucher draws on: its supplier's, and its city's (R28) or, for a pilot's, the pilot's pool instead (R29).
pub fn parties<'r>(register: &'r Register, voucher: &'r Voucher) -> impl Iterator<Item = Cow<'r, str>> {
    let place = match &voucher.pilot {
        Some(pilot) => Some(Cow::Borrowed(pilot.as_str())),
        None => register.enterprises.get(&voucher.enterprise).map(|enterprise| city_of(&enterprise.city)),
    };
    let supplier = register.products.get(&voucher.product).map(|product| Cow::Borrowed(product.supplier.as_str()));
    [place, supplier].into_iter().flatten()
}

/// Whether a voucher that waits goes before others: as long as claiming lasts no pilot has lost its title.
fn of_pilot(register: &Register, voucher: &Voucher) -> bool {
    voucher.pilot.as_ref().is_some_and(|pilot| register.pilots.contains_key(pilot))
}

/// The same once claiming has ended.
fn of_titled_pilot(register: &Register, voucher: &Voucher, titles_lost: &BTreeSet<(String, String)>) -> bool {
    let lost = voucher.pilot.clone().zip(voucher.period.clone()).is_some_and(|of_period| titles_lost.contains(&of_period));
    of_pilot(register, voucher) && !lost
}

fn titles_lost(register: &Register, rulebooks: &Versions<Rulebook>) -> BTreeSet<(String, String)> {
    let claimed = register.vouchers.values().filter_map(|voucher| Some((voucher.pilot.as_ref()?, voucher.period.as_ref()?)));
    let claimed: BTreeSet<(&String, &String)> = claimed.collect();
    let lost = |(pilot, period): &(&String, &String)| {
        let (Some(pilot), Some(period)) = (register.pilots.get(*pilot), register.periods.get(*period)) else { return false };
        let parameters = &rulebooks.in_force(period.claim_from).parameters;
        consortium::stand(register, parameters, pilot, period, Instant::MAX_UTC).title == PilotTitle::Lost
    };
    claimed.into_iter().filter(lost).map(|(pilot, period)| (pilot.clone(), period.clone())).collect()
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

fn quotas(register: &Register, takes: &BTreeMap<String, Yuan>, priority: impl Fn(&Voucher) -> bool) -> Quotas {
    let mut quotas = Quotas::new();
    for voucher in register.vouchers.values().filter(|voucher| voucher.status.takes_from_cap()) {
        let Some(period) = &voucher.period else { continue };
        let own = Taken { vouchers: 1, amount: takes.get(&voucher.id).copied().unwrap_or_default() };
        for party in parties(register, voucher) {
            quotas.entry((party.to_string(), period.clone())).or_default().push((ClaimPlace::of(voucher, priority(voucher)), own));
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
