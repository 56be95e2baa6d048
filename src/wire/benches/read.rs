//! What reading costs: `cargo bench -p shangyun-wire --bench read`.
#![allow(clippy::unwrap_used)]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use wire::identity::{MessageIdentity, Sender, identity_key};
use wire::report::Instant;
use wire::{AdmittedBefore, Door, ReadContext, Report, read_report};

const BODIES: [Body; 4] = [Body::Load, Body::Varied, Body::Usage, Body::Exact];

fn main() {
    divan::main();
}

#[derive(Clone, Copy, Debug)]
enum Body {
    /// What `shangyun load` sends: 20 devices of two readings.
    Load,
    /// 20 devices that differ in everything but their points.
    Varied,
    /// A supplier's report of 20 users.
    Usage,
    /// As `Load`, with a field that is not known: not for the fast way.
    Exact,
}

impl Body {
    fn text(self) -> Vec<u8> {
        let entries = |entry: fn(u16) -> String| (0..20).map(entry).collect::<Vec<_>>().join(",");
        match self {
            Body::Load => format!(r#"{{"v":1,"boot":"load-1730000000000000","seq":123456,"devices":[{}]}}"#, entries(device)),
            Body::Exact => format!(r#"{{"v":1,"x":0,"boot":"load-1730000000000000","seq":123456,"devices":[{}]}}"#, entries(device)),
            Body::Varied => format!(
                r#"{{"v":1,"boot":"b7","seq":123456,"clock":{{"synchronised":true,"monotonic_ms":123456}},"devices":[{}]}}"#,
                entries(varied)
            ),
            Body::Usage => format!(r#"{{"v":1,"id":"r-000001","enterprise":"91440101231245152Y","usage":[{}]}}"#, entries(usage)),
        }
        .into_bytes()
    }

    fn context(self) -> ReadContext<'static> {
        let door = match self {
            Body::Usage => Door::Supplier,
            Body::Load | Body::Varied | Body::Exact => Door::Gateway,
        };
        ReadContext { door, received_at: received_at(), future_skew_s_max: 120, admission: &AdmittedBefore }
    }

    fn report(self) -> Report {
        read_report(&self.text(), &self.context()).report.unwrap()
    }
}

fn device(i: u16) -> String {
    let power = f64::from(i) * 0.37 + 1.5;
    format!(
        r#"{{"device":"L003-{i:04}","at":"2019-11-05T00:00:00.123Z","quality":"N","state":"running","readings":{{"功率_kw":{power:.2},"on":true}}}}"#
    )
}

fn varied(i: u16) -> String {
    let at = format!("2019-11-05T08:00:{:02}.{:03}+08:00", i % 7, 37 * i);
    let (quality, state) = if i.is_multiple_of(3) { ("N", "running") } else { ("D", "fault") };
    format!(r#"{{"device":"机床-{i}","at":"{at}","quality":"{quality}","state":"{state}","readings":{{"功率_kw":{i}.5,"计数":{i}}}}}"#)
}

fn usage(i: u16) -> String {
    let at = format!("2019-11-05T08:00:{i:02}+08:00");
    format!(r#"{{"product":"P-001","function_module":"设备OEE分析","user":"7f3a{i:028x}","at":"{at}","actions":{},"active_s":120}}"#, i + 1)
}

fn received_at() -> Instant {
    "2019-11-05T00:01:00Z".parse().unwrap()
}

/// Reading, and dropping what was read.
#[divan::bench(args = BODIES)]
fn read_and_drop(bencher: Bencher, body: Body) {
    let (text, context) = (body.text(), body.context());
    assert!(read_report(&text, &context).report.is_ok());
    let bencher = bencher.counter(BytesCount::new(text.len())).counter(ItemsCount::new(1usize));
    bencher.bench_local(|| read_report(black_box(&text), &context).report.is_ok());
}

#[divan::bench(args = BODIES)]
fn drop_alone(bencher: Bencher, body: Body) {
    let report = body.report();
    bencher.with_inputs(|| report.clone()).bench_local_values(drop);
}

#[divan::bench(args = BODIES)]
fn digest(bencher: Bencher, body: Body) {
    let report = body.report();
    bencher.bench_local(|| black_box(&report).digest());
}

#[divan::bench]
fn key(bencher: Bencher) {
    let sender = Sender::Gateway("load-3".into());
    let identity = MessageIdentity::Sequence { boot: "load-1730000000000000".into(), seq: 123_456 };
    bencher.bench_local(|| identity_key(black_box(&sender), black_box(&identity)));
}
