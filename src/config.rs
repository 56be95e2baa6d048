//! Configuration: defaults, then the file, then the environment, then flags. All faults at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use policy::catalogue::{Catalogue, Catalogues};
use policy::in_force::Versions;
use policy::policy_file::PolicyFault;
use policy::rulebook::{Rulebook, Rulebooks};
use toml::{Table, Value};

use crate::settings::{SETTINGS, Setting, SettingKind};

const ENVIRONMENT_PREFIX: &str = "SHANGYUN__";
/// Sections of the agent, which reads the same environment.
const AGENT_SECTIONS: [&str; 6] = ["gateway", "broker", "spool", "report", "device", "delivery"];

pub struct Config {
    values: BTreeMap<&'static str, (Value, String)>,
    pub rulebooks: Rulebooks,
    pub catalogues: Catalogues,
}

/// Every fault, each a line that says what and what to do.
#[derive(Debug)]
pub struct ConfigFaults(pub Vec<String>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigFaults {}

impl Config {
    /// `flags`: `section.key=value` as given on the command line.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Config, ConfigFaults> {
        let mut faults = Vec::new();
        let mut values: BTreeMap<_, _> =
            SETTINGS.iter().map(|setting| (setting.name, (default_value(setting), "default".to_string()))).collect();
        if let Some(path) = file {
            match std::fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| text.parse::<Table>().map_err(|e| e.to_string()))
            {
                Ok(table) => take_table(&table, path, &mut values, &mut faults),
                Err(error) => faults.push(format!("{}: cannot be read: {}", path.display(), error.trim())),
            }
        }
        for (name, text) in environment {
            let Some(name) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = name.to_ascii_lowercase().replace("__", ".");
            if AGENT_SECTIONS.contains(&key.split('.').next().unwrap_or("")) {
                continue;
            }
            take_text(&key, &text, &format!("environment {ENVIRONMENT_PREFIX}{name}"), &mut values, &mut faults);
        }
        for flag in flags {
            match flag.split_once('=') {
                Some((key, text)) => take_text(key.trim(), text.trim(), "flag --set", &mut values, &mut faults),
                None => faults.push(format!("--set {flag}: write --set section.key=value")),
            }
        }
        let rulebooks = versions("rulebook.file", &values, Rulebook::read, Rulebook::default_2019, &mut faults);
        let catalogues = versions("catalogue.file", &values, Catalogue::read, Catalogue::default_2019, &mut faults);
        tls_belongs_together(&values, &mut faults);
        match (rulebooks, catalogues) {
            (Some(rulebooks), Some(catalogues)) if faults.is_empty() => Ok(Config { values, rulebooks, catalogues }),
            _ => Err(ConfigFaults(faults)),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.text(name).into()
    }

    pub fn listen(&self, name: &str) -> SocketAddr {
        // Checked when it was taken in; the fallback is never reached.
        self.text(name).parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// `None` where nothing is to be listened on.
    pub fn listen_if_any(&self, name: &str) -> Option<SocketAddr> {
        self.text(name).parse().ok()
    }

    /// `None` where no file is named.
    pub fn path_if_any(&self, name: &str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    pub fn count(&self, name: &str) -> u64 {
        self.values.get(name).and_then(|(value, _)| value.as_integer()).map_or(0, i64::unsigned_abs)
    }

    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.count(name)).unwrap_or(usize::MAX)
    }

    pub fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.count(name))
    }

    pub fn networks(&self, name: &str) -> Vec<IpNet> {
        networks(self.text(name)).unwrap_or_default()
    }

    pub fn urls(&self, name: &str) -> Vec<String> {
        parts(self.text(name)).map(str::to_string).collect()
    }

    /// Each value in force with where it comes from.
    pub fn shown(&self) -> String {
        let line = |setting: &Setting| {
            let (value, origin) = &self.values[setting.name];
            format!("{} = {value}  # {origin}; {}\n", setting.name, setting.about)
        };
        SETTINGS.iter().map(line).collect()
    }

    fn text(&self, name: &str) -> &str {
        self.values.get(name).and_then(|(value, _)| value.as_str()).unwrap_or("")
    }
}

fn default_value(setting: &Setting) -> Value {
    match setting.kind {
        SettingKind::Count { .. } => Value::Integer(setting.default.parse().unwrap_or(0)),
        _ => Value::String(setting.default.to_string()),
    }
}

fn take_table(table: &Table, path: &Path, values: &mut BTreeMap<&'static str, (Value, String)>, faults: &mut Vec<String>) {
    for (section, keys) in table {
        let Value::Table(keys) = keys else {
            faults.push(format!("{}: {section}: keys stand below a section, such as [data]", path.display()));
            continue;
        };
        take_section(section, keys, &path.display().to_string(), values, faults);
    }
}

/// Sections stand in sections: `[mqtt.tls]`.
fn take_section(section: &str, keys: &Table, origin: &str, values: &mut BTreeMap<&'static str, (Value, String)>, faults: &mut Vec<String>) {
    for (key, value) in keys {
        let name = format!("{section}.{key}");
        match value {
            Value::Table(keys) => take_section(&name, keys, origin, values, faults),
            value => take(&name, value.clone(), origin, values, faults),
        }
    }
}

/// Values of the environment and of flags are text: a number where a number is wanted.
fn take_text(key: &str, text: &str, origin: &str, values: &mut BTreeMap<&'static str, (Value, String)>, faults: &mut Vec<String>) {
    let number = SETTINGS.iter().any(|setting| setting.name == key && matches!(setting.kind, SettingKind::Count { .. }));
    let value = match text.parse() {
        Ok(count) if number => Value::Integer(count),
        _ => Value::String(text.to_string()),
    };
    take(key, value, origin, values, faults);
}

fn take(key: &str, value: Value, origin: &str, values: &mut BTreeMap<&'static str, (Value, String)>, faults: &mut Vec<String>) {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) else {
        let known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        return faults.push(format!("{origin}: unknown configuration key {key}; the keys are {}", known.join(", ")));
    };
    match check(setting.kind, &value) {
        Ok(()) => {
            values.insert(setting.name, (value, origin.to_string()));
        }
        Err(expected) => faults.push(format!("{origin}: {key} = {value}: expected {expected}")),
    }
}

fn check(kind: SettingKind, value: &Value) -> Result<(), String> {
    let sound = |sound: bool, expected: String| if sound { Ok(()) } else { Err(expected) };
    let address = value.as_str().is_some_and(|text| text.parse::<SocketAddr>().is_ok());
    let empty = value.as_str() == Some("");
    match kind {
        SettingKind::Path => sound(value.as_str().is_some_and(|path| !path.is_empty()), "a path".into()),
        SettingKind::Listen => sound(address, "an address with port, such as \"127.0.0.1:8080\" or \"[::]:8080\"".into()),
        SettingKind::ListenOrNone => sound(address || empty, "an address with port, such as \"127.0.0.1:8883\", or \"\"".into()),
        SettingKind::PathOrNone => sound(value.is_str(), "a path, or \"\"".into()),
        SettingKind::Paths => {
            let list = value.as_array().is_some_and(|list| list.iter().all(Value::is_str));
            sound(value.is_str() || list, "a path, or a list of paths".into())
        }
        SettingKind::Count { min, max } => {
            let count = value.as_integer().and_then(|count| u64::try_from(count).ok());
            sound(count.is_some_and(|count| (min..=max).contains(&count)), format!("a whole number from {min} to {max}"))
        }
        SettingKind::Word(words) => sound(
            value.as_str().is_some_and(|word| words.contains(&word)),
            format!("one of {} (this version knows no other)", words.join(", ")),
        ),
        SettingKind::Networks => sound(
            value.as_str().is_some_and(|text| networks(text).is_some()),
            "addresses or networks with commas between, such as \"127.0.0.0/8, ::1\"".into(),
        ),
        SettingKind::MqttUrls => sound(
            value.as_str().is_some_and(|text| parts(text).all(mqtt_url)),
            "addresses with commas between, such as \"mqtts://mqtt.example.cn:8883, mqtt://10.0.0.1:1883\"".into(),
        ),
        SettingKind::Empty => sound(empty, "\"\", the embedded store (this version knows no other)".into()),
    }
}

/// Addresses and networks with commas between; an empty text has none.
fn networks(text: &str) -> Option<Vec<IpNet>> {
    let one = |text: &str| text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse()).ok();
    parts(text).map(one).collect()
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Scheme, host, and a port if there is one.
fn mqtt_url(text: &str) -> bool {
    let Some(address) = text.strip_prefix("mqtt://").or_else(|| text.strip_prefix("mqtts://")) else { return false };
    let authority = address.parse::<ureq::http::uri::Authority>();
    authority.is_ok_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
}

/// What of `mqtt.tls` needs what else; the files themselves are read by those who speak TLS.
fn tls_belongs_together(values: &BTreeMap<&'static str, (Value, String)>, faults: &mut Vec<String>) {
    let set = |name: &str| values.get(name).and_then(|(value, _)| value.as_str()).is_some_and(|text| !text.is_empty());
    for (name, needed) in [
        ("mqtt.tls.listen", "mqtt.tls.cert"),
        ("mqtt.tls.listen", "mqtt.tls.key"),
        ("mqtt.tls.cert", "mqtt.tls.key"),
        ("mqtt.tls.key", "mqtt.tls.cert"),
        ("mqtt.tls.crl", "mqtt.tls.client_ca"),
    ] {
        let fault = format!("{name} is set without {needed}: set both, or neither");
        if set(name) && !set(needed) && !faults.contains(&fault) {
            faults.push(fault);
        }
    }
}

/// Reads all files of one kind; none named means the compiled-in one.
fn versions<T: policy::in_force::Dated>(
    name: &str,
    values: &BTreeMap<&'static str, (Value, String)>,
    read: fn(&str) -> Result<T, Vec<PolicyFault>>,
    compiled_in: fn() -> T,
    faults: &mut Vec<String>,
) -> Option<Versions<T>> {
    let paths: Vec<String> = match values.get(name).map(|(value, _)| value) {
        Some(Value::String(path)) if !path.is_empty() => vec![path.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(|path| path.as_str().map(str::to_string)).collect(),
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for path in &paths {
        match std::fs::read_to_string(path) {
            Ok(text) => match read(&text) {
                Ok(version) => all.push(version),
                Err(found) => faults.extend(found.iter().map(|fault| format!("{name}: {path}: {fault}"))),
            },
            Err(error) => faults.push(format!("{name}: {path}: cannot be read: {error}")),
        }
    }
    if paths.is_empty() {
        all.push(compiled_in());
    }
    if all.is_empty() {
        return None;
    }
    Versions::new(all).map_err(|error| faults.push(format!("{name}: {error}"))).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shangyun.toml");
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        Config::load(Some(&path), environment, &flags).map_err(|faults| faults.0)
    }

    #[test]
    fn the_file_the_environment_and_flags_win_in_this_order() {
        let file = "[data]\ndir = \"/file\"\n[http]\nlisten = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:2\"\n";
        let config = load(
            file,
            &[("SHANGYUN__HTTP__LISTEN", "127.0.0.1:3"), ("SHANGYUN__ADMIN__LISTEN", "127.0.0.1:4")],
            &["admin.listen=127.0.0.1:5"],
        )
        .unwrap();
        assert_eq!(config.path("data.dir"), Path::new("/file"));
        assert_eq!(config.listen("http.listen").port(), 3);
        assert_eq!(config.listen("admin.listen").port(), 5);
        assert_eq!(config.count("monitor.every_s"), 60);
        assert!(config.shown().contains("admin.listen = \"127.0.0.1:5\"  # flag --set"));
    }

    #[test]
    fn sections_stand_in_sections_in_the_file_and_in_the_environment() {
        let file = "[mqtt]\nlisten = \"127.0.0.1:1\"\n[mqtt.tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n";
        let config = load(file, &[("SHANGYUN__MQTT__TLS__LISTEN", "127.0.0.1:2")], &["mqtt.tls.key=other.pem"]).unwrap();
        assert_eq!(config.listen_if_any("mqtt.tls.listen").unwrap().port(), 2);
        assert_eq!(config.path_if_any("mqtt.tls.cert").unwrap(), Path::new("c.pem"));
        assert_eq!(config.path_if_any("mqtt.tls.key").unwrap(), Path::new("other.pem"));
        assert_eq!(config.path_if_any("mqtt.tls.client_ca"), None);
        let faults = load("[mqtt.tls]\nchiffre = 1\n[http.listen]\nx = 1\n", &[], &[]).err().unwrap();
        assert!(faults.iter().any(|fault| fault.contains("unknown configuration key mqtt.tls.chiffre")), "{faults:?}");
        assert!(faults.iter().any(|fault| fault.contains("unknown configuration key http.listen.x")), "{faults:?}");
    }

    #[test]
    fn tls_needs_its_certificate_and_the_certificate_its_key() {
        let faults = |flags: &[&str]| load("", &[], flags).err().unwrap();
        assert_eq!(faults(&["mqtt.tls.listen=127.0.0.1:0"]).len(), 2);
        assert_eq!(faults(&["mqtt.tls.cert=c"]), ["mqtt.tls.cert is set without mqtt.tls.key: set both, or neither"]);
        assert_eq!(faults(&["mqtt.tls.crl=c"]), ["mqtt.tls.crl is set without mqtt.tls.client_ca: set both, or neither"]);
        assert!(load("", &[], &["mqtt.tls.listen=127.0.0.1:0", "mqtt.tls.cert=c", "mqtt.tls.key=k"]).is_ok());
        assert!(faults(&["mqtt.tls.listen=8883"])[0].contains("an address with port"));
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_key() {
        let faults = load(
            "[http]\nlisten = 80\n[htttp]\nx = 1\n[rulebook]\nfile = \"/no/such\"\n",
            &[("SHANGYUN__MQTT__MODE", "external"), ("SHANGYUN__GATEWAY__ID", "the agent's")],
            &["monitor.every_s=-1", "nonsense"],
        )
        .err()
        .unwrap();
        for (fault, part) in
            faults.iter().zip(["http.listen", "unknown configuration key htttp.x", "mqtt.mode", "monitor.every_s", "nonsense", "/no/such"])
        {
            assert!(fault.contains(part), "{fault}");
        }
        assert_eq!(faults.len(), 6);
    }
}
