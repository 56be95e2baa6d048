//! JSON files: read whole, but a name that stands twice in one object, of which any reader would keep only one, is a fault.

use policy::columns;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use crate::fault::{FAULTS_MAX, FILE_RULE, RegisterFault, RegisterFile, text_of};
use crate::table::ROWS_MAX;

pub(crate) fn read(bytes: &[u8]) -> Result<RegisterFile, serde_json::Error> {
    let mut walk = Walk::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let content = walk.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(RegisterFile { content, faults: walk.faults, ..RegisterFile::default() })
}

/// A step from a value to one in it.
enum Step {
    Name(String),
    Index(usize),
}

/// The way to where the reading stands, and what was found on it.
#[derive(Default)]
struct Walk {
    path: Vec<Step>,
    rows: usize,
    faults: Vec<RegisterFault>,
}

impl Walk {
    fn fault(&mut self, code: &'static str, rule: &str, detail: String) {
        if self.faults.len() >= FAULTS_MAX {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            path.push('/');
            match step {
                Step::Name(name) => path.push_str(&name.replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => path.push_str(&index.to_string()),
            }
        }
        let (list, row, column) = match &self.path[..] {
            [Step::Name(list), Step::Index(index), rest @ ..] => {
                let column = rest.first().and_then(|step| if let Step::Name(name) = step { Some(name.clone()) } else { None });
                (columns::list(list), Some(index + 1), column)
            }
            _ => (None, None, None),
        };
        let known = list.zip(column.as_deref()).and_then(|(list, name)| list.columns.iter().find(|column| column.name == name));
        let row = row.filter(|_| list.is_some());
        let text = text_of(code, list, row, known);
        let list = list.map(|list| list.name.to_string());
        self.faults.push(RegisterFault { file: 0, code, path, list, sheet: None, row, column, rule: rule.into(), detail, text });
    }

    /// Whether the walk stands at a list of rows.
    fn at_list(&self) -> bool {
        matches!(self.path[..], [Step::Name(_)])
    }
}

impl<'de> DeserializeSeed<'de> for &mut Walk {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Walk {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_string()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (mut list, rows) = (Vec::new(), self.at_list());
        loop {
            if rows && self.rows >= ROWS_MAX {
                // The rest must still be JSON, or it is told that it is none.
                if items.next_element::<IgnoredAny>()?.is_some() {
                    self.fault("bound", FILE_RULE, format!("the file has more than {ROWS_MAX} rows: split it"));
                    while items.next_element::<IgnoredAny>()?.is_some() {}
                }
                break;
            }
            self.path.push(Step::Index(list.len()));
            let item = items.next_element_seed(&mut *self)?;
            self.path.pop();
            let Some(item) = item else { break };
            self.rows += usize::from(rows);
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.path.push(Step::Name(name));
            let value = members.next_value_seed(&mut *self)?;
            let repeated = matches!(self.path.last(), Some(Step::Name(name)) if object.contains_key(name));
            if repeated {
                self.fault("duplicate_field", "a name stands once in an object", "the name stands twice".into());
            }
            if let Some(Step::Name(name)) = self.path.pop()
                && let Entry::Vacant(place) = object.entry(name)
            {
                place.insert(value);
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_named_wherever_it_stands() {
        let text = r#"{"v":1,"vouchers":[{"id":"V-1"},{"id":"V-2","amount":"1","amount":"2","cost_lines":[{"kind":"a","kind":"b"}]}],"vouchers":[]}"#;
        let file = read(text.as_bytes()).unwrap();
        let told: Vec<_> = file.faults.iter().map(|fault| (fault.code, fault.path.as_str(), fault.row, fault.column.as_deref())).collect();
        let expected = [
            ("duplicate_field", "/vouchers/1/amount", Some(2), Some("amount")),
            ("duplicate_field", "/vouchers/1/cost_lines/0/kind", Some(2), Some("cost_lines")),
            ("duplicate_field", "/vouchers", None, None),
        ];
        assert_eq!(told, expected);
        assert_eq!(file.content["vouchers"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn what_repeats_nothing_is_read_as_any_reader_would() {
        for text in [
            r#"{"a":[1,-2,1.5,18446744073709551615,true,null,"x\n\u4e0a",{}],"b":{"a":{"a":"a"}}}"#,
            "[]",
            " 7 ",
            "\"~/\"",
            r#"{"vouchers":[[[]],{"id":["V-1",{"id":1}]}]}"#,
        ] {
            let file = read(text.as_bytes()).unwrap();
            assert_eq!((file.content, file.faults), (serde_json::from_str(text).unwrap(), vec![]));
        }
        for text in ["", "{", "{} {}", "{\"a\":1,}", "{\"a\":1e999}", &"[".repeat(100_000)] {
            assert!(read(text.as_bytes()).is_err(), "{text:.20}");
        }
    }

    #[test]
    fn rows_beyond_the_bound_are_not_kept() {
        let of = |rows: usize| read(format!("{{\"lines\":[{}],\"carriers\":[0]}}", vec!["0"; rows].join(",")).as_bytes()).unwrap();
        let file = of(ROWS_MAX - 1);
        assert_eq!((file.faults.len(), file.content["carriers"].as_array().map(Vec::len)), (0, Some(1)));
        let file = of(ROWS_MAX + 5);
        let told: Vec<_> = file.faults.iter().map(|fault| (fault.code, fault.path.as_str())).collect();
        assert_eq!(told, [("bound", "/lines"), ("bound", "/carriers")]);
        assert_eq!(file.content["lines"].as_array().map(Vec::len), Some(ROWS_MAX));
    }
}
