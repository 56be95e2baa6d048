//! What we say as a host application: that we are there, and that an edge node should be born again.

use prost::Message as _;

use super::births::BOOLEAN;
use super::payload::{Metric, Payload, Value};
use crate::report::Instant;

/// Our own host id.
pub const HOST_ID: &str = "shangyun";

const REBIRTH: &str = "Node Control/Rebirth";

/// The payload of an NCMD that asks an edge node for its births.
pub fn rebirth_request(at: Instant) -> Vec<u8> {
    let timestamp = u64::try_from(at.timestamp_millis()).ok();
    let metric =
        Metric { name: Some(REBIRTH.into()), timestamp, datatype: Some(BOOLEAN), value: Some(Value::Boolean(true)), ..Metric::default() };
    Payload { timestamp, metrics: vec![metric], seq: None }.encode_to_vec()
}

/// The payload of STATE. What tells that we are gone (`online` false) carries the time at which we came.
pub fn state(online: bool, at: Instant) -> Vec<u8> {
    format!(r#"{{"online":{online},"timestamp":{}}}"#, at.timestamp_millis()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;
    use chrono::DateTime;

    #[test]
    fn a_rebirth_request_is_byte_for_byte_what_another_implementation_sends() {
        assert_eq!(rebirth_request(golden::at(0)), golden::bytes(golden::REBIRTH));
    }

    #[test]
    fn state_is_the_json_of_sparkplug_3() {
        let at = DateTime::from_timestamp_millis(1_572_912_000_123).unwrap();
        assert_eq!(state(true, at), br#"{"online":true,"timestamp":1572912000123}"#);
        assert_eq!(state(false, at), br#"{"online":false,"timestamp":1572912000123}"#);
    }
}
