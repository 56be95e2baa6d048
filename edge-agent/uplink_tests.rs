use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{PubAck, PubAckReason, Publish, SubAck, SubscribeReasonCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::broker::Address;
use crate::clock::SystemClock;
use crate::config::Secret;
use crate::delivery::State;
use crate::spool::{ReportKey, Spool};
use crate::uplink_state::{Obstacles, Oversized, UplinkState};
use crate::watchdog::Watchdog;

/// What the broker of a test does with the next report.
enum Answer {
    Acknowledge(PubAckReason),
    Refuse(PubAckReason, &'static str),
    HangUp,
    /// Reads on and never answers again.
    Nothing,
}

type Decide = Box<dyn FnMut(&str) -> Answer + Send>;

/// What the broker of a test says beside answering reports.
struct Door {
    packet_bytes_max: Option<u32>,
    subscription: SubscribeReasonCode,
    standings: Vec<&'static str>,
}

impl Default for Door {
    fn default() -> Door {
        let standings = vec![r#"{"voucher":"V-1","required":67,"connected":41}"#];
        Door { packet_bytes_max: None, subscription: SubscribeReasonCode::Success(QoS::AtLeastOnce), standings }
    }
}

/// Answers reports as decided; tells which connection and body each was.
async fn broker(listener: TcpListener, door: Door, mut decide: Decide, seen: mpsc::UnboundedSender<(usize, String)>) {
    for connection in 0.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = BytesMut::new();
        let mut subscribed = false;
        while let Some(packet) = next_packet(&mut stream, &mut read).await {
            let mut out = BytesMut::new();
            match packet {
                Packet::Connect(connect, _, login) => {
                    assert_eq!((connect.client_id.as_str(), connect.clean_start), ("gw-1", true));
                    assert_eq!(login.map(|login| (login.username, login.password)), Some(("gw-1".into(), "secret".into())));
                    match door.packet_bytes_max {
                        None => out.extend_from_slice(&[0x20, 3, 0, 0, 0]),
                        Some(bytes) => {
                            out.extend_from_slice(&[0x20, 8, 0, 0, 5, 0x27]);
                            out.extend_from_slice(&bytes.to_be_bytes());
                        }
                    }
                }
                Packet::Subscribe(subscribe) => {
                    let topics: Vec<&str> = subscribe.filters.iter().map(|filter| filter.path.as_str()).collect();
                    assert_eq!(topics, ["shangyun/v1/gw-1/refused", "shangyun/v1/gw-1/standing"]);
                    let return_codes = vec![door.subscription; 2];
                    SubAck { pkid: subscribe.pkid, return_codes, properties: None }.write(&mut out).unwrap();
                    for standing in &door.standings {
                        Publish::new("shangyun/v1/gw-1/standing", QoS::AtMostOnce, *standing, None).write(&mut out).unwrap();
                    }
                    subscribed = true;
                }
                Packet::Publish(publish) => {
                    assert!(subscribed, "a refusal of this report would not be heard");
                    assert_eq!(publish.topic, "shangyun/v1/gw-1/report");
                    let body = String::from_utf8(publish.payload.to_vec()).unwrap();
                    let answer = decide(&body);
                    seen.send((connection, body)).unwrap();
                    let reason = match answer {
                        Answer::HangUp => break,
                        Answer::Nothing => continue,
                        Answer::Acknowledge(reason) => reason,
                        Answer::Refuse(reason, faults) => {
                            Publish::new("shangyun/v1/gw-1/refused", QoS::AtMostOnce, faults, None).write(&mut out).unwrap();
                            reason
                        }
                    };
                    PubAck { pkid: publish.pkid, reason, properties: None }.write(&mut out).unwrap();
                }
                _ => {}
            }
            stream.write_all(&out).await.unwrap();
        }
    }
}

async fn next_packet(stream: &mut TcpStream, read: &mut BytesMut) -> Option<Packet> {
    loop {
        if let Ok(packet) = Packet::read(read, None) {
            return Some(packet);
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

struct Bench {
    dir: TempDir,
    spool: SharedSpool,
    shown: SharedUplinkState,
    finish: watch::Sender<bool>,
    uplink: JoinHandle<()>,
    seen: mpsc::UnboundedReceiver<(usize, String)>,
}

/// The broker answers as scripted, then accepts all.
async fn bench(report_count: u64, in_flight_max: u16, script: impl IntoIterator<Item = Answer>) -> Bench {
    let mut script: VecDeque<Answer> = script.into_iter().collect();
    let decide = move |_: &str| script.pop_front().unwrap_or(Answer::Acknowledge(PubAckReason::Success));
    bench_at(Door::default(), report_count, in_flight_max, Box::new(decide)).await
}

async fn bench_at(door: Door, report_count: u64, in_flight_max: u16, decide: Decide) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(broker(listener, door, decide, sender));
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    for seq in 1..=report_count {
        spool.append(&ReportKey { boot: "b7".into(), seq }, format!(r#"{{"seq":{seq}}}"#).as_bytes()).unwrap();
    }
    let spool = SharedSpool::new(spool);
    let shown = SharedUplinkState::default();
    let (finish, finishing) = watch::channel(false);
    let uplink = uplink(vec![address.port()], in_flight_max, spool.clone(), shown.clone());
    let uplink = tokio::spawn(uplink.run(finishing, Watchdog::default().heartbeat().pulse("uplink")));
    Bench { dir, spool, shown, finish, uplink, seen }
}

/// To brokers at these ports.
fn uplink(ports: Vec<u16>, in_flight_max: u16, spool: SharedSpool, shown: SharedUplinkState) -> Uplink {
    let gateway = Gateway { id: "gw-1".into(), token: Secret("secret".into()), token_file: None, enterprise: None, key_file: None };
    let broker = Broker {
        addresses: ports.into_iter().map(|port| Address { tls: false, host: "127.0.0.1".into(), port }).collect(),
        ca_file: None,
        client_certificate: None,
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(5),
        in_flight_max,
        retry_max: Duration::from_millis(100),
        acknowledge_timeout: Duration::from_secs(1),
    };
    let config = DeliveryConfig { confirm: Confirm::Puback, backlog_reports_per_s: 1000.0 };
    Uplink::new(gateway, broker, config, spool, Arc::new(SystemClock::default()), shown)
}

impl Bench {
    /// Lets the uplink finish; what the broker saw, and how many reports are left.
    async fn finish(mut self) -> (Vec<(usize, String)>, u64, TempDir) {
        self.finish.send_replace(true);
        self.uplink.await.unwrap();
        let mut seen = vec![];
        while let Ok(publish) = self.seen.try_recv() {
            seen.push(publish);
        }
        (seen, self.spool.with(|spool| Ok(spool.unsettled_count())).await.unwrap(), self.dir)
    }

    async fn until(&self, what: &str, reached: impl Fn(&UplinkState) -> bool) {
        let reached = async {
            while !reached(&self.shown.read()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap_or_else(|_| panic!("{what}: {:?}", self.shown.read()));
    }

    async fn until_empty(&self) {
        let empty = async {
            while self.spool.with(|spool| Ok(spool.unsettled_count())).await.unwrap() > 0 {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(Duration::from_secs(20), empty).await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_fails_is_no_reason_to_turn_to_another_broker() {
    let dir = tempfile::tempdir().unwrap();
    let spool = SharedSpool::new(Spool::open(dir.path(), 1 << 20).unwrap());
    let mut uplink = uplink(Vec::from([1, 2]), 3, spool, SharedUplinkState::default());
    let mut lost = |kind| {
        let wait = uplink.lost(&BrokerTrouble::new(kind, "seen"), Duration::ZERO);
        (uplink.address, wait.is_zero())
    };
    assert_eq!(lost(TroubleKind::Spool), (0, false));
    assert_eq!(lost(TroubleKind::Closed), (1, true));
    assert_eq!(lost(TroubleKind::Closed), (0, false));
    assert!(ended(TroubleKind::Spool, true).contains("spool fails") && !ended(TroubleKind::Spool, false).contains("broker"));
    assert_ne!(ended(TroubleKind::Closed, true), ended(TroubleKind::Closed, false));
}

#[tokio::test]
async fn every_spooled_report_is_delivered_once_and_leaves_the_spool() {
    let bench = bench(50, 3, []).await;
    let (seen, left, dir) = bench.finish().await;
    assert_eq!(seen, (1..=50).map(|seq| (0, format!(r#"{{"seq":{seq}}}"#))).collect::<Vec<_>>());
    assert_eq!(left, 0);
    assert_eq!(Spool::open(dir.path(), 1 << 20).unwrap().unsettled_count(), 0, "the marks are saved at the end");
}

#[tokio::test]
async fn a_new_report_is_sent_without_waiting() {
    let mut bench = bench(0, 3, []).await;
    bench.until("connected", |state| state.state == State::Live).await;
    bench.spool.with(|spool| spool.append(&ReportKey { boot: "b7".into(), seq: 1 }, b"{}")).await.unwrap();
    bench.spool.fill_notify();
    assert_eq!(tokio::time::timeout(Duration::from_millis(500), bench.seen.recv()).await.unwrap(), Some((0, "{}".into())));
}

#[tokio::test]
async fn what_a_lost_connection_left_unacknowledged_is_sent_again() {
    let bench = bench(4, 2, [Answer::Acknowledge(PubAckReason::Success), Answer::HangUp, Answer::HangUp]).await;
    bench.until_empty().await;
    let (seen, left, _dir) = bench.finish().await;
    let of = |connection| seen.iter().filter(|(at, _)| *at == connection).map(|(_, body)| body.as_str()).collect::<Vec<_>>();
    assert_eq!(of(0), [r#"{"seq":1}"#, r#"{"seq":2}"#]);
    assert_eq!(of(1), [r#"{"seq":2}"#]);
    assert_eq!(of(2), [r#"{"seq":2}"#, r#"{"seq":3}"#, r#"{"seq":4}"#]);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_full_quota_sends_again_and_a_refusal_moves_the_report_aside_with_its_faults() {
    let quota = Answer::Acknowledge(PubAckReason::QuotaExceeded);
    let bench = bench(2, 1, [quota, Answer::Refuse(PubAckReason::PayloadFormatInvalid, r#"{"faults":[{"code":"quality"}]}"#)]).await;
    bench.until_empty().await;
    let (seen, left, dir) = bench.finish().await;
    assert_eq!(seen.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), [r#"{"seq":1}"#, r#"{"seq":1}"#, r#"{"seq":2}"#]);
    assert_eq!(left, 0);
    let refused = std::fs::read_to_string(dir.path().join("refused/0000000000000000-b7-1.json")).unwrap();
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(refused["faults"]["faults"][0]["code"], "quality");
    assert_eq!(refused["reason"], "0x99 payload format invalid");
}

/// The first report is answered so until the flag says otherwise; all others are accepted.
fn first_until(mended: &Arc<AtomicBool>, reason: PubAckReason, faults: &'static str) -> Decide {
    let mended = mended.clone();
    Box::new(move |body| match body == r#"{"seq":1}"# && !mended.load(Ordering::Relaxed) {
        true => Answer::Refuse(reason, faults),
        false => Answer::Acknowledge(PubAckReason::Success),
    })
}

#[tokio::test]
async fn a_report_that_the_service_does_not_take_for_who_speaks_waits_is_told_and_follows_once_that_is_mended() {
    let mended = Arc::new(AtomicBool::new(false));
    let faults = r#"{"boot":"b7","seq":1,"faults":[{"code":"signature"}]}"#;
    let mut bench = bench_at(Door::default(), 3, 3, first_until(&mended, PubAckReason::NotAuthorized, faults)).await;
    bench.until("the others", |state| state.acknowledged_total == 2).await;
    bench.until("the doubt", |state| state.obstacles.doubted == 1 && state.obstacles.doubts.contains("signature")).await;
    let mut times = 0;
    while times < 3 {
        times += usize::from(bench.seen.recv().await.unwrap().1 == r#"{"seq":1}"#);
    }
    mended.store(true, Ordering::Relaxed);
    bench.until_empty().await;
    bench.until("no doubt", |state| state.obstacles == Obstacles::default()).await;
    let shown = bench.shown.read();
    assert_eq!((shown.refused_total, shown.acknowledged_total, shown.connections_total), (0, 3, 1));
    let (_, _, dir) = bench.finish().await;
    assert_eq!(std::fs::read_dir(dir.path().join("refused")).unwrap().count(), 0);
}

#[tokio::test]
async fn not_authorised_without_a_word_of_the_service_is_tried_again() {
    let bench = bench(2, 1, [Answer::Acknowledge(PubAckReason::NotAuthorized)]).await;
    bench.until_empty().await;
    let (seen, left, _dir) = bench.finish().await;
    assert_eq!(seen.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), [r#"{"seq":1}"#, r#"{"seq":2}"#, r#"{"seq":1}"#]);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_refused_report_that_the_disk_does_not_take_waits_and_the_others_go_on() {
    let faults = r#"{"boot":"b7","seq":1,"faults":[{"code":"quality"}]}"#;
    let decide = first_until(&Arc::default(), PubAckReason::PayloadFormatInvalid, faults);
    let bench = bench_at(Door::default(), 0, 3, decide).await;
    let refused = bench.dir.path().join("refused");
    std::fs::remove_dir(&refused).unwrap();
    std::fs::write(&refused, "in the way").unwrap();
    let append =
        |seq: u64| move |spool: &mut Spool| spool.append(&ReportKey { boot: "b7".into(), seq }, format!(r#"{{"seq":{seq}}}"#).as_bytes());
    for seq in 1..=3 {
        bench.spool.with(append(seq)).await.unwrap();
        bench.spool.fill_notify();
    }
    bench.until("the others", |state| state.acknowledged_total == 2).await;
    bench.until("a trouble", |state| state.obstacles.unkept == 1 && state.obstacles.unkept_error.is_some()).await;
    std::fs::remove_file(&refused).unwrap();
    std::fs::create_dir(&refused).unwrap();
    bench.until("the report aside", |state| state.refused_total == 1 && state.obstacles == Obstacles::default()).await;
    assert_eq!(bench.shown.read().connections_total, 1);
    let (_, left, dir) = bench.finish().await;
    let text = std::fs::read_to_string(dir.path().join("refused/0000000000000000-b7-1.json")).unwrap();
    assert!(left == 0 && text.contains("quality"), "{left} {text}");
}

#[tokio::test]
async fn a_report_larger_than_the_broker_takes_is_told_and_the_others_go_on() {
    let door = Door { packet_bytes_max: Some(100), ..Door::default() };
    let decide = |_: &str| Answer::Acknowledge(PubAckReason::Success);
    let bench = bench_at(door, 2, 3, Box::new(decide)).await;
    for (seq, bytes) in [(3, 200), (4, 300), (5, 10)] {
        bench.spool.with(move |spool| spool.append(&ReportKey { boot: "b7".into(), seq }, &vec![b' '; bytes])).await.unwrap();
        bench.spool.fill_notify();
    }
    bench.until("the others", |state| state.acknowledged_total == 3).await;
    let oversized = Oversized { count: 2, bytes: 300, packet_bytes_max: 100 };
    bench.until("a trouble", |state| state.obstacles.oversized == Some(oversized)).await;
    assert_eq!(bench.finish().await.1, 2);
}

#[tokio::test]
async fn a_subscription_that_the_broker_refuses_is_told_while_reports_go_on() {
    let door = Door { subscription: SubscribeReasonCode::NotAuthorized, ..Door::default() };
    let decide = |_: &str| Answer::Acknowledge(PubAckReason::Success);
    let bench = bench_at(door, 1, 3, Box::new(decide)).await;
    bench.until("a trouble", |state| state.obstacles.unheard.as_deref() == Some("NotAuthorized")).await;
    bench.until("the report", |state| state.acknowledged_total == 1 && state.state == State::Live).await;
}

#[tokio::test]
async fn what_counts_of_several_vouchers_is_shown_side_by_side() {
    let said = [r#"{"voucher":"V-1","connected":1}"#, r#"{"voucher":"V-2","connected":2}"#, "", r#"{"voucher":"V-1","connected":3}"#];
    let door = Door { standings: said.to_vec(), ..Door::default() };
    let bench = bench_at(door, 0, 3, Box::new(|_: &str| Answer::HangUp)).await;
    let newest = ["{\"connected\":2,\"voucher\":\"V-2\"}", "{\"connected\":3,\"voucher\":\"V-1\"}"];
    bench.until("both", |state| state.standing.iter().map(ToString::to_string).eq(newest)).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_acknowledged_is_made_anew() {
    let bench = bench(1, 3, [Answer::Nothing]).await;
    bench.until("acknowledged", |state| state.acknowledged_total == 1).await;
    let shown = bench.shown.read();
    assert_eq!((shown.connections_total, shown.resent_total, shown.acknowledged_total), (2, 1, 1));
    assert_eq!(shown.last_error.unwrap().name, "report_unacknowledged");
    let (seen, _, _dir) = bench.finish().await;
    assert_eq!(seen.iter().map(|(connection, _)| *connection).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn delivery_is_shown_as_it_goes() {
    let bench = bench(2, 3, []).await;
    bench.until("live", |state| state.state == State::Live).await;
    let shown = bench.shown.read();
    assert!(shown.broker.unwrap().starts_with("mqtt://127.0.0.1:"));
    assert!(shown.connected_since.unwrap() <= shown.last_ack_at.unwrap());
    assert_eq!((shown.acknowledged_total, shown.refused_total, shown.resent_total), (2, 0, 0));
    assert_eq!(shown.standing, [serde_json::json!({"voucher": "V-1", "required": 67, "connected": 41})]);
    let after = bench.shown.clone();
    bench.finish().await;
    let shown = after.read();
    assert_eq!((shown.state, shown.broker, shown.connected_since), (State::Offline, None, None));
}
