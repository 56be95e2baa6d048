//! System calls of a running service that are made to fail, by Debian's strace.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::{Kept, wait_for};

/// Attached to some threads of a process. Detaches when it is dropped or told so; then the calls work again.
pub struct Strace {
    child: Kept,
    output: PathBuf,
}

/// A system call as strace writes it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// Between the parentheses, with the paths of files.
    pub arguments: String,
    pub failed: bool,
}

/// Whose calls.
pub enum Of<'a> {
    /// Of the threads there are now whose name begins with one of these.
    Threads(&'a [&'a str]),
    /// Of every thread, also later ones, on these files.
    Files(&'a [PathBuf]),
}

impl Strace {
    /// Traces the calls `trace`, and lets those of `inject` fail with `error`.
    pub fn attach(pid: u32, of: Of<'_>, trace: &str, inject: &str, error: &str, output: &Path) -> Strace {
        Strace::inject(pid, of, trace, &format!("{inject}:error={error}"), output)
    }

    /// Lets the calls `slow` of every thread succeed, each after this time.
    pub fn delay(pid: u32, slow: &str, by: Duration, output: &Path) -> Strace {
        Strace::inject(pid, Of::Files(&[]), slow, &format!("{slow}:delay_enter={}", by.as_micros()), output)
    }

    fn inject(pid: u32, of: Of<'_>, trace: &str, fault: &str, output: &Path) -> Strace {
        let mut command = Command::new("strace");
        let ids = match of {
            Of::Threads(names) => thread_ids(pid, names),
            Of::Files(files) => {
                command.arg("-f");
                files.iter().for_each(|file| {
                    command.arg("-P").arg(file);
                });
                vec![pid.to_string()]
            }
        };
        assert!(!ids.is_empty(), "the service has no such thread");
        command.args(["-y", "-e", &format!("trace={trace}"), "-e", &format!("inject={fault}"), "-o"]).arg(output);
        command.args(ids.iter().flat_map(|id| ["-p", id]));
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = Kept(started.unwrap_or_else(|error| panic!("strace: {error}: ./tests/run installs it")));
        let (sender, told) = channel();
        let lines = BufReader::new(child.0.stderr.take().unwrap()).lines().map_while(Result::ok);
        std::thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        let mut said = String::new();
        for _ in 0..ids.len() {
            match told.recv_timeout(Duration::from_secs(20)) {
                Ok(line) if line.contains(" attached") => {}
                Ok(line) => said += &(line + "\n"),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
            let refused = said.contains("Operation not permitted");
            assert!(!refused, "this test needs ptrace (root, kernel.yama.ptrace_scope=0, or a container with SYS_PTRACE): {said}");
        }
        assert!(said.is_empty(), "strace cannot attach: {said}");
        Strace { child, output: output.to_path_buf() }
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(&self.output).unwrap();
        text.lines().filter_map(call).collect()
    }

    /// Lets go of the threads, and gives every call that was made meanwhile.
    pub fn detach(mut self) -> Vec<Call> {
        self.end();
        self.calls()
    }

    fn end(&mut self) {
        // It may have ended already, with the process.
        let _ = Command::new("kill").args(["-INT", &self.child.0.id().to_string()]).stderr(Stdio::null()).status();
        wait_for("strace detaches", || self.child.0.try_wait().unwrap());
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if self.child.0.try_wait().unwrap().is_none() {
            self.end();
        }
    }
}

/// `fsync(3</tmp/x>) = -1 EIO (Input/output error) (INJECTED)`, with the thread's id before it where there are several.
fn call(line: &str) -> Option<Call> {
    let (made, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = made.trim_end().strip_suffix(')')?.split_once('(')?;
    Some(Call { name: name.split_whitespace().last()?.into(), arguments: arguments.into(), failed: result.starts_with("-1 ") })
}

fn thread_ids(pid: u32, names: &[&str]) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let named = tasks.filter(|task| {
        // A thread may end while we look.
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        names.iter().any(|wanted| name.starts_with(wanted))
    });
    named.map(|task| task.file_name().to_string_lossy().into_owned()).collect()
}
