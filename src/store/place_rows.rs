//! From which network addresses gateways connected. A gateway's stay at an address is one row for as long as it comes from no other:
//! there are as many rows as gateways and moves, however long they last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};
use policy::calendar::{Day, day_of, day_start};
use policy::facts::GatewayStay;
use sqlx::{Row, SqliteConnection};

use crate::facts_many::{ByEnterprise, Wanted};
use crate::gateway_rows::asked_for;
use crate::sql::{Store, StoreError};

/// Notes written in one transaction: refusals wait for it.
const TOGETHER: usize = 100;
/// Stays of one gateway that begin on one day; what goes to and fro more often is told as well by these.
const STAYS_OF_DAY_MAX: i64 = 16;
/// Enterprises of one address that are looked for.
const ENTERPRISES_MAX: i64 = 100;

/// Of an IPv6 address: what belongs to one site.
const SITE_BITS: u8 = 64;

/// Networks whose addresses do not tell where a gateway is: this machine's own, a proxy's, a carrier's.
#[derive(Clone, Debug)]
pub struct AddressesIgnored(Arc<[IpNet]>);

impl Default for AddressesIgnored {
    fn default() -> AddressesIgnored {
        AddressesIgnored::new(vec![IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8), IpAddr::V6(Ipv6Addr::LOCALHOST).into()])
    }
}

impl AddressesIgnored {
    /// Of IPv6 the whole site to which an address belongs.
    pub fn new(networks: Vec<IpNet>) -> AddressesIgnored {
        let whole_site = |network: IpNet| match network {
            IpNet::V6(narrow) if narrow.prefix_len() > SITE_BITS => Ipv6Net::new_assert(narrow.addr(), SITE_BITS).trunc().into(),
            other => other,
        };
        AddressesIgnored(networks.into_iter().map(whole_site).collect())
    }

    fn contains(&self, address: &str) -> bool {
        let network = address.parse::<IpAddr>().map(IpNet::from).or_else(|_| address.parse());
        network.is_ok_and(|network: IpNet| self.0.iter().any(|ignored| ignored.contains(&network)))
    }
}

/// A gateway was heard from an address: first and last, in microseconds, and in between from no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceNote {
    pub enterprise: String,
    pub gateway: String,
    pub address: IpAddr,
    pub first_us: i64,
    pub last_us: i64,
}

/// A site has one IPv4 address, or a /64 of IPv6.
fn site(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => Ipv6Net::new_assert(address, SITE_BITS).trunc().to_string(),
    }
}

impl Store {
    /// Takes notes in, those of a gateway in their order.
    pub async fn note_places(&self, notes: &[PlaceNote]) -> Result<(), StoreError> {
        for some in notes.chunks(TOGETHER) {
            let mut transaction = self.quarantine.begin_with("BEGIN IMMEDIATE").await?;
            for note in some {
                take(&mut transaction, note).await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Adds where the gateways of these enterprises were on days that are wanted, and who else was there.
    pub(crate) async fn add_places(&self, by: &mut ByEnterprise, wanted: &[Wanted]) -> Result<(), StoreError> {
        let mut transaction = self.quarantine_readers.begin().await?;
        let (asked, ..) = asked_for(wanted);
        let from = wanted.iter().map(|one| one.days.0).min().unwrap_or_default();
        let to = wanted.iter().map(|one| one.days.1).max().unwrap_or_default();
        let (from_us, until_us) = span_us((from, to));
        let rows = sqlx::query(
            "SELECT stay.enterprise, stay.gateway, stay.address, stay.first_us, stay.last_us,
                    EXISTS (SELECT 1 FROM gateway_stay AS other WHERE other.address = stay.address AND other.enterprise < stay.enterprise)
                    OR EXISTS (SELECT 1 FROM gateway_stay AS other WHERE other.address = stay.address AND other.enterprise > stay.enterprise)
                    AS shared
             FROM json_each(?) AS asked
             CROSS JOIN gateway_stay AS stay ON stay.enterprise = asked.value AND stay.last_us >= ? AND stay.first_us < ?
             ORDER BY stay.enterprise, stay.gateway, stay.first_us",
        )
        .bind(asked)
        .bind(from_us)
        .bind(until_us)
        .fetch_all(&mut *transaction)
        .await?;
        let mut shared: BTreeMap<String, Vec<GatewayStay>> = BTreeMap::new();
        for row in &rows {
            let stay =
                GatewayStay { address: row.try_get("address")?, first_us: row.try_get("first_us")?, last_us: row.try_get("last_us")? };
            if self.addresses_ignored.contains(&stay.address) {
                continue;
            }
            let enterprise: String = row.try_get("enterprise")?;
            if row.try_get("shared")? {
                shared.entry(enterprise.clone()).or_default().push(stay.clone());
            }
            by.entry(enterprise).or_default().stays.entry(row.try_get("gateway")?).or_default().push(stay);
        }
        let asked: BTreeSet<(&String, (Day, Day))> = wanted.iter().map(|one| (&one.enterprise, one.days)).collect();
        for (enterprise, days) in asked {
            let there = shared.get(enterprise).into_iter().flatten().filter(|stay| within(stay, days));
            let addresses: BTreeSet<&str> = there.map(|stay| stay.address.as_str()).collect();
            for address in addresses {
                let enterprises = enterprises_at(&mut transaction, address, days).await?;
                if enterprises.len() > 1 {
                    let of_days = by.entry(enterprise.clone()).or_default().neighbours.entry(days).or_default();
                    of_days.insert(address.to_string(), enterprises);
                }
            }
        }
        transaction.rollback().await?;
        Ok(())
    }
}

/// The first instant of the days and the first behind them.
fn span_us(days: (Day, Day)) -> (i64, i64) {
    let behind = days.1.succ_opt().unwrap_or(days.1);
    (day_start(days.0).timestamp_micros(), day_start(behind).timestamp_micros())
}

fn within(stay: &GatewayStay, days: (Day, Day)) -> bool {
    let (from_us, until_us) = span_us(days);
    stay.last_us >= from_us && stay.first_us < until_us
}

/// Stays within the days, of the gateways that came back to an address: of the others there is nothing to tell.
pub(crate) fn returning(stays: &BTreeMap<String, Vec<GatewayStay>>, days: (Day, Day)) -> BTreeMap<String, Vec<GatewayStay>> {
    let within = |(gateway, stays): (&String, &Vec<GatewayStay>)| {
        let stays: Vec<GatewayStay> = stays.iter().filter(|stay| within(stay, days)).cloned().collect();
        let addresses: BTreeSet<&str> = stays.iter().map(|stay| stay.address.as_str()).collect();
        (addresses.len() < stays.len()).then(|| (gateway.clone(), stays))
    };
    stays.iter().filter_map(within).collect()
}

async fn enterprises_at(connection: &mut SqliteConnection, address: &str, days: (Day, Day)) -> Result<BTreeSet<String>, StoreError> {
    let (from_us, until_us) = span_us(days);
    let there =
        "SELECT DISTINCT enterprise FROM gateway_stay WHERE address = ? AND last_us >= ? AND first_us < ? ORDER BY enterprise LIMIT ?";
    let there = sqlx::query_scalar(there).bind(address).bind(from_us).bind(until_us).bind(ENTERPRISES_MAX);
    Ok(there.fetch_all(connection).await?.into_iter().collect())
}

/// Prolongs the stay at that time if it is one at this address, and begins another one if not.
async fn take(connection: &mut SqliteConnection, note: &PlaceNote) -> Result<(), StoreError> {
    let PlaceNote { enterprise, gateway, address, first_us, last_us } = note;
    let address = site(*address);
    let then =
        "SELECT first_us, address FROM gateway_stay WHERE enterprise = ? AND gateway = ? AND first_us <= ? ORDER BY first_us DESC LIMIT 1";
    let then = sqlx::query(then).bind(enterprise).bind(gateway).bind(first_us).fetch_optional(&mut *connection).await?;
    if let Some(then) = then
        && then.try_get::<&str, _>("address")? == address
    {
        sqlx::query("UPDATE gateway_stay SET last_us = max(last_us, ?) WHERE enterprise = ? AND gateway = ? AND first_us = ?")
            .bind(last_us)
            .bind(enterprise)
            .bind(gateway)
            .bind(then.try_get::<i64, _>("first_us")?)
            .execute(connection)
            .await?;
        return Ok(());
    }
    let day = chrono::DateTime::from_timestamp_micros(*first_us).map(day_of).unwrap_or_default();
    let (from_us, until_us) = span_us((day, day));
    sqlx::query(
        "INSERT OR IGNORE INTO gateway_stay (enterprise, gateway, first_us, last_us, address) SELECT ?1, ?2, ?3, ?4, ?5
         WHERE (SELECT count(*) FROM gateway_stay WHERE enterprise = ?1 AND gateway = ?2 AND first_us >= ?6 AND first_us < ?7) < ?8",
    )
    .bind(enterprise)
    .bind(gateway)
    .bind(first_us)
    .bind(last_us)
    .bind(address)
    .bind(from_us)
    .bind(until_us)
    .bind(STAYS_OF_DAY_MAX)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::calendar::read_day;
    use policy::facts::VoucherFacts;

    fn us(on: &str, hour: i64) -> i64 {
        day_start(read_day(on).unwrap()).timestamp_micros() + hour * 3_600_000_000
    }

    fn note(enterprise: &str, gateway: &str, address: &str, (first_us, last_us): (i64, i64)) -> PlaceNote {
        PlaceNote { enterprise: enterprise.into(), gateway: gateway.into(), address: address.parse().unwrap(), first_us, last_us }
    }

    async fn facts(store: &Store, enterprise: &str, from: &str, to: &str) -> VoucherFacts {
        let day = |text| read_day(text).unwrap();
        store.voucher_facts(enterprise, "P", (day(from), day(to)), None).await.unwrap().0
    }

    fn told(facts: &VoucherFacts, gateway: &str) -> Vec<(String, i64, i64)> {
        facts.stays[gateway].iter().map(|stay| (stay.address.clone(), stay.first_us, stay.last_us)).collect()
    }

    #[test]
    fn of_ipv6_an_ignored_address_stands_for_its_site_and_of_ipv4_for_itself() {
        let place = |address: &str| site(address.parse().unwrap());
        let loopback = AddressesIgnored::default();
        assert!(loopback.contains(&place("::1")) && loopback.contains(&place("127.9.9.9")));
        let one = |network: &str| AddressesIgnored::new(vec![network.parse().unwrap()]);
        assert!(one("2001:db8:1:2::7/128").contains(&place("2001:db8:1:2::9")));
        assert!(!one("2001:db8:1:2::7/128").contains(&place("2001:db8:1:3::7")));
        assert!(one("2001:db8::/32").contains(&place("2001:db8:1:3::7")));
        assert!(one("203.0.113.7/32").contains(&place("203.0.113.7")) && !one("203.0.113.7/32").contains(&place("203.0.113.8")));
    }

    #[tokio::test]
    async fn a_stay_goes_on_until_another_begins_and_a_line_that_was_slow_to_die_is_no_return() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let (a, b) = ("203.0.113.7", "203.0.113.8");
        let at = |hour| us("2019-11-05", hour);
        store
            .note_places(&[
                note("E-1", "gw", a, (at(1), at(1))),
                note("E-1", "gw", a, (at(2), at(3))),
                note("E-1", "gw", b, (at(5), at(5))),
            ])
            .await
            .unwrap();
        // The connection from the first address ends late, and was last heard before.
        store.note_places(&[note("E-1", "gw", a, (at(4), at(4)))]).await.unwrap();
        assert!(facts(&store, "E-1", "2019-11-01", "2019-11-05").await.stays.is_empty(), "it moved once");
        store.note_places(&[note("E-1", "gw", a, (at(6), at(7)))]).await.unwrap();
        let of_days = facts(&store, "E-1", "2019-11-01", "2019-11-05").await;
        assert_eq!(told(&of_days, "gw"), [(a.to_string(), at(1), at(4)), (b.to_string(), at(5), at(5)), (a.to_string(), at(6), at(7))]);
        assert!(facts(&store, "E-1", "2019-11-06", "2019-11-09").await.stays.is_empty());
        let again: Vec<_> = (0..40).map(|n| note("E-1", "gw", if n % 2 == 0 { b } else { a }, (at(8) + n, at(8) + n))).collect();
        store.note_places(&again).await.unwrap();
        assert_eq!(told(&facts(&store, "E-1", "2019-11-01", "2019-11-05").await, "gw").len(), STAYS_OF_DAY_MAX as usize);
    }

    #[tokio::test]
    async fn whoever_was_at_an_address_within_the_days_is_told_and_ignored_networks_tell_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let at = |on: &str| (us(on, 1), us(on, 2));
        let notes = [
            note("E-1", "gw-1", "2001:db8:0:1::7", at("2019-11-05")),
            note("E-2", "gw-2", "2001:db8:0:1:aaaa::8", at("2019-11-04")),
            note("E-3", "gw-3", "2001:db8:0:1::9", at("2019-10-01")),
            note("E-4", "gw-4", "2001:db8:0:2::7", at("2019-11-05")),
            note("E-1", "gw-5", "127.0.0.3", at("2019-11-05")),
            note("E-2", "gw-2", "::ffff:127.0.0.3", at("2019-11-05")),
        ];
        store.note_places(&notes).await.unwrap();
        let address = "2001:db8:0:1::/64".to_string();
        let both: BTreeSet<String> = ["E-1".into(), "E-2".into()].into();
        assert_eq!(facts(&store, "E-1", "2019-11-01", "2019-11-05").await.enterprises_of_address, [(address.clone(), both)].into());
        let all: BTreeSet<String> = ["E-1".into(), "E-2".into(), "E-3".into()].into();
        assert_eq!(facts(&store, "E-1", "2019-10-01", "2019-11-05").await.enterprises_of_address, [(address, all)].into());
        assert!(facts(&store, "E-1", "2019-10-01", "2019-11-04").await.enterprises_of_address.is_empty());
        assert!(facts(&store, "E-4", "2019-10-01", "2019-11-05").await.enterprises_of_address.is_empty());
        let ignoring = store.clone().ignoring(AddressesIgnored::new(vec!["2001:db8::/32".parse().unwrap()]));
        let of_loopback = facts(&ignoring, "E-1", "2019-11-01", "2019-11-05").await.enterprises_of_address;
        assert_eq!(of_loopback.keys().collect::<Vec<_>>(), ["127.0.0.3"]);
    }
}
