//! The one table of settings: name, kind, default, meaning.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// A path of the file system.
    Path,
    /// `address:port`
    Listen,
    /// The same; empty: not at all.
    ListenOrNone,
    /// A path of the file system; empty: none.
    PathOrNone,
    /// One path, or a list of them; empty: compiled in.
    Paths,
    /// A whole number within bounds.
    Count { min: u64, max: u64 },
    /// One of these words.
    Word(&'static [&'static str]),
    /// Addresses or networks, with commas between.
    Networks,
    /// Addresses of MQTT brokers, with commas between.
    MqttUrls,
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
    setting("http.connections_max", SettingKind::Count { min: 1, max: 1_000_000 }, "2000", "connections to pages and API, in all"),
    setting(
        "http.connections_per_address_max",
        SettingKind::Count { min: 1, max: 1_000_000 },
        "1000",
        "of them from one address (IPv6: from one /64)",
    ),
    setting(
        "http.header_timeout_s",
        SettingKind::Count { min: 1, max: 3_600 },
        "30",
        "seconds in which a request's header must come, also after the one before it",
    ),
    setting("http.body_timeout_s", SettingKind::Count { min: 1, max: 3_600 }, "120", "seconds in which a request's body must come"),
    setting("http.stall_timeout_s", SettingKind::Count { min: 1, max: 3_600 }, "60", "seconds in which some of an answer must be taken"),
    setting("admin.listen", SettingKind::Listen, "127.0.0.1:8081", "metrics and health"),
    setting("mqtt.mode", SettingKind::Word(&["embedded"]), "embedded", "the door is part of the service"),
    setting("mqtt.listen", SettingKind::Listen, "127.0.0.1:1883", "MQTT without TLS"),
    setting("mqtt.connections_max", SettingKind::Count { min: 1, max: 1_000_000 }, "16000", "MQTT connections in all"),
    setting(
        "mqtt.connections_per_address_max",
        SettingKind::Count { min: 1, max: 1_000_000 },
        "12000",
        "of them from one address (IPv6: from one /64); half of either may wait for their CONNECT",
    ),
    setting("mqtt.connect_timeout_s", SettingKind::Count { min: 1, max: 300 }, "10", "seconds in which a CONNECT must come whole"),
    setting(
        "mqtt.stall_timeout_s",
        SettingKind::Count { min: 1, max: 3_600 },
        "60",
        "seconds in which a packet that has begun must come whole, and an answer be taken",
    ),
    setting("mqtt.keep_alive_max_s", SettingKind::Count { min: 1, max: 65_535 }, "600", "longest keep alive, and what 0 means"),
    setting(
        "mqtt.session_expiry_max_s",
        SettingKind::Count { min: 0, max: 2_592_000 },
        "14400",
        "seconds that a session outlives its connection at most; they do not outlive the service",
    ),
    setting("mqtt.idle_sessions_max", SettingKind::Count { min: 0, max: 1_000_000 }, "20000", "sessions kept for clients that are away"),
    setting("mqtt.queue_messages_max", SettingKind::Count { min: 1, max: 100_000 }, "1000", "messages that wait in one session"),
    setting("mqtt.queue_kib_max", SettingKind::Count { min: 16, max: 65_536 }, "1024", "of them in one session, in KiB"),
    setting("mqtt.queues_mib_max", SettingKind::Count { min: 1, max: 65_536 }, "64", "of them in all sessions together, in MiB"),
    setting("mqtt.tls.listen", SettingKind::ListenOrNone, "", "MQTT over TLS, usually on port 8883; empty: not at all"),
    setting("mqtt.tls.cert", SettingKind::PathOrNone, "", "PEM file: the certificate and what leads to its CA"),
    setting("mqtt.tls.key", SettingKind::PathOrNone, "", "PEM file: its private key"),
    setting("mqtt.tls.client_ca", SettingKind::PathOrNone, "", "PEM file: a client certificate of this CA is taken in place of a token"),
    setting("mqtt.tls.crl", SettingKind::PathOrNone, "", "PEM file: revocation lists of that CA, one for each CA of a chain"),
    setting("mqtt.tls.reload_every_s", SettingKind::Count { min: 1, max: 86_400 }, "5", "seconds between looks at these files"),
    setting("mqtt.tls.handshake_timeout_s", SettingKind::Count { min: 1, max: 300 }, "10", "seconds in which a TLS handshake must end"),
    setting(
        "mqtt.tls.handshakes_max",
        SettingKind::Count { min: 4, max: 100_000 },
        "1000",
        "TLS handshakes under way, in all; a quarter of them from one address",
    ),
    setting("enrol.key_days", SettingKind::Count { min: 1, max: 365 }, "7", "days in which a new one-time key of a gateway must be used"),
    setting(
        "enrol.mqtt_urls",
        SettingKind::MqttUrls,
        "",
        "where gateways reach MQTT, as they are told when they are enrolled, such as \"mqtts://mqtt.example.cn:8883\"",
    ),
    setting("store.url", SettingKind::Empty, "", "empty: embedded in data.dir"),
    setting("rulebook.file", SettingKind::Paths, "", "rulebooks; the one in force when a voucher is applied for decides"),
    setting("catalogue.file", SettingKind::Paths, "", "catalogues; the one in force when a voucher is applied for decides"),
    setting("http.key_requests_per_s", SettingKind::Count { min: 1, max: 1_000_000 }, "1000", "requests that one key may send in a second"),
    setting(
        "mqtt.receipt_every_s",
        SettingKind::Count { min: 1, max: 3_600 },
        "5",
        "seconds between receipts, if there is anything new to say",
    ),
    setting(
        "disk.free_mib_min",
        SettingKind::Count { min: 0, max: 1 << 30 },
        "512",
        "below this much free space nothing is accepted, in MiB",
    ),
    setting("log.group_delay_ms", SettingKind::Count { min: 0, max: 20 }, "0", "how long reports may wait to be synced together, in ms"),
    setting("monitor.every_s", SettingKind::Count { min: 0, max: 86_400 }, "60", "seconds between rounds of judging; 0: on demand only"),
    setting(
        "monitor.addresses_ignored",
        SettingKind::Networks,
        "127.0.0.0/8, ::1",
        "addresses and networks that do not tell where a gateway is: a proxy's before the door, a carrier's shared ones",
    ),
    setting("tally.checkpoint_every_s", SettingKind::Count { min: 1, max: 3_600 }, "5", "seconds between checkpoints of the facts"),
    setting("quarantine.keep_days", SettingKind::Count { min: 1, max: 3_650 }, "90", "days that refused messages are kept"),
    setting(
        "quarantine.mib_max",
        SettingKind::Count { min: 1, max: 1_048_576 },
        "1024",
        "MiB of refused messages kept; beyond it the oldest go",
    ),
    setting("log.segment_mib", SettingKind::Count { min: 1, max: 4_096 }, "64", "size of a segment of the evidence log, in MiB"),
    setting("log.grow_mib", SettingKind::Count { min: 1, max: 1_024 }, "4", "by how much a segment's file grows, in MiB"),
];
