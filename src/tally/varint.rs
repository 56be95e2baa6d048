//! Whole numbers as bytes, small ones short: seven bits a byte, the lowest first.

use crate::encode::DecodeError;

pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front.
pub fn take(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return Err(DecodeError::Value);
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Ok(number);
        }
    }
    Err(DecodeError::Value)
}

pub(crate) fn take_u32(bytes: &mut &[u8]) -> Result<u32, DecodeError> {
    u32::try_from(take(bytes)?).map_err(|_| DecodeError::Value)
}

pub(crate) fn take_byte(bytes: &mut &[u8]) -> Result<u8, DecodeError> {
    let (byte, rest) = bytes.split_first().ok_or(DecodeError::Value)?;
    *bytes = rest;
    Ok(*byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_and_a_cut_one_is_an_error(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            prop_assert!(take(&mut &bytes[..bytes.len() - 1]).is_err());
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest), Ok(number));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_number_without_end_is_an_error() {
        assert!(take(&mut &[0xff; 20][..]).is_err());
    }
}
