//! What a birth has told of its metrics: by it, aliases and types of data messages are understood.

use std::collections::HashMap;

use compact_str::CompactString;

use super::payload::{BD_SEQ, Metric};
use crate::fault::{Fault, FaultCode};
use crate::limits::FAULTS_MAX;
use crate::read::name_valid;

pub(super) const BOOLEAN: u32 = 11;
/// Below these lie commands to the edge node or the device, not readings.
const CONTROLS: [&str; 2] = ["Node Control/", "Device Control/"];

/// The metrics of an edge node, or of one of its devices.
#[derive(Debug, Default)]
pub(super) struct Births {
    metrics: Vec<Born>,
    names: HashMap<CompactString, usize>,
    /// Without a metric where two of them have claimed the alias.
    aliases: HashMap<u64, Option<usize>>,
}

#[derive(Debug)]
pub(super) struct Born {
    /// Empty if it is unusable.
    pub(super) name: CompactString,
    pub(super) datatype: u32,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Reading,
    Control,
    /// Not a number, nor a boolean.
    OtherType,
    /// Its name is no point name.
    Unusable,
}

static UNUSABLE: Born = Born { name: CompactString::const_new(""), datatype: 0, purpose: Purpose::Unusable };

impl Births {
    /// Reads the metrics of a birth; says which of them will not be understood.
    pub(super) fn read(metrics: &[Metric]) -> (Births, Vec<Fault>) {
        let mut births = Births::default();
        let mut faults = Vec::new();
        for (index, metric) in metrics.iter().enumerate() {
            births.add(index, metric, &mut faults);
        }
        faults.truncate(FAULTS_MAX);
        (births, faults)
    }

    fn add(&mut self, index: usize, metric: &Metric, faults: &mut Vec<Fault>) {
        let Some(name) = metric.name.as_deref().filter(|name| !name.is_empty()) else {
            faults.push(Fault::new(FaultCode::SparkplugMetric, format!("/metrics/{index}/name"), "a birth names each metric"));
            return;
        };
        let datatype = metric.datatype.unwrap_or(0);
        let (name, purpose) = match name_valid(name) {
            Ok(()) => (CompactString::from(name), purpose(name, datatype)),
            Err(detail) => {
                faults.push(Fault::new(FaultCode::Text, format!("/metrics/{index}/name"), detail));
                (CompactString::default(), Purpose::Unusable)
            }
        };
        let at = self.metrics.len();
        if purpose != Purpose::Unusable {
            self.names.insert(name.clone(), at);
        }
        self.metrics.push(Born { name, datatype, purpose });
        if let Some(alias) = metric.alias
            && self.aliases.insert(alias, Some(at)).is_some()
        {
            faults.push(Fault::new(FaultCode::SparkplugMetric, format!("/metrics/{index}/alias"), format!("alias {alias} stands twice")));
            self.aliases.insert(alias, None);
        }
    }

    /// What is known of a metric, by its name or else by its alias.
    pub(super) fn of(&self, metric: &Metric) -> Option<&Born> {
        match metric.name.as_deref() {
            Some(name) if !name.is_empty() => match name_valid(name) {
                Ok(()) => self.metrics.get(*self.names.get(name)?),
                Err(_) => Some(&UNUSABLE),
            },
            _ => self.metrics.get((*self.aliases.get(&metric.alias?)?)?),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.metrics.len()
    }

    pub(super) fn any_reading(&self) -> bool {
        self.metrics.iter().any(|born| born.purpose == Purpose::Reading)
    }
}

/// Datatypes 1 to 10 are numbers. 0 is said of none; then the value speaks for itself.
fn purpose(name: &str, datatype: u32) -> Purpose {
    if name == BD_SEQ || CONTROLS.iter().any(|control| name.starts_with(control)) {
        Purpose::Control
    } else if datatype <= BOOLEAN {
        Purpose::Reading
    } else {
        Purpose::OtherType
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: Option<&str>, alias: Option<u64>, datatype: u32) -> Metric {
        Metric { name: name.map(Into::into), alias, datatype: Some(datatype), ..Metric::default() }
    }

    fn name_of<'a>(births: &'a Births, name: Option<&str>, alias: Option<u64>) -> Option<&'a str> {
        births.of(&metric(name, alias, 0)).map(|born| born.name.as_str())
    }

    #[test]
    fn a_metric_is_known_by_its_name_or_its_alias() {
        let (births, faults) = Births::read(&[metric(Some("功率"), Some(7), 9), metric(Some("on"), None, 11)]);
        assert_eq!(faults, []);
        assert_eq!(name_of(&births, None, Some(7)), Some("功率"));
        assert_eq!(name_of(&births, Some("on"), None), Some("on"));
        assert_eq!(
            (name_of(&births, None, Some(8)), name_of(&births, Some("off"), None), name_of(&births, None, None)),
            (None, None, None)
        );
    }

    #[test]
    fn an_alias_that_two_metrics_claim_belongs_to_neither() {
        let (births, faults) = Births::read(&[metric(Some("a"), Some(0), 9), metric(Some("b"), Some(0), 9), metric(Some("c"), Some(0), 9)]);
        assert_eq!(faults.len(), 2);
        assert_eq!((faults[0].code, faults[0].path.as_str()), (FaultCode::SparkplugMetric, "/metrics/1/alias"));
        assert_eq!(name_of(&births, None, Some(0)), None);
        assert_eq!(name_of(&births, Some("b"), Some(0)), Some("b"));
    }

    #[test]
    fn a_metric_without_a_name_and_one_with_an_unusable_name_are_said() {
        let long = "长".repeat(65);
        let (births, faults) = Births::read(&[metric(None, Some(1), 9), metric(Some(&long), Some(2), 9)]);
        let said: Vec<_> = faults.iter().map(|fault| (fault.code, fault.path.as_str())).collect();
        assert_eq!(said, [(FaultCode::SparkplugMetric, "/metrics/0/name"), (FaultCode::Text, "/metrics/1/name")]);
        assert!(births.of(&metric(None, Some(1), 9)).is_none());
        assert_eq!(births.of(&metric(None, Some(2), 9)).map(|born| born.purpose), Some(Purpose::Unusable));
        assert_eq!(births.of(&metric(Some(&long), None, 9)).map(|born| born.purpose), Some(Purpose::Unusable));
    }

    #[test]
    fn controls_and_other_types_are_no_readings() {
        for (name, datatype, expected) in [
            ("a", 1, Purpose::Reading),
            ("a", 10, Purpose::Reading),
            ("a", 11, Purpose::Reading),
            ("a", 12, Purpose::OtherType),
            ("a", 0, Purpose::Reading),
            ("bdSeq", 8, Purpose::Control),
            ("Node Control/Rebirth", 11, Purpose::Control),
            ("Device Control/Scan", 3, Purpose::Control),
            ("Node Controls", 3, Purpose::Reading),
        ] {
            assert_eq!(purpose(name, datatype), expected, "{name} {datatype}");
        }
    }
}
