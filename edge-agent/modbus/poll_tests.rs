use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request as ModbusRequest, Response, SlaveRequest};

use super::*;
use crate::SystemClock;
use crate::config::Config;
use crate::modbus::{MissingPoint, ReadTrouble};
use crate::point::{Table, Value, ValueType};
use crate::report::{Entry, Quality, State};

/// Unit 1 answers, unit 2 has no such registers, unit 3 never answers, unit 4 refuses its registers for a while, of unit 5 one is no
/// number.
#[derive(Clone, Default)]
struct Machines {
    seen: Arc<Mutex<Vec<(u8, String)>>>,
    gives: Arc<AtomicBool>,
}

impl Service for Machines {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Option<Response>, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        self.seen.lock().unwrap().push((request.slave, format!("{:?}", request.request)));
        ready(match (request.slave, request.request) {
            (4, ModbusRequest::ReadHoldingRegisters(..)) if !self.gives.load(Ordering::Relaxed) => Err(ExceptionCode::IllegalDataAddress),
            (5, ModbusRequest::ReadHoldingRegisters(0, 3)) => Ok(Some(Response::ReadHoldingRegisters(vec![0x7FC0, 0, 7]))),
            (1 | 4, ModbusRequest::ReadHoldingRegisters(0, 3)) => Ok(Some(Response::ReadHoldingRegisters(vec![0x4086, 0x6666, 7]))),
            (1 | 4 | 5, ModbusRequest::ReadCoils(4, 1)) => Ok(Some(Response::ReadCoils(vec![true]))),
            (3, _) => Ok(None),
            _ => Err(ExceptionCode::IllegalDataAddress),
        })
    }
}

async fn serve(machines: Machines) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let accept = |stream, from| {
            let machines = machines.clone();
            async move { accept_tcp_connection(stream, from, move |_| Ok(Some(machines.clone()))) }
        };
        Server::new(listener).serve(&accept, |_| {}).await
    });
    address
}

fn devices(address: SocketAddr, units: &[u8]) -> Vec<Device> {
    let mut text = "[gateway]\nid = \"g\"\ntoken = \"t\"\n[spool]\ndir = \"d\"\n".to_string();
    for unit in units {
        text += &format!(
            r#"
            [[device]]
            name = "SN-{unit}"
            address = "tcp://{address}"
            unit_id = {unit}
            poll_ms = 50
            timeout_ms = 100
            running_when = {{ point = "kw", above = 0.5 }}
            [[device.point]]
            name = "n"
            reference = "40003"
            [[device.point]]
            name = "kw"
            table = "holding"
            address = 0
            type = "f32"
            [[device.point]]
            name = "on"
            table = "coil"
            address = 4
            "#
        );
    }
    Config::read(&text, []).unwrap().devices
}

fn start(address: SocketAddr, units: &[u8]) -> mpsc::Receiver<Item> {
    start_with(address, units, DeviceStates::default())
}

fn start_with(address: SocketAddr, units: &[u8], states: DeviceStates) -> mpsc::Receiver<Item> {
    let (sender, entries) = mpsc::channel(1);
    tokio::spawn(poll(
        Address::read(&format!("tcp://{address}")).unwrap(),
        BusSettings::default(),
        devices(address, units),
        Arc::new(SystemClock::default()),
        states,
        sender,
    ));
    entries
}

/// The next entry of a device, with the time to wait for it bounded.
async fn next_of(entries: &mut mpsc::Receiver<Item>, name: &str, wanted: impl Fn(&Entry) -> bool) -> Entry {
    let found = async {
        loop {
            let Item::Device(entry) = entries.recv().await.unwrap() else { continue };
            if entry.device == name && wanted(&entry) {
                return entry;
            }
        }
    };
    timeout(Duration::from_secs(10), found).await.unwrap()
}

#[tokio::test]
async fn readings_come_with_state_quality_and_few_requests() {
    let machines = Machines::default();
    let address = serve(machines.clone()).await;
    let entry = next_of(&mut start(address, &[1]), "SN-1", |_| true).await;
    assert_eq!((entry.quality, entry.state), (Quality::Normal, Some(State::Running)));
    assert_eq!(entry.readings, [("n".into(), Value::Number(7.0)), ("kw".into(), Value::Number(4.2)), ("on".into(), Value::Flag(true))]);
    let seen = machines.seen.lock().unwrap();
    assert_eq!(seen[..2], [(1, "ReadCoils(4, 1)".to_string()), (1, "ReadHoldingRegisters(0, 3)".to_string())]);
}

#[tokio::test]
async fn an_exception_and_silence_give_communication_errors_without_readings_and_leave_the_neighbour_alone() {
    let address = serve(Machines::default()).await;
    let mut entries = start(address, &[3, 2, 1]);
    let silent = next_of(&mut entries, "SN-3", |_| true).await;
    assert_eq!((silent.quality, silent.state, silent.readings.len()), (Quality::Communication, Some(State::Offline), 0));
    let exception = next_of(&mut entries, "SN-2", |_| true).await;
    assert_eq!((exception.quality, exception.state, exception.readings.len()), (Quality::Communication, None, 0));
    for _ in 0..5 {
        assert_eq!(next_of(&mut entries, "SN-1", |_| true).await.quality, Quality::Normal);
    }
}

#[tokio::test]
async fn a_machine_that_goes_and_comes_back_is_read_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut entries = start(address, &[1]);
    let gone = next_of(&mut entries, "SN-1", |_| true).await;
    assert_eq!((gone.quality, gone.state), (Quality::Communication, Some(State::Offline)));
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let accept = |stream, from| async move { accept_tcp_connection(stream, from, |_| Ok(Some(Machines::default()))) };
        Server::new(listener).serve(&accept, |_| {}).await
    });
    next_of(&mut entries, "SN-1", |entry| entry.quality == Quality::Normal).await;
}

#[derive(Clone, Copy)]
enum Spoils {
    /// A bit of the answer.
    Bit,
    /// The whole answer.
    All,
}

/// In RTU frames: a machine that answers one request, that of its handbook, and no other. One answer is spoilt on its way.
async fn serve_one_request(spoils: Spoils) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut request, mut answered_count) = ([0; 8], 0);
        while stream.read_exact(&mut request).await.is_ok() {
            if request[..6] != [1, 3, 0, 0, 0, 3] {
                continue;
            }
            answered_count += 1;
            let mut answer = vec![1, 3, 6, 0x40, 0x86, 0x66, 0x66, 0, 7];
            answer.extend(crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(&answer).to_le_bytes());
            match spoils {
                _ if answered_count != 2 => {}
                Spoils::Bit => answer[4] ^= 1,
                Spoils::All => continue,
            }
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

/// The entries of a machine that is read each second, with the seconds since the start.
async fn entries_of_one_request(spoils: Spoils, seconds: u64) -> Vec<(u64, Quality)> {
    let address = format!("rtu+tcp://{}", serve_one_request(spoils).await);
    let text = format!(
        "[gateway]\nid = \"g\"\ntoken = \"t\"\n[spool]\ndir = \"d\"\n[[device]]\nname = \"SN\"\naddress = \"{address}\"\n\
         poll_ms = 1000\ntimeout_ms = 300\nidentify = false\n[[device.point]]\nname = \"kw\"\ntable = \"holding\"\naddress = 0\n\
         type = \"f32\"\n[[device.point]]\nname = \"n\"\ntable = \"holding\"\naddress = 2\n"
    );
    let (sender, mut items) = mpsc::channel(1);
    tokio::spawn(poll(
        Address::read(&address).unwrap(),
        BusSettings::default(),
        Config::read(&text, []).unwrap().devices,
        Arc::new(SystemClock::default()),
        DeviceStates::default(),
        sender,
    ));
    let begun = Instant::now();
    let mut entries = vec![];
    while begun.elapsed() < Duration::from_secs(seconds) {
        if let Some(Item::Device(entry)) = items.recv().await {
            assert_eq!(entry.readings.len(), if entry.quality == Quality::Normal { 2 } else { 0 });
            entries.push((begun.elapsed().as_secs(), entry.quality));
        }
    }
    entries
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_answers_its_one_request_alone_is_read_again_a_minute_after_an_answer_was_lost() {
    let entries = entries_of_one_request(Spoils::All, 90).await;
    let bad: Vec<u64> = entries.iter().filter(|(_, quality)| *quality == Quality::Communication).map(|(at, _)| *at).collect();
    assert!(bad.len() > 50 && bad.iter().all(|at| (1..=62).contains(at)), "{entries:?}");
    assert_eq!(entries.last().unwrap().1, Quality::Normal);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_spoilt_is_not_waited_for_and_costs_no_poll() {
    let entries = entries_of_one_request(Spoils::Bit, 10).await;
    assert!(entries.len() >= 10 && entries.iter().all(|(_, quality)| *quality == Quality::Normal), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_machine_refuses_while_it_starts_is_asked_for_again_after_a_minute() {
    let machines = Machines::default();
    let mut entries = start(serve(machines.clone()).await, &[4]);
    let begun = Instant::now();
    let entry = next_of(&mut entries, "SN-4", |_| true).await;
    assert_eq!((entry.quality, entry.readings), (Quality::Fault, vec![("on".into(), Value::Flag(true))]));
    machines.gives.store(true, Ordering::Relaxed);
    while begun.elapsed() < Duration::from_secs(59) {
        assert_eq!(next_of(&mut entries, "SN-4", |_| true).await.quality, Quality::Fault);
    }
    let entry = next_of(&mut entries, "SN-4", |entry| entry.quality == Quality::Normal).await;
    assert_eq!(entry.readings.len(), 3);
}

#[tokio::test]
async fn registers_that_hold_no_number_are_named_and_the_other_readings_are_reported_as_a_fault() {
    let states = DeviceStates::default();
    let mut entries = start_with(serve(Machines::default()).await, &[5], states.clone());
    let entry = next_of(&mut entries, "SN-5", |_| true).await;
    assert_eq!(entry.quality, Quality::Fault);
    assert_eq!(entry.readings, [("n".into(), Value::Number(7.0)), ("on".into(), Value::Flag(true))]);
    let state = &states.snapshot()["SN-5"];
    let missing = MissingPoint { name: "kw".into(), table: Table::Holding, address: 0, why: ReadTrouble::NoNumber(ValueType::F32) };
    assert_eq!((state.failing, &state.missing_points), (false, &vec![missing]));
    assert_eq!(state.last_error_at, None);
}

#[tokio::test(start_paused = true)]
async fn a_missing_point_stands_in_the_log_once_with_its_place_and_cause() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let written = log.clone();
    let writer = move || Written(written.clone());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish());
    let mut entries = start(serve(Machines::default()).await, &[5]);
    let begun = Instant::now();
    let lines = || {
        let text = String::from_utf8(log.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains("a point gives no reading")).map(str::to_string).collect::<Vec<_>>()
    };
    for _ in 0..20 {
        next_of(&mut entries, "SN-5", |_| true).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    let said = lines();
    assert_eq!(said.len(), 1, "{said:?}");
    for expected in ["device=\"SN-5\"", "point=\"kw\"", "table=\"holding\"", "address=0", "the registers hold no f32"] {
        assert!(said[0].contains(expected), "{expected} in {said:?}");
    }
}

struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
