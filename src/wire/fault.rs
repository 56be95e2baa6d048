//! Why a report is refused: the closed list of codes, and the rule each stands for.

use serde::Serialize;

/// One fault of a report. A refusal lists every fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub code: FaultCode,
    /// JSON Pointer (RFC 6901) into the report; empty for the report as a whole.
    pub path: String,
    pub rule: &'static str,
    pub detail: String,
}

impl Fault {
    pub fn new(code: FaultCode, path: impl Into<String>, detail: impl Into<String>) -> Fault {
        Fault { code, path: path.into(), rule: code.rule(), detail: detail.into() }
    }
}

macro_rules! fault_codes {
    ($($name:ident $text:literal => $rule:literal;)*) => {
        /// The code of a fault, in JSON as snake_case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum FaultCode { $(#[serde(rename = $text)] $name,)* }

        impl FaultCode {
            pub const ALL: &[FaultCode] = &[$(FaultCode::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(FaultCode::$name => $text,)* }
            }

            pub fn read(text: &str) -> Option<FaultCode> {
                match text { $($text => Some(FaultCode::$name),)* _ => None }
            }

            /// The rule of the contract that the fault breaks.
            pub fn rule(self) -> &'static str {
                match self { $(FaultCode::$name => $rule,)* }
            }
        }
    };
}

fault_codes! {
    Json "json" => "a report is one JSON object in UTF-8 (RFC 8259)";
    Cbor "cbor" => "a report in CBOR is one map of what JSON knows: text keys, lists, text, numbers, booleans and null (RFC 8949)";
    Size "size" => "a report has at most 256 KiB";
    Bound "bound" => "devices, usage, events and records have at most 1000 entries, readings at most 64, a Sparkplug edge node 500 devices and 10000 metrics";
    DuplicateField "duplicate_field" => "a field stands at most once in an object";
    Missing "missing" => "required: v; per device device, at, quality; per usage product, function_module, user, at, actions; gateways boot and seq; suppliers id and enterprise";
    Type "type" => "each field has the JSON type that the contract names";
    Version "version" => "v is 1";
    Empty "empty" => "devices and usage are not both empty without events";
    Text "text" => "names have 1 to 64 characters, free text at most 256, without control characters";
    Sequence "sequence" => "seq is a whole number from 1";
    CreditCode "credit_code" => "enterprise is a unified social credit code whose 18th character is right (GB 32100)";
    ForeignEnterprise "foreign_enterprise" => "a gateway reports for its own enterprise only";
    UnknownGateway "unknown_gateway" => "the gateway stands in the register";
    UnknownEnterprise "unknown_enterprise" => "the enterprise stands in the register";
    Instant "instant" => "instants are RFC 3339 with an offset";
    Future "future" => "no `at` lies more than future_skew_s_max after receipt";
    Day "day" => "days are YYYY-MM-DD";
    Quality "quality" => "quality is one of N F M S D C T B (HJ 212)";
    State "state" => "state is one of running idle stopped fault offline";
    Event "event" => "event is one of start stop clock_jump dropped identity_changed";
    Reading "reading" => "readings are finite numbers or booleans";
    UnknownProduct "unknown_product" => "the product stands in the register";
    ForeignProduct "foreign_product" => "usage is of the sending supplier's product, or from a gateway of a product that its enterprise holds a voucher for";
    FunctionModule "function_module" => "the function module is listed for the product";
    Actions "actions" => "actions is a whole number from 1 to 100000";
    ActiveS "active_s" => "active_s is a whole number from 0 to 86400";
    Count "count" => "sessions, bytes and devices are whole numbers from 0";
    Conflict "conflict" => "an identity is used for one report only";
    Qos0 "qos0" => "reports come with QoS 1";
    NotAuthorised "not_authorised" => "a gateway publishes below its own topic only";
    Format "format" => "the first byte of a report is `{` (JSON), 0xA0 to 0xBF (a CBOR map) or 0xD2 (COSE_Sign1)";
    Cose "cose" => "a signed report is a COSE_Sign1 (RFC 9052, tag 18) that holds its payload; alg EdDSA (-8) and kid are protected, nothing is critical";
    Kid "kid" => "kid is the id of the gateway that sends";
    Signature "signature" => "the signature is right by the gateway's public_key (Ed25519)";
    Unsigned "unsigned" => "a gateway with a public_key signs every report";
    Internal "internal" => "the service reads every message to its end; where it fails by a mistake of its own, the message is kept";
    NoPublicKey "no_public_key" => "a signed report comes from a gateway with a public_key: a signature that cannot be verified proves nothing";
    Sparkplug "sparkplug" => "a Sparkplug payload is the protobuf of Sparkplug B 3.0, with a timestamp except in NDEATH";
    SparkplugSeq "sparkplug_seq" => "seq goes from 0 to 255 and round, without a gap, from an NBIRTH on";
    SparkplugBdSeq "sparkplug_bdseq" => "bdSeq is the same in will, NBIRTH and NDEATH";
    SparkplugMetric "sparkplug_metric" => "a birth names each metric, with an alias of its own or none; data speak only of metrics that were born";
    BirthMissing "birth_missing" => "NBIRTH comes before everything of an edge node, DBIRTH before everything of a device";
}

/// Who can cure a refused message; in the order of how much is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// The register lacks or misnames something: once corrected, the message as it stands can be accepted.
    Register,
    /// The message itself is at fault: its sender corrects it and sends it again.
    Message,
    /// It came the wrong way: its sender sends it again the right way.
    Door,
}

impl FaultCode {
    pub fn remedy(self) -> Remedy {
        match self {
            FaultCode::ForeignEnterprise
            | FaultCode::UnknownGateway
            | FaultCode::UnknownEnterprise
            | FaultCode::UnknownProduct
            | FaultCode::ForeignProduct
            | FaultCode::FunctionModule
            | FaultCode::Signature
            | FaultCode::Unsigned
            | FaultCode::NoPublicKey
            // A newer program may read it.
            | FaultCode::Internal => Remedy::Register,
            // A Sparkplug message has its meaning in its place among the others only.
            FaultCode::Qos0
            | FaultCode::NotAuthorised
            | FaultCode::Sparkplug
            | FaultCode::SparkplugSeq
            | FaultCode::SparkplugBdSeq
            | FaultCode::SparkplugMetric
            | FaultCode::BirthMissing => Remedy::Door,
            _ => Remedy::Message,
        }
    }

    /// Whether it questions who is speaking, and not what is said.
    pub fn questions_sender(self) -> bool {
        matches!(
            self,
            FaultCode::NotAuthorised
                | FaultCode::UnknownGateway
                | FaultCode::Kid
                | FaultCode::Signature
                | FaultCode::Unsigned
                | FaultCode::NoPublicKey
        )
    }
}

impl Remedy {
    pub fn as_str(self) -> &'static str {
        match self {
            Remedy::Register => "register",
            Remedy::Message => "message",
            Remedy::Door => "door",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_written_as_it_is_named() {
        for code in FaultCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(FaultCode::read(code.as_str()), Some(*code));
        }
        assert_eq!(FaultCode::read("unheard_of"), None);
    }
}
