//! Packets before they are decoded: where one ends, and what the standard forbids though the codec lets it pass.

use super::ending::Ending;

const CONNECT: u8 = 0x10;
const SUBSCRIBE: u8 = 0x82;
const PINGREQ: u8 = 0xC0;
const DISCONNECT: u8 = 0xE0;

/// A whole packet at the front of what has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) first: u8,
    /// Bytes of the fixed header, and of all that follows it.
    head: usize,
    body: usize,
}

/// What a CONNECT names as its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V3,
    V5,
    /// MQTT of some other level.
    Other,
}

impl Frame {
    /// Finds the end of the first packet; `None` while it has not come whole.
    pub(super) fn at_front(input: &[u8], bytes_max: usize) -> Result<Option<Frame>, Ending> {
        let Some((&first, rest)) = input.split_first() else { return Ok(None) };
        let mut body = 0;
        for (at, &byte) in rest.iter().enumerate() {
            if at == 4 {
                break;
            }
            body |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                let head = at + 2;
                if head + body > bytes_max {
                    return Err(Ending::PacketTooLarge);
                }
                return Ok((input.len() >= head + body).then_some(Frame { first, head, body }));
            }
        }
        // The length has at most four bytes.
        if rest.len() < 4 { Ok(None) } else { Err(Ending::Malformed) }
    }

    /// The version of a CONNECT; anything else is no way to begin.
    pub(super) fn version(self, input: &[u8]) -> Result<Version, Ending> {
        if self.first != CONNECT {
            return Err(Ending::Protocol);
        }
        match self.of(input) {
            [0, 4, b'M', b'Q', b'T', b'T', 4, ..] => Ok(Version::V3),
            [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Ok(Version::V5),
            [0, 4, b'M', b'Q', b'T', b'T', _, ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => Ok(Version::Other),
            _ => Err(Ending::Malformed),
        }
    }

    /// Looks for what the codec does not.
    pub(super) fn check(self, input: &[u8], version_5: bool) -> Result<(), Ending> {
        let body = self.of(input);
        let sound = match self.first {
            PINGREQ => body.is_empty(),
            DISCONNECT => version_5 || body.is_empty(),
            CONNECT => connect_sound(body, version_5),
            // MQTT 5's options are checked by the codec.
            SUBSCRIBE => version_5 || subscribe_sound(body),
            // A packet of QoS 0 is never sent twice.
            0x38 | 0x39 => false,
            _ => true,
        };
        if sound { Ok(()) } else { Err(Ending::Malformed) }
    }

    fn of(self, input: &[u8]) -> &[u8] {
        input.get(self.head..self.head + self.body).unwrap_or(&[])
    }
}

/// Nothing follows the last field; a will's QoS needs a will, and in MQTT 3.1.1 a password a user name. No field of text has a NUL.
fn connect_sound(body: &[u8], version_5: bool) -> bool {
    const FLAGS_AT: usize = 7;
    let Some(&flags) = body.get(FLAGS_AT) else { return false };
    let has = |flag: u8| flags & flag != 0;
    let (user, password, will_terms, will) = (has(0x80), has(0x40), has(0x38), has(0x04));
    if (will_terms && !will) || (password && !user && !version_5) {
        return false;
    }
    let mut walk = Walk { rest: body.get(FLAGS_AT + 3..).unwrap_or(&[]) };
    let properties = |walk: &mut Walk<'_>| if version_5 { walk.properties() } else { Some(()) };
    let fields = |walk: &mut Walk<'_>| {
        properties(walk)?;
        walk.text()?;
        if will {
            properties(walk)?;
            walk.text()?;
            walk.field()?;
        }
        if user {
            walk.text()?;
        }
        if password {
            walk.field()?;
        }
        Some(())
    };
    fields(&mut walk).is_some() && walk.rest.is_empty()
}

/// MQTT 3.1.1 reserves six bits of the QoS asked for.
fn subscribe_sound(body: &[u8]) -> bool {
    let mut walk = Walk { rest: body.get(2..).unwrap_or(&[]) };
    while !walk.rest.is_empty() {
        match walk.text().and_then(|()| walk.take(1)) {
            Some(&[qos]) if qos <= 2 => {}
            _ => return false,
        }
    }
    true
}

/// Walks over the fields of a packet.
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<&'a [u8]> {
        let &[high, low] = self.take(2)? else { return None };
        self.take(usize::from(u16::from_be_bytes([high, low])))
    }

    fn text(&mut self) -> Option<()> {
        self.field().filter(|text| !text.contains(&0)).map(drop)
    }

    fn properties(&mut self) -> Option<()> {
        let mut bytes = 0;
        for shift in [0, 7, 14, 21] {
            let &[byte] = self.take(1)? else { return None };
            bytes |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return self.take(bytes).map(drop);
            }
        }
        None
    }
}
