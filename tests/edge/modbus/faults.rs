//! Machines that misbehave: what is reported of them, and that their neighbours do not suffer.

use std::time::Duration;

use edge::bus::{Address, BusSettings};
use edge::modbus::{Connection, ReadRequest, ReadTrouble, Unreachable};
use edge::point::{Table, Value};
use edge::report::{Entry, Quality, State};

use crate::peers::{Peer, Polling, polling};

const POLL_MS: i64 = 400;
const TIMEOUT_MS: i64 = 150;
/// The machine that runs the tests may be busy for so long.
const SLACK_MS: i64 = 200;

/// A device with two ranges of the same shape, so that an answer to the wrong request shows.
fn device(name: &str, unit: u8) -> String {
    let point = |address| format!("[[device.point]]\nname = \"p{address}\"\ntable = \"holding\"\naddress = {address}\n");
    let points: String = [0, 1, 2, 5, 100, 101, 102, 105].map(point).concat();
    format!(
        "[[device]]\nname = \"{name}\"\naddress = \"ADDRESS\"\nunit_id = {unit}\npoll_ms = {POLL_MS}\ntimeout_ms = {TIMEOUT_MS}\ngap_max = 2\n{points}"
    )
}

/// Whatever else happens, a reading is what the machine holds at that address.
fn holds_what_the_machine_holds(unit: u16, entry: &Entry) {
    for (name, value) in &entry.readings {
        let address: u16 = name[1..].parse().unwrap();
        assert_eq!(*value, Value::Number(f64::from(1000 * unit + address)), "{name} of unit {unit}");
    }
    if entry.quality == Quality::Communication {
        assert!(entry.readings.is_empty());
    }
}

/// Every entry has all readings and stands on the grid, but for what `delay_ms` allows.
fn undisturbed(entries: &[Entry], delay_ms: i64, count_min: usize, whose: &str) {
    assert!(entries.len() >= count_min, "{} polls beside {whose}", entries.len());
    let first = entries[0].at;
    for pair in entries.windows(2) {
        assert_eq!((pair[1].quality, pair[1].readings.len()), (Quality::Normal, 8), "beside {whose}");
        let pause = (pair[1].at - pair[0].at).num_milliseconds();
        assert!(pause <= POLL_MS + delay_ms + SLACK_MS, "{pause} ms beside {whose}");
    }
    let since = (entries.last().unwrap().at - first).num_milliseconds() % POLL_MS;
    assert!(since <= delay_ms + SLACK_MS || since >= POLL_MS - delay_ms - SLACK_MS, "drifted by {since} ms beside {whose}");
}

struct Fault {
    behaviour: &'static str,
    quality: Quality,
    state: Option<State>,
    said: &'static str,
}

fn fault(behaviour: &'static str, said: &'static str) -> Fault {
    Fault { behaviour, quality: Quality::Communication, state: Some(State::Offline), said }
}

/// Runs each fault on a bus of its own, with a good machine beside it.
async fn run(framing: &str, faults: &[Fault]) {
    let units: Vec<String> = faults.iter().enumerate().map(|(i, fault)| format!("{}={}", 2 + 2 * i, fault.behaviour)).collect();
    let mut arguments = vec![framing, "0", "1=good"];
    arguments.extend(units.iter().map(String::as_str));
    let peer = Peer::start("modbus_faulty.py", &arguments);
    let scheme = if framing == "rtu" { "rtu+tcp" } else { "tcp" };
    let address = format!("{scheme}://127.0.0.1:{}", peer.port());
    let mut elsewhere = polling(&address, &device("good", 1), BusSettings::default());
    let mut pollings: Vec<(&Fault, u8, Polling)> = faults
        .iter()
        .enumerate()
        .map(|(i, fault)| {
            let unit = 2 + 2 * i as u8;
            (fault, unit, polling(&address, &(device("bad", unit) + &device("good", 1)), BusSettings::default()))
        })
        .collect();
    // Ten polls; that much is needed to see that nothing drifts.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let now = Duration::from_millis(1);
    undisturbed(&elsewhere.collect(now).await["good"], 0, 9, "itself");
    for (fault, unit, polling) in &mut pollings {
        let entries = polling.collect(now).await;
        let state = &polling.states.snapshot()["bad"];
        let what = fault.behaviour;
        for entry in &entries["bad"] {
            holds_what_the_machine_holds(u16::from(*unit), entry);
        }
        for entry in &entries["good"] {
            holds_what_the_machine_holds(1, entry);
        }
        let first = &entries["bad"][0];
        assert_eq!((first.quality, first.state), (fault.quality, fault.state), "{what}: {state:?}");
        let missing = || state.missing_points.iter().map(|point| point.why.en()).collect::<Vec<_>>().join("\n");
        let said = if fault.quality == Quality::Fault { missing() } else { state.last_error_en.clone() };
        assert!(said.contains(fault.said), "{what}: {state:?}");
        assert_eq!(state.failing, fault.quality == Quality::Communication, "{what}: {state:?}");
        assert!(entries["bad"].len() >= 7, "{what}: it is reported at each of its polls");
        undisturbed(&entries["good"], TIMEOUT_MS, 7, what);
    }
    assert!(!peer.requests().is_empty());
}

fn faults_of_both() -> Vec<Fault> {
    let normal = |behaviour| Fault { quality: Quality::Normal, state: None, ..fault(behaviour, "") };
    vec![
        fault("silent", "no answer"),
        normal("slow:50"),
        normal("dribble"),
        normal("twice"),
        fault("short", "bytes answered where"),
        fault("unit", "was asked, unit"),
        fault("function", "was asked, 4 answered"),
        fault("half", "stopped before its end"),
        fault("cut", "closed"),
        Fault { quality: Quality::Fault, state: None, ..fault("illegal:2+101", "illegal data address") },
        fault("garbage", ""),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_over_tcp_are_named_and_leave_the_neighbours_alone() {
    let mut faults = faults_of_both();
    faults.push(fault("transaction", "to another request"));
    // Random bytes may look like any fault; that they are one is what counts.
    faults.retain(|fault| fault.behaviour != "garbage");
    faults.push(fault("garbage", "no Modbus answer"));
    run("tcp", &faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_in_rtu_frames_are_named_and_leave_the_neighbours_alone() {
    let mut faults = faults_of_both();
    faults.retain(|fault| fault.behaviour != "garbage");
    faults.push(fault("garbage", "was asked"));
    faults.push(fault("crc", "checksum"));
    run("rtu", &faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exceptions_are_answers_and_not_silence() {
    let faults: Vec<Fault> = [
        ("exception:1", "exception 1: illegal function"),
        ("exception:2", "exception 2: illegal data address"),
        ("exception:3", "exception 3: illegal data value"),
        ("exception:4", "exception 4: the machine has failed"),
        ("exception:5", "exception 5: accepted"),
        ("exception:6", "exception 6: the machine is busy"),
        ("exception:7", "exception 7: not executed"),
        ("exception:8", "exception 8: memory"),
        ("exception:9", "exception 9: of no known meaning"),
        ("exception:10", "exception 10: the gateway has no path"),
        ("exception:11", "exception 11: the machine behind the gateway"),
    ]
    .into_iter()
    .map(|(behaviour, said)| {
        // 10 and 11 come from a gateway: the machine behind it is not there.
        let offline = behaviour.ends_with("10") || behaviour.ends_with("11");
        Fault { state: offline.then_some(State::Offline), ..fault(behaviour, said) }
    })
    .collect();
    run("tcp", &faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_illegal_address_costs_its_own_point_only_and_is_not_asked_for_again() {
    let peer = Peer::start("modbus_faulty.py", &["tcp", "0", "2=illegal:2+101"]);
    let address = format!("tcp://127.0.0.1:{}", peer.port());
    let mut polling = polling(&address, &device("SN", 2), BusSettings::default());
    let first = polling.wait("SN", |_| true).await;
    let names: Vec<&str> = first.readings.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["p0", "p1", "p5", "p100", "p102", "p105"]);
    assert_eq!(first.quality, Quality::Fault, "an entry that is not whole never counts");
    holds_what_the_machine_holds(2, &first);
    let asked_count = peer.requests().len();
    let second = polling.wait("SN", |_| true).await;
    assert_eq!((second.readings.len(), second.quality), (6, Quality::Fault));
    let requests = peer.requests()[asked_count..].to_vec();
    assert!(requests.iter().all(|&(_, _, address, quantity)| !(address..address + quantity).contains(&2)), "{requests:?}");
    let missing = &polling.states.snapshot()["SN"].missing_points;
    let named: Vec<(&str, u16, bool)> = missing.iter().map(|point| (&*point.name, point.address, point.refused())).collect();
    assert_eq!(named, [("p2", 2, true), ("p101", 101, true)]);
}

/// Each fifth answer comes after its request has been given up, and would fit the request that follows: of the same machine where it is
/// alone, or of its neighbour.
async fn late_answers(framing: &str, scheme: &str) {
    let (late, good) = (device("late", 2), device("good", 1));
    let asked = async |devices: String| {
        let peer = Peer::start("modbus_faulty.py", &[framing, "0", "1=good", "2=late:330"]);
        let address = format!("{scheme}://127.0.0.1:{}", peer.port());
        let entries = polling(&address, &devices, BusSettings::default()).collect(Duration::from_secs(8)).await;
        entries["late"].iter().for_each(|entry| holds_what_the_machine_holds(2, entry));
        assert!(entries["late"].iter().filter(|entry| entry.quality == Quality::Normal).count() > 0);
        // A whole poll takes two requests: answers did come late.
        let asked_count = peer.requests().iter().filter(|request| request.0 == 2).count();
        assert!(asked_count > 2 * entries["late"].len() + 4, "{asked_count}");
        entries
    };
    let (beside, _alone) = tokio::join!(asked(late.clone() + &good), asked(late.clone()));
    beside["good"].iter().for_each(|entry| holds_what_the_machine_holds(1, entry));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_is_never_taken_for_the_next_ones_in_rtu_frames() {
    late_answers("rtu", "rtu+tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_is_never_taken_for_the_next_ones_over_tcp() {
    late_answers("tcp", "tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_that_comes_over_the_next_connection_is_never_taken_for_the_next_ones() {
    // An answer takes longer than the new connection is listened to before it is used, and less than the timeout.
    let peer = Peer::start("modbus_faulty.py", &["rtu", "0", "2=serial:90"]);
    let mut polling = polling(&format!("rtu+tcp://127.0.0.1:{}", peer.port()), &device("SN", 2), BusSettings::default());
    let entries = polling.collect(Duration::from_secs(6)).await;
    entries["SN"].iter().for_each(|entry| holds_what_the_machine_holds(2, entry));
    assert!(entries["SN"].iter().filter(|entry| entry.quality == Quality::Normal).count() > 2, "{entries:?}");
    assert!(peer.requests().len() > 15, "connections did end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_machine_costs_its_bus_less_and_less_and_is_found_when_it_returns() {
    let peer = Peer::start("modbus_faulty.py", &["rtu", "0", "1=good", "2=silent"]);
    let address = format!("rtu+tcp://127.0.0.1:{}", peer.port());
    let mut bus = polling(&address, &(device("dead", 2) + &device("good", 1)), BusSettings::default());
    bus.collect(Duration::from_secs(8)).await;
    let asked_count = peer.requests().iter().filter(|request| request.0 == 2).count();
    let poll_count = bus.states.snapshot()["dead"].error_count;
    assert!(poll_count >= 15, "{poll_count} polls");
    assert!((2..=8).contains(&asked_count), "asked {asked_count} times in {poll_count} polls");
    // Alone on a bus it delays nobody, and is asked at each poll.
    let mut alone = polling(&address, &device("dead", 2), BusSettings::default());
    let before = peer.requests().len();
    alone.collect(Duration::from_secs(4)).await;
    let alone_count = peer.requests()[before..].iter().filter(|request| request.0 == 2).count();
    assert!(alone_count >= 8, "{alone_count}");

    let port = peer.port().to_string();
    drop(peer);
    bus.wait("good", |entry| entry.quality == Quality::Communication).await;
    let _back = Peer::start("modbus_faulty.py", &["rtu", &port, "1=good", "2=good"]);
    bus.wait("good", |entry| entry.quality == Quality::Normal).await;
    bus.wait("dead", |entry| entry.quality == Quality::Normal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_silent_about_itself_is_read_all_the_same_and_not_asked_again() {
    for (framing, scheme) in [("tcp", "tcp"), ("rtu", "rtu+tcp")] {
        let peer = Peer::start("modbus_faulty.py", &[framing, "0", "1=mute43", "2=mute43"]);
        let address = format!("{scheme}://127.0.0.1:{}", peer.port());
        let mut polling = polling(&address, &(device("a", 1) + &device("b", 2)), BusSettings::default());
        let entries = polling.collect(Duration::from_secs(3)).await;
        for (name, entries) in &entries {
            assert!(entries.len() >= 5 && entries.iter().all(|entry| entry.quality == Quality::Normal), "{name} {entries:?}");
        }
        let who: Vec<u8> = peer.requests().iter().filter(|request| request.1 == 43).map(|request| request.0).collect();
        assert_eq!(who, [1, 2], "{framing}");
    }
}

/// Who was asked who it is, by two machines behind one address that do so.
async fn asked_who_they_are(behaviour: &str) -> Vec<u8> {
    let units = ["1", "2"].map(|unit| format!("{unit}={behaviour}"));
    let peer = Peer::start("modbus_faulty.py", &["tcp", "0", &units[0], &units[1]]);
    let mut polling = polling(&format!("tcp://127.0.0.1:{}", peer.port()), &(device("a", 1) + &device("b", 2)), BusSettings::default());
    let entries = polling.collect(Duration::from_secs(3)).await;
    for (name, entries) in &entries {
        assert!(entries.len() >= 5 && entries.iter().all(|entry| entry.quality == Quality::Normal), "{name} {entries:?}");
    }
    peer.requests().iter().filter(|request| request.1 == 43).map(|request| request.0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_over_the_question_who_it_is_makes_no_machine_be_asked_it_again() {
    assert_eq!(asked_who_they_are("close43").await, [1, 1, 2, 2], "each on two connections, and never again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_idle_connections_is_not_asked_each_time_who_it_is() {
    assert_eq!(asked_who_they_are("idle:100").await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_stumbles_over_the_question_who_it_is_loses_no_poll() {
    let peer = Peer::start("modbus_faulty.py", &["tcp", "0", "2=deaf43"]);
    let address = format!("tcp://127.0.0.1:{}", peer.port());
    let device = device("SN", 2).replace("gap_max", "retries = 0\ngap_max");
    let mut polling = polling(&address, &device, BusSettings::default());
    let entries = polling.collect(Duration::from_secs(2)).await;
    assert!(entries["SN"].len() >= 4 && entries["SN"].iter().all(|entry| entry.quality == Quality::Normal), "{entries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_says_what_is_wrong_by_name() {
    let peer = Peer::start("modbus_faulty.py", &["tcp", "0", "1=good", "2=silent", "3=exception:2", "4=half"]);
    let (settings, limit) = (BusSettings::default(), Duration::from_millis(300));
    let request = ReadRequest::Values { table: Table::Holding, address: 3, quantity: 2 };
    let address = Address::read(&format!("tcp://127.0.0.1:{}", peer.port())).unwrap();
    let asked = async |unit| Connection::open(&address, &settings, limit).await?.read(unit, &request, limit).await;
    assert_eq!(format!("{:?}", asked(1).await.unwrap()), "Block(Words([1003, 1004]))");
    assert_eq!(asked(2).await, Err(ReadTrouble::Timeout));
    assert_eq!(asked(3).await, Err(ReadTrouble::Exception(2)));
    assert_eq!(asked(4).await, Err(ReadTrouble::Short));
    let open = async |text: &str| Connection::open(&Address::read(text).unwrap(), &settings, limit).await.err();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(open(&format!("tcp://{free}")).await, Some(Unreachable::Refused));
    assert_eq!(open("tcp://nowhere.invalid:502").await, Some(Unreachable::Dns));
    assert_eq!(open("rtu:///dev/nowhere").await, Some(Unreachable::PortMissing));
}
