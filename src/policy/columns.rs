//! The register's lists and columns: the one table behind import, validation and every register file.

/// What a column may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text of 1 to 64 characters without control characters: ids and names of devices, modules, lines.
    Name,
    /// Text of 1 to 256 characters without control characters.
    Text,
    /// Names without repetition.
    Names,
    /// `[A-Za-z0-9._-]{1,64}`
    GatewayId,
    /// A secret of 8 to 256 printable ASCII characters; only its SHA-256 is kept.
    Token,
    /// An Ed25519 public key, 32 bytes in base64.
    PublicKey,
    /// Unified social credit code (GB 32100).
    CreditCode,
    /// Six digits (GB/T 2260).
    City,
    /// Whose quota it is: a city, which needs no row, or a supplier or pilot of the register.
    Party,
    /// Two digits; 44 is Guangdong.
    Province,
    /// Yuan as a text with at most two places.
    Money,
    Bool,
    /// A text, or true/false.
    TextOrBool,
    /// A row of the catalogue, 1 to 25.
    CatalogueRow,
    /// RFC 3339 with an offset.
    Instant,
    /// `YYYY-MM-DD`
    Day,
    /// One of these words.
    Word(&'static [&'static str]),
    /// List of `{kind, amount}`.
    CostLines,
}

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    /// Its heading for people.
    pub text: &'static str,
    pub kind: ColumnKind,
    pub required: bool,
    /// Whether it stays in the row; what does not is written to the audit log.
    pub stored: bool,
    /// The lists of which one must have the value as its key.
    pub refers_to: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
pub struct List {
    pub name: &'static str,
    /// Its name for people.
    pub text: &'static str,
    pub key: &'static [&'static str],
    pub columns: &'static [Column],
}

use ColumnKind::{
    Bool, CatalogueRow, City, CostLines, CreditCode, Day, GatewayId, Instant, Money, Name, Names, Party, Province, PublicKey, Text,
    TextOrBool, Token, Word,
};

const fn must(name: &'static str, text: &'static str, kind: ColumnKind) -> Column {
    Column { name, text, kind, required: true, stored: true, refers_to: &[] }
}

const fn may(name: &'static str, text: &'static str, kind: ColumnKind) -> Column {
    Column { name, text, kind, required: false, stored: true, refers_to: &[] }
}

const fn refers(column: Column, lists: &'static [&'static str]) -> Column {
    Column { refers_to: lists, ..column }
}

pub const STATUS_WORDS: &[&str] = &["applied", "issued", "redeeming", "approved", "returned", "refused", "void", "withdrawn", "paid"];

pub const LISTS: &[List] = &[
    List {
        name: "enterprises",
        text: "企业",
        key: &["id"],
        columns: &[
            must("id", "统一社会信用代码", CreditCode),
            must("name", "企业名称", Text),
            must("city", "地市代码", City),
            must("kind", "企业类型", Word(&["manufacturer", "integrator"])),
            may("pilot_cap", "试点奖补上限", Money),
            may("conformance", "通过贯标", Bool),
            may("conformance_funded", "已获贯标资金", Bool),
        ],
    },
    List {
        name: "suppliers",
        text: "供应商",
        key: &["id"],
        columns: &[must("id", "供应商编号", Name), must("name", "供应商名称", Text), must("city", "地市代码", City)],
    },
    List {
        name: "products",
        text: "应用产品",
        key: &["id"],
        columns: &[
            must("id", "产品编号", Name),
            refers(must("supplier", "供应商编号", Name), &["suppliers"]),
            must("name", "产品名称", Text),
            may("aliases", "产品别名", Names),
            must("class", "产品类别", Word(&["A", "B"])),
            must("row", "目录序号", CatalogueRow),
            must("function_modules", "功能模块", Names),
        ],
    },
    List {
        name: "periods",
        text: "发放周期",
        key: &["id"],
        columns: &[
            must("id", "周期编号", Name),
            must("claim_from", "申领开始", Instant),
            must("claim_to", "申领截止", Instant),
            must("redeem_from", "兑现开始", Instant),
            must("redeem_to", "兑现截止", Instant),
            may("announced_at", "公布时间", Instant),
        ],
    },
    List {
        name: "quotas",
        text: "额度",
        key: &["party", "period"],
        columns: &[
            refers(must("party", "额度主体", Party), &["suppliers", "pilots"]),
            refers(must("period", "周期编号", Name), &["periods"]),
            must("amount", "额度金额", Money),
        ],
    },
    List {
        name: "pilots",
        text: "试点示范",
        key: &["id"],
        columns: &[
            must("id", "试点编号", Name),
            refers(must("members", "联合体供应商", Names), &["suppliers"]),
            refers(must("enterprises", "试点企业", Names), &["enterprises"]),
            must("benchmark", "标杆案例", Text),
        ],
    },
    List {
        name: "vouchers",
        text: "服务券",
        key: &["id"],
        columns: &[
            must("id", "服务券编号", Name),
            refers(must("enterprise", "企业信用代码", CreditCode), &["enterprises"]),
            refers(must("product", "产品编号", Name), &["products"]),
            must("contract_no", "合同编号", Text),
            must("contract_signed_on", "合同签订日期", Day),
            must("contract_total", "合同总额", Money),
            must("contract_amount", "合同额", Money),
            must("contract_modules", "合同功能模块", Names),
            must("applied_at", "申领时间", Instant),
            refers(may("period", "周期编号", Name), &["periods"]),
            may("status", "状态", Word(STATUS_WORDS)),
            may("status_at", "状态时间", Instant),
            may("void_cause", "作废原因", Text),
            may("amount", "核定金额", Money),
            refers(may("pilot", "试点编号", Name), &["pilots"]),
            may("redeem_at", "兑现申请时间", Instant),
            may("paid", "实际支付金额", Money),
            may("invoiced", "发票金额", Money),
            may("payment_proofs", "支付凭证金额", Money),
            may("accepted_modules", "验收功能模块", Names),
            may("cost_lines", "费用明细", CostLines),
            may("supplement_signed_on", "补签日期", Day),
            may("supplier_confirmed_at", "供应商确认时间", Instant),
            may("objection", "公示异议", TextOrBool),
            Column { stored: false, ..may("correction", "状态更正说明", Text) },
        ],
    },
    List {
        name: "devices",
        text: "设备",
        key: &["voucher", "device"],
        columns: &[
            refers(must("voucher", "服务券编号", Name), &["vouchers"]),
            must("device", "设备编号", Name),
            may("name", "设备名称", Text),
            may("model", "设备型号", Text),
            may("template", "采集模板", Text),
            may("province", "所在省份", Province),
        ],
    },
    List {
        name: "gateways",
        text: "网关",
        key: &["id"],
        columns: &[
            must("id", "网关编号", GatewayId),
            refers(must("enterprise", "企业信用代码", CreditCode), &["enterprises"]),
            may("token", "网关令牌", Token),
            may("public_key", "公钥", PublicKey),
            may("sparkplug", "使用Sparkplug", Bool),
        ],
    },
    List {
        name: "lines",
        text: "线路",
        key: &["enterprise", "line"],
        columns: &[
            refers(must("enterprise", "企业信用代码", CreditCode), &["enterprises"]),
            must("line", "线路编号", Name),
            must("kind", "线路类型", Word(&["ip", "broadband", "sim"])),
        ],
    },
    List {
        name: "carriers",
        text: "电信运营商",
        key: &["id"],
        columns: &[must("id", "运营商编号", Name), must("name", "运营商名称", Text)],
    },
];

pub fn list(name: &str) -> Option<&'static List> {
    LISTS.iter().find(|list| list.name == name)
}
