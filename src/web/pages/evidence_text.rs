//! The evidence of a finding in words: its fields are told by what they mean, so that a reviewer need not read JSON.

use policy::reasons::{ClockFault, ContractFigure};
use serde_json::Value;

const FIGURE: &str = "比较项";
const LABELS: &[(&str, &str)] = &[
    ("device", "设备"),
    ("voucher", "服务券"),
    ("vouchers", "服务券"),
    ("enterprise", "企业"),
    ("product", "应用产品"),
    ("gateway", "网关"),
    ("gateways", "网关"),
    ("address", "网络地址"),
    ("addresses", "网络地址"),
    ("enterprises_count", "企业数"),
    ("enterprises", "企业"),
    ("public_key", "公钥"),
    ("hours_regular", "等间隔的小时"),
    ("sender", "发送方"),
    ("identities", "编号数"),
    ("contents", "不同内容份数"),
    ("some", "其中编号"),
    ("function_module", "功能模块"),
    ("function_modules", "重合的功能模块"),
    ("contract", "同一合同"),
    ("figure", FIGURE),
    ("observed", "本券（元）"),
    ("contracts", "可比合同数"),
    ("median", "中位数（元）"),
    ("deviation", "离差（元）"),
    ("score", "偏离分数"),
    ("devices", "设备"),
    ("hours_frozen", "数值不变的小时"),
    ("hours_identical", "读数相同的小时"),
    ("hours_compared", "可比较的小时"),
    ("applied_day", "申领日"),
    ("first_day", "首个有效日"),
    ("last_day", "末个有效日"),
    ("redeem_day", "申请兑现日"),
    ("days", "天数"),
    ("more", "其余"),
    ("days_by_fault", "按情形"),
];
const SENDERS: &[(&str, &str)] = &[("gateway", "网关"), ("supplier", "供应商"), ("carrier", "电信运营商")];

/// Fields in the order of the table; one that it does not know is told by its own name, last.
pub(super) fn evidence_text(evidence: &Value) -> String {
    let Some(fields) = evidence.as_object() else { return plain(evidence) };
    let known = LABELS.iter().filter_map(|(name, label)| Some((*label, fields.get(*name)?)));
    let unknown = fields.iter().filter(|(name, _)| LABELS.iter().all(|(known, _)| known != name));
    let all = known.chain(unknown.map(|(name, value)| (name.as_str(), value)));
    all.map(|(label, value)| format!("{label} {}", named(label, value))).collect::<Vec<_>>().join("，")
}

fn named(label: &str, value: &Value) -> String {
    let figure = ContractFigure::ALL.iter().find(|figure| label == FIGURE && *value == figure.code());
    figure.map_or_else(|| plain(value), |figure| figure.text().to_string())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "是" } else { "否" }.to_string(),
        Value::Array(list) if list.is_empty() => "无".to_string(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join("、"),
        Value::Object(fields) => match (fields.get("kind").and_then(Value::as_str), fields.get("id")) {
            (Some(kind), Some(id)) => format!("{} {}", label(SENDERS, kind), plain(id)),
            _ => fields.iter().map(|(name, value)| format!("{} {}", fault(name), plain(value))).collect::<Vec<_>>().join("、"),
        },
        other => other.to_string(),
    }
}

fn label<'a>(labels: &[(&'static str, &'static str)], name: &'a str) -> &'a str {
    labels.iter().find(|(known, _)| *known == name).map_or(name, |(_, label)| *label)
}

fn fault(code: &str) -> &str {
    ClockFault::ALL.iter().find(|fault| fault.code() == code).map_or(code, |fault| fault.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn evidence_is_told_in_words_and_nothing_of_it_is_left_out() {
        let conflict =
            json!({"sender": {"kind": "supplier", "id": "S-1"}, "identities": 1, "contents": 2, "days": 1, "some": ["id \"r-1\""]});
        assert_eq!(evidence_text(&conflict), "发送方 供应商 S-1，编号数 1，不同内容份数 2，其中编号 id \"r-1\"，天数 1");
        let clock = json!({"gateway": "gw-1", "days": 3, "days_by_fault": {"ahead": 2, "jump": 1}});
        assert_eq!(evidence_text(&clock), "网关 gw-1，天数 3，按情形 时钟偏快 2、时钟跳变 1");
        let twice = json!({"voucher": "V-2", "function_modules": [], "contract": false, "devices": ["SN-1", "SN-2"]});
        assert_eq!(evidence_text(&twice), "服务券 V-2，重合的功能模块 无，同一合同 否，设备 SN-1、SN-2");
        let outlier = json!({"figure": "amount_per_device", "observed": "9000.00", "contracts": 7});
        assert_eq!(evidence_text(&outlier), "比较项 每台申报设备合同额，本券（元） 9000.00，可比合同数 7");
        assert_eq!(evidence_text(&json!({"colour": "red", "device": "SN-1"})), "设备 SN-1，colour red");
    }
}
