//! An agent's configuration for simulated machines.

use std::fmt::Write as _;
use std::net::SocketAddr;

use edge::point::{ValueType, WordOrder};

use crate::machines::MachineKind;

/// What an agent's configuration needs to know beside the machines.
#[derive(Clone, Debug)]
pub struct AgentSetup {
    pub gateway: String,
    pub token: String,
    pub enterprise: Option<String>,
    pub broker_url: String,
    pub spool_dir: String,
    pub report_every_s: f64,
    pub poll_ms: u64,
    pub devices: Vec<DeviceSetup>,
}

#[derive(Clone, Debug)]
pub struct DeviceSetup {
    pub name: String,
    pub address: SocketAddr,
    pub unit_id: u8,
    pub kind: MachineKind,
}

/// The configuration (TOML) of an agent that reads these machines.
pub fn agent_config(setup: &AgentSetup) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_string()).to_string();
    let mut out = format!("[gateway]\nid = {}\ntoken = {}\n", quoted(&setup.gateway), quoted(&setup.token));
    // Writing to a String cannot fail.
    if let Some(enterprise) = &setup.enterprise {
        let _ = writeln!(out, "enterprise = {}", quoted(enterprise));
    }
    let _ = writeln!(out, "\n[broker]\nurl = {}\n\n[spool]\ndir = {}", quoted(&setup.broker_url), quoted(&setup.spool_dir));
    // Several agents run on one machine, and nobody looks at their pages.
    let _ = writeln!(out, "\n[local]\nlisten = \"\"");
    let _ = writeln!(out, "\n[report]\nevery_s = {:?}", setup.report_every_s);
    for device in &setup.devices {
        let _ = writeln!(out, "\n[[device]]\nname = {}\naddress = \"tcp://{}\"", quoted(&device.name), device.address);
        let _ = writeln!(out, "unit_id = {}\npoll_ms = {}", device.unit_id, setup.poll_ms);
        for (key, rule) in device.kind.rules() {
            let _ = writeln!(out, "{key} = {rule}");
        }
        for point in device.kind.points() {
            let _ = writeln!(out, "\n[[device.point]]\nname = {}\ntable = {:?}", quoted(&point.name), point.table.name());
            let _ = writeln!(out, "address = {}\ntype = {:?}", point.address, point.value_type.name());
            if point.value_type.quantity() == 2 {
                let order = WordOrder::ALL.iter().find(|(order, _)| *order == point.word_order).map_or("", |(_, name)| name);
                let _ = writeln!(out, "word_order = {order:?}");
            }
            if point.value_type != ValueType::Bool {
                let _ = writeln!(out, "scale = {:?}", point.scale);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::machines::Machine;

    /// A week and a bit, in steps of the machines' plan.
    const STEP_S: i64 = 300;
    const STEPS: i64 = 2 * 7 * 86_400 / STEP_S;

    const WEDNESDAY_MORNING: &str = "2019-11-06T10:02:03+08:00";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn an_agent_with_the_generated_configuration_sees_every_state_as_it_is() {
        let devices = MachineKind::ALL.map(|kind| DeviceSetup {
            name: format!("{} \"一号\"", kind.name()),
            address: SocketAddr::from(([127, 0, 0, 1], 1502)),
            unit_id: 1,
            kind,
        });
        let setup = AgentSetup {
            gateway: "gw-1".into(),
            token: "t\\".into(),
            enterprise: Some("91440300708461136T".into()),
            broker_url: "mqtt://127.0.0.1:1883".into(),
            spool_dir: "/tmp/spool".into(),
            report_every_s: 1.0,
            poll_ms: 500,
            devices: devices.to_vec(),
        };
        let config = edge::Config::read(&agent_config(&setup), []).unwrap();
        assert_eq!(config.devices.len(), MachineKind::ALL.len());
        let mut seen = std::collections::BTreeSet::new();
        for (device, kind) in config.devices.iter().zip(MachineKind::ALL) {
            assert_eq!(device.points, kind.points());
            let machine = Machine::new(kind, 3);
            for slot in 0..STEPS {
                let now = at(WEDNESDAY_MORNING) + chrono::Duration::seconds(slot * STEP_S);
                let readings = machine.readings_at(now);
                assert_eq!(readings.len(), device.points.len());
                assert_eq!(device.state(&readings), Some(machine.state_at(now)), "{kind:?} {now}");
                seen.insert(format!("{:?}", machine.state_at(now)));
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["Fault", "Idle", "Running", "Stopped"]);
    }
}
