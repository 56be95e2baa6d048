//! Where each rule of the policy is at home: the one table, which the document `config/rules-2019.md` tells in words.

/// Where a rule is looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// A check that forms the verdict.
    Deciding,
    /// A check that the city weighs beside the verdict (R34).
    Formal,
    /// A check that informs.
    Note,
    /// Put before a person when it is found.
    Finding,
    /// Held by the register: other rows are not taken in.
    Register,
    /// A list or queue over many vouchers.
    Report,
    /// How results are made, not what stands in one.
    Construction,
}

impl Home {
    pub const ALL: [Home; 7] = [Home::Deciding, Home::Formal, Home::Note, Home::Finding, Home::Register, Home::Report, Home::Construction];

    pub fn word(self) -> &'static str {
        match self {
            Home::Deciding => "判定",
            Home::Formal => "形式",
            Home::Note => "说明",
            Home::Finding => "线索",
            Home::Register => "登记",
            Home::Report => "清单",
            Home::Construction => "构成",
        }
    }

    /// Whether every judgement lists a check for it.
    pub fn check(self) -> bool {
        matches!(self, Home::Deciding | Home::Formal | Home::Note)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub number: &'static str,
    /// Where the policy says it.
    pub clause: &'static str,
    pub homes: &'static [Home],
    /// What of it is for a person alone, and why.
    pub for_people: &'static str,
}

const fn rule(number: &'static str, clause: &'static str, homes: &'static [Home], for_people: &'static str) -> Rule {
    Rule { number, clause, homes, for_people }
}

use Home::{Construction, Deciding, Finding, Formal, Note, Register, Report};

pub const RULES: &[Rule] = &[
    rule("R1", "四(一)1", &[Note], "是否依法设立、存续：登记信息没有工商状态"),
    rule("R2", "四(一)2", &[Note], "有无严重违法违规：登记信息没有财政处罚记录"),
    rule("R3", "四(一)3-4", &[Note, Finding], "是否得过其他专项资金：登记信息没有其他项目"),
    rule("R4", "四(二)、五(三)6", &[Formal], ""),
    rule("R5", "四(三)", &[Formal], "没有设备的产品在哪里实施：登记信息没有地点"),
    rule("R6", "五(三)6", &[Formal], "经营范围和品牌授权：是文件，不是数据"),
    rule("R7", "五(三)6", &[Formal], "恰为当日签订的合同：原文“之后”两可"),
    rule("R8", "五(三)6", &[Formal], "补签的内容：是文件，不是数据"),
    rule("R9", "六(一)", &[Note], "公布是否提前 3 天以平台通知为准"),
    rule("R10", "六(一)", &[Note], ""),
    rule("R11", "七(五)2", &[Note], ""),
    rule("R12", "七(二)", &[Report], ""),
    rule("R13", "五(六)22", &[Report], ""),
    rule("R14", "五(三)6", &[Formal], "合同写明的产品名称：登记信息没有这一项"),
    rule("R15", "五(三)6", &[Formal], ""),
    rule("R16", "五(三)6", &[Formal], "剔除了哪些费用：须看合同"),
    rule("R17", "五(三)6", &[Formal], "剔除的是否与服务券无关：须看合同"),
    rule("R18", "五(三)7", &[Formal, Register], "编号相同、日期不同是否同一合同"),
    rule("R19", "五(六)21", &[Formal], ""),
    rule("R20", "七(五)1", &[Note, Finding], "价格是否合理：离群只是线索"),
    rule("R21", "五(二)3", &[Note, Register], "代理、外包：登记信息没有供应商之间的关系"),
    rule("R22", "四(四)2", &[Formal, Register], "产品属 A 类还是 B 类：目录没有写，由登记给定"),
    rule("R23", "四(四)2、附件说明1", &[Formal], ""),
    rule("R24", "四(四)3、附件说明3", &[Formal], ""),
    rule("R25", "五(六)21", &[Formal], "试点企业的上限是核定的数，不自动为 100 万元"),
    rule("R26", "四(四)4", &[Formal], ""),
    rule("R27", "四(四)5", &[Formal], ""),
    rule("R28", "七(三)、五(一)1", &[Formal], "额度如何分配和调整由省厅决定"),
    rule("R29", "五(六)24", &[Formal], "试点资金如何安排由省厅决定"),
    rule("R30", "五(四)9", &[Formal], ""),
    rule("R31", "五(四)9", &[Formal], "收付款方是否为合同双方：须看凭证"),
    rule("R32", "五(四)9", &[Note], "验收报告写得是否属实：须看现场"),
    rule("R33", "五(四)10", &[Deciding, Note], ""),
    rule("R34", "五(四)11、13", &[Construction], "审核意见由地市给出，程序从不代写"),
    rule("R35", "五(四)12", &[Deciding, Note], ""),
    rule("R36", "附件说明2", &[Deciding, Note], ""),
    rule("R37", "附件说明2", &[Note, Finding], ""),
    rule("R38", "附件说明2", &[Note], ""),
    rule("R39", "附件备注", &[Note], "模型、方案、工单场景做到没有：须看产品"),
    rule("R40", "五(四)14、六(三)", &[Report], "异议是否成立由地市答复"),
    rule("R41", "六(二)", &[Construction], "退回和不予通过的决定由地市作出"),
    rule("R42", "七(五)1", &[Finding], "是否骗补由人认定，程序只列线索"),
    rule("R43", "五(五)15-16", &[Report], "信用评价由省厅作出"),
    rule("R44", "五(六)20", &[Report], "取消称号由省厅决定"),
    rule("R45", "五(六)18", &[Report], "是否允许同时参加多个试点由省厅决定"),
    rule("R46", "一", &[Report], ""),
];

pub fn rule_of(number: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.number == number)
}

/// Where the policy says it; empty for a rule that is not in the table.
pub fn clause_of(number: &str) -> &'static str {
    rule_of(number).map_or("", |rule| rule.clause)
}
