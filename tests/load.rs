//! `shangyun load`: each way of measuring works against real services and a real Mosquitto, and prints its figures. Nothing is timed.
#![allow(clippy::unwrap_used)]

use std::process::Command;

/// Runs it for a second with few connections; gives what it printed.
fn load(args: &[&str]) -> String {
    let few = ["load", "--seconds", "1", "--connections", "2", "--in-flight", "10"];
    let ran = Command::new(env!("CARGO_BIN_EXE_shangyun")).args(few).args(args).output().unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    printed
}

/// The first number after each place where `before` stands.
fn numbers(printed: &str, before: &str) -> Vec<f64> {
    let number = |rest: &str| rest.trim_start().split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap().parse().unwrap();
    printed.match_indices(before).map(|(at, _)| number(&printed[at + before.len()..])).collect()
}

fn all_positive(printed: &str, before: &str, count: usize) {
    let found = numbers(printed, before);
    assert!(found.len() == count && found.iter().all(|number| *number > 0.0), "{before}: {found:?} in\n{printed}");
}

#[test]
fn rounds_beside_a_mosquitto_end_with_the_ratio() {
    let printed = load(&["--rounds", "2", "--mosquitto"]);
    all_positive(&printed, "  accepted", 4);
    all_positive(&printed, "relayed to one subscriber:", 2);
    assert_eq!(numbers(&printed, "  refused"), [0.0; 4]);
    all_positive(&printed, "processor µs per report: service", 2);
    all_positive(&printed, "processor µs per report: broker", 2);
    all_positive(&printed, "ratio", 1);
}

#[test]
fn mqtt_3_1_1_at_a_given_rate_and_at_a_share_of_the_peak() {
    let printed = load(&["--protocol", "3", "--rate", "200"]);
    assert!((150.0..=205.0).contains(&numbers(&printed, "\nshangyun:")[0]), "{printed}");
    let printed = load(&["--at-share", "0.5"]);
    all_positive(&printed, "acknowledgement ms: p50", 2);
    all_positive(&printed, "shangyun at its share of that:", 1);
}

#[test]
fn a_supplier_pushes_compressed_batches() {
    let printed = load(&["--http-batch", "10", "--devices", "1"]);
    all_positive(&printed, "  accepted", 1);
    assert_eq!(numbers(&printed, "  refused"), [0.0]);
}

#[test]
fn many_devices_are_active_and_silent_gateways_are_connected() {
    let printed = load(&["--active-devices", "1000", "--idle-connections", "50", "--sealed"]);
    assert_eq!(numbers(&printed, "connected and silent:"), [50.0]);
    all_positive(&printed, "service memory", 1);
    assert!(printed.contains("no segment was full") || !numbers(&printed, "  sealed").is_empty(), "{printed}");
}

#[test]
fn overload_tells_goodput_and_what_neighbours_notice() {
    let printed = load(&["--overload", "3"]);
    for before in
        ["goodput at 3 times the peak:", "quiet gateways beside a noisy one: accepted", "the noisy gateway, on 40 connections: accepted"]
    {
        all_positive(&printed, before, 1);
    }
    all_positive(&printed, "answered by the service after ms: mean", 4);
    all_positive(&printed, "% of the peak before and", 1);
    assert_eq!(numbers(&printed, "without Retry-After:"), [0.0]);
}

#[test]
fn a_killed_service_is_ready_again() {
    let printed = load(&["--recovery", "2"]);
    all_positive(&printed, "since checkpoint 0; ready", 1);
}
