//! What stops single reports, or what the service says, on a connection that works; and what to do about it.

use wire::FaultCode;

use crate::status::{Status, Trouble};
use crate::trouble::TroubleKind;
use crate::uplink_state::Oversized;

pub(super) fn troubles(status: &Status, out: &mut Vec<Trouble>) {
    let place = status.broker.address.as_deref().unwrap_or_default();
    let obstacles = &status.broker.obstacles;
    if obstacles.doubted > 0 {
        let count = obstacles.doubted;
        let codes = obstacles.doubts.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (zh, en): (Vec<&str>, Vec<&str>) = obstacles.doubts.iter().map(|code| remedy(code)).unzip();
        out.push(Trouble::new(
            "reports_doubted",
            place,
            format!("平台核对身份不符，不接收 {count} 份报告（{codes}）；报告留在暂存中，隔一段时间重试，改正后自动补传。{}", zh.concat()),
            format!(
                "the service does not take {count} reports because of who speaks ({codes}); they stay in the spool, are tried again and follow once that is mended. {}",
                en.join(" ")
            ),
        ));
    }
    if obstacles.unkept > 0 {
        let (count, error) = (obstacles.unkept, obstacles.unkept_error.as_deref().unwrap_or_default());
        out.push(Trouble::new(
            "refused_reports_unkept",
            "spool.dir",
            format!("平台拒收的 {count} 份报告写不进 refused/（{error}），仍留在暂存中；请检查磁盘空间与权限"),
            format!("{count} reports that the service refused cannot be set aside in refused/ ({error}); they stay in the spool; check the disk's space and permissions"),
        ));
    }
    if let Some(oversized) = obstacles.oversized {
        let Oversized { count, bytes, packet_bytes_max } = oversized;
        out.push(Trouble::new(
            "reports_oversized",
            place,
            format!("服务器的报文上限为 {packet_bytes_max} 字节，{count} 份报告（最大 {bytes} 字节）发不出去；请让服务器管理员放宽上限（建议 300 KiB），今后的报告可调小 report.devices_max"),
            format!("the broker takes packets of {packet_bytes_max} bytes at most, and {count} reports of up to {bytes} bytes cannot be sent; have its administrator allow 300 KiB, and lower report.devices_max for those to come"),
        ));
    }
    if let Some(said) = &obstacles.unheard {
        let kind = TroubleKind::SubscriptionRefused;
        out.push(Trouble::new(kind.name(), place, format!("{}（{said}）", kind.zh()), format!("{} ({said})", kind.en())));
    }
}

/// What to do where the service doubts who speaks, by its fault code.
fn remedy(code: &str) -> (&'static str, &'static str) {
    match FaultCode::read(code) {
        Some(FaultCode::Unsigned) => (
            "unsigned：登记要求签名。请运行 shangyun-edge enrol，配置 gateway.key_file 并重启；已在暂存中的未签名报告，须请平台管理员暂时去掉该网关的 public_key。",
            "unsigned: the register demands signatures. Run shangyun-edge enrol, set gateway.key_file and restart; for unsigned reports that wait already, have the administrator take public_key out of the register for a while.",
        ),
        Some(FaultCode::Signature) => (
            "signature：登记的公钥不是本机密钥的。请平台管理员核对该网关的 public_key，或重新运行 shangyun-edge enrol；用旧密钥签名的报告，须请管理员暂时登记旧公钥。",
            "signature: the register's public_key is not of this gateway's key. Have the administrator compare it, or run shangyun-edge enrol anew; for reports that a former key signed, have the former public_key registered for a while.",
        ),
        Some(FaultCode::Kid) => (
            "kid：报告是以另一网关编号签名的。请核对 gateway.id。",
            "kid: the reports were signed under another gateway id. Check gateway.id.",
        ),
        Some(FaultCode::NoPublicKey) => (
            "no_public_key：报告有签名，而登记中没有本网关的公钥。请运行 shangyun-edge enrol，或请平台管理员登记 public_key。",
            "no_public_key: the reports are signed, and the register has no key of this gateway. Run shangyun-edge enrol, or have its public_key registered.",
        ),
        Some(FaultCode::UnknownGateway) => (
            "unknown_gateway：登记中没有本网关。请平台管理员导入。",
            "unknown_gateway: the register does not have this gateway. Have it imported.",
        ),
        _ => ("请联系平台管理员。", "Ask the service's administrator."),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::status::well;
    use crate::uplink_state::Obstacles;

    #[test]
    fn what_stops_single_reports_or_the_services_words_is_named_with_its_remedy() {
        let all = Obstacles {
            doubted: 3,
            doubts: ["signature".to_string(), "unsigned".to_string()].into(),
            unkept: 2,
            unkept_error: Some("No space left on device".into()),
            oversized: Some(Oversized { count: 1, bytes: 70_000, packet_bytes_max: 65_536 }),
            unheard: Some("NotAuthorized".into()),
        };
        let mut status = well();
        status.broker.obstacles = all;
        let mut found = Vec::new();
        troubles(&status, &mut found);
        let codes: Vec<&str> = found.iter().map(|trouble| trouble.code.as_str()).collect();
        assert_eq!(codes, ["reports_doubted", "refused_reports_unkept", "reports_oversized", "subscription_refused"]);
        for (trouble, said) in found.iter().zip([
            &["3 ", "signature", "unsigned", "shangyun-edge enrol"][..],
            &["2 ", "No space left on device"],
            &["65536", "70000", "report.devices_max"],
            &["NotAuthorized"],
        ]) {
            assert!(said.iter().all(|said| trouble.zh.contains(said) && trouble.en.contains(said)), "{trouble:?}");
            assert!(!trouble.zh.is_ascii() && trouble.en.is_ascii(), "{trouble:?}");
        }
    }

    #[test]
    fn each_doubt_of_who_speaks_has_a_remedy_of_its_own() {
        let said = ["unsigned", "signature", "kid", "no_public_key", "unknown_gateway"].map(remedy);
        assert!(said.iter().all(|words| *words != remedy("not_authorised")));
        assert_eq!(said.iter().collect::<BTreeSet<_>>().len(), said.len());
    }
}
