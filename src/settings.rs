//! The one table of settings: name, kind, default, meaning.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// A path of the file system.
    Path,
    /// `address:port`
    Listen,
    /// One path, or a list of them; empty: compiled in.
    Paths,
    /// A whole number within bounds.
    Count { min: u64, max: u64 },
    /// One of these words.
    Word(&'static [&'static str]),
    /// Only empty for now: the choices come with their own release.
    Empty,
}

#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub kind: SettingKind,
    pub default: &'static str,
    pub about: &'static str,
}

const fn setting(name: &'static str, kind: SettingKind, default: &'static str, about: &'static str) -> Setting {
    Setting { name, kind, default, about }
}

pub const SETTINGS: &[Setting] = &[
    setting("data.dir", SettingKind::Path, "./data", "where everything is kept"),
    setting("http.listen", SettingKind::Listen, "127.0.0.1:8080", "pages and API"),
    setting("admin.listen", SettingKind::Listen, "127.0.0.1:8081", "metrics and health"),
    setting("mqtt.mode", SettingKind::Word(&["embedded"]), "embedded", "the door is part of the service"),
    setting("mqtt.listen", SettingKind::Listen, "127.0.0.1:1883", "MQTT without TLS"),
    setting("store.url", SettingKind::Empty, "", "empty: embedded in data.dir"),
    setting("rulebook.file", SettingKind::Paths, "", "rulebooks; the one in force when a voucher is applied for decides"),
    setting("catalogue.file", SettingKind::Paths, "", "catalogues; the one in force when a voucher is applied for decides"),
    setting("http.key_requests_per_s", SettingKind::Count { min: 1, max: 1_000_000 }, "1000", "requests that one key may send in a second"),
    setting(
        "disk.free_mib_min",
        SettingKind::Count { min: 0, max: 1 << 30 },
        "512",
        "below this much free space nothing is accepted, in MiB",
    ),
    setting("log.group_delay_ms", SettingKind::Count { min: 0, max: 20 }, "0", "how long reports may wait to be synced together, in ms"),
    setting("monitor.every_s", SettingKind::Count { min: 0, max: 86_400 }, "60", "seconds between rounds of judging; 0: on demand only"),
    setting("tally.checkpoint_every_s", SettingKind::Count { min: 1, max: 3_600 }, "5", "seconds between checkpoints of the facts"),
    setting("log.segment_mib", SettingKind::Count { min: 1, max: 4_096 }, "64", "size of a segment of the evidence log, in MiB"),
    setting("log.grow_mib", SettingKind::Count { min: 1, max: 1_024 }, "4", "by how much a segment's file grows, in MiB"),
];
