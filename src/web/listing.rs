//! Vouchers with their newest verdict, filtered and paged: for the API and for the pages.

use std::collections::HashMap;

use policy::money::Yuan;
use policy::reasons::Verdict;
use policy::regions::same_city;
use policy::register::{Register, Voucher};
use store::{ResultSummary, Store, StoreError};

/// What to look for; empty text means everything.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct VoucherQuery {
    pub city: String,
    /// A verdict's code, or `none` for vouchers that were never judged.
    pub verdict: String,
    pub product: String,
    /// Part of an id or a name.
    pub q: String,
    /// The last id of the page before.
    pub after: String,
}

pub const NO_VERDICT: &str = "none";
const PAGE: usize = 100;

#[derive(Clone, Debug, PartialEq)]
pub struct VoucherLine {
    pub id: String,
    pub enterprise: String,
    pub enterprise_name: String,
    pub city: String,
    pub product: String,
    pub product_name: String,
    pub supplier: String,
    pub supplier_name: String,
    pub status: String,
    /// The approved amount.
    pub amount: Option<Yuan>,
    pub verdict: Option<Verdict>,
    /// The newest result in short.
    pub result: Option<ResultSummary>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoucherPage {
    pub lines: Vec<VoucherLine>,
    /// Give it as `after` to get the next page.
    pub next: Option<String>,
    /// How many vouchers match in all, by verdict code.
    pub counts: HashMap<&'static str, usize>,
}

impl VoucherPage {
    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }

    pub fn count(&self, code: &str) -> usize {
        self.counts.get(code).copied().unwrap_or(0)
    }
}

pub async fn vouchers(
    store: &Store,
    register: &Register,
    query: &VoucherQuery,
    sees: impl Fn(&Voucher) -> bool,
) -> Result<VoucherPage, StoreError> {
    let mut results: HashMap<String, ResultSummary> =
        store.newest_results().await?.into_iter().map(|result| (result.voucher.clone(), result)).collect();
    let mut page = VoucherPage::default();
    for voucher in register.vouchers.values().filter(|voucher| sees(voucher)) {
        let line = line(register, voucher, results.remove(&voucher.id));
        if !matches_but_verdict(&line, query) {
            continue;
        }
        let code = line.verdict.map_or(NO_VERDICT, Verdict::code);
        *page.counts.entry(code).or_default() += 1;
        let wanted = (query.verdict.is_empty() || query.verdict == code) && line.id > query.after;
        if wanted && page.lines.len() < PAGE {
            page.lines.push(line);
        } else if wanted {
            page.next = page.lines.last().map(|line| line.id.clone());
        }
    }
    Ok(page)
}

fn line(register: &Register, voucher: &Voucher, result: Option<ResultSummary>) -> VoucherLine {
    let enterprise = register.enterprises.get(&voucher.enterprise);
    let product = register.products.get(&voucher.product);
    let supplier = product.and_then(|product| register.suppliers.get(&product.supplier));
    VoucherLine {
        id: voucher.id.clone(),
        enterprise: voucher.enterprise.clone(),
        enterprise_name: enterprise.map(|enterprise| enterprise.name.clone()).unwrap_or_default(),
        city: enterprise.map(|enterprise| enterprise.city.clone()).unwrap_or_default(),
        product: voucher.product.clone(),
        product_name: product.map(|product| product.name.clone()).unwrap_or_default(),
        supplier: product.map(|product| product.supplier.clone()).unwrap_or_default(),
        supplier_name: supplier.map(|supplier| supplier.name.clone()).unwrap_or_default(),
        status: serde_json::to_value(voucher.status).ok().and_then(|status| status.as_str().map(str::to_string)).unwrap_or_default(),
        amount: voucher.amount,
        verdict: result.as_ref().and_then(|result| Verdict::ALL.iter().copied().find(|verdict| verdict.code() == result.verdict)),
        result,
    }
}

fn matches_but_verdict(line: &VoucherLine, query: &VoucherQuery) -> bool {
    let text = query.q.trim().to_lowercase();
    let holds = |field: &str| field.to_lowercase().contains(&text);
    (query.city.is_empty() || same_city(&line.city, &query.city))
        && (query.product.is_empty() || line.product == query.product)
        && (text.is_empty()
            || [&line.id, &line.enterprise, &line.enterprise_name, &line.product, &line.product_name, &line.supplier_name]
                .into_iter()
                .any(|field| holds(field)))
}
