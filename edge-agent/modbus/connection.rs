//! One connection: a request, its answer, and no way for an answer to be taken for that of another request.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::frame::{Asked, Framing};
use super::overdue::Overdue;
use super::request::{Answer, ReadRequest};
use super::stream::{self, Transport};
use super::trouble::{ReadTrouble, Unreachable};
use crate::bus::{Address, BusSettings};

/// A bus that does not fall silent for so long is given up.
const BABBLE_MAX: Duration = Duration::from_secs(1);
/// Bytes between start and stop bit, the longest way that a character is sent.
const BITS_PER_CHARACTER: u32 = 11;
/// Above this rate the silence between frames no longer shrinks (Modbus over serial line 1.02).
const BAUD_SHORTEST_SILENCE: u32 = 19_200;
/// USB adapters and serial servers pass bytes on in lumps: a pause within an answer may be as long.
const LUMP_SERIAL: Duration = Duration::from_millis(20);
const LUMP_TCP: Duration = Duration::from_millis(50);

pub struct Connection {
    stream: Box<dyn Transport>,
    framing: Framing,
    transaction: u16,
    /// RTU: kept between frames.
    silence: Duration,
    /// RTU: after so much silence nothing more of an answer comes.
    end_of_answer: Duration,
    quiet_since: Instant,
    /// Something may still come that belongs to a request of before.
    unclean: bool,
    broken: bool,
    overdue: Overdue,
    out: Vec<u8>,
    received: Vec<u8>,
}

impl Connection {
    pub async fn open(address: &Address, settings: &BusSettings, limit: Duration) -> Result<Connection, Unreachable> {
        let stream = stream::open(address, settings, limit).await?;
        let framing = if address.rtu_frames() { Framing::Rtu } else { Framing::Tcp };
        let (silence, lump) = match address {
            Address::Rtu { .. } => (settings.turnaround.unwrap_or_else(|| silence(settings.baud)), LUMP_SERIAL),
            _ => (settings.turnaround.unwrap_or_default(), LUMP_TCP),
        };
        Ok(Connection {
            stream,
            framing,
            transaction: 0,
            silence,
            end_of_answer: silence + lump,
            quiet_since: Instant::now(),
            // What a machine answered to the one before us may still be on its way.
            unclean: framing == Framing::Rtu,
            broken: false,
            overdue: Overdue::default(),
            out: Vec::with_capacity(16),
            received: Vec::new(),
        })
    }

    /// What was owed on the connection before this one: a serial server passes on to whoever is connected what a machine answers.
    pub(super) fn owed_before(mut self, overdue: Overdue) -> Connection {
        self.overdue = overdue;
        self
    }

    pub(super) fn into_overdue(self) -> Overdue {
        self.overdue
    }

    /// Whether another request makes sense. Over TCP it does not after anything but an answer: reconnect.
    pub fn usable(&self) -> bool {
        !self.broken && (self.framing == Framing::Rtu || !self.unclean)
    }

    /// Asks a unit. Every error but an exception means that nothing was learnt, least of all a value.
    pub async fn read(&mut self, unit_id: u8, request: &ReadRequest, limit: Duration) -> Result<Answer, ReadTrouble> {
        if !self.usable() {
            return Err(ReadTrouble::Closed);
        }
        if self.framing == Framing::Rtu
            && let Some(question) = self.overdue.question(unit_id, request, Instant::now())
        {
            match self.ask(unit_id, &question, limit).await {
                Ok(_) | Err(ReadTrouble::Exception(_)) => self.overdue.answered(unit_id),
                Err(trouble) => return Err(trouble),
            }
        }
        self.ask(unit_id, request, limit).await
    }

    async fn ask(&mut self, unit_id: u8, request: &ReadRequest, limit: Duration) -> Result<Answer, ReadTrouble> {
        if self.framing == Framing::Rtu {
            self.fall_silent().await?;
        }
        self.transaction = self.transaction.wrapping_add(1);
        let asked = Asked { framing: self.framing, unit_id, transaction: self.transaction, request: *request };
        // Also true if this future is dropped half-way.
        self.unclean = true;
        let answered = timeout_at(Instant::now() + limit, self.exchange(&asked)).await;
        let answered = answered.unwrap_or(Err(if self.received.is_empty() { ReadTrouble::Timeout } else { ReadTrouble::Short }));
        self.quiet_since = Instant::now();
        match answered {
            Ok(answer) => answer,
            Err(trouble) => {
                self.broken = matches!(trouble, ReadTrouble::Closed | ReadTrouble::Broken(_));
                // A frame of the length, unit and function that were asked for is the answer, spoilt, where no other could come.
                let spoilt = trouble == ReadTrouble::Crc && !self.overdue.any(self.quiet_since);
                if self.framing == Framing::Rtu && !spoilt {
                    self.overdue.add(unit_id, request, self.quiet_since);
                }
                Err(trouble)
            }
        }
    }

    async fn exchange(&mut self, asked: &Asked) -> Result<Result<Answer, ReadTrouble>, ReadTrouble> {
        self.out.clear();
        self.received.clear();
        asked.write_to(&mut self.out);
        self.stream.write_all(&self.out).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        loop {
            self.receive().await?;
            if let Some(answered) = asked.answered(&self.received)? {
                self.unclean = self.received.len() > answered.length;
                return Ok(answered.said);
            }
        }
    }

    async fn receive(&mut self) -> Result<(), ReadTrouble> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) => Err(ReadTrouble::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(broken(error)),
        }
    }

    /// Keeps the silence between frames, and after a failure waits until nothing more comes.
    async fn fall_silent(&mut self) -> Result<(), ReadTrouble> {
        if !self.silence.is_zero() {
            sleep_until(self.quiet_since + self.silence).await;
        }
        self.received.clear();
        if !self.unclean {
            // A zero timeout still looks once: whatever came unasked belongs to nobody.
            match timeout(Duration::ZERO, self.receive()).await {
                Err(_) => return Ok(()),
                Ok(received) => received.inspect_err(|_| self.broken = true)?,
            }
        }
        let until = Instant::now() + BABBLE_MAX;
        self.unclean = true;
        while let Ok(received) = timeout(self.end_of_answer, self.receive()).await {
            received.inspect_err(|_| self.broken = true)?;
            self.received.clear();
            if Instant::now() >= until {
                return Err(ReadTrouble::Garbage);
            }
        }
        self.unclean = false;
        Ok(())
    }
}

/// 3.5 characters, and never less than 1.75 ms.
fn silence(baud: u32) -> Duration {
    if baud > BAUD_SHORTEST_SILENCE {
        return Duration::from_micros(1_750);
    }
    Duration::from_secs_f64(3.5 * f64::from(BITS_PER_CHARACTER) / f64::from(baud.max(1)))
}

fn broken(error: std::io::Error) -> ReadTrouble {
    ReadTrouble::Broken(error.to_string())
}
