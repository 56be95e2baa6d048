//! Who sends what: the gateways of a run.

use std::time::Duration;

use chrono::Utc;

use super::LoadArgs;
use super::reports::{Entries, GatewayReports, Reports};
use super::sender::{Pace, Plan};
use super::signed::Signed;
use super::site::TOKEN;

/// So many signed reports a second are made beforehand, unless a rate is given: more than one core can verify.
const SIGNED_PER_S: f64 = 40_000.0;

pub(super) fn gateway_ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("load-{number}")).collect()
}

/// One plan for each of so many gateways, which together send at most `rate` reports a second.
pub(super) fn plans(args: &LoadArgs, gateways: usize, rate: Option<f64>, seconds: f64) -> Vec<Plan> {
    // The same gateways send again in the next run: as after a restart.
    let boot = format!("load-{}", Utc::now().timestamp_micros());
    let each_s = rate.map(|rate| gateways as f64 / rate);
    let signed = args.signed.then(|| (rate.unwrap_or(SIGNED_PER_S) * seconds / gateways as f64) as usize + 1);
    let of = |number: usize| {
        let gateway = format!("load-{number}");
        let json = GatewayReports::new(args.protocol, &gateway, &boot, entries(args, number, gateways));
        let reports: Box<dyn Reports> = match signed {
            Some(count) => Box::new(Signed::make(count, args.protocol, &gateway, number, json)),
            None => Box::new(json),
        };
        let pace = each_s.map(|each_s| Pace {
            every: Duration::from_secs_f64(each_s),
            first_after: Duration::from_secs_f64(each_s * number as f64 / gateways as f64),
        });
        Plan { user: gateway.clone(), client_id: gateway, token: TOKEN.into(), in_flight: args.in_flight, pace, reports }
    };
    each_of(gateways, of)
}

/// A gateway has the devices of its own, or its share of all that are to be active.
fn entries(args: &LoadArgs, number: usize, gateways: usize) -> Entries {
    let at_least = gateways as u64 * u64::from(args.devices);
    let all = args.active_devices.unwrap_or(0).max(at_least);
    let first = |number: usize| all * number as u64 / gateways as u64;
    Entries::new(args.devices, first(number)..first(number + 1), number as u64)
}

/// Signing takes its time: on as many threads as there are cores.
fn each_of<T: Send>(count: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let numbers: Vec<usize> = (0..count).collect();
    let shares = numbers.chunks(count.div_ceil(threads).max(1));
    std::thread::scope(|scope| {
        let made: Vec<_> = shares.map(|share| scope.spawn(|| share.iter().map(|number| of(*number)).collect::<Vec<T>>())).collect();
        made.into_iter().flat_map(|made| made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_on_several_threads_stays_in_order() {
        for count in [0, 1, 2, 7] {
            assert_eq!(each_of(count, |number| number), (0..count).collect::<Vec<_>>());
        }
    }
}
