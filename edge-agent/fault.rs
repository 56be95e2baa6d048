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
    /// What the packaged configuration holds until somebody fills it in.
    PlaceholderLeft = "placeholder_left",
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
    /// Two devices that read the same registers of the same unit.
    UnitTwice = "unit_twice",
    DevicesMissing = "devices_missing",
    TemplateUnknown = "template_unknown",
    TemplateInvalid = "template_invalid",
    BusUnused = "bus_unused",
    BusTwice = "bus_twice",
    PatternInvalid = "pattern_invalid",
    ListenNotLoopback = "listen_not_loopback",
    /// The same log is followed twice.
    LogTwice = "log_twice",
    /// What `check` finds beyond the configuration.
    KeyFileOpen = "key_file_open",
    /// Other users of the gateway can read the token.
    TokenOpen = "token_open",
    KeyFileInvalid = "key_file_invalid",
    ReceiptKeysInvalid = "receipt_keys_invalid",
    CertificateInvalid = "certificate_invalid",
    CertificateExpired = "certificate_expired",
    CertificateNotYetValid = "certificate_not_yet_valid",
    /// The client certificate is not this gateway's.
    CertificateOther = "certificate_other_gateway",
    CertificateKeyOther = "certificate_key_mismatch",
    SpoolUnusable = "spool_unusable",
    SpoolDamaged = "spool_damaged",
    SpoolMarksDamaged = "spool_marks_damaged",
    SpoolSmall = "spool_small",
    ReportsRefused = "reports_refused",
    DiskSpaceShort = "disk_space_short",
    ClockWrong = "clock_wrong",
    ClockUnsynchronised = "clock_unsynchronised",
    ClockUnknown = "clock_unknown",
    /// The address of [local] is another program's.
    ListenTaken = "listen_taken",
    /// Nobody has it, and it cannot be had.
    ListenUnusable = "listen_unusable",
    /// Variables that the service has, and this check has not.
    VariablesUnseen = "variables_unseen",
    LogUnreadable = "log_unreadable",
    SerialPortMissing = "serial_port_missing",
    SerialPortDenied = "serial_port_denied",
    SerialPortUnusable = "serial_port_unusable",
    DeviceUnreachable = "device_unreachable",
    /// Nobody answers on this address.
    DeviceSilent = "device_silent",
    /// Other units answer on the same address, this one does not.
    UnitSilent = "unit_silent",
    /// What comes back is no right Modbus answer.
    AnswerWrong = "answer_wrong",
    AddressIllegal = "address_illegal",
    FunctionIllegal = "function_illegal",
    DeviceException = "device_exception",
    /// The registers hold no number of this type.
    ValueNotNumber = "value_not_a_number",
    ValueOutOfRange = "value_out_of_range",
    ValuesAllZero = "values_all_zero",
    /// Another word order gives a likelier value.
    WordOrderDoubtful = "word_order_doubtful",
    /// The machine says another serial number than the configuration.
    SerialDiffers = "serial_differs",
    /// The serial number is not among what the machine says of itself.
    SerialUnconfirmed = "serial_unconfirmed",
    DeviceSlow = "device_slow",
    AgentRunning = "agent_running",
    /// Root may do what the agent's own user may not.
    CheckedAsRoot = "checked_as_root",
    CheckFailed = "check_failed",
}

impl FaultCode {
    /// The agent works all the same; somebody should know.
    pub fn warns(self) -> bool {
        matches!(
            self,
            FaultCode::TokenOpen
                | FaultCode::SpoolMarksDamaged
                | FaultCode::SpoolSmall
                | FaultCode::ReportsRefused
                | FaultCode::ClockUnknown
                | FaultCode::ListenTaken
                | FaultCode::ListenUnusable
                | FaultCode::VariablesUnseen
                | FaultCode::LogUnreadable
                | FaultCode::ValueOutOfRange
                | FaultCode::ValuesAllZero
                | FaultCode::WordOrderDoubtful
                | FaultCode::SerialUnconfirmed
                | FaultCode::DeviceSlow
                | FaultCode::AgentRunning
                | FaultCode::CheckedAsRoot
        )
    }

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
