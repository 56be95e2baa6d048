//! The agent under a service manager: what it says of itself, and when it stops saying it.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use edge::{Clock, Config, SystemClock, Watchdog};
use support::{AGENT, Kept};
use tempfile::TempDir;

/// Nothing listens there, so the agent stands without a broker.
const CONFIG: &str = r#"
    gateway = { id = "gw-1", token = "secret" }
    broker = { url = "mqtt://127.0.0.1:9" }
    spool = { dir = "SPOOL" }
    report = { every_s = 0.1 }
"#;

struct ServiceManager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl ServiceManager {
    fn new() -> ServiceManager {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        ServiceManager { dir, socket }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn config(&self) -> String {
        CONFIG.replace("SPOOL", self.path().join("spool").to_str().unwrap())
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 512];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn hear_until(&self, wanted: &str) -> Vec<String> {
        let mut heard = vec![self.hear()];
        while !heard.last().unwrap().starts_with(wanted) {
            assert!(heard.len() < 1000, "{wanted} does not come");
            heard.push(self.hear());
        }
        heard
    }
}

#[test]
fn the_service_manager_hears_ready_without_a_broker_then_signs_of_life_then_stopping() {
    let manager = ServiceManager::new();
    let config = manager.path().join("config.toml");
    std::fs::write(&config, manager.config()).unwrap();
    let mut agent = Kept::start(
        Command::new(AGENT)
            .args(["run", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", manager.path().join("notify"))
            .env("WATCHDOG_USEC", "400000")
            .stderr(Stdio::null()),
    );
    assert_eq!(manager.hear(), "READY=1");
    for _ in 0..5 {
        manager.hear_until("WATCHDOG=1");
    }
    let status = manager.hear_until("STATUS=");
    assert!(status.last().unwrap().ends_with(" reports wait for acknowledgement"), "{status:?}");
    assert!(agent.terminate().success());
    manager.hear_until("STOPPING=1");
}

/// A clock that never answers once it is told to stand: whoever asks it is stuck.
struct StuckClock {
    clock: SystemClock,
    stuck: Arc<AtomicBool>,
}

/// Whatever happens to the test, the runtime can end.
struct Released(Arc<AtomicBool>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Clock for StuckClock {
    fn now(&self) -> DateTime<Utc> {
        // Other threads take over the rest of the runtime's work.
        tokio::task::block_in_place(|| {
            while self.stuck.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        self.clock.now()
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    fn synchronised(&self) -> Option<bool> {
        None
    }
}

#[test]
fn signs_of_life_end_when_the_reporter_is_stuck_though_the_rest_of_the_agent_goes_on() {
    let manager = ServiceManager::new();
    let config = Config::read(&manager.config(), []).unwrap();
    let notify = manager.path().join("notify");
    let watchdog = Watchdog::from_variables(1, |name| match name {
        "NOTIFY_SOCKET" => Some(notify.clone().into_os_string()),
        "WATCHDOG_USEC" => Some("1000000".into()),
        _ => None,
    });
    let stuck = Arc::new(AtomicBool::new(false));
    let clock = Arc::new(StuckClock { clock: SystemClock::default(), stuck: stuck.clone() });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let _released = Released(stuck.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let agent = runtime.spawn(edge::run_watched(config, clock, watchdog, async {
        stopped.await.ok();
    }));
    manager.hear_until("WATCHDOG=1");
    manager.hear_until("WATCHDOG=1");

    stuck.store(true, Ordering::Relaxed);
    // Within half of the limit a loop may still count as alive.
    let until = Instant::now() + Duration::from_millis(800);
    while Instant::now() < until {
        manager.hear();
    }
    for _ in 0..8 {
        assert!(manager.hear().starts_with("STATUS="), "the watch itself goes on, without a sign of life");
    }
    stuck.store(false, Ordering::Relaxed);
    manager.hear_until("WATCHDOG=1");
    stop.send(()).unwrap();
    runtime.block_on(agent).unwrap().unwrap();
}
