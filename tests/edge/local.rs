//! The page on loopback, what it shows as data and as metrics, and `shangyun-edge status`.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use support::{AGENT, Kept, wait_for};
use tempfile::TempDir;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A machine that answers every read with 7, until it is told to be silent.
fn machine(silent: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, silent) = (stream.unwrap(), silent.clone());
            thread::spawn(move || {
                let mut request = [0; 12];
                while stream.read_exact(&mut request).is_ok() {
                    if silent.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut answer = request[..8].to_vec();
                    answer[5] = 5;
                    answer.extend([2, 0, 7]);
                    stream.write_all(&answer).unwrap();
                }
            });
        }
    });
    port
}

struct Gateway {
    dir: TempDir,
    page: u16,
    broker: u16,
    machine: u16,
    silent: Arc<AtomicBool>,
}

impl Gateway {
    fn new() -> Gateway {
        let silent = Arc::new(AtomicBool::new(false));
        let (dir, machine) = (tempfile::tempdir().unwrap(), machine(silent.clone()));
        let gateway = Gateway { dir, page: free_port(), broker: free_port(), machine, silent };
        let config = format!(
            "gateway = {{ id = \"gw-1\", token = \"secret\" }}\nbroker = {{ url = \"mqtt://127.0.0.1:{}\" }}\nspool = {{ dir = \"{}\" }}\n\
             report = {{ every_s = 0.1 }}\nlocal = {{ listen = \"127.0.0.1:{}\" }}\n\
             [[device]]\nname = \"注塑机-1\"\naddress = \"tcp://127.0.0.1:{}\"\npoll_ms = 100\nidentify = false\nrunning_when = {{ point = \"功率\", above = 0.5 }}\n\
             [[device.point]]\nname = \"功率\"\ntable = \"holding\"\naddress = 0\n",
            gateway.broker,
            gateway.spool().display(),
            gateway.page,
            gateway.machine,
        );
        fs::write(gateway.config(), config).unwrap();
        gateway
    }

    fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("edge.toml")
    }

    fn spool(&self) -> std::path::PathBuf {
        self.dir.path().join("spool")
    }

    fn start(&self) -> Kept {
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        Kept::start(Command::new(AGENT).args(["run", "--config"]).arg(self.config()).stderr(Stdio::from(log)))
    }

    fn start_broker(&self) -> Kept {
        let config = self.dir.path().join("mosquitto.conf");
        fs::write(&config, format!("listener {} 127.0.0.1\nallow_anonymous true\n", self.broker)).unwrap();
        let broker = Kept::start(Command::new("mosquitto").arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()));
        wait_for("the broker", || TcpStream::connect(("127.0.0.1", self.broker)).ok());
        broker
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut answer = ureq::get(format!("http://127.0.0.1:{}{path}", self.page)).call().ok()?;
        Some(answer.body_mut().read_to_string().unwrap())
    }

    fn status(&self) -> Option<Value> {
        Some(serde_json::from_str(&self.get("/status.json")?).unwrap())
    }

    fn wait(&self, awaited: &str, reached: impl Fn(&Value) -> bool) -> Value {
        wait_for(awaited, || self.status().filter(&reached))
    }

    fn command(&self, more: &[&str]) -> (i32, String) {
        let Output { status, stdout, .. } =
            Command::new(AGENT).args(["status", "--config"]).arg(self.config()).args(more).output().unwrap();
        (status.code().unwrap(), String::from_utf8(stdout).unwrap())
    }
}

#[test]
fn the_page_the_data_the_metrics_and_the_command_show_the_same_gateway() {
    let gateway = Gateway::new();
    let _broker = gateway.start_broker();
    let standing = r#"{"voucher":"V-1","required":67,"connected":41,"as_of":"2019-11-05T08:00:00+08:00"}"#;
    let (port, topic) = (gateway.broker.to_string(), "shangyun/v1/gw-1/standing");
    support::succeed(Command::new("mosquitto_pub").args(["-h", "127.0.0.1", "-p", &port, "-r", "-q", "1", "-t", topic, "-m", standing]));
    // A broker to which nobody listens acknowledges for nobody.
    let mut listening = Command::new("mosquitto_sub");
    listening.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "shangyun/v1/+/report"]).stdout(Stdio::null());
    let _service = Kept::start(&mut listening);
    let _agent = gateway.start();
    let status = gateway.wait("a gateway at work", |status| {
        status["broker"]["state"] == "live"
            && status["spool"]["acknowledged_today"].as_u64() > Some(2)
            && status["standing"][0]["connected"] == 41
    });
    let device = &status["devices"][0];
    assert_eq!((&device["name"], &device["quality"], &device["state"]), (&"注塑机-1".into(), &"N".into(), &"running".into()));
    assert_eq!((&status["gateway"], &status["troubles"]), (&"gw-1".into(), &serde_json::json!([])));

    let page = gateway.get("/").unwrap();
    for expected in [
        "一切正常",
        "注塑机-1",
        "<strong class=\"short\">41/67</strong> 台",
        "gw-1",
        "在线",
        "N 正常",
        "<link rel=\"stylesheet\" href=\"/page.css\">",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    assert!(gateway.get("/page.css").unwrap().contains("body {"));
    let metrics = gateway.get("/metrics").unwrap();
    for expected in [
        "shangyun_edge_broker_state{state=\"live\"} 1",
        "shangyun_edge_quality_devices{quality=\"N\"} 1",
        "shangyun_edge_failing_devices 0",
        "shangyun_edge_spool_waiting_reports ",
        "shangyun_edge_broker_connections_total 1",
        "shangyun_edge_held_reports{reason=\"doubted\"} 0",
    ] {
        assert!(metrics.contains(expected), "{expected} in {metrics}");
    }
    assert!(!metrics.contains("注塑机"), "no device is a label");
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    samples.for_each(|sample| assert!(sample.starts_with("shangyun_edge_"), "{sample}"));

    let (code, table) = gateway.command(&[]);
    assert_eq!(code, 0, "{table}");
    assert!(table.contains("41/67 台") && table.contains("N 正常 normal") && table.contains("一切正常"), "{table}");
    let (code, json) = gateway.command(&["--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&json).unwrap()["gateway"].clone()), (0, "gw-1".into()));

    gateway.silent.store(true, Ordering::Relaxed);
    gateway.wait("the device's failing", |status| status["troubles"][0]["code"] == "device_failing");
    let (code, table) = gateway.command(&[]);
    assert_eq!(code, 1);
    assert!(table.contains("B 通信故障") && table.contains("[device_failing]"), "{table}");
    assert!(gateway.get("/").unwrap().contains("有 1 个问题"));
}

#[test]
fn without_a_broker_the_status_says_so_and_what_waits() {
    let gateway = Gateway::new();
    let _agent = gateway.start();
    gateway.wait("the broker's absence", |status| {
        status["troubles"][0]["code"] == "broker_offline" && status["spool"]["waiting"].as_u64() > Some(2)
    });
    let (code, table) = gateway.command(&[]);
    assert_eq!(code, 1);
    assert!(table.contains("离线 offline") && table.contains("[broker_offline]"), "{table}");
}

#[test]
fn without_an_agent_the_command_says_so_and_what_the_spool_holds() {
    let gateway = Gateway::new();
    let mut agent = gateway.start();
    let waiting = |status: &Value| status["spool"]["waiting"].as_u64() > Some(2);
    gateway.wait("some reports", waiting);
    agent.terminate();
    let (code, said) = gateway.command(&[]);
    assert_eq!(code, 1);
    assert!(said.contains("没有运行") && said.contains("no agent answers"), "{said}");
    let (code, json) = gateway.command(&["--json"]);
    let said: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &said["running"]), (1, &false.into()));
    assert!(said["spool"]["unsettled"].as_u64() > Some(2), "{said}");
}

#[test]
fn an_agent_at_work_is_asked_whatever_became_of_its_configuration() {
    let gateway = Gateway::new();
    let _agent = gateway.start();
    gateway.wait("the page", |_| true);
    let sound = fs::read_to_string(gateway.config()).unwrap();
    fs::write(gateway.config(), sound.replace("token = \"secret\"", "token_file = \"/nowhere\"").replace("poll_ms", "pol_ms")).unwrap();
    let (code, table) = gateway.command(&[]);
    assert!(code != 2 && table.contains("gw-1"), "{table}");
    fs::remove_file(gateway.config()).unwrap();
    let Output { stderr, .. } = Command::new(AGENT).args(["status", "--config"]).arg(gateway.config()).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(said.contains("[config_unreadable]") && said.contains("the default address is asked, 127.0.0.1:8089"), "{said}");
}

#[test]
fn what_was_acknowledged_is_listed_and_shown_while_the_agent_runs() {
    let gateway = Gateway::new();
    let key = edge::key::FileKey::create(&gateway.dir.path().join("gateway.key"), "gw-1").unwrap();
    let sound = fs::read_to_string(gateway.config()).unwrap();
    fs::write(gateway.config(), sound.replace("token = ", "key_file = \"gateway.key\", token = ")).unwrap();
    let _broker = gateway.start_broker();
    let mut listening = Command::new("mosquitto_sub");
    let port = gateway.broker.to_string();
    listening.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "shangyun/v1/+/report"]).stdout(Stdio::null());
    let _service = Kept::start(&mut listening);
    let mut agent = gateway.start();
    gateway.wait("acknowledgements", |status| status["spool"]["acknowledged_today"].as_u64() > Some(2));
    let spool = |args: &[&str]| {
        let output = Command::new(AGENT).arg("spool").args(args).arg("--config").arg(gateway.config()).output().unwrap();
        (output.status.code().unwrap(), output.stdout)
    };
    // What is acknowledged is written down once a minute, and at the end.
    assert_eq!(spool(&["list"]).0, 0, "it takes no lock that the agent has");
    agent.terminate();
    let _agent = gateway.start();
    gateway.wait("the next agent", |status| status["spool"]["acknowledged_today"].as_u64() > Some(3));
    let list: Value = serde_json::from_slice(&spool(&["list", "--json"]).1).unwrap();
    let first = &list["reports"][0];
    assert_eq!((&first["seq"], &first["signed"], &first["refused"]), (&1.into(), &true.into(), &false.into()));
    let report = format!("{}:1", first["boot"].as_str().unwrap());
    let (code, table) = spool(&["list"]);
    let table = String::from_utf8(table).unwrap();
    assert!(code == 0 && table.contains(&report) && table.contains("已确认 acknowledged") && table.contains("是 yes"), "{table}");

    let (code, shown) = spool(&["show", &report]);
    let shown_report: Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!((code, &shown_report["seq"], &shown_report["boot"]), (0, &1.into(), &first["boot"]));
    let (_, raw) = spool(&["show", &report, "--raw"]);
    let signed = wire::cose::Signed::read(&raw).unwrap();
    assert!(signed.verify(&wire::PublicKey::of(&edge::key::Signer::public_key(&key)).unwrap()));
    assert_eq!((signed.payload, raw.len() as u64), (shown.trim_ascii_end(), first["bytes"].as_u64().unwrap()));
    assert_eq!((spool(&["show", "b7:1"]).0, spool(&["show", "7"]).0), (1, 2));
}

#[test]
fn the_agent_runs_on_where_the_page_has_no_port() {
    let gateway = Gateway::new();
    let taken = TcpListener::bind(("127.0.0.1", gateway.page)).unwrap();
    let mut agent = gateway.start();
    let log = || fs::read_to_string(gateway.dir.path().join("log")).unwrap();
    wait_for("the complaint", || log().contains("the address cannot be had").then_some(()));
    let written = || edge::spool::inspect(&gateway.spool()).is_ok_and(|found| found.records > 2);
    wait_for("reports all the same", || written().then_some(()));
    assert!(agent.terminate().success());
    drop(taken);
}

/// The status line and headers of an answer to a request with these headers.
fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn pages_from_elsewhere_get_nothing_and_no_script_from_elsewhere_runs() {
    let gateway = Gateway::new();
    let _agent = gateway.start();
    gateway.wait("the page", |_| true);
    let get = |path: &str, headers: &str| raw(gateway.page, &format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"));
    for path in ["/", "/status.json", "/metrics", "/page.css", "/none"] {
        let refused = get(path, "Host: evil.example\r\n");
        assert!(refused.starts_with("HTTP/1.1 403") && !refused.contains("注塑机"), "{path}: {refused}");
    }
    assert!(get("/status.json", "Host: localhost\r\nOrigin: http://evil.example\r\n").starts_with("HTTP/1.1 403"));
    let page = get("/", "Host: localhost\r\n");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        page.contains("content-security-policy: default-src 'none'") && page.contains("script-src 'self'") && !page.contains("unsafe"),
        "{page}"
    );
    let usage = get("/usage", "Host: localhost\r\n");
    assert!(usage.starts_with("HTTP/1.1 405"), "{usage}");
}
