//! One connection that sends reports and knows what became of each, with as few system calls as go.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::latencies::Latencies;
use super::packets::{Protocol, answers, connected, first_packet};
use super::reports::Reports;
use super::window::Window;

const READ_BYTES: usize = 64 << 10;
/// Sent bytes are dropped from the buffer once they are this many.
const SENT_BYTES_MAX: usize = 1 << 20;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How a connection sends.
pub(super) struct Plan {
    pub(super) user: String,
    pub(super) client_id: String,
    pub(super) token: String,
    pub(super) in_flight: u16,
    pub(super) pace: Option<Pace>,
    pub(super) reports: Box<dyn Reports>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) every: Duration,
    /// After the beginning; senders that begin one after the other do not all send at once.
    pub(super) first_after: Duration,
}

#[derive(Clone, Default)]
pub(super) struct Measured {
    pub(super) accepted: u64,
    /// Answered before the window ended.
    pub(super) accepted_in_time: u64,
    pub(super) refused: u64,
    /// Due by its pace before the window ended, sent or not; without a pace what was sent.
    pub(super) offered: u64,
    pub(super) report_bytes: usize,
    /// From when a report was to be sent, or without a pace was sent, to its answer.
    pub(super) latencies: Latencies,
}

impl Measured {
    pub(super) fn merge(&mut self, other: &Measured) {
        self.accepted += other.accepted;
        self.accepted_in_time += other.accepted_in_time;
        self.refused += other.refused;
        self.offered += other.offered;
        self.report_bytes = self.report_bytes.max(other.report_bytes);
        self.latencies.merge(&other.latencies);
    }
}

/// Connects and says who we are; the connection stays silent afterwards.
pub(super) async fn connect(address: SocketAddr, hello: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(hello).await?;
    let mut input = Vec::with_capacity(256);
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed instead of accepted"));
        }
        if let Some((first, rest, _)) = first_packet(&input) {
            return connected(first, rest).map(|()| stream);
        }
    }
}

pub(super) struct Sender {
    stream: TcpStream,
    plan: Plan,
    window: Window,
    measured: Measured,
    /// By packet id: what its latency counts from.
    counts_from: Vec<Instant>,
    free: Vec<u16>,
    due_at: Instant,
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    sent: usize,
    input: Vec<u8>,
    /// Bytes of `input` that hold the beginning of a packet.
    left: usize,
    heard_at: Instant,
}

impl Sender {
    pub(super) async fn connect(address: SocketAddr, protocol: Protocol, plan: Plan) -> io::Result<impl FnOnce(Window) -> Sender> {
        let stream = connect(address, &protocol.connect(&plan.client_id, &plan.user, &plan.token)).await?;
        Ok(move |window: Window| Sender::new(stream, plan, window))
    }

    fn new(stream: TcpStream, plan: Plan, window: Window) -> Sender {
        let began = window.began();
        Sender {
            stream,
            measured: Measured { report_bytes: plan.reports.report_bytes(), ..Measured::default() },
            counts_from: vec![began; usize::from(plan.in_flight) + 1],
            free: (1..=plan.in_flight).rev().collect(),
            due_at: began + plan.pace.map_or(Duration::ZERO, |pace| pace.first_after),
            plan,
            window,
            out: Vec::new(),
            sent: 0,
            input: vec![0; READ_BYTES],
            left: 0,
            heard_at: began,
        }
    }

    /// Sends until the window ends, and waits for the answers to everything that was sent.
    pub(super) async fn run(mut self) -> io::Result<Measured> {
        loop {
            let now = Instant::now();
            let end = self.window.end();
            self.fill(now, end);
            self.send()?;
            let idle = self.free.len() == usize::from(self.plan.in_flight);
            if now >= end && idle {
                break;
            }
            if !idle && now > self.heard_at + ANSWER_TIMEOUT {
                return Err(io::Error::new(ErrorKind::TimedOut, "the door does not answer"));
            }
            let wake_at = self.wake_at(now, end);
            tokio::select! {
                biased;
                ready = self.stream.readable() => {
                    ready?;
                    self.take_answers()?;
                }
                ready = self.stream.writable(), if self.sent < self.out.len() => ready?,
                () = tokio::time::sleep_until(wake_at.into()) => {}
            }
        }
        if let Some(pace) = self.plan.pace {
            let paced = self.window.length().saturating_sub(pace.first_after);
            self.measured.offered = (paced.as_secs_f64() / pace.every.as_secs_f64()) as u64;
        }
        Ok(self.measured)
    }

    fn wake_at(&self, now: Instant, end: Instant) -> Instant {
        let look_again = self.heard_at.max(now) + ANSWER_TIMEOUT;
        match self.plan.pace {
            _ if now >= end => look_again,
            Some(_) if !self.free.is_empty() => self.due_at.min(end),
            _ => end.min(look_again),
        }
    }

    /// Writes what is due and may be sent into the buffer.
    fn fill(&mut self, now: Instant, end: Instant) {
        if now >= end || self.free.is_empty() || (self.plan.pace.is_some() && self.due_at > now) {
            return;
        }
        if self.out.len() == self.sent {
            self.out.clear();
            self.sent = 0;
        } else if self.sent > SENT_BYTES_MAX {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        let wall = Utc::now();
        while let Some(packet_id) = self.free.pop() {
            if !self.plan.reports.append(&mut self.out, packet_id, wall) {
                self.free.push(packet_id);
                self.window.close(now);
                return;
            }
            self.measured.offered += 1;
            self.counts_from[usize::from(packet_id)] = match self.plan.pace {
                None => now,
                Some(pace) => {
                    let due_at = self.due_at;
                    self.due_at += pace.every;
                    due_at
                }
            };
            if self.plan.pace.is_some() && self.due_at > now {
                return;
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.stream.try_write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_answers(&mut self) -> io::Result<()> {
        let count = match self.stream.try_read(&mut self.input[self.left..]) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the door closed the connection")),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        let in_time = now <= self.window.end();
        self.heard_at = now;
        let come = self.left + count;
        let (counts_from, measured, free) = (&self.counts_from, &mut self.measured, &mut self.free);
        let read = answers(&self.input[..come], |answer| {
            let Some(from) = counts_from.get(usize::from(answer.packet_id)) else { return };
            measured.latencies.add(now.saturating_duration_since(*from));
            measured.accepted += u64::from(answer.accepted);
            measured.accepted_in_time += u64::from(answer.accepted && in_time);
            measured.refused += u64::from(!answer.accepted);
            free.push(answer.packet_id);
        })?;
        self.input.copy_within(read..come, 0);
        self.left = come - read;
        Ok(())
    }
}
