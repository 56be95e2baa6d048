use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::Config;

const LOG: &str = r#"
[[usage.log]]
file = "/var/log/mes.log"
pattern = '(?<at>\S+ \S+) (?<user>\S+) (?<function_module>\S+)'
time_format = "%Y-%m-%d %H:%M:%S"
"#;

/// What is wrong with a configuration that has this for its usage, as places and codes.
fn faults(usage: &str) -> Vec<(String, FaultCode)> {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("pseudonym.key");
    std::fs::write(&key, "0f".repeat(32)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!("gateway = {{ id = \"g\", token = \"t\" }}\nspool = {{ dir = \"/tmp/s\" }}\n{usage}");
    match Config::read(&text.replace("KEY", key.to_str().unwrap()), []) {
        Ok(_) => Vec::new(),
        Err(error) => error.faults.into_iter().map(|fault| (fault.place, fault.code)).collect(),
    }
}

#[test]
fn a_log_with_what_it_needs_is_taken() {
    assert_eq!(faults(&format!("[usage]\npseudonym_key_file = \"KEY\"\nproduct = \"P\"\n{LOG}")), []);
}

#[test]
fn usage_without_what_it_needs_is_refused() {
    let head = "[usage]\npseudonym_key_file = \"KEY\"\nproduct = \"P\"\n";
    let log = |lines: &str| format!("{head}[[usage.log]]\nfile = \"/l\"\n{lines}");
    let place = |key: &str| format!("usage.log[0].{key}");
    for (usage, expected) in [
        (format!("[usage]\nproduct = \"P\"\n{LOG}"), ("usage.pseudonym_key_file".to_string(), FaultCode::KeyMissing)),
        ("[usage]\npseudonym_key_file = \"/none\"".into(), ("usage.pseudonym_key_file".into(), FaultCode::FileUnreadable)),
        (format!("[usage]\npseudonym_key_file = \"KEY\"\n{LOG}"), (place("product"), FaultCode::KeyMissing)),
        (format!("{head}{LOG}{LOG}"), ("usage.log[1].file".into(), FaultCode::LogTwice)),
        (log("pattern = '(?<user>.*'"), (place("pattern"), FaultCode::PatternInvalid)),
        (log("pattern = '(?<who>.*)'\nfunction_module = \"m\""), (place("pattern"), FaultCode::PatternInvalid)),
        (log("pattern = '(?<user>.*)'\nfunction_module = \"m\""), (place("pattern"), FaultCode::PatternInvalid)),
        (log("pattern = '(?<at>.*)'\nfunction_module = \"m\""), (place("pattern"), FaultCode::PatternInvalid)),
        (log("pattern = '(?<user>.*)'"), (place("function_module"), FaultCode::KeyMissing)),
        (
            log("pattern = '(?<user>.*)'\nfunction_module = \"m\"\nfunction_modules = { a = \"b\" }"),
            (place("function_modules"), FaultCode::KeysConflict),
        ),
        (log("pattern = '(?<user>.*)'\nfunction_module = \"m\"\noffset = \"8\""), (place("offset"), FaultCode::ValueWord)),
        (log("pattern = '(?<user>.*)'\nfunction_module = \"m\"\nencoding = \"big5\""), (place("encoding"), FaultCode::ValueWord)),
    ] {
        assert!(faults(&usage).contains(&expected), "{usage}\n{expected:?} in {:?}", faults(&usage));
    }
}

#[test]
fn a_time_format_must_say_the_whole_date_and_time() {
    let format = |format: &str| {
        let lines = format!("pattern = '(?<at>.*) (?<user>.*)'\nfunction_module = \"m\"\ntime_format = \"{format}\"");
        faults(&format!("[usage]\npseudonym_key_file = \"KEY\"\nproduct = \"P\"\n[[usage.log]]\nfile = \"/l\"\n{lines}"))
    };
    for sound in
        ["%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d %H:%M:%S,%3f", "rfc3339", "%s", "%y年%m月%d日 %I:%M %p"]
    {
        assert_eq!(format(sound), [], "{sound}");
    }
    for unsound in ["%H:%M:%S", "%Y-%m-%d", "%m-%d %H:%M:%S", "%Y-%m-%d %I:%M:%S", "%Q", "time"] {
        assert_eq!(format(unsound), [("usage.log[0].time_format".to_string(), FaultCode::PatternInvalid)], "{unsound}");
    }
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("k");
    std::fs::write(&key, "0f".repeat(32)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let usage = format!("[usage]\npseudonym_key_file = \"{}\"", key.display());
    assert_eq!(faults(&usage), [("usage.pseudonym_key_file".to_string(), FaultCode::KeyFileOpen)]);
}
