//! What the service answers, held against what was asked.

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;
use super::places::Places;

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    v: u64,
    pub gateway: String,
    pub enterprise: String,
    /// 32 bytes in hex.
    pub pseudonym_key: String,
    /// A JWK set.
    pub receipt_keys: Value,
    #[serde(default)]
    pub token: Option<String>,
    #[serde(default)]
    pub repeated: bool,
    #[serde(default)]
    mqtt: Option<Mqtt>,
    #[serde(skip)]
    pub mqtt_urls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Mqtt {
    #[serde(default)]
    urls: Vec<String>,
}

impl Answer {
    pub(super) fn read(text: &str, places: &Places) -> Result<Answer, Failure> {
        let odd = |what: &str| {
            Failure::no(
                "--url",
                format!("答复不是本服务的（{what}）；请核对地址，或升级本程序后用同一个密钥再运行一次"),
                format!("the answer is not that of the service ({what}); look at the address, or run a newer agent with the same keys"),
            )
        };
        let mut answer: Answer = serde_json::from_str(text).map_err(|error| odd(&error.to_string()))?;
        let key = &answer.pseudonym_key;
        if answer.v != 1 {
            return Err(odd(&format!("v {}", answer.v)));
        }
        if answer.gateway != places.gateway {
            return Err(odd(&format!("gateway {:?}", answer.gateway)));
        }
        if key.len() != 64 || !key.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(odd("pseudonym_key"));
        }
        if !answer.receipt_keys["keys"].is_array() {
            return Err(odd("receipt_keys"));
        }
        if places.token.is_some() && answer.token.as_deref().is_none_or(str::is_empty) {
            return Err(odd("token"));
        }
        answer.mqtt_urls = answer.mqtt.take().unwrap_or_default().urls;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places() -> Places {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.toml");
        std::fs::write(&path, "[gateway]\nid = \"gw-1\"\n").unwrap();
        Places::read(&path).unwrap()
    }

    fn sound() -> Value {
        json!({ "v": 1, "gateway": "gw-1", "enterprise": "E", "pseudonym_key": "0f".repeat(32), "receipt_keys": { "keys": [] }, "token": "t",
            "mqtt": { "urls": ["mqtts://h"], "later": 1 }, "later": 1 })
    }

    #[test]
    fn a_sound_answer_is_taken_whatever_is_new_in_it() {
        let answer = Answer::read(&sound().to_string(), &places()).unwrap();
        assert_eq!((answer.mqtt_urls, answer.token), (vec!["mqtts://h".to_string()], Some("t".to_string())));
    }

    #[test]
    fn an_answer_that_lacks_something_or_is_of_another_gateway_is_refused() {
        for (name, value) in [
            ("v", json!(2)),
            ("gateway", json!("gw-2")),
            ("pseudonym_key", json!("0f")),
            ("pseudonym_key", json!("zz".repeat(32))),
            ("receipt_keys", json!([])),
            ("token", json!("")),
            ("token", Value::Null),
            ("enterprise", Value::Null),
        ] {
            let mut answer = sound();
            answer[name] = value.clone();
            let failure = Answer::read(&answer.to_string(), &places()).err();
            assert_eq!(failure.map(|failure| failure.exit), Some(1), "{name} {value}");
        }
        assert!(Answer::read("<html>", &places()).is_err());
    }
}
