//! Usage of products, from the factory: posted, and from logs that grow and rotate while the agent is killed. No user's name leaves the factory.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use edge::spool::Spool;
use serde_json::{Value, json};
use support::{AGENT, Kept, succeed, wait_for};
use tempfile::TempDir;

const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

struct Factory {
    dir: TempDir,
    page: u16,
}

impl Factory {
    fn new(usage: &str) -> Factory {
        let dir = tempfile::tempdir().unwrap();
        let page = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let factory = Factory { dir, page };
        fs::write(factory.path("pseudonym.key"), format!("{KEY}\n")).unwrap();
        fs::set_permissions(factory.path("pseudonym.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let usage = usage.replace("DIR", factory.dir.path().to_str().unwrap());
        // Nothing listens there, so every report stays in the spool.
        let config = format!(
            "gateway = {{ id = \"gw-1\", token = \"secret\" }}\nbroker = {{ url = \"mqtt://127.0.0.1:9\" }}\nspool = {{ dir = \"{}\" }}\n\
             report = {{ every_s = 0.1 }}\nlocal = {{ listen = \"127.0.0.1:{page}\" }}\n{usage}",
            factory.path("spool").display(),
        );
        fs::write(factory.path("edge.toml"), config).unwrap();
        factory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Kept {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut run = Command::new(AGENT);
        run.args(["run", "--config"]).arg(self.path("edge.toml")).env("RUST_LOG", "trace").stderr(Stdio::from(log));
        Kept::start(&mut run)
    }

    fn post(&self, headers: &[(&str, &str)], body: &str) -> Option<(u16, Value)> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.post(format!("http://127.0.0.1:{}/usage", self.page));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.send(body).ok()?;
        let said = answer.body_mut().read_to_string().unwrap();
        Some((answer.status().as_u16(), serde_json::from_str(&said).unwrap_or(Value::String(said))))
    }

    fn post_json(&self, body: &Value) -> (u16, Value) {
        wait_for("the page", || self.post(&[("Content-Type", "application/json")], &body.to_string()))
    }

    /// What stands in the spool, once no agent has it.
    fn usage(&self) -> Vec<Value> {
        let mut spool = Spool::open(&self.path("spool"), 256 << 20).unwrap();
        let positions = spool.unsettled(0, usize::MAX);
        let reports = positions.into_iter().map(|position| spool.read(position).unwrap().unwrap());
        let reports: Vec<Value> = reports.map(|report| serde_json::from_slice(&report.body).unwrap()).collect();
        let usage: Vec<Vec<Value>> = reports.iter().map(|report| report["usage"].as_array().cloned().unwrap_or_default()).collect();
        for entries in &usage {
            let kind = |entry: &Value| (entry["product"].clone(), entry["function_module"].clone());
            assert!(entries.iter().all(|entry| kind(entry) == kind(&entries[0])), "a refusal costs more than its own: {entries:?}");
        }
        usage.concat()
    }

    fn lines(&self, outcome: &str) -> u64 {
        let status = ureq::get(format!("http://127.0.0.1:{}/status.json", self.page)).call();
        let status = status.map(|mut status| serde_json::from_str::<Value>(&status.body_mut().read_to_string().unwrap()).unwrap());
        status.map_or(0, |status| status["usage"]["lines_total"][outcome].as_u64().unwrap())
    }

    /// Everything that the agent wrote: its log, and the files of its spool, unpacked as far as they are reports.
    fn written(&self) -> String {
        let mut all = fs::read_to_string(self.path("log")).unwrap();
        all += &self.usage().iter().map(Value::to_string).collect::<String>();
        let mut dirs = vec![self.path("spool")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    all += &String::from_utf8_lossy(&fs::read(path).unwrap());
                }
            }
        }
        all
    }
}

fn by_python(user: &str) -> String {
    let script = "import hmac,sys; print(hmac.new(bytes.fromhex(sys.argv[1]), sys.argv[2].encode(), 'sha256').hexdigest(), end='')";
    succeed(Command::new("python3").args(["-c", script, KEY, user]))
}

#[test]
fn posted_usage_is_on_disk_when_it_is_answered_under_the_pseudonym_that_suppliers_compute() {
    let factory = Factory::new("usage = { pseudonym_key_file = \"DIR/pseudonym.key\", product = \"P-001\" }");
    let agent = factory.start();
    let one =
        json!({"function_module": "设备OEE分析", "user": "张三丰工号", "at": "2019-11-05T08:00:10+08:00", "actions": 3, "active_s": 120});
    assert_eq!(factory.post_json(&one), (200, json!({"v": 1, "taken": 1})));
    let many: Vec<Value> =
        (0..1000).map(|i| json!({"product": "P-2", "function_module": "报表", "user": format!("operator-{i}")})).collect();
    assert_eq!(factory.post_json(&many.into()).1["taken"], 1000);
    // Killed at once: what was answered is there.
    drop(agent);
    let usage = factory.usage();
    assert_eq!(usage.len(), 1001);
    let expected = json!({"product": "P-001", "function_module": "设备OEE分析", "user": by_python("张三丰工号"),
        "at": "2019-11-05T08:00:10.000+08:00", "actions": 3, "active_s": 120});
    assert_eq!(usage[0], expected);
    assert_eq!((&usage[1]["user"], &usage[1]["actions"]), (&by_python("operator-0").into(), &1.into()));
    let written = factory.written();
    for name in ["张三丰", "operator-", KEY] {
        assert!(!written.contains(name), "{name} in {written}");
    }
}

#[test]
fn a_post_with_faults_is_refused_whole_with_all_of_them_and_without_the_user() {
    let factory = Factory::new("usage = { pseudonym_key_file = \"DIR/pseudonym.key\" }");
    let agent = factory.start();
    let (status, said) = factory.post_json(&json!([
        {"product": "P", "function_module": "报表", "user": "李四-secret"},
        {"product": "P", "user": "李四-secret", "actions": 0, "at": "2999-01-01T00:00:00Z"},
    ]));
    assert_eq!(status, 422);
    let faults: Vec<_> =
        said["faults"].as_array().unwrap().iter().map(|fault| (fault["path"].as_str().unwrap(), fault["rule"].as_str().unwrap())).collect();
    assert_eq!(faults, [("/1/function_module", "missing"), ("/1/at", "future"), ("/1/actions", "actions")]);
    assert!(said["faults"][0]["zh"].as_str().unwrap().contains("缺少"));
    assert!(!said.to_string().contains("李四"));

    let json_type = ("Content-Type", "application/json");
    let sound = r#"{"product": "P", "function_module": "m", "user": "u"}"#;
    let status = |headers: &[(&str, &str)], body: &str| factory.post(headers, body).unwrap().0;
    assert_eq!(status(&[("Content-Type", "text/plain")], sound), 415);
    assert_eq!(status(&[json_type, ("Origin", "http://evil.example")], sound), 403);
    assert_eq!(status(&[json_type, ("Host", "evil.example")], sound), 403);
    assert_eq!(status(&[json_type], "{"), 400);
    assert_eq!(status(&[json_type], &format!("\"{}\"", "x".repeat(1024 * 1024))), 413);
    assert_eq!(status(&[json_type], &json!(vec![0; 1001]).to_string()), 413);
    assert_eq!(status(&[json_type], "[]"), 200);
    drop(agent);
    assert_eq!(factory.usage(), [Value::Null; 0]);
    assert!(!factory.written().contains("李四"));
}

#[test]
fn without_the_key_no_usage_is_taken() {
    let factory = Factory::new("");
    let _agent = factory.start();
    let (status, said) = factory.post_json(&json!({"product": "P", "function_module": "m", "user": "u"}));
    assert_eq!(status, 503);
    assert!(said["en"].as_str().unwrap().contains("pseudonym_key_file"), "{said}");
}

const LOG: &str = r#"
[usage]
pseudonym_key_file = "DIR/pseudonym.key"
product = "P-001"
[[usage.log]]
file = "DIR/mes.log"
pattern = '^(?<at>\S+) 用户=(?<user>\S+) (?<function_module>/\S*)'
function_modules = { "/oee" = "设备OEE分析", "/report" = "报表" }
"#;

/// Appends lines as a program does that opens its log anew for each.
fn log(path: &Path, line: &str) {
    let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn line(number: usize) -> (String, String, String) {
    let (user, module) = (format!("操作工{}", number % 23), ["/oee", "/report"][number % 2]);
    (format!("2019-11-05T08:{:02}:{:02}+08:00 用户={user} {module} ok", number / 60 % 60, number % 60), user, module.to_string())
}

/// Actions by pseudonym and function module.
fn actions(usage: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut sums = BTreeMap::new();
    for entry in usage {
        let text = |key: &str| entry[key].as_str().unwrap().to_string();
        *sums.entry((text("user"), text("function_module"))).or_insert(0) += entry["actions"].as_u64().unwrap();
    }
    sums
}

#[test]
fn every_line_counts_once_though_the_log_rotates_and_the_agent_is_killed_again_and_again() {
    let factory = Factory::new(LOG);
    let path = factory.path("mes.log");
    fs::write(&path, "").unwrap();
    let mut agent = Some(factory.start());
    wait_for("the start of the log", || factory.path("spool/usage-logs.json").exists().then_some(()));

    let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut pseudonyms: BTreeMap<String, String> = BTreeMap::new();
    let (began, mut killed_at, mut rotated_at) = (Instant::now(), Instant::now(), Instant::now());
    let (mut number, mut kill_count, mut rotation_count) = (0, 0, 0);
    while kill_count < 12 || rotation_count < 3 {
        assert!(began.elapsed() < Duration::from_secs(120));
        let (text, user, module) = line(number);
        log(&path, &text);
        log(&path, "something else");
        number += 1;
        let module = if module == "/oee" { "设备OEE分析" } else { "报表" };
        let pseudonym = pseudonyms.entry(user.clone()).or_insert_with(|| by_python(&user)).clone();
        *expected.entry((pseudonym, module.to_string())).or_insert(0) += 1;
        // Each kill meets another moment.
        if killed_at.elapsed() > Duration::from_millis(300 + kill_count * 137 % 800) {
            drop(agent.take());
            agent = Some(factory.start());
            (killed_at, kill_count) = (Instant::now(), kill_count + 1);
        }
        // Some are put aside before the one before is read.
        if rotated_at.elapsed() > Duration::from_millis(1200) {
            fs::rename(&path, factory.path(&format!("mes.log.{rotation_count}"))).unwrap();
            (rotated_at, rotation_count) = (Instant::now(), rotation_count + 1);
        }
        // About 300 lines a second.
        thread::sleep(Duration::from_millis(3));
    }
    log(&path, "2019-11-05T09:00:00+08:00 用户=最后一个 /oee");
    expected.insert((by_python("最后一个"), "设备OEE分析".into()), 1);
    let last = json!({"product": "P", "function_module": "m", "user": "barrier"});
    wait_for("the last line", || (factory.lines("counted") > 0 && settled(&factory)).then_some(()));
    assert_eq!(factory.post_json(&last).0, 200);
    drop(agent);
    let mut found = actions(&factory.usage());
    found.remove(&(by_python("barrier"), "m".into()));
    assert_eq!(found, expected, "{number} lines, {kill_count} kills");
    let written = factory.written();
    assert!(!written.contains("操作工") && !written.contains("最后一个"));
}

/// The place in the log that is written down last.
fn place(factory: &Factory) -> Value {
    let marks: Value = serde_json::from_slice(&fs::read(factory.path("spool/usage-logs.json")).unwrap()).unwrap();
    let log = &marks[factory.path("mes.log").to_str().unwrap()];
    if log["next"].is_null() { log["reached"].clone() } else { log["next"]["place"].clone() }
}

fn inode(place: &Value) -> u64 {
    place["inode"].as_u64().unwrap()
}

/// The log is read to its end.
fn settled(factory: &Factory) -> bool {
    let (place, log) = (place(factory), fs::metadata(factory.path("mes.log")).unwrap());
    (inode(&place), place["position"].as_u64()) == (log.ino(), Some(log.len()))
}

#[test]
fn lines_that_are_no_usage_are_counted_with_their_reason() {
    let factory = Factory::new(LOG);
    let path = factory.path("mes.log");
    fs::write(&path, "2019-11-05T08:00:00+08:00 用户=旧 /oee\n").unwrap();
    let _agent = factory.start();
    wait_for("the start of the log", || factory.path("spool/usage-logs.json").exists().then_some(()));
    for line in [
        "start of shift",
        "2019-11-05T08:00:00+08:00 用户=王五 /admin",
        "2019-11-05 用户=王五 /oee",
        &"x".repeat(10_000),
        "2019-11-05T08:00:00+08:00 用户=王五 /oee",
    ] {
        log(&path, line);
    }
    let outcomes = ["counted", "unmatched", "unknown_module", "invalid", "too_long"];
    wait_for("the lines", || (outcomes.iter().map(|outcome| factory.lines(outcome)).sum::<u64>() == 5).then_some(()));
    assert_eq!(outcomes.map(|outcome| factory.lines(outcome)), [1; 5], "what was there before the agent is not read");
}

#[test]
fn without_the_places_in_its_logs_the_agent_reads_none_and_says_so() {
    let factory = Factory::new(LOG);
    fs::create_dir(factory.path("spool")).unwrap();
    fs::write(factory.path("spool/usage-logs.json"), "{").unwrap();
    log(&factory.path("mes.log"), "2019-11-05T08:00:00+08:00 用户=王五 /oee");
    let _agent = factory.start();
    let status = wait_for("the page", || {
        let mut status = ureq::get(format!("http://127.0.0.1:{}/status.json", factory.page)).call().ok()?;
        Some(serde_json::from_str::<Value>(&status.body_mut().read_to_string().unwrap()).unwrap())
    });
    let troubles: Vec<_> = status["troubles"].as_array().unwrap().iter().map(|trouble| trouble["code"].as_str().unwrap()).collect();
    assert!(troubles.contains(&"usage_places_unreadable"), "{troubles:?}");
    let said = fs::read_to_string(factory.path("log")).unwrap();
    assert!(said.contains("no log is followed"), "{said}");
    assert_eq!(fs::read_to_string(factory.path("spool/usage-logs.json")).unwrap(), "{");
}
