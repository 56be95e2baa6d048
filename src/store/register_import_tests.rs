use serde_json::json;

use super::*;
use crate::keys::sha256_hex;
use crate::register_faults::FAULTS_MAX;

const CODE: &str = "91440101231245152Y";

fn faults(file: &Value) -> Vec<(&'static str, String)> {
    check(&[file.clone().into()], &RowMap::new(), &|id| id == "gd-2019")
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|fault| (fault.code, fault.path))
        .collect()
}

fn at(code: &'static str, path: &str) -> (&'static str, String) {
    (code, path.to_string())
}

#[test]
fn every_fault_of_every_row_is_listed_with_row_and_column() {
    let file = json!({"v": 1, "rulebook": "gd-2019",
        "suppliers": [{"id": "S-1", "name": "供应商", "city": "44010"}, {"id": "S-1", "name": "再来", "city": "440100", "phone": "1"}],
        "products": [{"id": "P-1", "supplier": "S-2", "name": "产品", "row": 26, "function_modules": ["a", "a"]}],
        "vouchers": ["V"], "gadgets": []});
    let expected = [
        at("unknown_field", "/gadgets"),
        at("list", "/products/0/function_modules"),
        at("catalogue_row", "/products/0/row"),
        at("missing", "/products/0/class"),
        at("region", "/suppliers/0/city"),
        at("unknown_field", "/suppliers/1/phone"),
        at("duplicate", "/suppliers/1"),
        at("type", "/vouchers/0"),
        at("reference", "/products/0/supplier"),
    ];
    assert_eq!(faults(&file), expected);
    let second = &check(&[file.into()], &RowMap::new(), &|_| true).unwrap_err()[5];
    assert_eq!((second.list.as_deref(), second.row, second.column.as_deref()), (Some("suppliers"), Some(2), Some("phone")));
}

#[test]
fn faults_of_whole_files_are_bounded_as_those_of_rows_are() {
    let mut file = json!({"v": 1, "rulebook": "gd-2019"});
    for number in 0..FAULTS_MAX + 7 {
        file[format!("gadgets-{number}")] = json!([]);
    }
    let faults = check(&[file.into()], &RowMap::new(), &|_| true).unwrap_err();
    assert_eq!(faults.len(), FAULTS_MAX + 1);
    let last = &faults[FAULTS_MAX];
    assert_eq!((last.code, last.detail.as_str()), ("bound", "and 7 more faults"));
}

#[test]
fn tokens_are_kept_as_their_hash_and_a_removed_row_needs_only_its_key() {
    let file = json!({"v": 1, "rulebook": "gd-2019",
        "enterprises": [{"id": CODE, "name": "厂", "city": "440100", "kind": "manufacturer"}],
        "gateways": [{"id": "gw-1", "enterprise": CODE, "token": "secret-token"}, {"id": "gw-2", "removed": true}]});
    let changes = check(&[file.into()], &RowMap::new(), &|_| true).unwrap().changes;
    let stored = changes[&("gateways", "gw-1".to_string())].as_ref().unwrap();
    assert_eq!(stored.get("token"), None);
    assert_eq!(stored["token_sha256"], sha256_hex("secret-token"));
    assert_eq!(changes[&("gateways", "gw-2".to_string())], None);
}

#[test]
fn a_row_that_others_refer_to_cannot_be_removed() {
    let file = json!({"v": 1, "rulebook": "gd-2019", "suppliers": [{"id": "S-1", "name": "供应商", "city": "440100"}]});
    let mut current = RowMap::new();
    for (id, row) in check(&[file.into()], &current, &|_| true).unwrap().changes {
        current.insert(id, row.unwrap());
    }
    current.insert(("products", "P-1".into()), json!({"id": "P-1", "supplier": "S-1"}).as_object().unwrap().clone());
    let removal = json!({"v": 1, "rulebook": "gd-2019", "suppliers": [{"id": "S-1", "removed": true}]});
    assert_eq!(check(&[removal.into()], &current, &|_| true).unwrap_err()[0].code, "reference");
}

fn voucher(more: Value) -> Value {
    let mut row = json!({"id": "V-1", "enterprise": CODE, "product": "P-1", "contract_no": "1", "contract_signed_on": "2019-06-01",
        "contract_total": "1.00", "contract_amount": "1.00", "contract_modules": [], "applied_at": "2019-09-02T09:00:00+08:00"});
    more.as_object().unwrap().iter().for_each(|(name, value)| row[name] = value.clone());
    json!({"v": 1, "rulebook": "gd-2019", "vouchers": [row]})
}

/// The faults and warnings of a voucher's row over one that stands in a state.
fn moved(from: &str, more: Value) -> (Vec<&'static str>, Vec<&'static str>, Vec<Correction>) {
    let mut current = RowMap::new();
    for (list, key) in [("enterprises", CODE), ("products", "P-1")] {
        current.insert((list, key.into()), Map::new());
    }
    current.insert(("vouchers", "V-1".into()), json!({"id": "V-1", "status": from}).as_object().unwrap().clone());
    let codes = |faults: &[RegisterFault]| faults.iter().map(|fault| fault.code).collect();
    match check(&[voucher(more).into()], &current, &|_| true) {
        Ok(sound) => {
            assert!(!sound.changes[&("vouchers", "V-1".to_string())].as_ref().unwrap().contains_key(CORRECTION), "it is not stored");
            (Vec::new(), codes(&sound.warnings), sound.corrections.into_values().collect())
        }
        Err(faults) => (codes(&faults), Vec::new(), Vec::new()),
    }
}

#[test]
fn a_move_that_the_rules_do_not_know_needs_a_correction() {
    assert_eq!(moved("issued", json!({"status": "paid"})), (vec![], vec![], vec![]), "states in between may be passed over");
    for (from, to) in [("paid", "issued"), ("void", "issued"), ("issued", "applied"), ("refused", "paid"), ("approved", "redeeming")] {
        assert_eq!(moved(from, json!({"status": to})).0, ["state"], "{from} → {to}");
        let (faults, warnings, corrections) = moved(from, json!({"status": to, "correction": "录入错误"}));
        assert!(faults.is_empty() && warnings.is_empty());
        assert_eq!(
            (corrections[0].from.code(), corrections[0].to.map(VoucherStatus::code), corrections[0].why.as_str()),
            (from, Some(to), "录入错误")
        );
    }
    assert_eq!(moved("paid", json!({})).0, ["state"], "without a status a voucher is issued");
    assert_eq!(moved("issued", json!({"correction": "无"})).1, ["correction_unused"]);
}

#[test]
fn an_open_objection_holds_back_payment_and_nothing_else() {
    for open in [json!(true), json!("金额有误")] {
        assert_eq!(moved("approved", json!({"status": "paid", "objection": open})).0, ["objection"]);
        assert_eq!(moved("redeeming", json!({"status": "approved", "objection": open})).0, [""; 0]);
        assert_eq!(moved("paid", json!({"status": "paid", "objection": open})).0, [""; 0], "it was paid already");
    }
    assert_eq!(moved("approved", json!({"status": "paid", "objection": false})).0, [""; 0]);
}

#[test]
fn a_voucher_beyond_issue_is_not_removed_without_a_reason_and_the_reason_is_kept() {
    let removal = |more: Value| {
        let mut row = json!({"id": "V-1", "removed": true});
        more.as_object().unwrap().iter().for_each(|(name, value)| row[name] = value.clone());
        json!({"v": 1, "rulebook": "gd-2019", "vouchers": [row]})
    };
    let removed = |status: &str, more: Value| {
        let row = json!({"id": "V-1", "status": status});
        let current = RowMap::from([(("vouchers", "V-1".to_string()), row.as_object().unwrap().clone())]);
        check(&[removal(more).into()], &current, &|_| true)
    };
    for status in ["paid", "approved", "redeeming", "void", "refused", "withdrawn"] {
        let faults = removed(status, json!({})).unwrap_err();
        assert_eq!((faults[0].code, faults[0].column.as_deref(), faults.len()), ("state", Some("removed"), 1), "{status}");
        let sound = removed(status, json!({"correction": "重复录入"})).unwrap();
        let kept = &sound.corrections["V-1"];
        assert_eq!((kept.from.code(), kept.to, kept.why.as_str(), sound.warnings), (status, None, "重复录入", vec![]));
    }
    assert!(removed("issued", json!({})).unwrap().corrections.is_empty());
    for (asked, faults) in [(json!({}), 0), (json!({"redeem_at": "2019-11-05T09:00:00+08:00"}), 1)] {
        let mut row = asked;
        row["status"] = json!("returned");
        let current = RowMap::from([(("vouchers", "V-1".to_string()), row.as_object().unwrap().clone())]);
        let checked = check(&[removal(json!({})).into()], &current, &|_| true);
        assert_eq!(checked.map_or_else(|faults| faults.len(), |_| 0), faults, "sent back from the application, from redemption");
    }
    assert_eq!(removed("issued", json!({"correction": "重复录入"})).unwrap().corrections.len(), 1);
    let unknown = check(&[removal(json!({"correction": "无"})).into()], &RowMap::new(), &|_| true).unwrap();
    assert_eq!((unknown.corrections.len(), unknown.warnings[0].code), (0, "correction_unused"));
}

#[test]
fn a_new_voucher_is_not_paid_over_an_open_objection() {
    let current: RowMap = [("enterprises", CODE), ("products", "P-1")].map(|(list, key)| ((list, key.to_string()), Map::new())).into();
    let of = |more: Value| check(&[voucher(more).into()], &current, &|_| true).map_err(|faults| faults[0].code);
    assert_eq!(of(json!({"status": "paid", "objection": "金额有误"})).unwrap_err(), "objection");
    assert!(of(json!({"status": "paid"})).is_ok() && of(json!({"status": "approved", "objection": true})).is_ok());
}

#[test]
fn a_quota_belongs_to_a_city_or_to_a_supplier_or_pilot_of_the_register() {
    let mut current = RowMap::new();
    for (list, key) in [("periods", "2019"), ("suppliers", "S-1"), ("pilots", "X")] {
        current.insert((list, key.into()), Map::new());
    }
    let of = |party: &str| {
        let file = json!({"v": 1, "rulebook": "r", "quotas": [{"party": party, "period": "2019", "amount": "1.00"}]});
        check(&[file.into()], &current, &|_| true).map(|_| ()).map_err(|faults| (faults[0].code, faults[0].detail.clone()))
    };
    for party in ["440100", "S-1", "X"] {
        assert_eq!(of(party), Ok(()), "{party}");
    }
    for party in ["44010O", "S-2"] {
        assert_eq!(of(party), Err(("reference", format!("{party:?} is not there"))));
    }
    let quota = json!({"party": "S-1", "period": "2019", "amount": "1.00"});
    current.insert(("quotas", "S-1 2019".into()), quota.as_object().unwrap().clone());
    let removal = json!({"v": 1, "rulebook": "r", "suppliers": [{"id": "S-1", "removed": true}]});
    assert_eq!(check(&[removal.into()], &current, &|_| true).unwrap_err()[0].code, "reference");
}

#[test]
fn a_period_ends_after_it_has_begun() {
    let of = |claim_to: &str, redeem_to: &str| {
        let file = json!({"v": 1, "rulebook": "r", "periods": [{"id": "2019", "claim_from": "2019-06-01T00:00:00+08:00", "claim_to": claim_to,
            "redeem_from": "2019-08-01T00:00:00Z", "redeem_to": redeem_to}]});
        check(&[file.into()], &RowMap::new(), &|_| true)
            .map(|_| ())
            .map_err(|faults| faults.iter().map(|fault| (fault.code, fault.path.clone())).collect::<Vec<_>>())
    };
    assert_eq!(of("2019-12-31T23:59:00+08:00", "2020-03-31T23:59:00+08:00"), Ok(()));
    let expected = ["claim_to", "redeem_to"].map(|column| at("period", &format!("/periods/0/{column}"))).to_vec();
    assert_eq!(of("2019-05-31T16:00:00Z", "2019-08-01T07:59:59+08:00"), Err(expected));
}

#[test]
fn what_was_told_to_be_missing_as_the_file_was_read_is_not_told_again() {
    let csv = "id,name,city\nS-1,,440100\nS-2,b,\n";
    let file = sheets::read(
        sheets::FileKind::Csv,
        csv.replace(",city", "").as_bytes(),
        &sheets::Reading { rulebook: "r", list: Some("suppliers") },
    );
    let faults = check(&[file], &RowMap::new(), &|_| true).unwrap_err();
    let told: Vec<_> = faults.iter().map(|fault| (fault.code, fault.row, fault.column.as_deref())).collect();
    assert_eq!(told, [("heading", None, Some("city")), ("heading", Some(2), None), ("missing", Some(2), Some("name"))]);
}

#[test]
fn an_application_before_the_contract_is_taken_in_with_a_warning() {
    let (faults, warnings, _) = moved("issued", json!({"contract_signed_on": "2019-09-03"}));
    assert_eq!((faults, warnings), (vec![], vec!["voucher_before_contract"]));
    assert!(moved("issued", json!({"contract_signed_on": "2019-09-02"})).1.is_empty());
}

#[test]
fn only_what_matters_of_the_register_is_asked_for() {
    let needed = |file: Value| Draft::read(&[file.into()], &|_| true).needed();
    let row = needed(voucher(json!({"pilot": "X"})));
    let rows: BTreeSet<RowId> =
        [("vouchers", "V-1"), ("enterprises", CODE), ("products", "P-1"), ("pilots", "X")].map(|(list, key)| (list, key.into())).into();
    assert_eq!(row, Needed { rows, lists: BTreeSet::new() });
    let removal = needed(json!({"v": 1, "rulebook": "r", "vouchers": [{"id": "V-1", "removed": true}]}));
    assert_eq!(removal.lists, ["devices"].into());
}
