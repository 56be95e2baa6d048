//! The unified social credit code (统一社会信用代码), GB 32100-2015: 18 characters, the last a check character modulo 31.

const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
const WEIGHTS: [usize; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditCodeError {
    Length,
    Character,
    Check { expected: char },
}

impl std::fmt::Display for CreditCodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CreditCodeError::Length => write!(f, "a credit code has 18 characters"),
            CreditCodeError::Character => write!(f, "a credit code uses 0-9 and A-Z without I, O, S, V, Z"),
            CreditCodeError::Check { expected } => write!(f, "the 18th character is wrong: {expected} would be right"),
        }
    }
}

pub fn check(code: &str) -> Result<(), CreditCodeError> {
    if code.len() != 18 {
        return Err(CreditCodeError::Length);
    }
    let expected = check_character(&code.as_bytes()[..17]).ok_or(CreditCodeError::Character)?;
    match code.as_bytes()[17] {
        last if last == expected => Ok(()),
        last if ALPHABET.contains(&last) => Err(CreditCodeError::Check { expected: char::from(expected) }),
        _ => Err(CreditCodeError::Character),
    }
}

/// The 18th character for the first 17; `None` if one of them is not of the alphabet.
pub fn check_character(first_17: &[u8]) -> Option<u8> {
    let mut sum = 0;
    for (byte, weight) in first_17.iter().zip(WEIGHTS) {
        sum += ALPHABET.iter().position(|letter| letter == byte)? * weight;
    }
    Some(ALPHABET[(31 - sum % 31) % 31])
}

/// Whether the organisation code inside (9th to 17th character, GB 11714) has the right check character. Codes given to bodies that never had
/// one may not: no reason to refuse, one to look again.
pub fn organisation_code_sound(code: &str) -> bool {
    const WEIGHTS: [usize; 8] = [3, 7, 9, 10, 5, 8, 4, 2];
    let Some((first_8, last)) = code.as_bytes().get(8..17).and_then(|code| code.split_at_checked(8)) else { return false };
    let value = |byte: &u8| match byte {
        b'0'..=b'9' => Some(usize::from(byte - b'0')),
        b'A'..=b'Z' => Some(usize::from(byte - b'A') + 10),
        _ => None,
    };
    let sum = first_8.iter().zip(WEIGHTS).try_fold(0, |sum, (byte, weight)| Some(sum + value(byte)? * weight));
    let Some(sum) = sum else { return false };
    last.first() == Some(&b"0123456789X"[(11 - sum % 11) % 11])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_codes_of_real_registrations_pass() {
        for code in ["91440300708461136T", "91440101231245152Y", "914403001922038216"] {
            assert_eq!(check(code), Ok(()), "{code}");
        }
    }

    #[test]
    fn a_wrong_check_character_a_foreign_letter_and_a_wrong_length_are_told_apart() {
        assert_eq!(check("91440300708461136U"), Err(CreditCodeError::Check { expected: 'T' }));
        assert_eq!(check("9144030070846113IT"), Err(CreditCodeError::Character));
        assert_eq!(check("9144030070846113"), Err(CreditCodeError::Length));
        assert_eq!(check("企企企企企企"), Err(CreditCodeError::Character));
    }

    #[test]
    fn any_single_changed_character_is_found() {
        let code = b"91440300708461136T";
        for at in 0..17 {
            for letter in ALPHABET {
                if code[at] != *letter {
                    let mut changed = *code;
                    changed[at] = *letter;
                    assert!(check(std::str::from_utf8(&changed).unwrap()).is_err());
                }
            }
        }
    }

    #[test]
    fn the_organisation_code_inside_is_checked_by_its_own_standard() {
        for code in ["91440300708461136T", "91440101231245152Y", "914403001922038216"] {
            assert!(organisation_code_sound(code), "{code}");
        }
        for code in ["91440300708461137T", "91440300708461163T", "short", ""] {
            assert!(!organisation_code_sound(code), "{code}");
        }
    }
}
