//! What a stretch of the log adds to the facts of devices: about 75 bytes for a device that reports within one hour.
//!
//! Devices are numbered in the order in which they appear. A report mostly names them in the same order again, so the next number
//! is tried first, and nothing is hashed then.

use std::hash::{BuildHasher, Hash};

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable};
use policy::facts::{Channel, GatewayMark, gateway_mark};

use crate::slot::{NO_SLOT, Sighting, Slot};

/// Slots of one device that are looked at before another one is begun; two of one hour are joined when they are written.
const NEAR: usize = 4;

/// An enterprise as one gateway, or its suppliers, speak of it.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) enterprise: CompactString,
    /// `None`: a supplier.
    pub(crate) gateway: Option<CompactString>,
    pub(crate) mark: GatewayMark,
}

impl Owner {
    pub(crate) fn channel(&self) -> Channel {
        if self.gateway.is_some() { Channel::Gateway } else { Channel::Supplier }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    /// Where its name begins; it ends where the next one's begins.
    name_at: u32,
    pub(crate) owner: u32,
    newest: Slot,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct DeviceDelta {
    owners: Vec<Owner>,
    owner_table: HashTable<u32>,
    devices: Vec<Device>,
    device_table: HashTable<u32>,
    names: Vec<u8>,
    /// Slots that are not the newest of their device.
    older: Vec<Slot>,
    /// The device that was named last.
    last: usize,
    hasher: DefaultHashBuilder,
}

impl DeviceDelta {
    /// An empty one with room for as many devices as this one has: growing takes its time in the wrong moment.
    pub(crate) fn next(&self) -> DeviceDelta {
        DeviceDelta { device_table: HashTable::with_capacity(self.devices.len()), ..DeviceDelta::default() }
    }

    /// The number of an enterprise with a gateway, or with its suppliers.
    pub(crate) fn owner(&mut self, enterprise: &str, gateway: Option<&str>) -> u32 {
        let DeviceDelta { owners, owner_table, hasher, .. } = self;
        let hash = |enterprise: &str, gateway: Option<&str>| hasher.hash_one((enterprise, gateway));
        let wanted = hash(enterprise, gateway);
        let equal = |number: &u32| {
            let owner = &owners[*number as usize];
            owner.gateway.as_deref() == gateway && owner.enterprise == enterprise
        };
        if let Some(number) = owner_table.find(wanted, equal) {
            return *number;
        }
        let number = number(owners.len());
        owners.push(Owner { enterprise: enterprise.into(), gateway: gateway.map(Into::into), mark: gateway.map_or(0, gateway_mark) });
        owner_table.insert_unique(wanted, number, |number| {
            let owner = &owners[*number as usize];
            hash(&owner.enterprise, owner.gateway.as_deref())
        });
        number
    }

    pub(crate) fn add(&mut self, owner: u32, device: &str, sighting: Sighting) {
        let found = self.device(owner, device.as_bytes());
        let at = found.unwrap_or(self.devices.len());
        if found.is_none() {
            self.begin(owner, device.as_bytes(), Slot::of(sighting, NO_SLOT));
        } else if !self.absorb(at, |slot| slot.absorb(sighting)) {
            self.set_aside(at, |older| Slot::of(sighting, older));
        }
        self.last = at;
    }

    /// Takes in another stretch.
    pub(crate) fn merge(&mut self, other: &DeviceDelta) {
        for at in 0..other.devices.len() {
            let Owner { enterprise, gateway, .. } = &other.owners[other.devices[at].owner as usize];
            let owner = self.owner(enterprise, gateway.as_deref());
            for (_, slot) in other.slots(at) {
                self.add_slot(owner, other.name(at), slot);
            }
        }
    }

    fn add_slot(&mut self, owner: u32, name: &[u8], slot: &Slot) {
        let found = self.device(owner, name);
        let at = found.unwrap_or(self.devices.len());
        if found.is_none() {
            self.begin(owner, name, Slot { older: NO_SLOT, ..*slot });
        } else if !self.absorb(at, |kept| kept.absorb_slot(slot)) {
            self.set_aside(at, |older| Slot { older, ..*slot });
        }
        self.last = at;
    }

    /// The place of a device: the one after the last named, if it is that one, or by its hash.
    fn device(&self, owner: u32, name: &[u8]) -> Option<usize> {
        let next = self.last + 1;
        if self.devices.get(next).is_some_and(|device| device.owner == owner) && self.name(next) == name {
            return Some(next);
        }
        let equal = |at: &u32| self.devices[*at as usize].owner == owner && self.name(*at as usize) == name;
        self.device_table.find(hash(&self.hasher, owner, name), equal).map(|at| *at as usize)
    }

    fn begin(&mut self, owner: u32, name: &[u8], newest: Slot) {
        let at = number(self.devices.len());
        self.devices.push(Device { name_at: number(self.names.len()), owner, newest });
        self.names.extend_from_slice(name);
        let DeviceDelta { devices, device_table, names, hasher, .. } = self;
        device_table.insert_unique(hash(hasher, owner, name), at, |at| {
            hash(hasher, devices[*at as usize].owner, name_of(devices, names, *at as usize))
        });
    }

    /// Tries the newest slot, then some older ones; the one that takes it becomes the newest, as the next reading will mostly fit too.
    fn absorb(&mut self, at: usize, mut into: impl FnMut(&mut Slot) -> bool) -> bool {
        let newest = &mut self.devices[at].newest;
        if into(newest) {
            return true;
        }
        let mut older = newest.older;
        for _ in 1..NEAR {
            let Some(slot) = self.older.get_mut(older as usize) else { return false };
            if into(slot) {
                std::mem::swap(newest, slot);
                std::mem::swap(&mut newest.older, &mut slot.older);
                return true;
            }
            older = slot.older;
        }
        false
    }

    fn set_aside(&mut self, at: usize, begin: impl FnOnce(u32) -> Slot) {
        let older = number(self.older.len());
        let newest = &mut self.devices[at].newest;
        self.older.push(std::mem::replace(newest, begin(older)));
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    /// How many device-hours there are, those that will be joined counted twice.
    pub(crate) fn slot_count(&self) -> usize {
        self.devices.len() + self.older.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.devices.len() * size_of::<Device>()
            + self.older.len() * size_of::<Slot>()
            + self.names.len()
            + self.device_table.capacity() * (size_of::<u32>() + 1)
            + self.owners.len() * (size_of::<Owner>() + size_of::<u32>() + 1)
    }

    pub(crate) fn owners(&self) -> &[Owner] {
        &self.owners
    }

    pub(crate) fn device_owner(&self, at: usize) -> u32 {
        self.devices[at].owner
    }

    pub(crate) fn name(&self, at: usize) -> &[u8] {
        name_of(&self.devices, &self.names, at)
    }

    /// The slots of a device, in no order.
    pub(crate) fn slots(&self, at: usize) -> impl Iterator<Item = (SlotAt, &Slot)> {
        let mut next = Some((SlotAt(NO_SLOT), &self.devices[at].newest));
        std::iter::from_fn(move || {
            let found = next?;
            let older = found.1.older;
            next = self.older.get(older as usize).map(|slot| (SlotAt(older), slot));
            Some(found)
        })
    }

    pub(crate) fn slot(&self, at: usize, slot: SlotAt) -> &Slot {
        self.older.get(slot.0 as usize).unwrap_or(&self.devices[at].newest)
    }
}

/// Where a device's slot lies: among the older ones, or none of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotAt(u32);

fn name_of<'n>(devices: &[Device], names: &'n [u8], at: usize) -> &'n [u8] {
    let end = devices.get(at + 1).map_or(names.len(), |next| next.name_at as usize);
    &names[devices[at].name_at as usize..end]
}

fn hash(hasher: &DefaultHashBuilder, owner: u32, name: impl AsRef<[u8]>) -> u64 {
    let mut state = hasher.build_hasher();
    owner.hash(&mut state);
    name.as_ref().hash(&mut state);
    std::hash::Hasher::finish(&state)
}

/// A stretch of the log is written long before it holds four thousand million names or bytes of them.
fn number(length: usize) -> u32 {
    u32::try_from(length).expect("a stretch of the log is written before it grows so long")
}
