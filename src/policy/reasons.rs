//! The closed lists of a judgement: verdicts, outcomes, groups, why a device does not count, and findings. Codes are snake_case.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$doc:meta])* $list:ident { $($name:ident $code:literal $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $list { $(#[serde(rename = $code)] $name,)* }

        impl $list {
            pub const ALL: &[$list] = &[$($list::$name,)*];

            pub fn code(self) -> &'static str {
                match self { $($list::$name => $code,)* }
            }

            /// The Chinese words for it.
            pub fn text(self) -> &'static str {
                match self { $($list::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The outcome of the monitoring (R35).
    Verdict {
        Met "met" "达标";
        NotMet "not_met" "不达标";
        Insufficient "insufficient" "证据不足";
        Conflicting "conflicting" "数据冲突";
    }
}

codes! {
    /// The outcome of one check.
    Outcome {
        Pass "pass" "符合";
        Fail "fail" "不符合";
        Unknown "unknown" "无法判断";
        NotApplicable "not_applicable" "不适用";
    }
}

codes! {
    /// Which checks form the verdict, which the city weighs beside it (R34), and which only inform.
    Group {
        Deciding "deciding" "判定依据";
        Formal "formal" "形式审核参考";
        Note "note" "说明";
    }
}

codes! {
    /// Why a declared device is not connected (R37), in the order in which the reasons are looked for.
    ExclusionReason {
        ClaimedElsewhere "claimed_elsewhere" "同一企业的另一张有效服务券也申报了这台设备";
        Location "location" "设备所在地不在省内或未登记";
        NotSeen "not_seen" "监测窗口内没有收到这台设备的任何读数";
        Quality "quality" "监测窗口内只有非正常质量的读数";
        Late "late" "监测窗口内的正常读数全部补传过晚";
        EffectiveDays "effective_days" "监测窗口内的有效天数不足";
    }
}

codes! {
    /// What is put before a person; it never changes the verdict by itself (R42).
    FindingCode {
        DeviceUnderTwoEnterprises "device_under_two_enterprises" "同一设备编号在两家企业的有效服务券下申报";
        DeviceUnderTwoVouchers "device_under_two_vouchers" "同一设备在本企业两张有效服务券下申报";
        SharedUsage "shared_usage" "本企业有两张有效服务券购买同一产品，使用数据同时支持两张券";
        IdentityConflict "identity_conflict" "同一报文编号先后收到内容不同的报文，后到的已拒收";
        DuplicateContent "duplicate_content" "本企业另一张服务券与本券内容重合";
        ContractAmountOutlier "contract_amount_outlier" "合同金额明显高于同类合同";
        GatewayClock "gateway_clock" "网关时钟不准、未同步或发生跳变";
        FrozenValues "frozen_values" "设备数值长时间不变，疑似数值冻结或虚构";
        IdenticalSeries "identical_series" "两台设备的数据雷同，疑似复制";
        BurstBeforeCutOff "burst_before_cut_off" "有效数据只集中在申请兑现之前的几天";
        DeviceInTwoGateways "device_in_two_gateways" "同一设备在同一天经两个网关上报";
        GatewayKeyShared "gateway_key_shared" "不同网关登记了同一把公钥";
        SharedLine "shared_line" "两家以上企业登记了同一条线路";
        GatewayInTwoPlaces "gateway_in_two_places" "同一网关在两个网络地址之间往返，疑似身份或密钥在两处使用";
        AddressOfManyEnterprises "address_of_many_enterprises" "多家企业的网关从同一网络地址接入";
        RegularArrivals "regular_arrivals" "网关报文到达时刻过于规律，疑似程序定时生成";
        FunctionModuleGap "function_module_gap" "用过的合同功能模块比例低于平台参数，可能低于合同约定";
    }
}

codes! {
    /// By what a contract is compared with others (R20).
    ContractFigure {
        Amount "amount" "合同额";
        AmountPerDevice "amount_per_device" "每台申报设备合同额";
        AmountPerModule "amount_per_module" "每项功能模块合同额";
    }
}

codes! {
    /// What is wrong with a gateway's clock on one day of receipt.
    ClockFault {
        Ahead "ahead" "时钟偏快";
        Behind "behind" "时钟偏慢";
        Unsynchronised "unsynchronised" "自报未同步";
        Jump "jump" "时钟跳变";
        Future "future" "因时间在未来被拒收";
    }
}

codes! {
    /// What vouchers queue for (R12).
    QueueKind {
        Claim "claim" "申领";
        Redemption "redemption" "兑现";
    }
}

codes! {
    /// Why a voucher has its place in the queue (R12, R13).
    PlaceReason {
        CarriedOver "carried_over" "上期因资金缺口未能兑现，本期优先结算";
        Pilot "pilot" "试点示范服务券，优先保障";
        Ordinary "ordinary" "按申请日期先后";
        PilotTitleLost "pilot_title_lost" "试点示范任务未完成，不再优先，按申请日期先后";
    }
}

codes! {
    /// Whether a pilot's consortium does what it owes in the period (R44).
    PilotTitle {
        Open "open" "发放期未结束，尚可补足";
        Kept "kept" "已完成";
        Lost "lost" "发放期结束时未完成";
    }
}

codes! {
    /// What a spot check (抽查) found.
    SpotOutcome {
        Confirmed "confirmed" "属实";
        Deviating "deviating" "有出入";
        Fraud "fraud" "骗补";
    }
}

codes! {
    /// What can be wrong with an outcome that is to be recorded.
    OutcomeFaultCode {
        NotAnObject "not_an_object" "应为一个 JSON 对象";
        UnknownField "unknown_field" "没有这个字段";
        Outcome "outcome" "结论应为 confirmed（属实）、deviating（有出入）或 fraud（骗补）";
        Note "note" "情况说明应为 1 至 2000 个字符，除换行外不含控制字符";
        On "on" "抽查日期应为 YYYY-MM-DD，不早于申请日，不晚于今天";
        Corrects "corrects" "更正的应是这张服务券一条尚未被更正的抽查结论的编号";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_words_of_the_contract() {
        let codes = |list: Vec<&str>| list.join(" ");
        assert_eq!(codes(Verdict::ALL.iter().map(|v| v.code()).collect()), "met not_met insufficient conflicting");
        assert_eq!(codes(Outcome::ALL.iter().map(|v| v.code()).collect()), "pass fail unknown not_applicable");
        assert_eq!(codes(Group::ALL.iter().map(|v| v.code()).collect()), "deciding formal note");
        assert_eq!(
            codes(ExclusionReason::ALL.iter().map(|v| v.code()).collect()),
            "claimed_elsewhere location not_seen quality late effective_days"
        );
        assert_eq!(
            codes(FindingCode::ALL.iter().map(|v| v.code()).collect()),
            "device_under_two_enterprises device_under_two_vouchers shared_usage identity_conflict duplicate_content contract_amount_outlier gateway_clock \
             frozen_values identical_series burst_before_cut_off device_in_two_gateways gateway_key_shared shared_line gateway_in_two_places address_of_many_enterprises regular_arrivals \
             function_module_gap"
        );
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.code());
        }
    }
}
