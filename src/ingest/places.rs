//! Places for connections: bounded in all and for each address, so that no one takes them all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Clone)]
pub struct Places {
    in_all: usize,
    of_address: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One place; given back when this is dropped.
pub struct Place {
    taken: Arc<Mutex<Taken>>,
    address: IpAddr,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    InAll,
    OfAddress,
}

impl Places {
    /// At least one for each address.
    pub fn new(in_all: usize, of_address: usize) -> Places {
        Places { in_all: in_all.max(1), of_address: of_address.max(1), taken: Arc::default() }
    }

    pub fn take(&self, address: IpAddr) -> Result<Place, Full> {
        let address = neighbourhood(address);
        let mut taken = lock(&self.taken);
        if taken.in_all >= self.in_all {
            return Err(Full::InAll);
        }
        let of_address = taken.by_address.entry(address).or_default();
        if *of_address >= self.of_address {
            return Err(Full::OfAddress);
        }
        *of_address += 1;
        taken.in_all += 1;
        Ok(Place { taken: self.taken.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.in_all -= 1;
        if let Some(of_address) = taken.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Whoever has one address of IPv6 has the 2^64 beside it too.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_bounded_for_each_address_and_in_all_and_given_back() {
        let places = Places::new(3, 2);
        let (one, other) = (address("192.0.2.1"), address("::ffff:192.0.2.2"));
        let first = places.take(one).ok().unwrap();
        let _second = places.take(one).ok().unwrap();
        assert_eq!(places.take(one).err(), Some(Full::OfAddress));
        let _third = places.take(other).ok().unwrap();
        assert_eq!(places.take(other).err(), Some(Full::InAll));
        drop(first);
        assert!(places.take(address("192.0.2.2")).is_ok());
        assert!(places.take(one).is_ok());
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_count_as_one() {
        let places = Places::new(9, 1);
        let _one = places.take(address("2001:db8:0:1::1")).ok().unwrap();
        assert_eq!(places.take(address("2001:db8:0:1:ffff::2")).err(), Some(Full::OfAddress));
        assert!(places.take(address("2001:db8:0:2::1")).is_ok());
    }
}
