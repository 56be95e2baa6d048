//! What tests of the agent's own process share.
#![allow(dead_code)]

use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

pub const AGENT: &str = env!("CARGO_BIN_EXE_shangyun-edge");

/// A process that does not outlive its test.
pub struct Kept(pub Child);

impl Kept {
    pub fn start(command: &mut Command) -> Kept {
        Kept(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let killed = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.0.wait().unwrap()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks again and again until there is an answer; says what was awaited if there is none for too long.
pub fn wait_for<T>(awaited: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{awaited} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The output of a command that must succeed.
pub fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}
