use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish, SubAck, SubscribeReasonCode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Secret;
use crate::spool::{ReportKey, Spool};
use crate::watchdog::Watchdog;

/// What the broker of a test does with the next report.
enum Answer {
    Acknowledge(PubAckReason),
    Refuse(&'static str),
    HangUp,
}

/// Answers reports as scripted, then accepts all; tells which connection and body each was.
async fn broker(listener: TcpListener, mut script: VecDeque<Answer>, seen: mpsc::UnboundedSender<(usize, String)>) {
    for connection in 0.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = BytesMut::new();
        while let Some(packet) = next_packet(&mut stream, &mut read).await {
            let mut out = BytesMut::new();
            match packet {
                Packet::Connect(connect, _, login) => {
                    assert_eq!((connect.client_id.as_str(), connect.clean_start), ("gw-1", true));
                    assert_eq!(login.map(|login| (login.username, login.password)), Some(("gw-1".into(), "secret".into())));
                    out.extend_from_slice(&[0x20, 3, 0, 0, 0]);
                }
                Packet::Subscribe(subscribe) => {
                    assert_eq!(subscribe.filters[0].path, "shangyun/v1/gw-1/refused");
                    let code = SubscribeReasonCode::Success(QoS::AtLeastOnce);
                    SubAck { pkid: subscribe.pkid, return_codes: vec![code], properties: None }.write(&mut out).unwrap();
                }
                Packet::Publish(publish) => {
                    assert_eq!(publish.topic, "shangyun/v1/gw-1/report");
                    seen.send((connection, String::from_utf8(publish.payload.to_vec()).unwrap())).unwrap();
                    let reason = match script.pop_front().unwrap_or(Answer::Acknowledge(PubAckReason::Success)) {
                        Answer::HangUp => break,
                        Answer::Acknowledge(reason) => reason,
                        Answer::Refuse(faults) => {
                            Publish::new("shangyun/v1/gw-1/refused", QoS::AtMostOnce, faults, None).write(&mut out).unwrap();
                            PubAckReason::PayloadFormatInvalid
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
        host: address.ip().to_string(),
        port: address.port(),
        in_flight_max,
        retry_max: Duration::from_millis(100),
        acknowledge_timeout: Duration::from_secs(60),
    };
    let (finish, finishing) = watch::channel(false);
    let uplink = tokio::spawn(Uplink::new(gateway, broker, spool.clone()).run(finishing, Watchdog::default().heartbeat().pulse("uplink")));
    Bench { dir, spool, finish, uplink, seen }
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
    tokio::time::sleep(Duration::from_millis(100)).await;
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
    let bench = bench(2, 1, [quota, Answer::Refuse(r#"{"faults":[{"code":"quality"}]}"#)]).await;
    bench.until_empty().await;
    let (seen, left, dir) = bench.finish().await;
    assert_eq!(seen.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(), [r#"{"seq":1}"#, r#"{"seq":1}"#, r#"{"seq":2}"#]);
    assert_eq!(left, 0);
    let refused = std::fs::read_to_string(dir.path().join("refused/0000000000000000-b7-1.json")).unwrap();
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(refused["faults"]["faults"][0]["code"], "quality");
    assert_eq!(refused["reason"], "0x99 payload format invalid");
}
