//! Batches of reports over HTTP, compressed beforehand, on several connections that stay open.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::Utc;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fleet::one_thread;
use super::process::{Cost, Costs, Process};
use super::reports::{Entries, supplier_report};
use super::sender::Measured;
use super::site::enterprise;
use super::window::Window;

/// A supplier speaks of so many enterprises.
pub(super) const ENTERPRISES: usize = 10;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a refused pusher waits, much less than it is told to.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Requests' bodies: JSON lists in gzip. Each is sent once.
pub(super) struct Batches {
    bodies: Vec<Vec<u8>>,
    reports_each: usize,
    report_bytes: usize,
    next: AtomicUsize,
}

impl Batches {
    pub(super) fn prepare(count: usize, reports_each: usize, devices: u16) -> Result<Batches> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = count.div_ceil(threads).max(1);
        let numbers: Vec<usize> = (0..count).collect();
        let bodies: Result<Vec<Vec<Vec<u8>>>> = std::thread::scope(|scope| {
            let shares: Vec<_> = numbers
                .chunks(share)
                .map(|numbers| scope.spawn(move || numbers.iter().map(|number| batch(*number, reports_each, devices)).collect()))
                .collect();
            shares.into_iter().map(|share| share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let report_bytes = supplier_report(0, &enterprise(0), &mut entries(0, devices), Utc::now()).len();
        Ok(Batches { bodies: bodies?.into_iter().flatten().collect(), reports_each, report_bytes, next: AtomicUsize::new(0) })
    }

    fn next(&self) -> Option<&[u8]> {
        self.bodies.get(self.next.fetch_add(1, Ordering::Relaxed)).map(Vec::as_slice)
    }

    /// All are to be sent again, to another service.
    pub(super) fn rewind(&self) {
        self.next.store(0, Ordering::Relaxed);
    }

    pub(super) fn compressed_share(&self) -> f64 {
        let bytes: usize = self.bodies.iter().map(Vec::len).sum();
        bytes as f64 / (self.bodies.len() * self.reports_each * self.report_bytes).max(1) as f64
    }
}

/// Each enterprise has devices of its own, and each batch other values.
fn entries(number: usize, devices: u16) -> Entries {
    let first = (number % ENTERPRISES) as u64 * u64::from(devices);
    Entries::new(devices, first..first + u64::from(devices), number as u64)
}

fn batch(number: usize, reports: usize, devices: u16) -> Result<Vec<u8>> {
    let (enterprise, mut entries) = (enterprise(number % ENTERPRISES), entries(number, devices));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    for i in 0..reports {
        gzip.write_all(if i == 0 { b"[" } else { b"," })?;
        gzip.write_all(&supplier_report((number * reports + i) as u64, &enterprise, &mut entries, Utc::now()))?;
    }
    gzip.write_all(b"]")?;
    Ok(gzip.finish()?)
}

pub(super) struct Pushers {
    pub(super) address: SocketAddr,
    pub(super) key: String,
    pub(super) connections: u16,
    pub(super) batches: Arc<Batches>,
    pub(super) seconds: f64,
    pub(super) served_by: Option<Process>,
}

#[derive(Clone, Default)]
pub(super) struct Pushed {
    /// Latencies are those of requests.
    pub(super) measured: Measured,
    /// Answers 429 and 503, and those of them that did not say when to come back.
    pub(super) too_many: u64,
    pub(super) unavailable: u64,
    pub(super) without_retry_after: u64,
    pub(super) seconds: f64,
    pub(super) cost: Cost,
}

impl Pushers {
    pub(super) fn run(self) -> Result<Pushed> {
        one_thread()?.block_on(self.work())
    }

    async fn work(self) -> Result<Pushed> {
        let mut connected = Vec::new();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.address).await.context("connecting")?;
            stream.set_nodelay(true)?;
            connected.push(stream);
        }
        let costs = Costs::from_now(self.served_by);
        let window = Window::of(Duration::from_secs_f64(self.seconds));
        let pushing: Vec<_> = connected
            .into_iter()
            .map(|stream| {
                let pusher = Pusher { stream, key: self.key.clone(), address: self.address, batches: self.batches.clone() };
                tokio::spawn(pusher.run(window.clone()))
            })
            .collect();
        let mut all = Pushed::default();
        all.measured.report_bytes = self.batches.report_bytes;
        for pusher in pushing {
            let pushed = pusher.await??;
            all.measured.merge(&pushed.measured);
            all.too_many += pushed.too_many;
            all.unavailable += pushed.unavailable;
            all.without_retry_after += pushed.without_retry_after;
        }
        all.seconds = window.length().as_secs_f64();
        all.cost = costs.until_now();
        Ok(all)
    }
}

struct Pusher {
    stream: TcpStream,
    key: String,
    address: SocketAddr,
    batches: Arc<Batches>,
}

impl Pusher {
    async fn run(mut self, window: Window) -> Result<Pushed> {
        let batches = self.batches.clone();
        let mut pushed = Pushed::default();
        let (mut out, mut input) = (Vec::new(), Vec::new());
        let mut waiting = None;
        while Instant::now() < window.end() {
            let Some(body) = waiting.or_else(|| batches.next()) else {
                window.close(Instant::now());
                break;
            };
            out.clear();
            write!(
                out,
                "POST /api/v1/reports HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                self.address,
                self.key,
                body.len()
            )?;
            out.extend_from_slice(body);
            let sent_at = Instant::now();
            self.stream.write_all(&out).await?;
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.answer(&mut input)).await.context("no answer")??;
            waiting = None;
            match answer.status {
                200 => {
                    let now = Instant::now();
                    pushed.measured.latencies.add(now - sent_at);
                    pushed.measured.accepted += answer.accepted;
                    pushed.measured.accepted_in_time += if now <= window.end() { answer.accepted } else { 0 };
                    pushed.measured.refused += batches.reports_each as u64 - answer.accepted;
                }
                429 | 503 => {
                    pushed.too_many += u64::from(answer.status == 429);
                    pushed.unavailable += u64::from(answer.status == 503);
                    pushed.without_retry_after += u64::from(!answer.retry_after);
                    waiting = Some(body);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                status => bail!("the service answers {status}: {}", String::from_utf8_lossy(&input)),
            }
        }
        Ok(pushed)
    }

    async fn answer(&mut self, input: &mut Vec<u8>) -> Result<Answer> {
        input.clear();
        loop {
            if self.stream.read_buf(input).await? == 0 {
                bail!("the service closed the connection");
            }
            if let Some(answer) = answer(input)? {
                return Ok(answer);
            }
        }
    }
}

struct Answer {
    status: u16,
    retry_after: bool,
    accepted: u64,
}

/// A whole answer; `None` while something of it is missing.
fn answer(input: &[u8]) -> Result<Option<Answer>> {
    let Some(head_end) = input.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&input[..head_end])?;
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.split_once(':').filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()))
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| head.to_string())?;
    let length: usize = field("content-length").and_then(|length| length.parse().ok()).context("an answer without its length")?;
    let Some(body) = input.get(head_end + 4..head_end + 4 + length) else { return Ok(None) };
    let accepted = std::str::from_utf8(body)?.matches(r#""status":"accepted""#).count() as u64;
    Ok(Some(Answer { status, retry_after: field("retry-after").is_some(), accepted }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use serde_json::Value;
    use std::collections::BTreeSet;
    use std::io::Read;

    #[test]
    fn every_report_of_every_batch_has_an_id_of_its_own() {
        let batches = Batches::prepare(5, 4, 2).unwrap();
        let mut ids = BTreeSet::new();
        while let Some(body) = batches.next() {
            let mut text = String::new();
            GzDecoder::new(body).read_to_string(&mut text).unwrap();
            let list: Value = serde_json::from_str(&text).unwrap();
            ids.extend(list.as_array().unwrap().iter().map(|report| report["id"].to_string()));
        }
        assert_eq!(ids.len(), 20);
        batches.rewind();
        assert!(batches.next().is_some());
    }

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n[{\"status\":\"accepted\"},{\"status\":\"refuse\"}]";
        let whole = whole.replace("41", &whole.split("\r\n\r\n").nth(1).unwrap().len().to_string());
        for cut in 0..whole.len() {
            assert!(answer(&whole.as_bytes()[..cut]).unwrap().is_none());
        }
        let read = answer(whole.as_bytes()).unwrap().unwrap();
        assert_eq!((read.status, read.accepted, read.retry_after), (200, 1, false));
        let busy = answer(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n").unwrap().unwrap();
        assert_eq!((busy.status, busy.retry_after), (503, true));
    }
}
