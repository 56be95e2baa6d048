//! The demo's present: machines on Modbus/TCP, agents that poll them, suppliers and a carrier that push.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use edge::SystemClock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::agent_setup::{AgentSetup, DeviceSetup, agent_config};
use crate::history::{Doors, push_day};
use crate::machines::Machine;
use crate::modbus_server::serve;
use crate::world::{Behaviour, GatewayPlan, World, shanghai_day};

const REPORT_EVERY_S: f64 = 10.0;
const POLL_MS: u64 = 5_000;
const AGENTS_STOP_MAX: Duration = Duration::from_secs(3);
const PUSH_EVERY: Duration = Duration::from_secs(60);

/// Everything that runs until `stopping` is true.
pub struct Live {
    machines: Vec<JoinHandle<()>>,
    agents: Vec<JoinHandle<()>>,
    pushing: JoinHandle<()>,
}

impl Live {
    /// `dir`: for the agents' spools.
    pub async fn start(world: Arc<World>, doors: Doors, dir: &Path, stopping: watch::Receiver<bool>) -> Result<Live> {
        let pushing = tokio::spawn(keep_pushing(world.clone(), doors.clone(), stopping.clone()));
        let mut live = Live { machines: Vec::new(), agents: Vec::new(), pushing };
        for plan in &world.gateways {
            live.start_gateway(plan, &doors, dir, &stopping).await.with_context(|| plan.id.clone())?;
        }
        Ok(live)
    }

    async fn start_gateway(&mut self, plan: &GatewayPlan, doors: &Doors, dir: &Path, stopping: &watch::Receiver<bool>) -> Result<()> {
        let mut devices = Vec::new();
        for device in plan.devices.iter().filter(|device| device.behaviour != Behaviour::Late) {
            let address = match device.behaviour {
                Behaviour::Works => self.start_machine(Machine::new(device.kind, device.seed)).await?,
                // Nothing listens there.
                _ => SocketAddr::from(([127, 0, 0, 1], 9)),
            };
            devices.push(DeviceSetup { name: device.device.clone(), address, unit_id: 1, kind: device.kind });
        }
        let setup = AgentSetup {
            gateway: plan.id.clone(),
            token: plan.token.clone(),
            enterprise: Some(plan.enterprise.clone()),
            broker_url: format!("mqtt://{}", doors.mqtt),
            spool_dir: dir.join(&plan.id).display().to_string(),
            report_every_s: REPORT_EVERY_S,
            poll_ms: POLL_MS,
            devices,
        };
        let config = edge::Config::read(&agent_config(&setup), std::iter::empty::<(String, String)>())?;
        let mut stop = stopping.clone();
        let id = plan.id.clone();
        self.agents.push(tokio::spawn(async move {
            let shutdown = async move {
                // A sender that is gone means the same.
                let _ = stop.wait_for(|stopping| *stopping).await;
            };
            if let Err(error) = edge::run(config, Arc::new(SystemClock::default()), shutdown).await {
                eprintln!("agent {id}: {error}");
            }
        }));
        Ok(())
    }

    async fn start_machine(&mut self, machine: Machine) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        self.machines.push(tokio::spawn(async move {
            if let Err(error) = serve(listener, vec![machine], Utc::now).await {
                eprintln!("machine at {address}: {error}");
            }
        }));
        Ok(address)
    }

    /// Machines that are polled, and agents that poll them.
    pub fn counts(&self) -> (usize, usize) {
        (self.machines.len(), self.agents.len())
    }

    /// Waits a moment for the agents to finish; machines simply end.
    pub async fn stop(self) {
        self.pushing.abort();
        self.machines.iter().for_each(JoinHandle::abort);
        let all = async {
            for agent in self.agents {
                // An agent that failed has said so.
                let _ = agent.await;
            }
        };
        let _ = tokio::time::timeout(AGENTS_STOP_MAX, all).await;
    }
}

/// People go on working: what they have done since the last push, again and again.
async fn keep_pushing(world: Arc<World>, doors: Doors, mut stopping: watch::Receiver<bool>) {
    let mut pushed_until = Utc::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PUSH_EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let now = Utc::now();
        match push_day(&world, &doors, shanghai_day(now), pushed_until, now).await {
            Ok(()) => pushed_until = now,
            Err(error) => eprintln!("a supplier's push failed: {error:#}"),
        }
    }
}
