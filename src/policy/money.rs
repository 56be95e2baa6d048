//! Yuan, exact to the fen. No floats, no silent rounding.

use std::fmt;
use std::str::FromStr;

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of money in yuan with at most two places, never negative.
/// In JSON it is a string with two places: `"80000.00"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Yuan(Decimal);

/// Above this no amount of the programme lies; it keeps every product within `Decimal`.
const YUAN_MAX: i64 = 1_000_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YuanError {
    #[error("not an amount of yuan: digits, then at most two places, such as \"80000.00\"")]
    Form,
    #[error("above 1000000000000.00 yuan")]
    TooLarge,
}

impl Yuan {
    pub const ZERO: Yuan = Yuan(Decimal::ZERO);

    /// Whole yuan, for the figures that the policy names in yuan.
    pub const fn whole(yuan: u32) -> Yuan {
        Yuan(Decimal::from_parts(yuan, 0, 0, false, 0))
    }

    pub fn decimal(self) -> Decimal {
        self.0
    }

    /// An exact product or share, cut down to whole fen (R22: never over-pays).
    pub fn floor_fen(exact: Decimal) -> Yuan {
        Yuan(exact.max(Decimal::ZERO).round_dp_with_strategy(2, RoundingStrategy::ToZero))
    }

    pub fn saturating_sub(self, other: Yuan) -> Yuan {
        Yuan((self.0 - other.0).max(Decimal::ZERO))
    }

    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Whole fen.
    pub fn fen(self) -> u64 {
        let fen = self.0 * Decimal::ONE_HUNDRED;
        fen.to_u64().expect("an amount of yuan is never negative and far below u64 in fen")
    }
}

impl std::ops::Add for Yuan {
    type Output = Yuan;
    fn add(self, other: Yuan) -> Yuan {
        Yuan(self.0 + other.0)
    }
}

impl std::iter::Sum for Yuan {
    fn sum<I: Iterator<Item = Yuan>>(amounts: I) -> Yuan {
        amounts.fold(Yuan::ZERO, |sum, amount| sum + amount)
    }
}

impl FromStr for Yuan {
    type Err = YuanError;
    fn from_str(text: &str) -> Result<Yuan, YuanError> {
        let (whole, fen) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fen) || fen.len() > 2 {
            return Err(YuanError::Form);
        }
        if whole.trim_start_matches('0').len() > 13 {
            return Err(YuanError::TooLarge);
        }
        let amount = Decimal::from_str(text).map_err(|_| YuanError::Form)?;
        if amount > Decimal::from(YUAN_MAX) {
            return Err(YuanError::TooLarge);
        }
        Ok(Yuan(amount))
    }
}

impl fmt::Display for Yuan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

impl Serialize for Yuan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Yuan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Yuan, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_exactly_and_written_with_two_places() {
        for (text, shown) in [("80000.00", "80000.00"), ("0", "0.00"), ("1.5", "1.50"), ("100000.01", "100000.01")] {
            assert_eq!(text.parse::<Yuan>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn negative_third_place_and_other_forms_are_refused() {
        for text in ["-1.00", "1.005", "1e3", "", ".5", "1.", "1,000.00", " 1.00", "+1.00", "NaN"] {
            assert_eq!(text.parse::<Yuan>(), Err(YuanError::Form), "{text}");
        }
        assert_eq!("1000000000000.01".parse::<Yuan>(), Err(YuanError::TooLarge));
        assert_eq!("99999999999999999999999999999999.00".parse::<Yuan>(), Err(YuanError::TooLarge));
    }

    #[test]
    fn a_share_is_cut_down_to_whole_fen() {
        let exact: Decimal = "80000.008".parse().unwrap();
        assert_eq!(Yuan::floor_fen(exact).to_string(), "80000.00");
    }
}
