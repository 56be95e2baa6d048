//! Which crate uses which, held against cargo's own account of it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The rooms, and what each uses of ours. ARCHITECTURE.md says why.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("policy", &[]),
    ("observe", &[]),
    ("sheets", &["policy"]),
    ("tally", &["wire", "policy"]),
    ("store", &["wire", "policy", "tally", "observe", "sheets"]),
    ("ingest", &["wire", "tally", "store", "observe"]),
    ("monitor", &["policy", "tally", "store", "observe"]),
    ("proof", &["policy", "store", "ingest"]),
    ("web", &["wire", "policy", "sheets", "store", "ingest", "monitor", "proof", "observe"]),
    ("edge", &["wire"]),
    ("drive", &["wire", "edge"]),
    ("shangyun", &["wire", "policy", "sheets", "tally", "store", "ingest", "monitor", "web", "observe", "proof", "drive", "edge"]),
];

/// Where a crate of others may be used; by nobody else.
const FENCES: &[(&str, &[&str])] = &[
    ("rumqttd", &["ingest"]),
    ("rumqttc", &["ingest", "edge", "drive"]),
    ("minicbor", &["wire"]),
    ("axum", &["web", "edge", "shangyun"]),
    ("hyper", &["shangyun"]),
    ("hyper-util", &["shangyun"]),
    ("rustix", &["store", "ingest", "edge", "drive", "shangyun"]),
    ("rustls", &["ingest", "edge", "shangyun"]),
    ("rustls-native-certs", &["edge"]),
    ("tokio-rustls", &["ingest", "edge"]),
    ("tokio-modbus", &["edge", "drive"]),
    ("tokio-serial", &["edge"]),
    ("x509-cert", &["ingest", "edge"]),
    ("askama", &["web"]),
    ("utoipa", &["web"]),
    ("calamine", &["sheets"]),
    ("zip", &["sheets"]),
    ("csv", &["sheets"]),
    ("encoding_rs", &["sheets", "edge"]),
    ("rust_xlsxwriter", &["sheets"]),
    ("sqlx", &["store"]),
    ("influxdb2", &["store"]),
    ("prost", &["wire"]),
    ("tar", &["proof"]),
    ("prometheus", &["observe", "edge"]),
    ("clap", &["shangyun", "edge", "drive"]),
    ("anyhow", &["shangyun", "edge", "drive"]),
    ("tokio", &["observe", "store", "ingest", "monitor", "proof", "web", "edge", "drive", "shangyun"]),
];

/// By room: what it depends on, tests and build aside.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |package: &Value| -> BTreeSet<String> {
        let normal = package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"].is_null());
        normal.map(|dependency| room(dependency["name"].as_str().unwrap())).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|package| (room(package["name"].as_str().unwrap()), of(package))).collect()
}

fn room(package: &str) -> String {
    package.strip_prefix("shangyun-").unwrap_or(package).to_string()
}

#[test]
fn a_room_uses_no_other_than_the_arrows_allow() {
    let found = dependencies();
    let rooms: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), rooms, "a new room needs its line in the table");
    for (room, allowed) in ARROWS {
        let ours = found[*room].iter().filter(|name| rooms.contains(name.as_str()));
        let beyond: Vec<_> = ours.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(beyond.is_empty(), "{room} uses {beyond:?}");
    }
}

#[test]
fn crates_of_others_stay_behind_their_fences() {
    for (room, used) in dependencies() {
        for (name, allowed) in FENCES {
            assert!(!used.contains(*name) || allowed.contains(&room.as_str()), "{room} uses {name}; only {allowed:?} may");
        }
    }
}
