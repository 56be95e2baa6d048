use std::collections::VecDeque;
use std::net::SocketAddr;

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
use crate::uplink_state::UplinkState;
use crate::watchdog::Watchdog;

/// What the broker of a test does with the next report.
enum Answer {
    Acknowledge(PubAckReason),
    Refuse(PubAckReason, &'static str),
    HangUp,
    /// Reads on and never answers again.
    Nothing,
}

/// Answers reports as scripted, then accepts all; tells which connection and body each was.
async fn broker(listener: TcpListener, mut script: VecDeque<Answer>, seen: mpsc::UnboundedSender<(usize, String)>) {
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
                    out.extend_from_slice(&[0x20, 3, 0, 0, 0]);
                }
                Packet::Subscribe(subscribe) => {
                    let topics: Vec<&str> = subscribe.filters.iter().map(|filter| filter.path.as_str()).collect();
                    assert_eq!(topics, ["shangyun/v1/gw-1/refused", "shangyun/v1/gw-1/standing"]);
                    let return_codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); 2];
                    SubAck { pkid: subscribe.pkid, return_codes, properties: None }.write(&mut out).unwrap();
                    let standing = r#"{"voucher":"V-1","required":67,"connected":41}"#;
                    Publish::new("shangyun/v1/gw-1/standing", QoS::AtMostOnce, standing, None).write(&mut out).unwrap();
                    subscribed = true;
                }
                Packet::Publish(publish) => {
                    assert!(subscribed, "a refusal of this report would not be heard");
                    assert_eq!(publish.topic, "shangyun/v1/gw-1/report");
                    seen.send((connection, String::from_utf8(publish.payload.to_vec()).unwrap())).unwrap();
                    let reason = match script.pop_front().unwrap_or(Answer::Acknowledge(PubAckReason::Success)) {
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

async fn bench(report_count: u64, in_flight_max: u16, script: impl IntoIterator<Item = Answer>) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    tokio::spawn(broker(listener, script.into_iter().collect(), sender));
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
    for seq in 1..=report_count {
        spool.append(&ReportKey { boot: "b7".into(), seq }, format!(r#"{{"seq":{seq}}}"#).as_bytes()).unwrap();
    }
    let spool = SharedSpool::new(spool);
    let gateway = Gateway { id: "gw-1".into(), token: Secret("secret".into()), enterprise: None, key_file: None };
    let broker = Broker {
        addresses: vec![Address { tls: false, host: address.ip().to_string(), port: address.port() }],
        ca_file: None,
        client_certificate: None,
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(5),
        in_flight_max,
        retry_max: Duration::from_millis(100),
        acknowledge_timeout: Duration::from_secs(1),
    };
    let config = DeliveryConfig { confirm: Confirm::Puback, backlog_reports_per_s: 1000.0 };
    let shown = SharedUplinkState::default();
    let (finish, finishing) = watch::channel(false);
    let uplink = Uplink::new(gateway, broker, config, spool.clone(), Arc::new(SystemClock::default()), shown.clone());
    let uplink = tokio::spawn(uplink.run(finishing, Watchdog::default().heartbeat().pulse("uplink")));
    Bench { dir, spool, shown, finish, uplink, seen }
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

#[tokio::test]
async fn not_authorised_refuses_a_report_where_the_service_says_why_and_is_tried_again_where_nobody_does() {
    let forbid = PubAckReason::NotAuthorized;
    let told = Answer::Refuse(forbid, r#"{"boot":"b7","seq":1,"faults":[{"code":"signature"}]}"#);
    let bench = bench(2, 1, [Answer::Acknowledge(forbid), Answer::Acknowledge(PubAckReason::Success), told]).await;
    bench.until_empty().await;
    let (seen, left, dir) = bench.finish().await;
    assert_eq!(seen.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), [r#"{"seq":1}"#, r#"{"seq":2}"#, r#"{"seq":1}"#]);
    assert_eq!(left, 0);
    let refused = std::fs::read_to_string(dir.path().join("refused/0000000000000000-b7-1.json")).unwrap();
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!((&refused["faults"]["faults"][0]["code"], &refused["reason"]), (&"signature".into(), &"0x87 not authorised".into()));
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
    assert_eq!(shown.standing, Some(serde_json::json!({"voucher": "V-1", "required": 67, "connected": 41})));
    let after = bench.shown.clone();
    bench.finish().await;
    let shown = after.read();
    assert_eq!((shown.state, shown.broker, shown.connected_since), (State::Offline, None, None));
}
