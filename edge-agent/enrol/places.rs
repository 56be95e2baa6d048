//! Where enrolment finds the gateway's id and puts its files. Of the configuration it reads these keys alone: others may name what
//! enrolment is to bring, and be no reason against it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::failure::Failure;

const ENVIRONMENT_PREFIX: &str = "SHANGYUN__";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub gateway: String,
    pub key: Place,
    /// `None` where the configuration has a token of its own, or a client certificate in its stead.
    pub token: Option<Place>,
    pub pseudonym_key: Place,
    pub receipt_keys: Place,
}

/// A file, and the key of the configuration that says so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    section: &'static str,
    key: &'static str,
    pub path: PathBuf,
    /// The configuration does not name it yet.
    missing: bool,
}

impl Places {
    pub(super) fn read(config: &Path) -> Result<Places, Failure> {
        let text = std::fs::read_to_string(config).map_err(|error| {
            Failure::use_of(
                config.display(),
                format!("读不到配置文件（{error}）；请用 --config 指定"),
                format!("cannot be read ({error}); name the configuration with --config"),
            )
        })?;
        Places::of(config, &text, |name| std::env::var(name).ok())
    }

    fn of(config: &Path, text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Places, Failure> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let said = error.message().to_string();
            Failure::use_of(config.display(), format!("不符合 TOML 语法：{said}"), format!("not valid TOML: {error}"))
        })?;
        let keys = Keys { table: &table, environment: &environment, dir: config.parent().unwrap_or(Path::new("")) };
        let gateway = keys.text("gateway", "id")?.unwrap_or_default();
        if !wire::topic::gateway_id_valid(&gateway) {
            return Err(Failure::use_of(
                "gateway.id",
                "缺少或无效；请填登记的网关编号（1 至 64 个字符，只用 A-Z a-z 0-9 . _ -）",
                "is missing or not valid; set it to the id that the register has for this gateway (A-Z a-z 0-9 . _ -)",
            ));
        }
        let token_file = keys.place("gateway", "token_file", "token")?;
        let own_token = keys.text("gateway", "token")?.is_some() || keys.text("broker", "client_cert_file")?.is_some();
        Ok(Places {
            gateway,
            key: keys.place("gateway", "key_file", "gateway.key")?,
            token: (!own_token || !token_file.missing).then_some(token_file),
            pseudonym_key: keys.place("usage", "pseudonym_key_file", "pseudonym.key")?,
            receipt_keys: keys.place("delivery", "receipt_keys_file", "receipt-keys.json")?,
        })
    }

    /// What has to be added to the configuration, as lines of TOML.
    pub(super) fn lines_missing(&self) -> Vec<String> {
        let all = [Some(&self.key), self.token.as_ref(), Some(&self.pseudonym_key), Some(&self.receipt_keys)];
        let (mut lines, mut section) = (Vec::new(), "");
        for place in all.into_iter().flatten().filter(|place| place.missing) {
            if place.section != section {
                section = place.section;
                lines.push(format!("[{section}]"));
            }
            lines.push(format!("{} = {}", place.key, Value::String(place.path.display().to_string())));
        }
        lines
    }
}

struct Keys<'a> {
    table: &'a Table,
    environment: &'a dyn Fn(&str) -> Option<String>,
    /// Of the configuration.
    dir: &'a Path,
}

impl Keys<'_> {
    fn text(&self, section: &str, key: &str) -> Result<Option<String>, Failure> {
        let name = format!("{ENVIRONMENT_PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase());
        if let Some(text) = (self.environment)(&name) {
            return Ok(Some(text));
        }
        match self.table.get(section).and_then(|section| section.get(key)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Failure::use_of(format!("{section}.{key}"), "应为带引号的文字", "must be a text in quotes")),
        }
    }

    fn place(&self, section: &'static str, key: &'static str, default: &str) -> Result<Place, Failure> {
        let named = self.text(section, key)?;
        let missing = named.is_none();
        Ok(Place { section, key, path: named.map_or_else(|| self.dir.join(default), PathBuf::from), missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Places, Failure> {
        Places::of(Path::new("/etc/edge/edge.toml"), text, |_| None)
    }

    fn path(place: &Place) -> &str {
        place.path.to_str().unwrap()
    }

    #[test]
    fn what_the_configuration_does_not_name_stands_beside_it_and_is_told() {
        let places = of("[gateway]\nid = \"gw-1\"\n").unwrap();
        assert_eq!((path(&places.key), path(places.token.as_ref().unwrap())), ("/etc/edge/gateway.key", "/etc/edge/token"));
        assert_eq!(
            places.lines_missing(),
            [
                "[gateway]",
                "key_file = \"/etc/edge/gateway.key\"",
                "token_file = \"/etc/edge/token\"",
                "[usage]",
                "pseudonym_key_file = \"/etc/edge/pseudonym.key\"",
                "[delivery]",
                "receipt_keys_file = \"/etc/edge/receipt-keys.json\"",
            ]
        );
        assert!(places.lines_missing().join("\n").parse::<Table>().is_ok());
    }

    #[test]
    fn what_the_configuration_or_the_environment_names_is_taken() {
        let text = "[gateway]\nid = \"gw-1\"\nkey_file = \"/k\"\ntoken_file = \"/t\"\n[usage]\npseudonym_key_file = \"/p\"\n[delivery]\nreceipt_keys_file = \"/r\"\n";
        let places = of(text).unwrap();
        let all = [&places.key, places.token.as_ref().unwrap(), &places.pseudonym_key, &places.receipt_keys];
        assert_eq!((all.map(path), places.lines_missing().len()), (["/k", "/t", "/p", "/r"], 0));
        let environment = |name: &str| (name == "SHANGYUN__GATEWAY__ID").then(|| "gw-2".to_string());
        assert_eq!(Places::of(Path::new("x.toml"), text, environment).unwrap().gateway, "gw-2");
    }

    #[test]
    fn a_token_of_its_own_or_a_client_certificate_needs_no_other() {
        for text in ["token = \"secret-token\"\n", "[broker]\nclient_cert_file = \"/c\"\n"] {
            assert_eq!(of(&format!("[gateway]\nid = \"gw-1\"\n{text}")).unwrap().token, None, "{text}");
        }
    }

    #[test]
    fn a_gateway_without_a_sound_id_is_told_whatever_else_stands_there() {
        for (text, place) in [
            ("", "gateway.id"),
            ("[gateway]\nid = \"no gateway\"\n", "gateway.id"),
            ("[gateway]\nid = 7\n", "gateway.id"),
            ("[gateway\n", "edge.toml"),
            ("[gateway]\nid = \"gw-1\"\nkey_file = 1\n", "gateway.key_file"),
        ] {
            let failure = of(text).err().unwrap();
            assert!(failure.exit == 2 && failure.to_string().contains(place), "{text}: {failure}");
        }
        assert!(of("[gateway]\nid = \"gw-1\"\n[[device]]\nnonsense = true\n").is_ok());
    }
}
