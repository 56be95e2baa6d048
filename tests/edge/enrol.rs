//! `shangyun-edge enrol` where reports wait already: whoever enrols a gateway learns which of them its new key does not vouch for.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use edge::spool::{ReportKey, Spool};
use serde_json::json;
use support::AGENT;

/// A service that admits whoever asks.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut asked) = (stream.unwrap(), Vec::new());
            let mut part = [0; 4096];
            // The question is one JSON object, and the last thing that is sent.
            while !asked.ends_with(b"}") {
                let count = stream.read(&mut part).unwrap();
                asked.extend_from_slice(&part[..count]);
            }
            let answer = json!({"v": 1, "gateway": "gw-1", "enterprise": "E", "pseudonym_key": "0f".repeat(32),
                "receipt_keys": {"keys": []}, "token": "t"})
            .to_string();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len()).unwrap();
        }
    });
    format!("http://{address}")
}

fn enrol(dir: &Path, url: &str) -> Output {
    Command::new(AGENT).args(["enrol", "--url", url, "--token", "once", "--config"]).arg(dir.join("edge.toml")).output().unwrap()
}

#[test]
fn reports_that_wait_unsigned_are_told_with_what_to_do_and_none_where_none_waits() {
    let (dir, url) = (tempfile::tempdir().unwrap(), service());
    let spool = dir.path().join("spool");
    std::fs::write(dir.path().join("edge.toml"), format!("[gateway]\nid = \"gw-1\"\n[spool]\ndir = \"{}\"\n", spool.display())).unwrap();
    let said = |output: Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said(enrol(dir.path(), &url)), "");
    let reports = [1, 2].map(|seq| (ReportKey { boot: "b7".into(), seq }, b"{}".to_vec()));
    Spool::open(&spool, 1 << 20).unwrap().append_all(&reports).unwrap();
    let warning = said(enrol(dir.path(), &url));
    for expected in ["2 份报告", "重新启动 shangyun-edge", "2 reports wait", "2 unsigned", "Restart shangyun-edge at once"] {
        assert!(warning.contains(expected), "{expected}: {warning}");
    }
}
