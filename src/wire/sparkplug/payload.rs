//! The protobuf of Sparkplug B, as far as it is read: field numbers as in the published schema, the rest is skipped.

use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::fault::{Fault, FaultCode};
use crate::limits::{REPORT_BYTES_MAX, SPARKPLUG_METRICS_MAX};
use crate::report::Quality;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    /// Milliseconds since 1970.
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) seq: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) datatype: Option<u32>,
    #[prost(bool, optional, tag = "7")]
    pub(super) is_null: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub(super) properties: Option<PropertySet>,
    #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14")]
    pub(super) value: Option<Value>,
}

/// Texts, bytes, data sets, templates and extensions (15 to 19) are not read.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Value {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PropertySet {
    #[prost(string, repeated, tag = "1")]
    pub(super) keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<PropertyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PropertyValue {
    /// Values of other types are not read.
    #[prost(oneof = "PropertyNumber", tags = "3, 4")]
    pub(super) value: Option<PropertyNumber>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum PropertyNumber {
    #[prost(uint32, tag = "3")]
    Int(u32),
    #[prost(uint64, tag = "4")]
    Long(u64),
}

pub(super) const BD_SEQ: &str = "bdSeq";
const METRICS_TAG: u32 = 2;
const QUALITY_GOOD: u64 = 192;

/// Decodes a payload of bounded size. Metrics are counted before any is decoded, since an empty one takes two bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Payload, Fault> {
    if bytes.len() > REPORT_BYTES_MAX {
        return Err(Fault::new(FaultCode::Size, "", format!("{} bytes", bytes.len())));
    }
    let unreadable = |error: prost::DecodeError| Fault::new(FaultCode::Sparkplug, "", error.to_string());
    let count = metric_count(bytes).map_err(unreadable)?;
    if count > SPARKPLUG_METRICS_MAX {
        return Err(Fault::new(FaultCode::Bound, "/metrics", format!("{count} metrics")));
    }
    Payload::decode(bytes).map_err(unreadable)
}

fn metric_count(mut bytes: &[u8]) -> Result<usize, prost::DecodeError> {
    let mut count = 0;
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        count += usize::from(tag == METRICS_TAG);
        skip_field(wire_type, tag, &mut bytes, DecodeContext::default())?;
    }
    Ok(count)
}

impl Payload {
    /// The number that ties an NBIRTH to its NDEATH.
    pub(super) fn bd_seq(&self) -> Option<u64> {
        match self.metrics.iter().find(|metric| metric.name.as_deref() == Some(BD_SEQ))?.value {
            Some(Value::Int(number)) => Some(u64::from(number)),
            Some(Value::Long(number)) => Some(number),
            _ => None,
        }
    }
}

impl Metric {
    /// Good if nothing else is said.
    pub(super) fn quality(&self) -> Quality {
        let Some(set) = &self.properties else { return Quality::Normal };
        let Some((_, quality)) = set.keys.iter().zip(&set.values).find(|(key, _)| *key == "Quality") else { return Quality::Normal };
        match quality.value {
            Some(PropertyNumber::Int(number)) if u64::from(number) == QUALITY_GOOD => Quality::Normal,
            Some(PropertyNumber::Long(QUALITY_GOOD)) => Quality::Normal,
            _ => Quality::Communication,
        }
    }
}
