//! What is wrong, in Chinese and English, with a name that stays: the closed list of everything that keeps an agent from working.

use std::fmt;

macro_rules! fault_codes {
    ($($(#[$about:meta])* $variant:ident = $name:literal,)*) => {
        /// The name of a fault. Scripts may rely on it; the sentences may change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultCode {
            $($(#[$about])* $variant,)*
        }

        impl FaultCode {
            pub const ALL: &[(FaultCode, &str)] = &[$((FaultCode::$variant, $name),)*];
        }
    };
}

fault_codes! {
    ConfigUnreadable = "config_unreadable",
    ConfigSyntax = "config_syntax",
    KeyUnknown = "key_unknown",
    KeyMissing = "key_missing",
    /// The value is of another type: a number where a text belongs.
    ValueType = "value_type",
    ValueRange = "value_range",
    /// Not one of the words that are known here.
    ValueWord = "value_word",
    /// Two keys that exclude each other, or one that has no meaning beside another.
    KeysConflict = "keys_conflict",
    NameInvalid = "name_invalid",
    GatewayIdInvalid = "gateway_id_invalid",
    EnterpriseInvalid = "enterprise_invalid",
    TokenMissing = "token_missing",
    FileUnreadable = "file_unreadable",
    AddressInvalid = "address_invalid",
    ReferenceInvalid = "reference_invalid",
    RegisterBeyondEnd = "register_beyond_end",
    PointsMissing = "points_missing",
    PointsTooMany = "points_too_many",
    PointTwice = "point_twice",
    /// Two points read parts of each other's registers.
    PointsOverlap = "points_overlap",
    PointUnknown = "point_unknown",
    ScaleZero = "scale_zero",
    DeviceTwice = "device_twice",
    /// Two devices with the same address and unit id.
    UnitTwice = "unit_twice",
    DevicesMissing = "devices_missing",
    TemplateUnknown = "template_unknown",
    TemplateInvalid = "template_invalid",
    BusUnused = "bus_unused",
    BusTwice = "bus_twice",
    PatternInvalid = "pattern_invalid",
    ListenNotLoopback = "listen_not_loopback",
}

impl FaultCode {
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("", |(_, name)| name)
    }
}

/// One fault: where it is, what it is, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: FaultCode,
    /// A key of the configuration, a device, a file.
    pub place: String,
    pub zh: String,
    pub en: String,
}

impl Fault {
    pub fn new(code: FaultCode, place: impl Into<String>, zh: impl Into<String>, en: impl Into<String>) -> Fault {
        Fault { code, place: place.into(), zh: zh.into(), en: en.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]\n    {}\n    {}", self.place, self.code.name(), self.zh, self.en)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_one_style() {
        let mut names: Vec<&str> = FaultCode::ALL.iter().map(|(_, name)| *name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FaultCode::ALL.len());
        assert_eq!(FaultCode::PointsOverlap.name(), "points_overlap");
    }

    #[test]
    fn a_fault_names_its_place_and_code_and_speaks_both_languages() {
        let fault = Fault::new(FaultCode::UnitTwice, "device[1]", "单元号重复", "the unit id is used twice");
        assert_eq!(fault.to_string(), "device[1] [unit_twice]\n    单元号重复\n    the unit id is used twice");
    }
}
