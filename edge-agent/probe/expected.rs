//! What the technician reads off the machine's display.

/// One value of the display.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// What to call it in the configuration.
    pub name: String,
    pub value: f64,
    /// Digits after the point, as they stand on the display.
    pub decimals: u8,
}

impl Expected {
    /// `230.1`; the decimals tell how exactly it is known.
    pub fn read(name: &str, text: &str) -> Option<Expected> {
        let text = text.trim().trim_start_matches('+');
        if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-')) {
            return None;
        }
        let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite() && value.abs() < 1e15)?;
        let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        Some(Expected { name: name.to_string(), value, decimals: u8::try_from(decimals).ok().filter(|decimals| *decimals <= 9)? })
    }

    /// What one step of the last digit means.
    pub(super) fn unit(&self) -> f64 {
        10_f64.powi(-i32::from(self.decimals))
    }

    /// Probably of the same kind, such as three voltages.
    pub(super) fn is_like(&self, other: &Expected) -> bool {
        self.decimals == other.decimals && (0.85..1.18).contains(&(self.value / other.value))
    }

    /// Significant digits: how much the value tells.
    pub(super) fn digits(&self) -> usize {
        let shown = format!("{:.*}", usize::from(self.decimals), self.value.abs()).replace('.', "");
        shown.trim_start_matches('0').len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_say_how_exactly_a_value_is_known() {
        let read = |text| Expected::read("x", text).map(|expected| (expected.value, expected.decimals, expected.digits()));
        assert_eq!(read("230.10"), Some((230.10, 2, 5)));
        assert_eq!(read("-4"), Some((-4.0, 0, 1)));
        assert_eq!(read("0.95"), Some((0.95, 2, 2)));
        for wrong in ["", "1e3", "nan", "230,1", "1.2.3", "12kW"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
