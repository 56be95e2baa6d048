//! A service under test: the real binary on free loopback ports, with a data directory of its own.

pub mod enrolment;
pub mod facts;
pub mod history;
pub mod http;
pub mod mqtt;
pub mod register;
pub mod rumqttc_client;
pub mod small_disk;
pub mod sparkplug;
pub mod strace;
pub mod street;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use http::Answer;

pub const SHANGYUN: &str = env!("CARGO_BIN_EXE_shangyun");

/// The agent's binary lies beside the service's.
pub fn agent_program() -> PathBuf {
    let path = Path::new(SHANGYUN).with_file_name("shangyun-edge");
    assert!(path.exists(), "{} is not there: cargo build --workspace", path.display());
    path
}

/// What the tests' own Python needs, as tests/run has installed it.
pub fn python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin/python");
    assert!(path.exists(), "{} is not there: ./tests/run makes it", path.display());
    path
}

/// Where tests/run has installed MQTT.js.
pub fn node_modules() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-node/node_modules");
    assert!(path.exists(), "{} is not there: ./tests/run makes it", path.display());
    path
}

/// Polls until `of` gives something; panics after a minute.
pub fn wait_for<T>(what: &str, mut of: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = of() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A command line of the product over a data directory.
pub fn shangyun(dir: &Path, args: &[&str]) -> Output {
    Command::new(SHANGYUN).args(args).arg(format!("--set=data.dir={}", dir.display())).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).to_string()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).to_string()
}

/// A child process that never outlives its test.
pub struct Kept(pub Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `shangyun serve`.
pub struct Service {
    child: Kept,
    pub http: String,
    pub admin: String,
    pub mqtt: SocketAddr,
    /// MQTT over TLS, where the settings ask for it.
    pub mqtts: Option<SocketAddr>,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Service {
    pub fn start(dir: &Path, settings: &[String]) -> Service {
        Service::start_by(&mut Command::new(SHANGYUN), dir, settings)
    }

    /// By a command that ends in the program, whose arguments follow.
    pub fn start_by(program: &mut Command, dir: &Path, settings: &[String]) -> Service {
        let mut child = serve_by(program, dir, settings).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (lines, log) = (BufReader::new(child.stderr.take().unwrap()).lines(), stderr.clone());
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| *log.lock().unwrap() += &(line + "\n")));
        let expected = if settings.iter().any(|text| text.starts_with("mqtt.tls.listen=")) { 4 } else { 3 };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let addresses: Vec<String> =
            lines.by_ref().take(expected).map(|line| line.split_whitespace().last().unwrap().to_string()).collect();
        // Standard output stays open as long as the service has something to say.
        std::thread::spawn(move || lines.for_each(drop));
        let [http, admin, mqtt, tls @ ..] = &addresses[..] else { panic!("the service did not start: {}", stderr.lock().unwrap()) };
        Service {
            child: Kept(child),
            http: http.trim_end_matches('/').to_string(),
            admin: admin.trim_end_matches("/metrics").to_string(),
            mqtt: mqtt.trim_start_matches("mqtt://").parse().unwrap(),
            mqtts: tls.first().map(|address| address.trim_start_matches("mqtts://").parse().unwrap()),
            stderr,
            reader: Some(reader),
        }
    }

    /// Starts it, and kills it while it is still about that.
    pub fn kill_while_starting(dir: &Path, settings: &[String], after: Duration) {
        let mut child =
            Kept(serve_by(&mut Command::new(SHANGYUN), dir, settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        std::thread::sleep(after);
        child.0.kill().unwrap();
        child.0.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// SIGKILL: nothing is settled, nothing is flushed.
    pub fn kill(mut self) {
        self.child.0.kill().unwrap();
        self.child.0.wait().unwrap();
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, as a service manager stops it; gives what it wrote on standard error.
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        let status = wait_for("the service ends on SIGTERM", || self.child.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
        self.reader.take().unwrap().join().unwrap();
        self.log()
    }

    /// What it has written on standard error so far.
    pub fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// The value of a metric, named with its label: `name{label="value"}`; 0 while it has none.
    pub fn metric(&self, name: &str) -> u64 {
        let text = http::get(&format!("{}/metrics", self.admin), "").body;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Reports by outcome.
    pub fn reports(&self, outcome: &str) -> u64 {
        self.metric(&format!("shangyun_ingest_reports_total{{outcome=\"{outcome}\"}}"))
    }
}

/// The service's command line, behind whatever stands there already.
fn serve_by<'c>(program: &'c mut Command, dir: &Path, settings: &[String]) -> &'c mut Command {
    let set = |text: &str| format!("--set={text}");
    program
        .arg("serve")
        .args(
            ["http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "mqtt.listen=127.0.0.1:0", "monitor.every_s=0", "log.grow_mib=1"]
                .map(set),
        )
        .arg(format!("--set=data.dir={}", dir.display()))
        .args(settings.iter().map(|text| set(text)))
}

/// A service with a register and an admin's key.
pub struct Site {
    pub service: Service,
    pub admin: String,
    settings: Vec<String>,
    dir: tempfile::TempDir,
}

impl Site {
    pub fn new(register: &Value) -> Site {
        Site::with(register, |_| Vec::new())
    }

    /// With settings that may refer to files made in the directory given.
    pub fn with(register: &Value, settings: impl FnOnce(&Path) -> Vec<String>) -> Site {
        Site::in_dir(tempfile::tempdir().unwrap(), register, settings)
    }

    /// On a disk of one's choice.
    pub fn in_dir(dir: tempfile::TempDir, register: &Value, settings: impl FnOnce(&Path) -> Vec<String>) -> Site {
        let settings = settings(dir.path());
        let service = Service::start(&dir.path().join("data"), &settings);
        let mut site = Site { service, admin: String::new(), settings, dir };
        site.admin = site.key("admin", None);
        let answer = site.post("/api/v1/register", &site.admin, register);
        assert_eq!(answer.status, 200, "{}", answer.body);
        site
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A directory for the test's own files, outside the data directory.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    pub fn key(&self, role: &str, scope: Option<&str>) -> String {
        let mut args = vec!["key", "create", "--role", role, "--name", "test"];
        args.extend(scope.iter().flat_map(|scope| ["--scope", scope]));
        let output = shangyun(&self.dir(), &args);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_string()
    }

    pub fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        http::post(&format!("{}{path}", self.service.http), key, body.to_string().as_bytes(), &[])
    }

    pub fn get(&self, path: &str, key: &str) -> Answer {
        http::get(&format!("{}{path}", self.service.http), key)
    }

    pub fn get_bytes(&self, path: &str, key: &str) -> Vec<u8> {
        http::get_bytes(&format!("{}{path}", self.service.http), key)
    }

    /// Pushes reports and gives the results, one per report.
    pub fn push(&self, key: &str, reports: &[Value]) -> Vec<Value> {
        let answer = self.post("/api/v1/reports", key, &json!(reports));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["results"].as_array().unwrap().clone()
    }

    /// Pushes reports that must all be accepted.
    pub fn push_accepted(&self, key: &str, reports: &[Value]) {
        for result in self.push(key, reports) {
            assert_eq!(result["status"], "accepted", "{result}");
        }
    }

    /// What `/readyz` says, with its status.
    pub fn readiness(&self) -> Answer {
        http::get(&format!("{}/readyz", self.service.admin), "")
    }

    pub fn judge(&self, voucher: &str) -> Value {
        let answer = self.post(&format!("/api/v1/vouchers/{voucher}/judge"), &self.admin, &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Kills the service and starts it anew on the same directory.
    pub fn kill_and_restart(self) -> Site {
        self.kill_and_restart_after(&[])
    }

    /// As before, with starts in between that are killed after so long each.
    pub fn kill_and_restart_after(self, false_starts: &[Duration]) -> Site {
        self.service.kill();
        let data = self.dir.path().join("data");
        false_starts.iter().for_each(|after| Service::kill_while_starting(&data, &self.settings, *after));
        Site { service: Service::start(&data, &self.settings), ..self }
    }

    /// Stops the service in good order; the directory stays.
    pub fn stop(self) -> (tempfile::TempDir, PathBuf) {
        self.service.stop();
        let data = self.dir.path().join("data");
        (self.dir, data)
    }

    /// Kills the service; the directory stays.
    pub fn kill(self) -> (tempfile::TempDir, PathBuf) {
        self.service.kill();
        let data = self.dir.path().join("data");
        (self.dir, data)
    }
}

/// `shangyun tally rebuild` over a stopped service's data: whether the facts were the same, and their digest.
pub fn rebuild_tally(data: &Path) -> (bool, String) {
    let output = shangyun(data, &["tally", "rebuild"]);
    let text = stdout(&output);
    let after = text.lines().find_map(|line| line.strip_prefix("after ")).unwrap_or_else(|| panic!("{text}{}", stderr(&output)));
    (output.status.success(), after.trim().to_string())
}

/// Everything from a child's pipe, read to its end by a thread.
pub fn drained(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = pipe.read_to_string(&mut text);
        text
    })
}
