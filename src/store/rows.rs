//! One register value against its column: sound as it is to be stored, or what is wrong.

use std::collections::HashSet;

use chrono::DateTime;
use policy::calendar::{read_day, read_instant, show_instant};
use policy::columns::ColumnKind;
use policy::money::Yuan;
use policy::regions;
use serde_json::{Map, Value};
use sheets::short;
use wire::{PublicKey, credit_code, topic};

/// Entries of a list within a row.
const LIST_MAX: usize = 1000;

/// The value in the one form in which it is stored, or what is wrong with it.
pub(crate) fn checked(kind: ColumnKind, value: &Value) -> Result<Value, String> {
    match (kind, value) {
        (ColumnKind::Bool | ColumnKind::TextOrBool, Value::Bool(_)) => Ok(value.clone()),
        (ColumnKind::CatalogueRow, Value::Number(row)) => match row.as_u64() {
            Some(1..=25) => Ok(value.clone()),
            _ => Err(format!("{row} is no row of the catalogue")),
        },
        (ColumnKind::Names, Value::Array(names)) => checked_names(names),
        (ColumnKind::CostLines, Value::Array(lines)) if lines.len() <= LIST_MAX => {
            lines.iter().map(checked_cost_line).collect::<Result<_, _>>().map(Value::Array)
        }
        (ColumnKind::Names | ColumnKind::CostLines, other) => Err(format!("found {}, a list is expected", type_name(other))),
        (ColumnKind::Bool | ColumnKind::CatalogueRow, other) => Err(format!("found {}", type_name(other))),
        (kind, Value::String(text)) => checked_text(kind, text).map(Value::String),
        (ColumnKind::Money, Value::Number(number)) => Err(format!("money is a text: write \"{number}\" with quotes and two places")),
        (_, other) => Err(format!("found {}, a text is expected", type_name(other))),
    }
}

fn checked_text(kind: ColumnKind, text: &str) -> Result<String, String> {
    let sound = |sound: bool| if sound { Ok(text.to_string()) } else { Err(format!("{:?} is not sound", short(text))) };
    match kind {
        ColumnKind::Name | ColumnKind::Party => sound(text_sound(text, 64)),
        ColumnKind::Text | ColumnKind::TextOrBool => sound(text_sound(text, 256)),
        ColumnKind::GatewayId => sound(topic::gateway_id_valid(text)),
        // The secret itself never appears in a message.
        ColumnKind::Token => {
            if (8..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
                Ok(text.to_string())
            } else {
                Err("the token is too short, too long, or holds other characters".into())
            }
        }
        ColumnKind::PublicKey => PublicKey::read(text).map(|key| key.to_string()).map_err(str::to_string),
        ColumnKind::CreditCode => credit_code::check(text).map(|()| text.to_string()).map_err(|error| error.to_string()),
        ColumnKind::City if regions::city_known(text) => Ok(text.to_string()),
        ColumnKind::City => Err(format!("{:?} is no code of a city (GB/T 2260)", short(text))),
        ColumnKind::Province if regions::province_known(text) => Ok(text.to_string()),
        ColumnKind::Province => Err(format!("{:?} is no code of a province (GB/T 2260)", short(text))),
        ColumnKind::Money => text.parse::<Yuan>().map(|yuan| yuan.to_string()).map_err(|error| error.to_string()),
        ColumnKind::Instant => DateTime::parse_from_rfc3339(text)
            .ok()
            .and_then(|_| read_instant(text))
            .map(show_instant)
            .ok_or_else(|| format!("{:?} is no instant", short(text))),
        ColumnKind::Day => read_day(text).map(|day| day.to_string()).ok_or_else(|| format!("{:?} is no day", short(text))),
        ColumnKind::Word(words) => {
            if words.contains(&text) {
                Ok(text.to_string())
            } else {
                Err(format!("{:?} is none of them", short(text)))
            }
        }
        ColumnKind::Names | ColumnKind::CostLines | ColumnKind::Bool | ColumnKind::CatalogueRow => Err("found a text".into()),
    }
}

fn checked_names(names: &[Value]) -> Result<Value, String> {
    if names.len() > LIST_MAX {
        return Err(format!("{} entries, at most {LIST_MAX}", names.len()));
    }
    let mut seen = HashSet::new();
    for (index, name) in names.iter().enumerate() {
        match name {
            Value::String(text) if text_sound(text, 64) => {
                if !seen.insert(text) {
                    return Err(format!("{:?} stands twice", short(text)));
                }
            }
            other => return Err(format!("entry {index} is not sound: {}", type_name(other))),
        }
    }
    Ok(Value::Array(names.to_vec()))
}

fn checked_cost_line(line: &Value) -> Result<Value, String> {
    let object = line.as_object().ok_or("an entry is not an object")?;
    let mut checked_line = Map::new();
    for (name, value) in object {
        let kind = match name.as_str() {
            "kind" => ColumnKind::Name,
            "amount" => ColumnKind::Money,
            other => return Err(format!("unknown field {:?}", short(other))),
        };
        checked_line.insert(name.clone(), checked(kind, value).map_err(|detail| format!("{name}: {detail}"))?);
    }
    if checked_line.len() == 2 { Ok(Value::Object(checked_line)) } else { Err("kind and amount are required".into()) }
}

fn text_sound(text: &str, chars_max: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 8032, 7.1, test 1.
    const SOUND_KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const WEAK_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn sound_values_take_their_one_stored_form() {
        for (kind, value, stored) in [
            (ColumnKind::Money, json!("80000"), json!("80000.00")),
            (ColumnKind::Instant, json!("2019-11-05T00:00:00Z"), json!("2019-11-05T08:00:00+08:00")),
            (ColumnKind::CostLines, json!([{"kind": "软件", "amount": "1.5"}]), json!([{"kind": "软件", "amount": "1.50"}])),
            (ColumnKind::TextOrBool, json!(true), json!(true)),
            (ColumnKind::PublicKey, json!(SOUND_KEY), json!(SOUND_KEY)),
        ] {
            assert_eq!(checked(kind, &value), Ok(stored));
        }
    }

    #[test]
    fn unsound_values_are_told() {
        for (kind, value) in [
            (ColumnKind::Money, json!(80000.0)),
            (ColumnKind::Money, json!("1.005")),
            (ColumnKind::Money, json!("-1.00")),
            (ColumnKind::CatalogueRow, json!(26)),
            (ColumnKind::CatalogueRow, json!(5.0)),
            (ColumnKind::Day, json!("2019-02-30")),
            (ColumnKind::Instant, json!("2019-11-05 08:00")),
            (ColumnKind::City, json!("4401")),
            (ColumnKind::Names, json!(["a", "a"])),
            (ColumnKind::Names, json!("a")),
            (ColumnKind::CostLines, json!([{"kind": "软件"}])),
            (ColumnKind::PublicKey, json!("AAAA")),
            (ColumnKind::PublicKey, json!(WEAK_KEY)),
            (ColumnKind::Token, json!("short")),
            (ColumnKind::GatewayId, json!("verdicts")),
            (ColumnKind::Name, json!(" ")),
        ] {
            assert!(checked(kind, &value).is_err(), "{kind:?} {value}");
        }
    }
}
