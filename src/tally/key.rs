//! Keys of stored facts as bytes: what is read together stands together. A name is its length and its bytes, so that no name is the
//! beginning of another; the order of names is no order for people.

use chrono::TimeDelta;
use policy::calendar::Day;
use policy::facts::{Channel, UsageKey};
use wire::identity::IdentityKey;

use crate::encode::DecodeError;

/// The first byte of every key says what it is the key of.
pub mod kind {
    /// What carriers said: enterprise, product, day, line.
    pub const CARRIER_DAY: u8 = b'c';
    /// Readings: enterprise, day, device.
    pub const DEVICE_DAY: u8 = b'd';
    /// Hours of days in short: stretch of 32 days, enterprise, device.
    pub const DEVICE_HOURS: u8 = b'h';
    /// Usage: enterprise, product, day, user, function module, channel.
    pub const USAGE_DAY: u8 = b'u';
    /// Numbers that a gateway used: gateway, boot, first number.
    pub const SEQUENCE: u8 = b's';
    /// Ids that suppliers and carriers used.
    pub const ID: u8 = b'i';
}

/// Writes a key, part by part.
#[derive(Clone, Debug, Default)]
pub struct Key(pub Vec<u8>);

impl Key {
    pub fn begin(&mut self, kind: u8) -> &mut Key {
        self.0.clear();
        self.0.push(kind);
        self
    }

    pub fn name(&mut self, name: impl AsRef<[u8]>) -> &mut Key {
        let name = name.as_ref();
        match u8::try_from(name.len()) {
            Ok(length) if length < u8::MAX => self.0.push(length),
            _ => {
                self.0.push(u8::MAX);
                self.0.extend_from_slice(&(name.len() as u32).to_be_bytes());
            }
        }
        self.0.extend_from_slice(name);
        self
    }

    pub fn day(&mut self, day: i32) -> &mut Key {
        // The sign bit turned: days before 1970 come first.
        self.0.extend_from_slice(&(day ^ i32::MIN).to_be_bytes());
        self
    }

    pub fn number(&mut self, number: u64) -> &mut Key {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub fn byte(&mut self, byte: u8) -> &mut Key {
        self.0.push(byte);
        self
    }

    /// The first key that does not begin with this one.
    pub fn after_all(&self) -> Vec<u8> {
        let mut key = self.0.clone();
        while let Some(last) = key.pop() {
            if last < u8::MAX {
                key.push(last + 1);
                break;
            }
        }
        key
    }
}

/// Reads a key, part by part.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a>(pub &'a [u8]);

impl<'a> KeyParts<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Key)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Key)
    }

    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn name(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.name_bytes()?).map_err(|_| DecodeError::Key)
    }

    pub fn name_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        match self.byte()? {
            u8::MAX => {
                let length = u32::from_be_bytes(self.array()?);
                self.take(length as usize)
            }
            length => self.take(usize::from(length)),
        }
    }

    pub fn day(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?) ^ i32::MIN)
    }

    pub fn number(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub fn id(&mut self) -> Result<IdentityKey, DecodeError> {
        self.array()
    }
}

/// Days since the beginning of 1970.
pub fn day_number(day: Day) -> i32 {
    // Chrono's days fit by far.
    (day - Day::default()).num_days() as i32
}

pub fn numbered_day(number: i32) -> Result<Day, DecodeError> {
    Day::default().checked_add_signed(TimeDelta::days(i64::from(number))).ok_or(DecodeError::Key)
}

/// Channels as stored.
pub(crate) fn channel_code(channel: Channel) -> u8 {
    match channel {
        Channel::Gateway => 0,
        Channel::Supplier => 1,
    }
}

pub(crate) fn channel(code: u8) -> Result<Channel, DecodeError> {
    match code {
        0 => Ok(Channel::Gateway),
        1 => Ok(Channel::Supplier),
        _ => Err(DecodeError::Key),
    }
}

pub(crate) fn usage_key<'k>(key: &'k mut Key, enterprise: &str, product: &str, usage: &UsageNames<'_>) -> &'k mut Key {
    let UsageNames { day, user, function_module, channel } = *usage;
    key.begin(kind::USAGE_DAY).name(enterprise).name(product).day(day).name(user).name(function_module).byte(channel_code(channel))
}

#[derive(Clone, Copy)]
pub(crate) struct UsageNames<'a> {
    pub(crate) day: i32,
    pub(crate) user: &'a str,
    pub(crate) function_module: &'a str,
    pub(crate) channel: Channel,
}

/// What follows enterprise and product in the key of usage.
pub fn read_usage_key(parts: &mut KeyParts<'_>) -> Result<UsageKey, DecodeError> {
    Ok(UsageKey {
        day: numbered_day(parts.day()?)?,
        user: parts.name()?.to_string(),
        function_module: parts.name()?.to_string(),
        channel: channel(parts.byte()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_gives_its_parts_back_and_stands_in_the_range_of_its_beginning(name in ".{0,80}", long in 250usize..260, day in -40_000i32..3_000_000, number in any::<u64>()) {
            let (mut key, mut begin) = (Key::default(), Key::default());
            let long = "长".repeat(long / 3) + &"x".repeat(long % 3);
            key.begin(b'd').name(&name).name(&long).day(day).number(number).byte(7);
            begin.begin(b'd').name(&name);
            prop_assert!(begin.0 <= key.0 && key.0 < begin.after_all());
            let mut parts = KeyParts(&key.0);
            prop_assert_eq!((parts.byte(), parts.name(), parts.name()), (Ok(b'd'), Ok(&*name), Ok(&*long)));
            prop_assert_eq!((parts.day(), parts.number(), parts.byte(), parts.byte()), (Ok(day), Ok(number), Ok(7), Err(DecodeError::Key)));
            prop_assert_eq!(day_number(numbered_day(day).unwrap()), day);
        }

        #[test]
        fn days_and_numbers_stand_in_their_order(days in (any::<i32>(), any::<i32>()), numbers in (any::<u64>(), any::<u64>())) {
            let key = |day, number| Key::default().day(day).number(number).0.clone();
            let (first, second) = ((days.0, numbers.0), (days.1, numbers.1));
            prop_assert_eq!(key(first.0, first.1).cmp(&key(second.0, second.1)), first.cmp(&second));
        }
    }

    #[test]
    fn the_end_of_a_range_is_right_also_after_the_greatest_byte() {
        assert_eq!(Key(vec![b'i', 1, 255, 255]).after_all(), [b'i', 2]);
        assert!(Key(vec![255]).after_all().is_empty());
    }
}
