//! In which order vouchers are issued and redeemed (R12, R13): first come first served by the day of the server, pilots first as long as
//! they keep their title (R44), and what went unpaid for lack of funds at the head of the next period. What has been issued holds its
//! place among the claims, as it does in the quotas.

use std::collections::BTreeMap;

use crate::calendar::{Day, Instant, day_of};
use crate::claim_place::ClaimPlace;
use crate::consortium;
use crate::reasons::{PilotTitle, PlaceReason, QueueKind};
use crate::register::{IssuancePeriod, Register, Voucher, VoucherStatus};
use crate::rulebook::Parameters;

/// A voucher's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Place<'r> {
    pub voucher: &'r Voucher,
    /// When it was asked for: the application, or the redemption request.
    pub at: Instant,
    pub day: Day,
    pub reason: PlaceReason,
}

/// The queue of a period. The text orders by day; within a day the instant decides, then the id, so that the order is total.
pub fn queue<'r>(
    register: &'r Register,
    parameters: &Parameters,
    kind: QueueKind,
    period: &IssuancePeriod,
    as_of: Instant,
) -> Vec<Place<'r>> {
    let titles: Titles<'_> = register
        .pilots
        .values()
        .map(|pilot| (pilot.id.as_str(), consortium::stand(register, parameters, pilot, period, as_of).title))
        .collect();
    let waiting = register.vouchers.values().filter_map(|voucher| {
        let at = match kind {
            QueueKind::Claim => Some(voucher.applied_at).filter(|_| voucher.status.takes_from_cap()),
            QueueKind::Redemption => voucher.redeem_at.filter(|_| awaits_payment(voucher)),
        };
        Some((voucher, at.filter(|at| *at <= as_of)?))
    });
    let mut places: Vec<Place<'r>> = waiting
        .filter_map(|(voucher, at)| {
            let reason = reason(register, &titles, kind, period, voucher)?;
            Some(Place { voucher, at, day: day_of(at), reason })
        })
        .collect();
    match kind {
        QueueKind::Claim => places.sort_by_key(|place| ClaimPlace::of(place.voucher, place.reason == PlaceReason::Pilot)),
        QueueKind::Redemption => places.sort_by(|a, b| order(a).cmp(&order(b))),
    }
    places
}

type Titles<'r> = BTreeMap<&'r str, PilotTitle>;

/// Of redemption; claims stand as `ClaimPlace` has them.
fn order<'p>(place: &'p Place<'_>) -> (u8, Day, Instant, &'p str) {
    let class = match place.reason {
        PlaceReason::CarriedOver => 0,
        PlaceReason::Pilot => 1,
        PlaceReason::Ordinary | PlaceReason::PilotTitleLost => 2,
    };
    (class, place.day, place.at, &place.voucher.id)
}

/// Asked for redemption, and neither sent back nor settled.
fn awaits_payment(voucher: &Voucher) -> bool {
    match voucher.status {
        VoucherStatus::Issued | VoucherStatus::Redeeming | VoucherStatus::Approved => true,
        VoucherStatus::Void => unpaid_for_lack_of_funds(voucher),
        VoucherStatus::Applied | VoucherStatus::Returned | VoucherStatus::Refused | VoucherStatus::Withdrawn | VoucherStatus::Paid => false,
    }
}

/// Its review was passed, and no money was left (七(二)).
fn unpaid_for_lack_of_funds(voucher: &Voucher) -> bool {
    voucher.status == VoucherStatus::Approved || voucher.void_cause.as_deref().is_some_and(names_lack_of_funds)
}

/// Whether a cause of voiding, as the redemption platform words it, is that the budget did not suffice.
pub(crate) fn names_lack_of_funds(cause: &str) -> bool {
    ["budget", "资金缺口", "资金不足", "预算不足"].iter().any(|words| cause.contains(words))
}

/// The first period whose redemption begins after that of this one has ended: what was left unpaid is settled there (七(二)).
fn next_settled<'r>(register: &'r Register, own: &IssuancePeriod) -> Option<&'r IssuancePeriod> {
    let after = register.periods.values().filter(|period| own.redeem_to < period.redeem_from);
    after.min_by_key(|period| (period.redeem_from, &period.id))
}

/// `None`: it does not stand in this queue.
fn reason(register: &Register, titles: &Titles<'_>, kind: QueueKind, period: &IssuancePeriod, voucher: &Voucher) -> Option<PlaceReason> {
    if voucher.period.as_ref() != Some(&period.id) {
        let own = register.periods.get(voucher.period.as_ref()?)?;
        let next = kind == QueueKind::Redemption && next_settled(register, own).is_some_and(|next| next.id == period.id);
        return (next && unpaid_for_lack_of_funds(voucher)).then_some(PlaceReason::CarriedOver);
    }
    if kind == QueueKind::Redemption && voucher.status == VoucherStatus::Void {
        return None;
    }
    Some(match voucher.pilot.as_ref().and_then(|pilot| titles.get(pilot.as_str())) {
        None => PlaceReason::Ordinary,
        Some(PilotTitle::Lost) => PlaceReason::PilotTitleLost,
        Some(PilotTitle::Open | PilotTitle::Kept) => PlaceReason::Pilot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rulebook::Rulebook;
    use crate::test_case::{at, period, pilot, voucher};
    use proptest::prelude::*;

    const NOW: &str = "2020-02-01T00:00:00+08:00";

    fn applied(id: &str, at_text: &str) -> Voucher {
        let mut voucher = voucher(id, "P-5");
        voucher.applied_at = at(at_text);
        voucher.period = Some("2019".into());
        voucher
    }

    fn world(vouchers: &[Voucher]) -> Register {
        let mut register = Register::default();
        let mut next = period("2020");
        (next.claim_from, next.claim_to) = (at("2020-05-01T10:00:00+08:00"), at("2020-09-30T17:00:00+08:00"));
        (next.redeem_from, next.redeem_to) = (at("2020-10-08T10:00:00+08:00"), at("2021-02-08T17:00:00+08:00"));
        register.periods.extend([("2019".to_string(), period("2019")), ("2020".to_string(), next)]);
        register.vouchers.extend(vouchers.iter().map(|voucher| (voucher.id.clone(), voucher.clone())));
        register
    }

    fn places(register: &Register, kind: QueueKind, period: &str, as_of: &str) -> Vec<(String, PlaceReason)> {
        let places = queue(register, &Rulebook::default_2019().parameters, kind, &register.periods[period], at(as_of));
        places.into_iter().map(|place| (place.voucher.id.clone(), place.reason)).collect()
    }

    fn ids(register: &Register, kind: QueueKind, period: &str, as_of: &str) -> Vec<String> {
        places(register, kind, period, as_of).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn the_day_of_the_server_comes_first_then_the_instant_then_the_id() {
        let mut gone = applied("V-0", "2019-07-01T08:00:00+08:00");
        gone.status = VoucherStatus::Withdrawn;
        let register = world(&[
            gone,
            applied("V-9", "2019-07-01T23:59:59+08:00"),
            applied("V-1", "2019-07-02T00:00:00+08:00"),
            applied("V-3", "2019-07-01T09:00:00+08:00"),
            applied("V-2", "2019-07-01T09:00:00+08:00"),
        ]);
        assert_eq!(ids(&register, QueueKind::Claim, "2019", NOW), ["V-2", "V-3", "V-9", "V-1"]);
        assert_eq!(ids(&register, QueueKind::Claim, "2019", "2019-07-01T12:00:00+08:00"), ["V-2", "V-3"], "what has not come yet");
        assert!(ids(&register, QueueKind::Claim, "2020", NOW).is_empty());
    }

    #[test]
    fn pilots_come_first_until_their_consortium_has_lost_its_title() {
        let waiting = |id: &str, at_text: &str| Voucher { status: VoucherStatus::Applied, ..applied(id, at_text) };
        let mut piloted = waiting("V-2", "2019-08-01T09:00:00+08:00");
        piloted.pilot = Some("T-1".into());
        let mut register = world(&[waiting("V-1", "2019-07-01T09:00:00+08:00"), piloted]);
        register.pilots.insert("T-1".into(), pilot("T-1", &["S-1"], &["E-1".to_string()]));
        let before = places(&register, QueueKind::Claim, "2019", "2019-12-31T18:00:00+08:00");
        assert_eq!(before, [("V-2".to_string(), PlaceReason::Pilot), ("V-1".to_string(), PlaceReason::Ordinary)]);
        let after = places(&register, QueueKind::Claim, "2019", NOW);
        assert_eq!(after, [("V-1".to_string(), PlaceReason::Ordinary), ("V-2".to_string(), PlaceReason::PilotTitleLost)]);
        register.vouchers.insert("V-3".into(), applied("V-3", "2019-09-01T09:00:00+08:00"));
        let issued_first = ids(&register, QueueKind::Claim, "2019", "2019-12-31T18:00:00+08:00");
        assert_eq!(issued_first, ["V-3", "V-2", "V-1"], "what is issued holds its amount, whoever waits");
    }

    #[test]
    fn what_the_budget_did_not_reach_heads_the_next_redemption_queue() {
        let redeem = |id: &str, period: &str, asked: &str, status| {
            let mut voucher = applied(id, "2019-07-01T09:00:00+08:00");
            (voucher.period, voucher.redeem_at, voucher.status) = (Some(period.into()), Some(at(asked)), status);
            voucher
        };
        let mut unfunded = redeem("V-8", "2019", "2019-12-02T09:00:00+08:00", VoucherStatus::Void);
        unfunded.void_cause = Some("当期资金缺口".into());
        let mut late = redeem("V-7", "2019", "2019-12-01T09:00:00+08:00", VoucherStatus::Void);
        late.void_cause = Some("逾期未兑现".into());
        let mut fraud = redeem("V-0", "2019", "2019-12-01T08:00:00+08:00", VoucherStatus::Void);
        fraud.void_cause = Some("骗取财政资金".into());
        let register = world(&[
            redeem("V-1", "2020", "2020-10-09T09:00:00+08:00", VoucherStatus::Redeeming),
            redeem("V-2", "2020", "2020-10-10T09:00:00+08:00", VoucherStatus::Returned),
            redeem("V-3", "2020", "2020-10-10T09:00:00+08:00", VoucherStatus::Paid),
            redeem("V-4", "2020", "2020-10-10T09:00:00+08:00", VoucherStatus::Issued),
            redeem("V-5", "2020", "2020-10-11T09:00:00+08:00", VoucherStatus::Approved),
            unfunded,
            late,
            fraud,
            redeem("V-9", "2019", "2019-12-03T09:00:00+08:00", VoucherStatus::Approved),
            redeem("V-6", "2019", "2019-12-03T09:00:00+08:00", VoucherStatus::Redeeming),
        ]);
        let next = places(&register, QueueKind::Redemption, "2020", "2020-11-01T00:00:00+08:00");
        let expected = [
            ("V-8", PlaceReason::CarriedOver),
            ("V-9", PlaceReason::CarriedOver),
            ("V-1", PlaceReason::Ordinary),
            ("V-4", PlaceReason::Ordinary),
            ("V-5", PlaceReason::Ordinary),
        ];
        assert_eq!(next, expected.map(|(id, reason)| (id.to_string(), reason)));
        assert_eq!(ids(&register, QueueKind::Redemption, "2019", "2020-11-01T00:00:00+08:00"), ["V-6", "V-9"]);
        let mut third = period("2021");
        (third.redeem_from, third.redeem_to) = (at("2021-10-08T10:00:00+08:00"), at("2022-02-08T17:00:00+08:00"));
        let mut register = register;
        register.periods.insert("2021".into(), third);
        let second = ids(&register, QueueKind::Redemption, "2020", "2021-11-01T00:00:00+08:00");
        assert_eq!(second[..2], ["V-8", "V-9"], "the next period stays the next one");
        let third = ids(&register, QueueKind::Redemption, "2021", "2021-11-01T00:00:00+08:00");
        assert_eq!(third, ["V-5"], "carried over once, to the next period alone");
    }

    proptest! {
        /// Against pairwise comparison: nobody stands before another who was first in his class.
        #[test]
        fn nobody_is_overtaken_within_a_class(minutes in prop::collection::vec((0i64..4000, any::<bool>()), 1..12)) {
            let vouchers: Vec<Voucher> = minutes
                .iter()
                .enumerate()
                .map(|(number, (minute, piloted))| {
                    let mut voucher = applied(&format!("V-{number:02}"), "2019-07-01T09:00:00+08:00");
                    voucher.status = VoucherStatus::Applied;
                    voucher.applied_at += chrono::TimeDelta::minutes(*minute);
                    voucher.pilot = piloted.then(|| "T-1".to_string());
                    voucher
                })
                .collect();
            let mut register = world(&vouchers);
            register.pilots.insert("T-1".into(), pilot("T-1", &["S-1"], &[]));
            let parameters = Rulebook::default_2019().parameters;
            let places = queue(&register, &parameters, QueueKind::Claim, &register.periods["2019"], at("2019-12-01T00:00:00+08:00"));
            prop_assert_eq!(places.len(), vouchers.len());
            for (at, earlier) in places.iter().enumerate() {
                for later in &places[at + 1..] {
                    let (first, second) = (earlier.voucher, later.voucher);
                    prop_assert!(first.pilot.is_some() || second.pilot.is_none());
                    if first.pilot == second.pilot {
                        prop_assert!((first.applied_at, &first.id) < (second.applied_at, &second.id));
                    }
                }
            }
        }
    }
}
