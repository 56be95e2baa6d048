use std::time::Duration;

use super::*;
use crate::spool::Spool;

const LIMIT: Duration = Duration::from_secs(40);

fn shared_spool(dir: &std::path::Path) -> SharedSpool {
    SharedSpool::new(Spool::open(dir, 1 << 20).unwrap())
}

/// A service manager that only listens, and a watchdog that speaks to it.
fn service_manager(dir: &std::path::Path, limit: Duration) -> (UnixDatagram, Watchdog) {
    let path = dir.join("notify");
    let listening = UnixDatagram::bind(&path).unwrap();
    listening.set_nonblocking(true).unwrap();
    let watchdog = Watchdog::from_variables(7, |name| match name {
        "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
        "WATCHDOG_USEC" => Some(limit.as_micros().to_string().into()),
        _ => None,
    });
    (listening, watchdog)
}

fn heard(listening: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 512];
    std::iter::from_fn(|| listening.recv(&mut bytes).ok().map(|length| String::from_utf8(bytes[..length].to_vec()).unwrap())).collect()
}

/// What is said within so many seconds, which pass at once. The socket holds few words: it is emptied each second.
async fn heard_within(listening: &UnixDatagram, seconds: u64) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        words.extend(heard(listening));
    }
    words
}

#[tokio::test(start_paused = true)]
async fn no_sign_of_life_is_given_once_one_of_two_loops_is_stuck() {
    let dir = tempfile::tempdir().unwrap();
    let (listening, watchdog) = service_manager(dir.path(), LIMIT);
    let mut heartbeat = watchdog.heartbeat();
    let (turning, other) = (heartbeat.pulse("reporter"), heartbeat.pulse("uplink"));
    tokio::spawn(async move { turning.during(std::future::pending::<()>()).await });
    let both = tokio::spawn(async move { other.during(std::future::pending::<()>()).await });
    let spool = shared_spool(&dir.path().join("spool"));
    tokio::spawn(watchdog.watch(heartbeat, spool));

    let signs = heard_within(&listening, 200).await;
    assert!(signs.iter().filter(|words| *words == "WATCHDOG=1").count() >= 15, "both loops wait and beat: {signs:?}");
    both.abort();
    heard_within(&listening, LIMIT.as_secs()).await;
    let words = heard_within(&listening, 200).await;
    assert!(!words.iter().any(|words| words == "WATCHDOG=1"), "the uplink is stuck: {words:?}");
    assert!(words.iter().any(|words| words.starts_with("STATUS=")), "it still says how much waits");
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_beats_again_is_alive_again() {
    let mut heartbeat = Heartbeat::new(BEAT);
    let pulse = heartbeat.pulse("reporter");
    // Longer than the limit; the clock stands, so it passes at once.
    sleep(Duration::from_secs(21)).await;
    assert_eq!(heartbeat.silent(LIMIT / 2), ["reporter"]);
    pulse.beat();
    assert_eq!(heartbeat.silent(LIMIT / 2), [""; 0]);
}

#[test]
fn a_watchdog_meant_for_another_process_is_not_ours() {
    let variables = |name: &str| match name {
        "WATCHDOG_USEC" => Some("3000000".into()),
        "WATCHDOG_PID" => Some("8".into()),
        _ => None,
    };
    assert_eq!(Watchdog::from_variables(7, variables).limit, None);
    assert_eq!(Watchdog::from_variables(8, variables).limit, Some(Duration::from_secs(3)));
}

#[test]
fn a_socket_outside_of_the_file_system_is_reached() {
    let name = format!("shangyun-edge-test-{}", std::process::id());
    let listening = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let watchdog = Watchdog::from_variables(7, |variable| (variable == "NOTIFY_SOCKET").then(|| format!("@{name}").into()));
    watchdog.ready();
    listening.set_nonblocking(true).unwrap();
    assert_eq!(heard(&listening), ["READY=1"]);
}
