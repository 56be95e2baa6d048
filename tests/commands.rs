//! What goes wrong at the start is said in one clear line, with exit code 2; a torn tail of the log is cut, damage before it is named and passed over.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::history::device_reports;
use support::register::{GUANGZHOU, Register, device_names};
use support::{Kept, SHANGYUN, Service, Site, rebuild_tally, shangyun, stderr, stdout, wait_for};

/// Exit code 2, and one line on standard error that holds all of this.
fn assert_one_line(output: &Output, parts: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

/// `serve` on free ports, which must not come to serving.
fn serve(dir: &Path, more: &[String]) -> Output {
    let mut args = vec!["serve".to_string()];
    args.extend(["http", "admin", "mqtt"].map(|name| format!("--set={name}.listen=127.0.0.1:0")));
    args.extend(more.iter().cloned());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    shangyun(dir, &args)
}

#[test]
fn a_taken_port_is_named_with_its_setting_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["http.listen", "admin.listen", "mqtt.listen"] {
        let output = serve(dir.path(), &[format!("--set={setting}={address}")]);
        assert_one_line(&output, &[setting, &address, "is taken by another program", "set "]);
    }
}

#[test]
fn an_unusable_data_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    assert_one_line(&serve(&below, &[]), &[below.to_str().unwrap(), "data directory"]);
    assert_one_line(&shangyun(&below, &["key", "create", "--role", "admin", "--name", "x"]), &[below.to_str().unwrap()]);
}

#[test]
fn an_unknown_key_and_a_wrong_value_are_named_with_their_origin_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shangyun.toml");
    std::fs::write(&file, "[http]\nlissten = \"127.0.0.1:0\"\n").unwrap();
    let path = file.to_str().unwrap();
    assert_one_line(
        &serve(dir.path(), &["--config".into(), path.into()]),
        &[path, "unknown configuration key http.lissten", "http.listen"],
    );
    let output = Command::new(SHANGYUN)
        .args(["check-config", "--config", path, "--set=monitor.every_s=often"])
        .env("SHANGYUN__MQTT__LISTEN", "here")
        .output()
        .unwrap();
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 3), "{said}");
    for (line, part) in said.lines().zip(["http.lissten", "SHANGYUN__MQTT__LISTEN", "monitor.every_s"]) {
        assert!(line.contains(part), "{said}");
    }
    assert!(!dir.path().join("log").exists(), "nothing was begun");
}

#[test]
fn a_file_that_is_no_toml_is_named_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shangyun.toml");
    std::fs::write(&file, "[http\nlisten = 1\n").unwrap();
    let output = serve(dir.path(), &["--config".into(), file.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(file.to_str().unwrap()) && stderr(&output).contains("line 1"), "{}", stderr(&output));
    let missing = dir.path().join("missing.toml");
    let output = serve(dir.path(), &["--config".into(), missing.display().to_string()]);
    assert_one_line(&output, &[missing.to_str().unwrap(), "cannot be read"]);
}

#[test]
fn help_ends_with_0_and_wrong_use_with_2() {
    let run = |args: &[&str]| Command::new(SHANGYUN).args(args).output().unwrap();
    for args in [&["help"][..], &["--help"], &["serve", "--help"], &["--version"]] {
        let output = run(args);
        assert!(output.status.success() && !output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    for args in [&[][..], &["srve"], &["serve", "--port", "1"], &["import"], &["key", "create", "--role", "king", "--name", "x"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn config_print_shows_every_setting_in_force_with_its_origin() {
    let output = Command::new(SHANGYUN)
        .args(["config", "print", "--set=http.listen=127.0.0.1:9"])
        .env("SHANGYUN__ADMIN__LISTEN", "127.0.0.1:8")
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(output.status.success());
    for line in [
        "http.listen = \"127.0.0.1:9\"  # flag --set",
        "admin.listen = \"127.0.0.1:8\"  # environment SHANGYUN__ADMIN__LISTEN",
        "mqtt.listen = \"127.0.0.1:1883\"  # default",
    ] {
        assert!(text.lines().any(|shown| shown.starts_with(line)), "{line}: {text}");
    }
    let sound = Command::new(SHANGYUN).arg("check-config").output().unwrap();
    assert!(sound.status.success(), "{}", stderr(&sound));
}

#[test]
fn a_second_service_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let site = Site::new(Register::new().file());
    assert_one_line(&serve(&site.dir(), &[]), &["is in use by a running service", site.dir().to_str().unwrap()]);
    let rebuilt = shangyun(&site.dir(), &["tally", "rebuild"]);
    assert!(rebuilt.status.success() && stdout(&rebuilt).contains("the facts are the same"), "while the service runs");
    assert_eq!(site.get("/api/v1/vouchers", &site.admin).status, 200);
    let site = site.kill_and_restart();
    assert_eq!(site.get("/api/v1/vouchers", &site.admin).status, 200, "a killed service leaves no lock behind");
}

#[test]
fn a_new_key_is_the_only_line_and_is_kept_nowhere() {
    let site = Site::new(Register::new().file());
    let output = shangyun(&site.dir(), &["key", "create", "--role", "platform", "--name", "兑现平台"]);
    let key = stdout(&output);
    assert!(output.status.success() && key.lines().count() == 1);
    assert_eq!(site.get("/api/v1/vouchers", key.trim()).status, 200, "while the service runs");
    let (_dir, data) = site.stop();
    for file in ["shangyun.db", "quarantine.db"] {
        let bytes = std::fs::read(data.join(file)).unwrap();
        assert!(!bytes.windows(key.trim().len()).any(|window| window == key.trim().as_bytes()), "{file}");
    }
}

/// Whoever reads the addresses and then closes the pipe must not cost the service its last checkpoint.
#[test]
fn a_service_whose_standard_output_is_closed_stops_in_good_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(SHANGYUN);
    command.arg("serve").args(["http", "admin", "mqtt"].map(|name| format!("--set={name}.listen=127.0.0.1:0")));
    let child =
        command.arg(format!("--set=data.dir={}", dir.path().display())).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut child = Kept(child);
    let mut output = child.0.stdout.take().unwrap();
    // The first byte of the addresses: it serves.
    std::io::Read::read_exact(&mut output, &mut [0]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(output);
    assert!(Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap().success());
    let status = wait_for("the service ends", || child.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

/// Ten blocks with a report each, nothing of them in a checkpoint, and the service killed.
struct Killed {
    dir: PathBuf,
    reports: Vec<Value>,
    key: String,
    segment: PathBuf,
    log: Vec<u8>,
    /// Where the last block ends.
    end: usize,
    _dir: tempfile::TempDir,
}

fn settings() -> Vec<String> {
    vec!["tally.checkpoint_every_s=3600".into()]
}

fn killed() -> Killed {
    let register = Register::new().supplier("S-1").product("P-1", "S-1", 5, "A").enterprise(1, GUANGZHOU);
    let site = Site::with(register.file(), |_| settings());
    let key = site.key("supplier", Some("S-1"));
    let at = Utc::now() - TimeDelta::hours(2);
    let reports: Vec<Value> = (0..10).flat_map(|n| device_reports(&format!("r{n}"), 1, &device_names("SN", 3), &[at])).collect();
    reports.iter().for_each(|report| site.push_accepted(&key, std::slice::from_ref(report)));
    let (dir, data) = site.kill();
    let segment = data.join("log/00000000000000000000.seg");
    let log = std::fs::read(&segment).unwrap();
    let end = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    Killed { dir: data, reports, key, segment, log, end, _dir: dir }
}

impl Killed {
    /// Starts the service on the changed log; gives what became of each report when it is pushed again, and what the log said.
    fn resent(&self) -> (Vec<String>, String) {
        let service = Service::start(&self.dir, &settings());
        let url = format!("{}/api/v1/reports", service.http);
        let answer = support::http::post(&url, &self.key, json!(self.reports).to_string().as_bytes(), &[]);
        let statuses =
            answer.json()["results"].as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap().to_string()).collect();
        (statuses, service.stop())
    }
}

fn statuses(duplicates: usize, accepted: usize) -> Vec<String> {
    [vec!["duplicate".to_string(); duplicates], vec!["accepted".to_string(); accepted]].concat()
}

#[test]
fn garbage_behind_the_last_block_is_cut_with_a_warning_and_every_report_is_still_counted() {
    let killed = killed();
    let mut bytes = killed.log.clone();
    bytes[killed.end..killed.end + 200].iter_mut().zip((1..=255u8).cycle()).for_each(|(byte, garbage)| *byte = garbage);
    std::fs::write(&killed.segment, bytes).unwrap();
    let (found, log) = killed.resent();
    assert_eq!(found, statuses(10, 0));
    assert!(log.contains("WARN") && log.contains("the torn tail of the evidence log was cut"), "{log}");
    assert!(rebuild_tally(&killed.dir).0);
}

#[test]
fn a_last_block_cut_short_is_dropped_with_a_warning_and_those_before_it_are_counted() {
    let killed = killed();
    let mut bytes = killed.log.clone();
    bytes.truncate(killed.end - 40);
    std::fs::write(&killed.segment, bytes).unwrap();
    let (found, log) = killed.resent();
    assert_eq!(found, statuses(9, 1), "the last can be sent again");
    assert!(log.contains("the torn tail of the evidence log was cut"), "{log}");
    let (found, log) = killed.resent();
    assert_eq!(found, statuses(10, 0));
    assert!(!log.contains("torn"), "{log}");
}

#[test]
fn a_damaged_block_is_named_and_kept_aside_and_the_service_starts_and_goes_on() {
    let killed = killed();
    let mut bytes = killed.log.clone();
    bytes[killed.end / 2] ^= 0x20;
    std::fs::write(&killed.segment, &bytes).unwrap();
    let (found, log) = killed.resent();
    assert_eq!(found.iter().filter(|status| *status == "accepted").count(), 1, "what is lost can be sent again: {found:?}");
    assert!(log.contains("ERROR") && log.contains("are damaged and not counted"), "{log}");
    assert!(log.contains(killed.segment.to_str().unwrap()) && log.contains("backup"), "{log}");
    assert_eq!(std::fs::read(&killed.segment).unwrap()[..killed.end], bytes[..killed.end], "nothing is changed");
    let kept = killed.segment.with_file_name("damaged");
    assert_eq!(std::fs::read_dir(kept).unwrap().count(), 1);
}
