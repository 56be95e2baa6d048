//! What every list of faults keeps to, whatever it is of.

use wire::json::Json;
use wire::limits::FAULTS_MAX;
use wire::{Fault, FaultCode};

/// A detail quotes at most 64 characters of the message, escaped.
const DETAIL_BYTES_MAX: usize = 1024;

/// At least one and not too many, each of a known code with its rule, and at a place of the message, where that can be read.
pub(crate) fn check(faults: &[Fault], message: Option<&Json<'_>>) {
    assert!((1..=FAULTS_MAX + 1).contains(&faults.len()), "{} faults", faults.len());
    for fault in faults {
        assert!(FaultCode::ALL.contains(&fault.code) && fault.rule == fault.code.rule(), "{fault:?}");
        assert!(!fault.detail.is_empty() && fault.detail.len() <= DETAIL_BYTES_MAX, "{fault:?}");
        let names = names(&fault.path);
        // What is missing is named by where it should stand.
        let standing = if fault.code == FaultCode::Missing { names.len().saturating_sub(1) } else { names.len() };
        if let Some(message) = message {
            assert!(stands(message, &names[..standing]), "nothing stands at {fault:?}");
        }
    }
}

/// The names of a JSON Pointer (RFC 6901).
fn names(pointer: &str) -> Vec<String> {
    let Some(rest) = pointer.strip_prefix('/') else {
        assert!(pointer.is_empty(), "{pointer:?} is no pointer");
        return Vec::new();
    };
    let name = |written: &str| {
        let escapes_sound = written.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        assert!(escapes_sound, "{pointer:?} is no pointer");
        written.replace("~1", "/").replace("~0", "~")
    };
    rest.split('/').map(name).collect()
}

/// Does something stand there? A name may stand more than once in an object: any of them counts.
fn stands(json: &Json<'_>, names: &[String]) -> bool {
    let Some((name, rest)) = names.split_first() else { return true };
    match json {
        Json::Object(fields) => fields.iter().any(|(key, value)| key == name && stands(value, rest)),
        Json::List(list) => name.parse::<usize>().ok().and_then(|at| list.get(at)).is_some_and(|item| stands(item, rest)),
        _ => false,
    }
}
