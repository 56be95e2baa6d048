//! Where enrolment finds the gateway's id and puts its files. Of the configuration it reads these keys alone: others may name what
//! enrolment is to bring, and be no reason against it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::failure::Failure;
use crate::config::{ConfigError, read_file};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub gateway: String,
    pub key: Place,
    /// `None` where the configuration has a token of its own, or a client certificate in its stead.
    pub token: Option<Place>,
    pub pseudonym_key: Place,
    pub receipt_keys: Place,
    /// The spool's directory.
    pub spool: Option<PathBuf>,
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
        let table = read_file(config).map_err(|error| told(config, &error))?;
        Places::of(config, &table)
    }

    fn of(config: &Path, table: &Table) -> Result<Places, Failure> {
        let keys = Keys { table, dir: config.parent().unwrap_or(Path::new("")) };
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
            spool: keys.text("spool", "dir")?.map(PathBuf::from),
        })
    }

    /// What has to be added to the configuration: the section, and the line of TOML in it.
    pub(super) fn lines_missing(&self) -> Vec<(&'static str, String)> {
        let all = [Some(&self.key), self.token.as_ref(), Some(&self.pseudonym_key), Some(&self.receipt_keys)];
        let missing = all.into_iter().flatten().filter(|place| place.missing);
        missing.map(|place| (place.section, format!("{} = {}", place.key, Value::String(place.path.display().to_string())))).collect()
    }
}

/// A configuration that cannot be read at all has one fault.
fn told(config: &Path, error: &ConfigError) -> Failure {
    let fault = error.faults.first();
    let (zh, en) = fault.map_or(("", ""), |fault| (fault.zh.as_str(), fault.en.as_str()));
    Failure::use_of(config.display(), zh, en)
}

struct Keys<'a> {
    table: &'a Table,
    /// Of the configuration.
    dir: &'a Path,
}

impl Keys<'_> {
    fn text(&self, section: &str, key: &str) -> Result<Option<String>, Failure> {
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
    use crate::config::parse;

    fn of(text: &str) -> Result<Places, Failure> {
        let config = Path::new("/etc/edge/edge.toml");
        Places::of(config, &parse(text, []).map_err(|error| told(config, &error))?)
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
                ("gateway", "key_file = \"/etc/edge/gateway.key\"".to_string()),
                ("gateway", "token_file = \"/etc/edge/token\"".into()),
                ("usage", "pseudonym_key_file = \"/etc/edge/pseudonym.key\"".into()),
                ("delivery", "receipt_keys_file = \"/etc/edge/receipt-keys.json\"".into()),
            ]
        );
        assert!(places.lines_missing().iter().all(|(_, line)| line.parse::<Table>().is_ok()));
    }

    #[test]
    fn what_the_configuration_or_the_environment_names_is_taken() {
        let text = "[gateway]\nid = \"gw-1\"\nkey_file = \"/k\"\ntoken_file = \"/t\"\n[usage]\npseudonym_key_file = \"/p\"\n[delivery]\nreceipt_keys_file = \"/r\"\n[spool]\ndir = \"/s\"\n";
        let places = of(text).unwrap();
        let all = [&places.key, places.token.as_ref().unwrap(), &places.pseudonym_key, &places.receipt_keys];
        assert_eq!((all.map(path), places.lines_missing().len()), (["/k", "/t", "/p", "/r"], 0));
        assert_eq!(places.spool, Some(PathBuf::from("/s")));
        let table = parse(text, [("SHANGYUN__GATEWAY__ID".to_string(), "gw-2".to_string())]).unwrap();
        assert_eq!(Places::of(Path::new("x.toml"), &table).unwrap().gateway, "gw-2");
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
