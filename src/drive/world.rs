//! The demo's world: enterprises of four cities, their vouchers, machines and people, and how each of them behaves. The figures are
//! chosen so that every verdict appears, each for another reason.

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use serde_json::{Value, json};

use crate::machines::MachineKind;

/// How a machine behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Works,
    /// Its line is cut: every poll fails.
    Unreachable,
    /// Its readings come only after nine days.
    Late,
}

#[derive(Clone, Debug)]
pub struct DevicePlan {
    pub device: String,
    pub kind: MachineKind,
    pub seed: u64,
    pub behaviour: Behaviour,
}

#[derive(Clone, Debug)]
pub struct GatewayPlan {
    pub id: String,
    pub token: String,
    pub enterprise: String,
    pub devices: Vec<DevicePlan>,
}

/// People who use a product.
#[derive(Clone, Debug)]
pub struct UsagePlan {
    pub supplier: &'static str,
    pub enterprise: String,
    pub product: &'static str,
    pub function_modules: &'static [&'static str],
    pub users: usize,
}

/// What the carrier sees of an enterprise.
#[derive(Clone, Debug)]
pub struct CarrierPlan {
    pub enterprise: String,
    pub line: String,
    pub product: &'static str,
    /// Sees a connection on one day of this many.
    pub one_day_of: u32,
    pub devices: Option<u64>,
}

pub struct World {
    pub gateways: Vec<GatewayPlan>,
    pub usage: Vec<UsagePlan>,
    pub carrier: Vec<CarrierPlan>,
    pub register: Value,
    /// For trying things by hand.
    pub spare_gateway: GatewayPlan,
}

pub const SUPPLIERS: [&str; 3] = ["S-IOT", "S-LINK", "S-ERP"];
pub const CARRIER: &str = "C-GD";

const ERP_MODULES: &[&str] = &["总账管理", "应收款管理", "采购管理", "销售管理", "库存管理"];
const IOT_MODULES: &[&str] = &["设备OEE分析", "停机管理及分析", "实时产量", "运维管理"];

/// Devices of one gateway.
const GATEWAY_DEVICES_MAX: usize = 17;

struct Factory {
    code: String,
    short: &'static str,
    name: &'static str,
    city: &'static str,
    kind: &'static str,
}

/// Registration numbers are made up; the last character is the right check character.
fn credit_code(number: u32, city: &str) -> String {
    let first_17 = format!("91{city}MA5DEMO{number:02}").replace('O', "0");
    let check = wire::credit_code::check_character(first_17.as_bytes()).map_or('0', char::from);
    format!("{first_17}{check}")
}

/// A voucher's part of the register.
struct VoucherPlan<'a> {
    id: &'a str,
    factory: &'a Factory,
    product: &'a str,
    contract_amount: &'a str,
    function_modules: &'a [&'a str],
    devices: &'a [String],
    /// Where the devices stand.
    province: &'a str,
}

impl World {
    /// `now`: the machines' contracts and applications lie some weeks before.
    pub fn new(now: DateTime<Utc>) -> World {
        let factories = factories();
        let of = |short: &str| factories.iter().find(|factory| factory.short == short).unwrap_or(&factories[0]);
        let names = |prefix: &str, count: usize| (1..=count).map(|i| format!("{prefix}-{i:03}")).collect::<Vec<_>>();
        let (lathes, presses, shared) = (names("SN-JG", 67), names("SN-HL", 67), names("SN-XT", 19));
        let (service, rented, silent) = (names("SN-YW", 12), names("SN-ZL", 10), names("SN-NJ", 6));
        let iot = |id, short, product, contract_amount, devices| VoucherPlan {
            id,
            factory: of(short),
            product,
            contract_amount,
            function_modules: IOT_MODULES,
            devices,
            province: "44",
        };
        let erp = |id, short, product, contract_amount| VoucherPlan {
            id,
            factory: of(short),
            product,
            contract_amount,
            function_modules: ERP_MODULES,
            devices: &[],
            province: "44",
        };
        let vouchers = [
            iot("V-GZ-001", "JG", "P-IOT", "125000.00", &lathes),
            iot("V-FS-001", "HL", "P-IOT", "125000.00", &presses),
            iot("V-DG-001", "XT", "P-IOT", "18750.00", &shared[..10]),
            iot("V-DG-002", "XT", "P-LINK", "18750.00", &shared[9..]),
            iot("V-ZS-001", "NJ", "P-IOT", "10000.00", &silent),
            VoucherPlan { province: "43", ..iot("V-ZS-002", "YW", "P-SERVICE", "22500.00", &service) },
            VoucherPlan { province: "36", ..iot("V-GZ-003", "ZL", "P-RENT", "10000.00", &rented) },
            erp("V-GZ-002", "DZ", "P-ERP1", "70000.00"),
            erp("V-FS-002", "TC", "P-ERP1", "60000.00"),
            erp("V-DG-003", "FZ", "P-ERP2", "90000.00"),
            erp("V-FS-003", "JJ", "P-ERP1", "50000.00"),
        ];
        let behaviour = |device: &str| match device {
            "SN-HL-067" | "SN-ZL-010" => Behaviour::Unreachable,
            "SN-ZL-009" => Behaviour::Late,
            _ => Behaviour::Works,
        };
        let running = [("JG", &lathes), ("HL", &presses), ("XT", &shared), ("YW", &service), ("ZL", &rented)];
        let mut gateways = Vec::new();
        for (short, devices) in running {
            for (number, part) in devices.chunks(GATEWAY_DEVICES_MAX).enumerate() {
                gateways.push(gateway(of(short), number + 1, part, &behaviour));
            }
        }
        let spare_gateway =
            GatewayPlan { id: "gw-try".into(), token: "try-it-yourself".into(), enterprise: of("JG").code.clone(), devices: vec![] };
        let mut registered: Vec<&GatewayPlan> = gateways.iter().collect();
        let silent_gateway = gateway(of("NJ"), 1, &silent, &behaviour);
        registered.extend([&silent_gateway, &spare_gateway]);
        let carrier = carrier(&of);
        let register = register(now, &factories, &vouchers, &registered, &carrier);
        World { usage: usage(&of), gateways, carrier, register, spare_gateway }
    }

    /// The vouchers' ids, in their order in the register.
    pub fn vouchers(&self) -> Vec<String> {
        let vouchers = self.register["vouchers"].as_array();
        vouchers.into_iter().flatten().filter_map(|voucher| voucher["id"].as_str().map(str::to_string)).collect()
    }
}

fn factories() -> Vec<Factory> {
    let list = [
        ("JG", "广州精工机械制造有限公司", "440100", "manufacturer"),
        ("HL", "佛山恒力金属制品有限公司", "440600", "manufacturer"),
        ("XT", "东莞鑫拓塑胶模具有限公司", "441900", "manufacturer"),
        ("NJ", "中山宁江灯饰有限公司", "442000", "manufacturer"),
        ("DZ", "广州鼎州电子有限公司", "440100", "manufacturer"),
        ("TC", "佛山天成陶瓷有限公司", "440600", "manufacturer"),
        ("FZ", "东莞方舟服装有限公司", "441900", "manufacturer"),
        ("YW", "中山誉维设备运维有限公司", "442000", "integrator"),
        ("ZL", "广州中联设备租赁有限公司", "440100", "integrator"),
        ("JJ", "佛山佳居家具有限公司", "440600", "manufacturer"),
    ];
    (1..)
        .zip(list)
        .map(|(number, (short, name, city, kind))| Factory { code: credit_code(number, city), short, name, city, kind })
        .collect()
}

/// Each machine is another, and the same in every demo.
fn seed_of(device: &str) -> u64 {
    device.bytes().fold(17, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

fn kind_of(device: &str) -> MachineKind {
    MachineKind::ALL[(seed_of(device) % 4) as usize]
}

fn gateway(factory: &Factory, number: usize, devices: &[String], behaviour: &dyn Fn(&str) -> Behaviour) -> GatewayPlan {
    let plan =
        |device: &String| DevicePlan { device: device.clone(), kind: kind_of(device), seed: seed_of(device), behaviour: behaviour(device) };
    GatewayPlan {
        id: format!("gw-{}-{number}", factory.short.to_lowercase()),
        token: format!("demo-token-{}-{number}", factory.short.to_lowercase()),
        enterprise: factory.code.clone(),
        devices: devices.iter().map(plan).collect(),
    }
}

fn usage<'f>(of: &dyn Fn(&str) -> &'f Factory) -> Vec<UsagePlan> {
    let plan = |short: &str, product, function_modules, users| UsagePlan {
        supplier: "S-ERP",
        enterprise: of(short).code.clone(),
        product,
        function_modules,
        users,
    };
    vec![plan("DZ", "P-ERP1", &ERP_MODULES[..4], 9), plan("TC", "P-ERP1", &ERP_MODULES[..4], 5), plan("FZ", "P-ERP2", &ERP_MODULES[..1], 3)]
}

fn carrier<'f>(of: &dyn Fn(&str) -> &'f Factory) -> Vec<CarrierPlan> {
    let plan = |short: &str, product, one_day_of, devices| CarrierPlan {
        enterprise: of(short).code.clone(),
        line: format!("LINE-{short}"),
        product,
        one_day_of,
        devices,
    };
    vec![
        plan("JG", "P-IOT", 1, Some(67)),
        plan("DZ", "P-ERP1", 1, None),
        // The interface says every working day, the carrier hardly any.
        plan("TC", "P-ERP1", 5, None),
        plan("YW", "P-SERVICE", 1, Some(12)),
    ]
}

fn register(
    now: DateTime<Utc>,
    factories: &[Factory],
    vouchers: &[VoucherPlan<'_>],
    gateways: &[&GatewayPlan],
    carrier: &[CarrierPlan],
) -> Value {
    let today = shanghai_day(now);
    let day = |days_ago: u64| today.checked_sub_days(Days::new(days_ago)).unwrap_or(today);
    let period = today.year().to_string();
    let product = |id: &str, supplier: &str, name: &str, class: &str, row: u8, function_modules: &[&str]| json!({ "id": id, "supplier": supplier, "name": name, "class": class, "row": row, "function_modules": function_modules });
    let devices: Vec<Value> = vouchers
        .iter()
        .flat_map(|voucher| {
            voucher.devices.iter().map(move |device| {
                json!({ "voucher": voucher.id, "device": device, "name": kind_of(device).name(), "province": voucher.province })
            })
        })
        .collect();
    json!({
        "v": 1, "rulebook": "gd-2019",
        "enterprises": factories.iter().map(|f| json!({ "id": f.code, "name": f.name, "city": f.city, "kind": f.kind })).collect::<Vec<_>>(),
        "suppliers": [
            { "id": "S-IOT", "name": "云联工业互联网有限公司", "city": "440100" },
            { "id": "S-LINK", "name": "智链物联科技有限公司", "city": "440300" },
            { "id": "S-ERP", "name": "远见软件有限公司", "city": "440400" },
        ],
        "products": [
            product("P-IOT", "S-IOT", "云联设备物联", "A", 5, IOT_MODULES),
            product("P-LINK", "S-LINK", "智链产线互联", "A", 5, IOT_MODULES),
            product("P-SERVICE", "S-IOT", "云联设备后市场服务", "A", 22, IOT_MODULES),
            product("P-RENT", "S-LINK", "智链设备租赁管理", "A", 23, IOT_MODULES),
            product("P-ERP1", "S-ERP", "远见进销存云", "B", 19, ERP_MODULES),
            product("P-ERP2", "S-ERP", "远见制造云", "B", 20, ERP_MODULES),
        ],
        "carriers": [{ "id": CARRIER, "name": "广东电信运营商" }],
        "vouchers": vouchers.iter().map(|voucher| json!({
            "id": voucher.id, "enterprise": voucher.factory.code, "product": voucher.product,
            "contract_no": format!("HT-{}", voucher.id), "contract_signed_on": day(75),
            "contract_total": voucher.contract_amount, "contract_amount": voucher.contract_amount,
            "contract_modules": voucher.function_modules, "applied_at": format!("{}T09:00:00+08:00", day(60)),
            "cost_lines": [{ "kind": "软件", "amount": voucher.contract_amount }], "period": period,
        })).collect::<Vec<_>>(),
        "periods": [{
            "id": period, "announced_at": format!("{}T09:00:00+08:00", day(100)),
            "claim_from": format!("{}T09:00:00+08:00", day(90)), "claim_to": format!("{}T17:00:00+08:00", day(20)),
            "redeem_from": format!("{}T09:00:00+08:00", day(30)), "redeem_to": format!("{}T17:00:00+08:00", today + Days::new(10)),
        }],
        "devices": devices,
        "gateways": gateways.iter().map(|g| json!({ "id": g.id, "enterprise": g.enterprise, "token": g.token })).collect::<Vec<_>>(),
        "lines": carrier.iter().map(|plan| json!({
            "enterprise": plan.enterprise, "line": plan.line, "kind": if plan.devices.is_some() { "sim" } else { "broadband" },
        })).collect::<Vec<_>>(),
    })
}

impl UsagePlan {
    /// One report of what the people did on a day, after `from` and up to `until`; nobody works on Sundays.
    pub fn report(&self, day: NaiveDate, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<Value> {
        if day.weekday() == chrono::Weekday::Sun {
            return None;
        }
        let entry = |user: usize, module: usize| {
            let at = crate::history::shanghai_time(day, 9 + (user + module) as u32 % 8, (user * 7 + module * 11) as u32 % 60);
            (from < at && at <= until).then(|| {
                json!({
                    "product": self.product, "function_module": self.function_modules[module], "user": format!("{:064x}", 0xa11ce + user * 7919),
                    "at": at.to_rfc3339(), "actions": 1 + (user + module) % 5, "active_s": 60 * (1 + (user + module) % 9),
                })
            })
        };
        let modules = self.function_modules.len();
        let entries: Vec<Value> = (0..self.users).flat_map(|user| (0..modules).filter_map(move |module| entry(user, module))).collect();
        let id = format!("u-{}-{}-{}", &self.enterprise[12..], day, until.timestamp());
        (!entries.is_empty()).then(|| json!({ "v": 1, "id": id, "enterprise": self.enterprise, "usage": entries }))
    }
}

impl CarrierPlan {
    pub fn record(&self, day: NaiveDate) -> Option<Value> {
        let seen = day.weekday() != chrono::Weekday::Sun && day.ordinal().is_multiple_of(self.one_day_of);
        seen.then(|| {
            let sessions = 20 + day.ordinal() % 17;
            json!({
                "enterprise": self.enterprise, "line": self.line, "product": self.product, "day": day,
                "sessions": sessions, "bytes": u64::from(sessions) * 180_000, "devices": self.devices,
            })
        })
    }
}

pub fn shanghai_day(at: DateTime<Utc>) -> NaiveDate {
    (at + chrono::TimeDelta::hours(8)).date_naive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_has_ten_sound_enterprises_in_four_cities_and_more_than_150_machines() {
        let world = World::new(DateTime::from_timestamp(1_573_000_000, 0).unwrap());
        let enterprises = world.register["enterprises"].as_array().unwrap();
        let cities: std::collections::BTreeSet<_> = enterprises.iter().map(|row| row["city"].as_str().unwrap()).collect();
        assert_eq!((enterprises.len(), cities.len()), (10, 4));
        assert!(enterprises.iter().all(|row| wire::credit_code::check(row["id"].as_str().unwrap()).is_ok()));
        let served =
            world.gateways.iter().flat_map(|gateway| &gateway.devices).filter(|device| device.behaviour == Behaviour::Works).count();
        assert!(served >= 150, "{served}");
    }
}
