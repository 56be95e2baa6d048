//! Reading rulebooks and catalogues: the defaults, numbers by their text, all faults at once, hashes, versions.

use crate::amount::work_out;
use crate::catalogue::{CATALOGUE_2019, Catalogue, Catalogues};
use crate::in_force::{Dated, VersionsError};
use crate::rulebook::{OnConflict, PARAMETERS, RULEBOOK_2019, Rulebook, Rulebooks};
use crate::test_case::{World, at, voucher, yuan};

fn changed(from: &str, to: &str) -> Result<Rulebook, Vec<crate::policy_file::PolicyFault>> {
    assert!(RULEBOOK_2019.contains(from), "{from}");
    Rulebook::read(&RULEBOOK_2019.replacen(from, to, 1))
}

#[test]
fn the_default_rulebook_has_the_figures_of_the_rules() {
    let rulebook = Rulebook::read(RULEBOOK_2019).unwrap();
    let p = &rulebook.parameters;
    assert_eq!(rulebook.id, "gd-2019");
    assert_eq!((p.window_days, p.late_days_max, p.future_skew_s_max), (30, 7, 120));
    assert_eq!((p.effective_day_hours_min, p.device_effective_days_min), (4, 7));
    assert_eq!((p.usage_active_days_min, p.usage_users_min), (10, 2));
    assert_eq!((p.function_module_coverage_min.to_string(), p.channel_tolerance.to_string()), ("0.6".to_string(), "0.07".to_string()));
    assert_eq!((p.on_conflict, p.bonus_in_limit, p.carrier_required), (OnConflict::Carrier, false, false));
    assert_eq!(p.location_required_rows, (1..=25).filter(|row| ![22, 23].contains(row)).collect());
    assert_eq!(p.integrator_rows, [22, 23].into());
    assert_eq!((p.enterprise_cap, p.pilot_cap_max, p.conformance_bonus), (yuan("300000"), yuan("1000000"), yuan("100000")));
    assert_eq!(
        (p.rate_a.to_string(), p.rate_b.to_string(), p.paid_percent_a, p.paid_percent_b),
        ("0.8".to_string(), "0.4".to_string(), 90, 70)
    );
}

#[test]
fn each_parameter_stands_alone_on_its_line_and_is_explained() {
    let top = RULEBOOK_2019.split("[about.").next().unwrap();
    let rulebook = Rulebook::default_2019();
    for parameter in rulebook.view() {
        let lines = top.lines().filter(|line| line.starts_with(&format!("{} = ", parameter.name))).count();
        assert_eq!(lines, 1, "{}", parameter.name);
        assert!(
            !parameter.about.meaning.is_empty() && !parameter.about.unit.is_empty() && !parameter.value.is_empty(),
            "{}",
            parameter.name
        );
        assert_eq!(parameter.about.owner == "政策原文", !parameter.platform, "{}", parameter.name);
    }
    assert_eq!(rulebook.view().len(), PARAMETERS.len());
}

#[test]
fn a_number_is_read_by_its_text_bare_or_quoted() {
    for text in ["0.07", "\"0.07\"", "0.070", "7e-2"] {
        let rulebook = changed("channel_tolerance = 0.07", &format!("channel_tolerance = {text}")).unwrap();
        assert_eq!(rulebook.parameters.channel_tolerance.to_string(), "0.07", "{text}");
        assert_eq!(rulebook.hash(), Rulebook::default_2019().hash(), "{text}");
    }
    // As a double this would be 0.1.
    let exact = changed("channel_tolerance = 0.07", "channel_tolerance = 0.100000000001").unwrap();
    assert_eq!(exact.parameters.channel_tolerance.to_string(), "0.100000000001");
    for (text, value) in [("1", "1"), ("0", "0"), ("0.6", "0.6"), ("\"0.75\"", "0.75")] {
        let rulebook = changed("function_module_coverage_min = 0.6", &format!("function_module_coverage_min = {text}")).unwrap();
        assert_eq!(rulebook.parameters.function_module_coverage_min.to_string(), value);
    }
    let bare = changed("enterprise_cap = \"300000.00\"", "enterprise_cap = 300000.5").unwrap();
    assert_eq!(bare.parameters.enterprise_cap, yuan("300000.50"));
    let dated = changed("valid_from = \"2018-03-20\"", "valid_from = 2018-03-20").unwrap();
    assert_eq!(dated.hash(), Rulebook::default_2019().hash());
}

#[test]
fn all_faults_are_told_at_once_with_key_and_rule() {
    let text = RULEBOOK_2019
        .replace("window_days = 30", "window_days = 0")
        .replace("late_days_max = 7", "late_days_max = \"7\"")
        .replace("channel_tolerance = 0.07", "channel_tolerance = 1.5")
        .replace("on_conflict = \"carrier\"", "on_conflict = \"supplier\"\nsurprise = 1")
        .replace("integrator_rows = [22, 23]", "integrator_rows = [22, 26]")
        .replace("carrier_required = false", "")
        .replace("bonus_in_limit = false", "bonus_in_limit = 0")
        .replace("enterprise_cap = \"300000.00\"", "enterprise_cap = \"300000.001\"")
        .replace("effective_day_hours_min = 4", "effective_day_hours_min = 25")
        .replace("function_module_coverage_min = 0.6", "function_module_coverage_min = nan")
        .replace("[about.rate_a]", "[about.rate_c]");
    let faults = Rulebook::read(&text).unwrap_err();
    let mut keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "about.rate_c",
            "bonus_in_limit",
            "carrier_required",
            "channel_tolerance",
            "effective_day_hours_min",
            "enterprise_cap",
            "function_module_coverage_min",
            "integrator_rows",
            "late_days_max",
            "on_conflict",
            "surprise",
            "window_days"
        ]
    );
    let of = |key: &str| faults.iter().find(|fault| fault.key == key).unwrap();
    assert_eq!(of("window_days").rule, "a whole number from 1 to 366");
    assert_eq!(of("carrier_required").detail, "missing");
    assert_eq!(of("surprise").detail, "unknown key");
    assert!(Rulebook::read("id = \"x\"\nid = \"y\"\n[").unwrap_err().iter().all(|fault| fault.key.starts_with("line ")));
}

#[test]
fn comments_and_explanations_do_not_change_the_hash_but_any_value_does() {
    let default = Rulebook::default_2019();
    assert!(default.hash().starts_with("sha256:") && default.hash().len() == 71);
    let commented = Rulebook::read(&format!("# a comment\n{}", RULEBOOK_2019.replace("监测窗口：", "窗口："))).unwrap();
    assert_eq!(commented.hash(), default.hash());
    assert_ne!(changed("window_days = 30", "window_days = 31").unwrap().hash(), default.hash());
    assert_ne!(changed("id = \"gd-2019\"", "id = \"gd-2020\"").unwrap().hash(), default.hash());
    let (set, read) = (default.with("window_days", "31").unwrap(), changed("window_days = 30", "window_days = 31").unwrap());
    assert_eq!((set.hash(), &set.parameters, set.view()), (read.hash(), &read.parameters, read.view()));
    assert!(default.with("window_days", "0").is_err() && default.with("nothing", "1").is_err());
    assert!(default.with("window_days", "3\nlate_days_max = 1").is_err());
}

#[test]
fn the_hash_of_the_defaults_is_pinned() {
    // A change here changes every stored result's rulebook: do it only with the rulebook itself.
    assert_eq!(Rulebook::default_2019().hash(), "sha256:2a6bc9ce7c5763fcf5e59260b72b80f0a788427eb27d770597f73a3f98fd4ea5");
    assert_eq!(Catalogue::default_2019().hash(), "sha256:627167fce465f1f93c8d5abfe743f88741fa582077950e9bc261bcffce9640d9");
}

#[test]
fn the_25_caps_and_the_contract_that_reaches_each() {
    let caps = [8, 18, 5, 15, 10, 20, 25, 15, 5, 25, 5, 10, 25, 15, 20, 25, 3, 5, 3, 5, 5, 25, 10, 30, 30];
    let world = World::new();
    assert_eq!(world.catalogue.rows().count(), 25);
    for (row, cap) in (1u8..).zip(caps) {
        let cap_yuan = cap * 10_000;
        let cap = yuan(&cap_yuan.to_string());
        assert_eq!(world.catalogue.row(row).unwrap().cap, cap, "row {row}");
        // A = K / 0.8 and B = K / 0.4, in fen.
        for (prefix, reaching_fen) in [("P", cap_yuan * 125), ("B", cap_yuan * 250)] {
            let mut voucher = voucher("V-1", &format!("{prefix}-{row}"));
            let fen = |fen: i32| yuan(&format!("{}.{:02}", fen / 100, fen % 100));
            voucher.contract_amount = fen(reaching_fen);
            let worked = work_out(&world.register, &world.rulebook, &world.catalogue, &voucher).unwrap();
            assert_eq!((worked.share, worked.computed), (cap, cap), "{prefix}-{row}");
            voucher.contract_amount = fen(reaching_fen + 100);
            assert_eq!(work_out(&world.register, &world.rulebook, &world.catalogue, &voucher).unwrap().computed, cap);
            voucher.contract_amount = fen(reaching_fen - 1);
            assert!(work_out(&world.register, &world.rulebook, &world.catalogue, &voucher).unwrap().computed < cap);
        }
    }
    let per_device: Vec<(u8, String)> =
        world.catalogue.rows().filter_map(|row| Some((row.row, row.per_device_amount?.to_string()))).collect();
    assert_eq!(per_device, [(5, "1500.00".to_string()), (22, "1500.00".to_string()), (23, "800.00".to_string())]);
}

#[test]
fn a_catalogue_tells_all_its_faults() {
    let text = CATALOGUE_2019
        .replace("row = 7\n", "row = 6\n")
        .replacen("cap = \"80000.00\"", "cap = \"eight\"", 1)
        .replacen("per_device_amount = \"800.00\"", "per_device_amount = \"0\"", 1)
        .replacen("pilot_only = true", "pilot = true", 1);
    let faults = Catalogue::read(&text).unwrap_err();
    let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["rows[0].cap", "rows[6].row", "rows[22].per_device_amount", "rows[24].pilot"]);
    assert_eq!(Catalogue::read("id = \"x\"").unwrap_err().len(), 2);
    assert_eq!(Catalogue::read(&format!("# note\n{CATALOGUE_2019}")).unwrap().hash(), Catalogue::default_2019().hash());
}

#[test]
fn the_version_in_force_at_the_application_decides() {
    let later = |id: &str, from: &str| {
        let text = RULEBOOK_2019.replacen("\"gd-2019\"", &format!("\"{id}\""), 1);
        Rulebook::read(&text.replacen("\"2018-03-20\"", &format!("\"{from}\""), 1))
    };
    let new = later("gd-2020", "2020-01-01T12:00:00+08:00").unwrap();
    let rulebooks = Rulebooks::new(vec![new.clone(), Rulebook::default_2019()]).unwrap();
    let id = |text: &str| rulebooks.in_force(at(text)).id().to_string();
    assert_eq!(id("2018-03-20T00:00:00+08:00"), "gd-2019");
    assert_eq!(id("2020-01-01T11:59:59.999999+08:00"), "gd-2019");
    assert_eq!(id("2020-01-01T12:00:00+08:00"), "gd-2020");
    assert_eq!(id("2010-01-01T00:00:00+08:00"), "gd-2019");
    assert_eq!(Rulebooks::new(vec![new.clone(), new]).unwrap_err(), VersionsError::SameId("gd-2020".to_string()));
    assert_eq!(Catalogues::new(Vec::new()).unwrap_err(), VersionsError::Empty);
    let same_start = later("other", "2018-03-20").unwrap();
    assert!(matches!(Rulebooks::new(vec![same_start, Rulebook::default_2019()]), Err(VersionsError::SameStart(_, _))));
}

#[test]
fn a_rulebook_of_before_a_parameter_has_its_default_and_the_same_hash_as_one_that_names_it() {
    let optional: Vec<_> = PARAMETERS.iter().filter_map(|parameter| Some((parameter.name, parameter.default?))).collect();
    assert!(optional.contains(&("constant_templates", "[]")));
    let named = |line: &str| optional.iter().any(|(name, _)| line.starts_with(&format!("{name} = ")));
    let top = RULEBOOK_2019.lines().filter(|line| !named(line));
    let older = Rulebook::read(&top.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(older.view(), Rulebook::default_2019().view());
    assert_eq!(older.hash(), Rulebook::default_2019().hash());
    assert_ne!(older.with("frozen_hours_min", "25").unwrap().hash(), older.hash());
    let fault = changed("constant_templates = []", "constant_templates = [\"电表\", \"电表\"]").unwrap_err();
    assert_eq!(fault[0].key, "constant_templates");
}
