//! The owner of a bus: one request at a time, each device on its own grid of time.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::line::Line;
use super::polled::{Outcome, Polled};
use super::state::DeviceStates;
use crate::bus::{Address, BusSettings};
use crate::clock::Clock;
use crate::device::Device;
use crate::report::Item;

/// Entries that wait here for each device while the reporter is busy, for instance with a slow disk. Beyond them nothing is read: a
/// poll that is skipped and counted is honest, a reading that is thrown away is not.
const WAITING_PER_DEVICE_MAX: usize = 4;

/// Polls the devices behind one address for ever; ends when nobody takes the entries any more.
pub async fn poll(
    address: Address,
    settings: BusSettings,
    devices: Vec<Device>,
    clock: Arc<dyn Clock>,
    states: DeviceStates,
    items: mpsc::Sender<Item>,
) {
    let mut line = Line::new(address, settings);
    let alone = devices.len() == 1;
    let waiting_max = WAITING_PER_DEVICE_MAX * devices.len();
    let started = Instant::now();
    let mut polled: Vec<Polled> = devices.into_iter().map(|device| Polled::new(device, started, alone, states.clone())).collect();
    let mut waiting: VecDeque<Item> = VecDeque::new();
    while let Some(next) = polled.iter_mut().min_by_key(|polled| polled.ready_at) {
        // Entries carry the time at which they were read: that they wait here changes nothing.
        tokio::select! {
            biased;
            permit = items.reserve(), if !waiting.is_empty() => {
                let Ok(permit) = permit else { return };
                if let Some(item) = waiting.pop_front() {
                    permit.send(item);
                }
                continue;
            }
            () = sleep_until(next.ready_at) => {}
        }
        if waiting.len() >= waiting_max {
            next.skip(Instant::now());
            continue;
        }
        match next.poll(&mut line, &*clock).await {
            Outcome::Again => next.ready_at = Instant::now(),
            Outcome::Said(said) => {
                waiting.extend(said);
                next.advance(Instant::now());
            }
        }
        if items.is_closed() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "poll_tests.rs"]
mod tests;
