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
    pub kind: ColumnKind,
    pub required: bool,
    /// The list whose key the value must be.
    pub refers_to: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub struct List {
    pub name: &'static str,
    pub key: &'static [&'static str],
    pub columns: &'static [Column],
}

use ColumnKind::{
    Bool, CatalogueRow, City, CostLines, CreditCode, Day, GatewayId, Instant, Money, Name, Names, Province, PublicKey, Text, TextOrBool,
    Token, Word,
};

const fn must(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind, required: true, refers_to: None }
}

const fn may(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind, required: false, refers_to: None }
}

const fn refers(column: Column, list: &'static str) -> Column {
    Column { refers_to: Some(list), ..column }
}

pub const STATUS_WORDS: &[&str] = &["applied", "issued", "redeeming", "approved", "returned", "refused", "void", "withdrawn", "paid"];

pub const LISTS: &[List] = &[
    List {
        name: "enterprises",
        key: &["id"],
        columns: &[
            must("id", CreditCode),
            must("name", Text),
            must("city", City),
            must("kind", Word(&["manufacturer", "integrator"])),
            may("pilot_cap", Money),
            may("conformance", Bool),
            may("conformance_funded", Bool),
        ],
    },
    List { name: "suppliers", key: &["id"], columns: &[must("id", Name), must("name", Text), must("city", City)] },
    List {
        name: "products",
        key: &["id"],
        columns: &[
            must("id", Name),
            refers(must("supplier", Name), "suppliers"),
            must("name", Text),
            may("aliases", Names),
            must("class", Word(&["A", "B"])),
            must("row", CatalogueRow),
            must("function_modules", Names),
        ],
    },
    List {
        name: "periods",
        key: &["id"],
        columns: &[
            must("id", Name),
            must("claim_from", Instant),
            must("claim_to", Instant),
            must("redeem_from", Instant),
            must("redeem_to", Instant),
            may("announced_at", Instant),
        ],
    },
    List {
        name: "quotas",
        key: &["party", "period"],
        columns: &[must("party", Name), refers(must("period", Name), "periods"), must("amount", Money)],
    },
    List {
        name: "pilots",
        key: &["id"],
        columns: &[
            must("id", Name),
            refers(must("members", Names), "suppliers"),
            refers(must("enterprises", Names), "enterprises"),
            must("benchmark", Text),
        ],
    },
    List {
        name: "vouchers",
        key: &["id"],
        columns: &[
            must("id", Name),
            refers(must("enterprise", CreditCode), "enterprises"),
            refers(must("product", Name), "products"),
            must("contract_no", Text),
            must("contract_signed_on", Day),
            must("contract_total", Money),
            must("contract_amount", Money),
            must("contract_modules", Names),
            must("applied_at", Instant),
            refers(may("period", Name), "periods"),
            may("status", Word(STATUS_WORDS)),
            may("status_at", Instant),
            may("void_cause", Text),
            may("amount", Money),
            refers(may("pilot", Name), "pilots"),
            may("redeem_at", Instant),
            may("paid", Money),
            may("invoiced", Money),
            may("payment_proofs", Money),
            may("accepted_modules", Names),
            may("cost_lines", CostLines),
            may("supplement_signed_on", Day),
            may("supplier_confirmed_at", Instant),
            may("objection", TextOrBool),
        ],
    },
    List {
        name: "devices",
        key: &["voucher", "device"],
        columns: &[
            refers(must("voucher", Name), "vouchers"),
            must("device", Name),
            may("name", Text),
            may("model", Text),
            may("template", Text),
            may("province", Province),
        ],
    },
    List {
        name: "gateways",
        key: &["id"],
        columns: &[
            must("id", GatewayId),
            refers(must("enterprise", CreditCode), "enterprises"),
            may("token", Token),
            may("public_key", PublicKey),
            may("sparkplug", Bool),
        ],
    },
    List {
        name: "lines",
        key: &["enterprise", "line"],
        columns: &[
            refers(must("enterprise", CreditCode), "enterprises"),
            must("line", Name),
            must("kind", Word(&["ip", "broadband", "sim"])),
        ],
    },
    List { name: "carriers", key: &["id"], columns: &[must("id", Name), must("name", Text)] },
];

pub fn list(name: &str) -> Option<&'static List> {
    LISTS.iter().find(|list| list.name == name)
}
