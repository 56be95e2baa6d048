//! Builds register files.

use serde_json::{Value, json};

pub const GUANGZHOU: &str = "440100";
pub const FOSHAN: &str = "440600";
pub const TOKEN: &str = "a-token-of-a-gateway";
pub const MODULES: [&str; 5] = ["设备OEE分析", "报警", "工单", "看板", "能耗"];

/// The credit code of the n-th enterprise, with a right check character.
pub fn credit_code(n: u32) -> String {
    let first_17 = format!("91440101MA5{n:06}");
    let check = wire::credit_code::check_character(first_17.as_bytes()).unwrap();
    format!("{first_17}{}", char::from(check))
}

pub struct Register(Value);

impl Register {
    pub fn new() -> Register {
        Register(json!({"v": 1, "rulebook": "gd-2019"}))
    }

    pub fn file(&self) -> &Value {
        &self.0
    }

    pub fn row(mut self, list: &str, row: Value) -> Register {
        if self.0.get(list).is_none() {
            self.0[list] = json!([]);
        }
        self.0[list].as_array_mut().unwrap().push(row);
        self
    }

    pub fn enterprise(self, n: u32, city: &str) -> Register {
        self.row("enterprises", json!({"id": credit_code(n), "name": format!("第{n}机械厂"), "city": city, "kind": "manufacturer"}))
    }

    pub fn supplier(self, id: &str) -> Register {
        self.row("suppliers", json!({"id": id, "name": format!("供应商{id}"), "city": GUANGZHOU}))
    }

    pub fn product(self, id: &str, supplier: &str, row: u8, class: &str) -> Register {
        let product =
            json!({"id": id, "supplier": supplier, "name": format!("产品{id}"), "class": class, "row": row, "function_modules": MODULES});
        self.row("products", product)
    }

    /// A voucher over a contract of this many yuan; `more` adds or replaces fields.
    pub fn voucher(self, id: &str, enterprise: u32, product: &str, yuan: &str, more: Value) -> Register {
        let mut voucher = json!({
            "id": id, "enterprise": credit_code(enterprise), "product": product, "contract_no": format!("C-{id}"), "contract_signed_on": "2019-06-01",
            "contract_total": yuan, "contract_amount": yuan, "contract_modules": MODULES, "applied_at": "2019-09-02T09:00:00+08:00",
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            voucher[name] = value.clone();
        }
        self.row("vouchers", voucher)
    }

    pub fn devices(self, voucher: &str, devices: &[String]) -> Register {
        devices
            .iter()
            .fold(self, |register, device| register.row("devices", json!({"voucher": voucher, "device": device, "province": "44"})))
    }

    pub fn gateway(self, id: &str, enterprise: u32) -> Register {
        self.row("gateways", json!({"id": id, "enterprise": credit_code(enterprise), "token": TOKEN}))
    }
}

/// `prefix-001`, `prefix-002`, …
pub fn device_names(prefix: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{prefix}-{n:03}")).collect()
}
