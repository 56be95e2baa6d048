//! Register files, up to the changes that they make.

use serde_json::Value;
use store::{RegisterChanges, RegisterFault, RowMap, check_register};

use super::Target;

pub(crate) const TARGET: Target = Target { name: "register", run, seeds, words: WORDS };

/// More faults are counted in one last fault, not listed.
const FAULTS_MAX: usize = 1000;

fn check(file: &Value, current: &RowMap) -> Result<RegisterChanges, Vec<RegisterFault>> {
    check_register(&[file.clone().into()], current, &|id| id == "gd-2019").map(|sound| sound.changes)
}

pub(crate) fn run(input: &[u8]) {
    let Ok(file) = serde_json::from_slice::<Value>(input) else { return };
    // Against nothing, and against what the first seed has put there.
    let sound = serde_json::from_str(SOUND).unwrap();
    let register = after(RowMap::new(), check(&sound, &RowMap::new()).unwrap());
    for current in [RowMap::new(), register] {
        match check(&file, &current) {
            Ok(changes) => settles(&file, after(current, changes)),
            Err(faults) => each_stands_in_the_file(&faults, &file),
        }
    }
}

fn after(mut register: RowMap, changes: RegisterChanges) -> RowMap {
    for (id, row) in changes {
        match row {
            Some(row) => register.insert(id, row),
            None => register.remove(&id),
        };
    }
    register
}

/// A file that was taken in is taken in again, and changes nothing.
fn settles(file: &Value, register: RowMap) {
    let again = check(file, &register).unwrap();
    assert_eq!(after(register.clone(), again), register);
}

/// Not too many, and each at a place of the file; what is missing is named by where it should stand.
fn each_stands_in_the_file(faults: &[RegisterFault], file: &Value) {
    assert!((1..=FAULTS_MAX + 1).contains(&faults.len()), "{} faults", faults.len());
    for fault in faults {
        let path = if fault.code == "missing" { fault.path.rsplit_once('/').unwrap().0 } else { &fault.path };
        assert!(fault.file == 0 && file.pointer(path).is_some(), "nothing stands at {fault:?}");
        assert!(!fault.rule.is_empty() && !fault.detail.is_empty(), "{fault:?}");
        assert_eq!(fault.row.is_some(), fault.list.is_some(), "{fault:?}");
    }
}

const SOUND: &str = r#"{"v":1,"rulebook":"gd-2019",
"suppliers":[{"id":"S-1","name":"供应商","city":"440100"}],
"enterprises":[{"id":"91440101231245152Y","name":"厂","city":"440100","kind":"manufacturer"}],
"gateways":[{"id":"gw-1","enterprise":"91440101231245152Y","token":"secret-token"},{"id":"gw-2","removed":true}]}"#;

fn seeds() -> Vec<Vec<u8>> {
    let removal = r#"{"v":1,"rulebook":"gd-2019","gateways":[{"id":"gw-1","removed":true}],"suppliers":[{"id":"S-1","removed":true}]}"#;
    let faulty = r#"{"v":2,"rulebook":"gd-2018","suppliers":[{"id":"S-1","name":"","city":"44010"},{"id":"S-1","name":"再来","phone":"1"}],
"products":[{"id":"P-1","supplier":"S-2","name":"产品","row":26,"function_modules":["a","a"]}],"vouchers":["V"],"gadgets":[]}"#;
    vec![SOUND.into(), removal.into(), faulty.into()]
}

const WORDS: &[&[u8]] = &[
    b"\"v\":1,",
    b"\"rulebook\":\"gd-2019\",",
    b"\"suppliers\":[",
    b"\"products\":[",
    b"\"vouchers\":[",
    b"\"enterprises\":[",
    b"\"gateways\":[",
    b"{\"id\":\"S-1\"},",
    b"\"removed\":true,",
    b"\"token\":\"secret-token\",",
    b"\"city\":\"440100\",",
    b"\"a~b/c\":1,",
    b"\"x\":[],",
    b"null",
    b"{},",
    b"[]",
];
