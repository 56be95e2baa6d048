//! What each kind of column expects, in words: for faults and for the templates.

use crate::columns::ColumnKind;

impl ColumnKind {
    /// For technicians, as of a register file in JSON.
    pub fn rule(self) -> String {
        match self {
            ColumnKind::Name => "a text of 1 to 64 characters without control characters".into(),
            ColumnKind::Text => "a text of 1 to 256 characters without control characters".into(),
            ColumnKind::Names => "a list of different texts of 1 to 64 characters".into(),
            ColumnKind::GatewayId => "1 to 64 characters of A-Z a-z 0-9 . _ - (not \"verdicts\")".into(),
            ColumnKind::Token => "8 to 256 printable ASCII characters".into(),
            ColumnKind::PublicKey => "an Ed25519 public key: 32 bytes in base64".into(),
            ColumnKind::CreditCode => "a unified social credit code, 18 characters, check character right (GB 32100)".into(),
            ColumnKind::City => {
                "a city code of six digits (GB/T 2260): a province that there is, in Guangdong a prefecture-level city that there is".into()
            }
            ColumnKind::Party => "a city code of six digits (GB/T 2260), or the id of a supplier or a pilot of the register".into(),
            ColumnKind::Province => "a province code of two digits (GB/T 2260)".into(),
            ColumnKind::Money => "yuan as a text such as \"80000.00\": not negative, at most two places".into(),
            ColumnKind::Bool => "true or false".into(),
            ColumnKind::TextOrBool => "a text, or true or false".into(),
            ColumnKind::CatalogueRow => "a row of the catalogue, 1 to 25".into(),
            ColumnKind::Instant => "an instant, RFC 3339 with an offset".into(),
            ColumnKind::Day => "a day, YYYY-MM-DD".into(),
            ColumnKind::Word(words) => format!("one of {}", words.join(", ")),
            ColumnKind::CostLines => "a list of {\"kind\": text, \"amount\": yuan}".into(),
        }
    }

    /// For whoever fills in a table.
    pub fn rule_text(self) -> String {
        match self {
            ColumnKind::Name => "1 至 64 个字符的文字".into(),
            ColumnKind::Text => "1 至 256 个字符的文字".into(),
            ColumnKind::Names => "一项或多项，用分号（;）或换行分隔，不得重复，每项 1 至 64 个字符".into(),
            ColumnKind::GatewayId => "1 至 64 个字符：字母、数字、点、下划线、连字符".into(),
            ColumnKind::Token => "8 至 256 个可见 ASCII 字符（只保存其 SHA-256）".into(),
            ColumnKind::PublicKey => "Ed25519 公钥（32 字节，base64）".into(),
            ColumnKind::CreditCode => "18 位统一社会信用代码，校验位正确（GB 32100）；单元格格式请设为文本".into(),
            ColumnKind::City => "六位地市代码（GB/T 2260），如 440100".into(),
            ColumnKind::Party => "六位地市代码（GB/T 2260），或已登记的供应商编号、试点编号".into(),
            ColumnKind::Province => "两位省份代码（GB/T 2260），广东为 44".into(),
            ColumnKind::Money => "金额（元），不得为负，至多两位小数，如 80000.00".into(),
            ColumnKind::Bool => "是 或 否（true / false）".into(),
            ColumnKind::TextOrBool => "文字，或 是 / 否（true / false）".into(),
            ColumnKind::CatalogueRow => "产品目录序号，1 至 25".into(),
            ColumnKind::Instant => "时间，如 2019-09-02T09:00:00+08:00；也可用日期时间格式的单元格（按北京时间）".into(),
            ColumnKind::Day => "日期，如 2019-06-01；也可用日期格式的单元格".into(),
            ColumnKind::Word(words) => format!("以下之一：{}", words.join("、")),
            ColumnKind::CostLines => "费用明细，如 软件:60000.00;实施:20000.00".into(),
        }
    }
}
