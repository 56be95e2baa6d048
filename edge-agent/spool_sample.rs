//! Signed reports like those of a factory, for tests and benchmarks: values drift, times differ, nothing repeats exactly.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::cose::{SigningKey, seal};

use crate::spool::ReportKey;

const NAMES: [&str; 20] = [
    "功率_kw",
    "温度_c",
    "转速_rpm",
    "电流_a",
    "电压_a_v",
    "电压_b_v",
    "电压_c_v",
    "电能_kwh",
    "压力_bar",
    "流量_m3h",
    "频率_hz",
    "功率因数",
    "产量",
    "节拍_s",
    "油温_c",
    "水温_c",
    "振动_mms",
    "湿度",
    "设定_c",
    "报警数",
];

pub struct Sample {
    random: StdRng,
    key: SigningKey,
    seq: u64,
    values: Vec<Vec<f64>>,
}

impl Sample {
    pub fn new(devices: usize, points: usize) -> Sample {
        let mut random = StdRng::seed_from_u64(4);
        let values = (0..devices).map(|_| (0..points.min(NAMES.len())).map(|_| random.random_range(1.0..400.0)).collect()).collect();
        Sample { random, key: SigningKey::from_bytes(&[7; 32]), seq: 0, values }
    }

    /// What all devices said once, so many in a report.
    pub fn reports(&mut self, devices_max: usize) -> Vec<(ReportKey, Vec<u8>)> {
        let devices: Vec<usize> = (0..self.values.len()).collect();
        devices.chunks(devices_max).map(|devices| self.report(devices)).collect()
    }

    fn report(&mut self, devices: &[usize]) -> (ReportKey, Vec<u8>) {
        self.seq += 1;
        let key = ReportKey { boot: "5f3a9c0d11e2b7aa".into(), seq: self.seq };
        let (seq, minute) = (self.seq, self.seq / 4 % 60);
        let entries: Vec<String> = devices.iter().map(|device| self.entry(*device, minute)).collect();
        let report = format!(
            r#"{{"v":1,"id":"r-{seq:06}","boot":"{}","seq":{seq},"enterprise":"91440300708461136T","sent_at":"2019-11-05T08:{minute:02}:59.417+08:00","clock":{{"synchronised":true,"monotonic_ms":{}}},"devices":[{}]}}"#,
            key.boot,
            seq * 15_000 + self.random.random_range(0..50),
            entries.join(",")
        );
        (key, seal(report.as_bytes(), "gw-0001", &self.key))
    }

    fn entry(&mut self, device: usize, minute: u64) -> String {
        let (second, milli) = (self.random.random_range(0..60), self.random.random_range(0..1000));
        let mut readings = Vec::new();
        for (name, value) in NAMES.iter().zip(&mut self.values[device]) {
            *value += self.random.random_range(-1.0..1.0);
            readings.push(format!(r#""{name}":{value:.1}"#));
        }
        format!(
            r#"{{"device":"SN-{device:04}","at":"2019-11-05T08:{minute:02}:{second:02}.{milli:03}+08:00","quality":"N","state":"running","readings":{{{}}}}}"#,
            readings.join(",")
        )
    }
}
