//! When a connection has kept the door waiting too long.

use std::time::Duration;

use tokio::time::Instant;

use super::ending::Ending;

pub(super) struct Watch {
    idle_max: Duration,
    stall_max: Duration,
    heard_at: Instant,
    /// Since when the packet that has begun is awaited.
    begun_at: Option<Instant>,
    reading: bool,
}

impl Watch {
    pub(super) fn new(idle_max: Duration, stall_max: Duration, now: Instant) -> Watch {
        Watch { idle_max, stall_max, heard_at: now, begun_at: None, reading: true }
    }

    /// Bytes have come and were dealt with: `packets` whole ones, and perhaps the `beginning` of another.
    pub(super) fn heard(&mut self, packets: usize, beginning: bool, now: Instant) {
        self.heard_at = now;
        self.begun_at = match self.begun_at {
            _ if !beginning => None,
            Some(begun_at) if packets == 0 => Some(begun_at),
            _ => Some(now),
        };
    }

    /// While the door itself does not read nothing can be awaited.
    pub(super) fn read(&mut self, reading: bool, now: Instant) {
        if reading && !self.reading {
            self.heard_at = now;
            self.begun_at = self.begun_at.map(|_| now);
        }
        self.reading = reading;
    }

    /// So long the bytes that are read now have waited for the door.
    pub(super) fn waited(&mut self, time: Duration) {
        self.begun_at = self.begun_at.map(|begun_at| begun_at + time);
    }

    /// The moment at which patience ends, and what for.
    pub(super) fn until(&self) -> (Instant, Ending) {
        let silent = (self.heard_at + self.idle_max, Ending::KeepAlive);
        match self.begun_at.map(|begun_at| begun_at + self.stall_max) {
            Some(until) if until < silent.0 => (until, Ending::Stalled),
            _ => silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(90);
    const STALL: Duration = Duration::from_secs(30);

    #[test]
    fn bytes_that_never_make_a_packet_do_not_prolong_its_time() {
        let start = Instant::now();
        let mut watch = Watch::new(IDLE, STALL, start);
        assert_eq!(watch.until(), (start + IDLE, Ending::KeepAlive));
        watch.heard(0, true, start);
        for second in 1..20 {
            watch.heard(0, true, start + Duration::from_secs(second));
        }
        assert_eq!(watch.until(), (start + STALL, Ending::Stalled));
        // A packet is whole and another begins: its time is its own.
        let later = start + Duration::from_secs(20);
        watch.heard(1, true, later);
        assert_eq!(watch.until(), (later + STALL, Ending::Stalled));
        watch.heard(1, false, later);
        assert_eq!(watch.until(), (later + IDLE, Ending::KeepAlive));
    }

    #[test]
    fn the_time_in_which_the_door_does_not_read_is_not_the_clients() {
        let start = Instant::now();
        let mut watch = Watch::new(IDLE, STALL, start);
        watch.heard(0, true, start);
        watch.read(false, start);
        let later = start + Duration::from_secs(300);
        watch.read(true, later);
        assert_eq!(watch.until(), (later + STALL, Ending::Stalled));
        watch.waited(Duration::from_secs(20));
        watch.heard(0, true, later + Duration::from_secs(25));
        assert_eq!(watch.until(), (later + Duration::from_secs(20) + STALL, Ending::Stalled));
    }
}
