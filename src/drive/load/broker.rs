//! A Mosquitto of our own, as a yardstick: it relays the same messages in memory to one subscriber, and promises nothing.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::Process;

const START_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Broker {
    child: Child,
    pub(super) address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Broker {
    pub(super) fn start(in_flight: u16) -> Result<Broker> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("mosquitto.conf");
        // Given back at once: nobody else on loopback takes a port so soon.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages {in_flight}\nset_tcp_nodelay true\npersistence false\nlog_dest none\n",
            address.port()
        );
        std::fs::write(&file, config)?;
        let child = Command::new(program()).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut broker =
            Broker { child: child.context("mosquitto cannot be started: install Debian's package mosquitto")?, address, _dir: dir };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if broker.child.try_wait()?.is_some() || began.elapsed() > START_TIMEOUT {
                bail!("mosquitto does not answer on {address}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(broker)
    }

    pub(super) fn process(&self) -> Process {
        Process(self.child.id())
    }
}

/// Debian keeps it where an ordinary user's path does not lead.
fn program() -> &'static str {
    let debian = "/usr/sbin/mosquitto";
    if std::path::Path::new(debian).exists() { debian } else { "mosquitto" }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
