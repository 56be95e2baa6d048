//! The topics below `spBv1.0/`: who may publish and subscribe where.

use crate::topic::topic_filter_valid;

const NAMESPACE: &str = "spBv1.0";

/// What an edge node publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NodeBirth,
    NodeData,
    NodeDeath,
    DeviceBirth,
    DeviceData,
    DeviceDeath,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NodeBirth => "NBIRTH",
            Kind::NodeData => "NDATA",
            Kind::NodeDeath => "NDEATH",
            Kind::DeviceBirth => "DBIRTH",
            Kind::DeviceData => "DDATA",
            Kind::DeviceDeath => "DDEATH",
        }
    }

    fn read(text: &str, of_device: bool) -> Option<Kind> {
        let kinds = if of_device {
            [Kind::DeviceBirth, Kind::DeviceData, Kind::DeviceDeath]
        } else {
            [Kind::NodeBirth, Kind::NodeData, Kind::NodeDeath]
        };
        kinds.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A topic that an edge node publishes on, taken apart: `spBv1.0/<group>/<kind>/<edge node>[/<device>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub group: &'a str,
    pub kind: Kind,
    pub edge_node: &'a str,
    /// As it stands in the topic; whether it is a device name of ours is another question.
    pub device: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub fn of(topic: &'a str) -> Option<Place<'a>> {
        let mut levels = topic.split('/');
        if levels.next() != Some(NAMESPACE) {
            return None;
        }
        let (group, kind, edge_node) = (levels.next()?, levels.next()?, levels.next()?);
        let device = levels.next();
        if levels.next().is_some() {
            return None;
        }
        Some(Place { group, kind: Kind::read(kind, device.is_some())?, edge_node, device })
    }

    pub(super) fn belongs_to(&self, enterprise: &str, gateway: &str) -> bool {
        self.group == enterprise && self.edge_node == gateway
    }
}

/// May this gateway publish here? The group id is its enterprise's credit code, the edge node id its own.
pub fn publish_allowed(topic: &str, enterprise: &str, gateway: &str) -> bool {
    Place::of(topic).is_some_and(|place| place.belongs_to(enterprise, gateway))
}

/// A Sparkplug will is the gateway's own NDEATH.
pub fn will_allowed(topic: &str, enterprise: &str, gateway: &str) -> bool {
    Place::of(topic).is_some_and(|place| place.kind == Kind::NodeDeath && place.belongs_to(enterprise, gateway))
}

/// A gateway subscribes to its own NCMD, to the DCMD of its devices, and to STATE; wildcards only below those.
pub fn subscription_allowed(filter: &str, enterprise: &str, gateway: &str) -> bool {
    if !topic_filter_valid(filter) {
        return false;
    }
    let levels: Vec<&str> = filter.split('/').collect();
    match levels[..] {
        [NAMESPACE, "STATE", _] => true,
        [NAMESPACE, group, "NCMD", edge_node] | [NAMESPACE, group, "NCMD", edge_node, "#"] | [NAMESPACE, group, "DCMD", edge_node, _] => {
            group == enterprise && edge_node == gateway
        }
        _ => false,
    }
}

/// Where the edge node takes commands.
pub fn command_topic(enterprise: &str, gateway: &str) -> String {
    format!("{NAMESPACE}/{enterprise}/NCMD/{gateway}")
}

/// Where a host application says whether it is there.
pub fn state_topic(host_id: &str) -> String {
    format!("{NAMESPACE}/STATE/{host_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const E: &str = "91440101231245152Y";

    #[test]
    fn topics_of_edge_nodes_are_taken_apart_and_others_are_not_theirs() {
        let place = |kind, device| Some(Place { group: "g", kind, edge_node: "n", device });
        for (topic, expected) in [
            ("spBv1.0/g/NBIRTH/n", place(Kind::NodeBirth, None)),
            ("spBv1.0/g/NDATA/n", place(Kind::NodeData, None)),
            ("spBv1.0/g/NDEATH/n", place(Kind::NodeDeath, None)),
            ("spBv1.0/g/DBIRTH/n/机床", place(Kind::DeviceBirth, Some("机床"))),
            ("spBv1.0/g/DDATA/n/d", place(Kind::DeviceData, Some("d"))),
            ("spBv1.0/g/DDEATH/n/d", place(Kind::DeviceDeath, Some("d"))),
            ("spBv1.0/g/NBIRTH/n/d", None),
            ("spBv1.0/g/DDATA/n", None),
            ("spBv1.0/g/DDATA/n/d/e", None),
            ("spBv1.0/g/NCMD/n", None),
            ("spBv1.0/STATE/n", None),
            ("spAv1.0/g/NDATA/n", None),
            ("spBv1.0", None),
            ("", None),
        ] {
            assert_eq!(Place::of(topic), expected, "{topic}");
        }
    }

    #[test]
    fn a_gateway_publishes_only_as_the_edge_node_of_its_enterprise() {
        assert!(publish_allowed(&format!("spBv1.0/{E}/DDATA/gw-1/d"), E, "gw-1"));
        for refused in [
            format!("spBv1.0/{E}/DDATA/gw-10/d"),
            "spBv1.0/91440300708461136T/DDATA/gw-1/d".into(),
            format!("spBv1.0/{E}/NCMD/gw-1"),
            format!("spBv1.0/{E}/DCMD/gw-1/d"),
            "spBv1.0/STATE/shangyun".into(),
        ] {
            assert!(!publish_allowed(&refused, E, "gw-1"), "{refused}");
        }
    }

    #[test]
    fn a_will_is_the_gateways_own_ndeath_and_nothing_else() {
        assert!(will_allowed(&format!("spBv1.0/{E}/NDEATH/gw-1"), E, "gw-1"));
        for refused in [format!("spBv1.0/{E}/NDEATH/gw-2"), format!("spBv1.0/{E}/DDEATH/gw-1/d"), format!("spBv1.0/{E}/NBIRTH/gw-1")] {
            assert!(!will_allowed(&refused, E, "gw-1"), "{refused}");
        }
    }

    #[test]
    fn a_gateway_subscribes_to_its_commands_and_to_state_and_to_nothing_of_others() {
        let own = command_topic(E, "gw-1");
        let commands = [own.clone(), format!("{own}/#")];
        let device = ["d", "+", "#"].map(|level| format!("spBv1.0/{E}/DCMD/gw-1/{level}"));
        let state = ["shangyun", "+", "#"].map(state_topic);
        for allowed in commands.iter().chain(&device).chain(&state) {
            assert!(subscription_allowed(allowed, E, "gw-1"), "{allowed}");
        }
        for refused in [
            "spBv1.0/#".to_string(),
            "#".into(),
            format!("spBv1.0/{E}/#"),
            format!("spBv1.0/{E}/NCMD/+"),
            format!("spBv1.0/{E}/NCMD/gw-2"),
            format!("spBv1.0/{E}/DCMD/+/d"),
            format!("spBv1.0/{E}/DCMD/#"),
            format!("spBv1.0/{E}/+/gw-1"),
            format!("spBv1.0/{E}/NDATA/gw-1"),
            "spBv1.0/+/NCMD/gw-1".into(),
            "spBv1.0/STATE/a/b".into(),
            "spBv1.0/STATE/a#".into(),
        ] {
            assert!(!subscription_allowed(&refused, E, "gw-1"), "{refused}");
        }
    }
}
