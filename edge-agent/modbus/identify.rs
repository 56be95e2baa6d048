//! Who a machine is: what it says itself, by function code 43/14 and in its registers, goes before what is configured.

use std::time::Duration;

use tokio::time::Instant;
use wire::limits;

use super::line::Line;
use super::request::{Answer, IdentityLevel, IdentityObjects, ReadRequest};
use super::trouble::ReadTrouble;
use crate::device::Device;
use crate::identity::IdentityField;
use crate::point::Block;
use crate::report::Identity;

const ASK_EVERY: Duration = Duration::from_secs(3600);
const TELL_EVERY: Duration = Duration::from_secs(24 * 3600);
/// A machine that always has more to say is not listened to for ever.
const ANSWERS_MAX: usize = 16;

// Objects of function code 43/14.
const VENDOR_NAME: u8 = 0;
const PRODUCT_CODE: u8 = 1;
const PRODUCT_NAME: u8 = 4;
const MODEL_NAME: u8 = 5;

/// What is known of a machine's identity, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Identifier {
    /// What the machine itself said when it was last asked; `None` while nobody knows.
    said: Option<Identity>,
    ask_at: Option<Instant>,
    loss_count: u64,
    told: Option<(Identity, Instant)>,
    /// The machine says something else than it did, and that has not been told.
    changed: bool,
}

/// What the next entry tells.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    pub identity: Identity,
    /// As the event says it.
    pub change: Option<String>,
}

impl Identifier {
    /// The machine was gone: whoever answers now may be another.
    pub fn doubt(&mut self) {
        self.ask_at = None;
    }

    /// Asks where it is time to: at first, each hour, and after the machine or the connection was gone.
    pub async fn ask(&mut self, line: &mut Line, device: &Device) {
        let (now, loss_count) = (Instant::now(), line.loss_count());
        if self.loss_count == loss_count && self.ask_at.is_some_and(|at| now < at) {
            return;
        }
        if let Ok(said) = ask(line, device).await {
            self.changed |= self.said.as_ref().is_some_and(|before| *before != said);
            self.said = Some(said);
        }
        // A machine that did not answer this question is left in peace with it, whatever happened to the connection by asking, and no
        // other machine of this line is asked who it is because of that.
        self.ask_at = Some(now + ASK_EVERY);
        line.forgive(loss_count);
        self.loss_count = loss_count;
    }

    /// The identity stands in the first entry, in the first after a change, and once a day.
    pub fn tell(&mut self, device: &Device, now: Instant) -> Told {
        let identity = self.said.as_ref().map_or_else(|| device.identity.clone(), |said| device.identity.updated(said));
        let change = match &self.told {
            Some((before, _)) if *before != identity && self.changed => {
                Some(format!("{}: {} → {}", device.name, shown(before), shown(&identity)))
            }
            _ => None,
        };
        self.changed = false;
        match &self.told {
            Some((before, at)) if *before == identity && now.duration_since(*at) < TELL_EVERY => Told::default(),
            _ => {
                self.told = Some((identity.clone(), now));
                Told { identity, change }
            }
        }
    }
}

fn shown(identity: &Identity) -> String {
    let said: Vec<&str> = [&identity.vendor, &identity.model, &identity.serial].into_iter().flatten().map(String::as_str).collect();
    if said.is_empty() { "-".to_string() } else { said.join(" / ") }
}

/// An exception is an answer: the machine says nothing of itself. Silence and nonsense leave open who it is.
async fn ask(line: &mut Line, device: &Device) -> Result<Identity, ReadTrouble> {
    let mut identity = Identity::default();
    if device.identify {
        for (id, said) in objects(line, device).await? {
            let said: String = said.chars().filter(|c| !c.is_control()).take(limits::TEXT_CHARS_MAX).collect();
            match (id, said.trim()) {
                (_, "") => {}
                (VENDOR_NAME, said) => identity.set(IdentityField::Vendor, said.to_string()),
                // In this order the last one is the most telling.
                (PRODUCT_CODE | PRODUCT_NAME | MODEL_NAME, said) => identity.set(IdentityField::Model, said.to_string()),
                _ => {}
            }
        }
    }
    for point in &device.identity_points {
        let request = ReadRequest::Values { table: point.table, address: point.address, quantity: point.quantity };
        let said = match line.read(device.unit_id, &request, device.timeout).await {
            Ok(Answer::Block(Block::Words(words))) => point.decode(&words).ok().flatten(),
            Ok(_) | Err(ReadTrouble::Exception(_)) => None,
            Err(trouble) => return Err(trouble),
        };
        if let Some(said) = said {
            identity.set(point.field, said);
        }
    }
    Ok(identity)
}

/// The basic objects, and the regular ones where there are any, sorted by their numbers.
async fn objects(line: &mut Line, device: &Device) -> Result<Vec<(u8, String)>, ReadTrouble> {
    let mut objects = Vec::new();
    let (mut level, mut object) = (IdentityLevel::Basic, 0);
    for _ in 0..ANSWERS_MAX {
        let request = ReadRequest::Identification { level, object };
        let said: IdentityObjects = match line.read(device.unit_id, &request, device.timeout).await {
            Ok(Answer::Identity(said)) => said,
            Ok(_) | Err(ReadTrouble::Exception(_)) => {
                // Some servers that do not know the function leave the rest of the request unread, and take it for the next one.
                line.renew();
                break;
            }
            Err(trouble) => return Err(trouble),
        };
        objects.extend(said.objects);
        match said.next_object {
            Some(next) => object = next,
            None if level == IdentityLevel::Basic && said.regular => (level, object) = (IdentityLevel::Regular, 0),
            None => break,
        }
    }
    objects.sort();
    objects.dedup();
    Ok(objects)
}
