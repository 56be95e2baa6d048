//! The states of a voucher and their legal moves, as the policy's text has them. The redemption platform sends what it knows now, and
//! may have passed through several states since it last did: a move is legal if the text knows a way from the old state to the new one.

use crate::queue::names_lack_of_funds;
use crate::register::VoucherStatus;

/// A step that the text knows. `Returned` is two states: an application sent back, and a redemption request sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Applied,
    ApplicationReturned,
    Issued,
    Redeeming,
    RedemptionReturned,
    Approved,
    Refused,
    Void,
    Withdrawn,
    Paid,
}

use State::{ApplicationReturned, Applied, Approved, Issued, Paid, Redeeming, RedemptionReturned, Refused, Void, Withdrawn};

/// From, to, and the clause that knows the step.
const STEPS: &[(State, State, &str)] = &[
    (Applied, Issued, "五(三)8"),
    (Applied, ApplicationReturned, "六(二)"),
    (ApplicationReturned, Applied, "六(二)"),
    (Applied, Refused, "六(二)"),
    (Applied, Withdrawn, "五(三)8"),
    (ApplicationReturned, Withdrawn, "五(三)8"),
    (Issued, Redeeming, "五(四)9"),
    (Issued, Void, "R10, 六(一)"),
    // The text does not speak of a voucher that its enterprise gives up before redemption; nothing in it stands against it.
    (Issued, Withdrawn, "—"),
    (Redeeming, Approved, "五(四)13"),
    (Redeeming, RedemptionReturned, "六(二)"),
    (RedemptionReturned, Redeeming, "六(二)"),
    (RedemptionReturned, Void, "R10, 六(一)"),
    // A failed review is called void by one clause and refused by the other (R11).
    (Redeeming, Refused, "六(二)"),
    (Redeeming, Void, "R10, 六(一)"),
    (Approved, Paid, "五(四)14"),
    (Approved, Void, "六(三), 五(五)15"),
];

/// What a register fault about a move names.
pub const MOVES_RULE: &str = "moves of a voucher: R10, R11, 五(三)8, 五(四), 六(二)";
pub const OBJECTION_RULE: &str = "六(三): a voucher with an open objection is not paid";

fn states_of(status: VoucherStatus) -> &'static [State] {
    match status {
        VoucherStatus::Applied => &[Applied],
        VoucherStatus::Issued => &[Issued],
        VoucherStatus::Redeeming => &[Redeeming],
        VoucherStatus::Approved => &[Approved],
        VoucherStatus::Returned => &[ApplicationReturned, RedemptionReturned],
        VoucherStatus::Refused => &[Refused],
        VoucherStatus::Void => &[Void],
        VoucherStatus::Withdrawn => &[Withdrawn],
        VoucherStatus::Paid => &[Paid],
    }
}

/// Whether the text knows a way from one state to the other; staying is no move, and always allowed.
pub fn move_legal(from: VoucherStatus, to: VoucherStatus) -> bool {
    if from == to {
        return true;
    }
    let mut reached: Vec<State> = states_of(from).to_vec();
    let mut at = 0;
    while let Some(state) = reached.get(at).copied() {
        for (_, next, _) in STEPS.iter().filter(|(begin, ..)| *begin == state) {
            if !reached.contains(next) {
                reached.push(*next);
            }
        }
        at += 1;
    }
    states_of(to).iter().any(|state| reached.contains(state))
}

/// What was left unpaid for lack of funds is settled first in the next period (七(二)): the one way on from void.
pub fn settled_later(from: VoucherStatus, void_cause: Option<&str>, to: VoucherStatus) -> bool {
    let unpaid = from == VoucherStatus::Void && void_cause.is_some_and(names_lack_of_funds);
    unpaid && matches!(to, VoucherStatus::Approved | VoucherStatus::Paid)
}

/// Whether a voucher in this state may be taken off the register without a reason: as long as its enterprise could still withdraw it.
/// Otherwise a removal would be the way around every move that the text does not know. `asked`: redemption was asked for, so that what
/// is returned was sent back from it.
pub fn removable(from: VoucherStatus, asked: bool) -> bool {
    reachable(from).contains(&VoucherStatus::Withdrawn) && !(asked && from == VoucherStatus::Returned)
}

/// The states that can be reached, for a message.
pub fn reachable(from: VoucherStatus) -> Vec<VoucherStatus> {
    VoucherStatus::ALL.into_iter().filter(|to| *to != from && move_legal(from, *to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use VoucherStatus as S;

    /// Written by hand from the text: what each state may become in what order of snapshots ever.
    const REACHABLE: &[(S, &[S])] = &[
        (S::Applied, &[S::Issued, S::Redeeming, S::Approved, S::Returned, S::Refused, S::Void, S::Withdrawn, S::Paid]),
        (S::Issued, &[S::Redeeming, S::Approved, S::Returned, S::Refused, S::Void, S::Withdrawn, S::Paid]),
        (S::Redeeming, &[S::Approved, S::Returned, S::Refused, S::Void, S::Paid]),
        (S::Approved, &[S::Void, S::Paid]),
        (S::Returned, &[S::Applied, S::Issued, S::Redeeming, S::Approved, S::Refused, S::Void, S::Withdrawn, S::Paid]),
        (S::Refused, &[]),
        (S::Void, &[]),
        (S::Withdrawn, &[]),
        (S::Paid, &[]),
    ];

    #[test]
    fn what_can_be_reached_is_what_the_text_allows_and_nothing_else() {
        for (from, expected) in REACHABLE {
            for to in S::ALL {
                assert_eq!(move_legal(*from, to), *from == to || expected.contains(&to), "{from:?} → {to:?}");
            }
            assert_eq!(reachable(*from), *expected);
        }
        assert_eq!(REACHABLE.len(), S::ALL.len());
    }

    #[test]
    fn only_what_the_budget_did_not_reach_can_still_be_paid_after_it_was_void() {
        for to in [S::Approved, S::Paid] {
            assert!(settled_later(S::Void, Some("当期资金缺口"), to));
            assert!(!settled_later(S::Void, Some("骗取财政资金"), to) && !settled_later(S::Void, None, to));
            assert!(!settled_later(S::Refused, Some("资金不足"), to));
        }
        assert!(!settled_later(S::Void, Some("budget"), S::Redeeming));
    }

    #[test]
    fn a_voucher_is_removed_without_a_reason_only_before_redemption() {
        let removable: Vec<S> = S::ALL.into_iter().filter(|status| removable(*status, false)).collect();
        assert_eq!(removable, [S::Applied, S::Issued, S::Returned]);
        assert!(!super::removable(S::Returned, true), "sent back from redemption");
    }

    proptest::proptest! {
        #[test]
        fn whoever_follows_single_steps_never_meets_an_illegal_snapshot(begin in 0..STEPS.len(), choices in proptest::collection::vec(0_usize..8, 0..12)) {
            let status = |state: State| S::ALL.into_iter().find(|status| states_of(*status).contains(&state)).unwrap();
            let first = STEPS[begin].0;
            let mut state = first;
            for choice in choices {
                let next: Vec<_> = STEPS.iter().filter(|(from, ..)| *from == state).collect();
                if next.is_empty() {
                    break;
                }
                state = next[choice % next.len()].1;
                proptest::prop_assert!(move_legal(status(first), status(state)), "{first:?} … {state:?}");
            }
        }
    }
}
