//! Reports of any kind, for tests: mostly sound, written in any way, and changed anywhere.

use proptest::prelude::*;

use crate::fault::FaultCode;
use crate::read::{Admission, Door, ReadContext};

pub(crate) const CODE: &str = "91440101231245152Y";

struct Register;

impl Admission for Register {
    fn enterprise(&self, credit_code: &str) -> Result<(), (FaultCode, String)> {
        if credit_code == CODE { Ok(()) } else { Err((FaultCode::UnknownEnterprise, credit_code.to_string())) }
    }
    fn product(&self, enterprise: Option<&str>, product: &str) -> Result<(), (FaultCode, String)> {
        let known = product == "P-1" || (product == "P-2" && enterprise.is_some());
        if known { Ok(()) } else { Err((FaultCode::UnknownProduct, product.to_string())) }
    }
    fn function_module(&self, product: &str, module: &str) -> Result<(), (FaultCode, String)> {
        if module == "报表" || product == "P-2" { Ok(()) } else { Err((FaultCode::FunctionModule, module.to_string())) }
    }
}

pub(crate) fn context(door: Door) -> ReadContext<'static> {
    ReadContext { door, received_at: "2019-11-05T00:00:00Z".parse().unwrap(), future_skew_s_max: 120, admission: &Register }
}

/// Choices drawn beforehand; the first of everything when they are used up.
struct Dice(std::vec::IntoIter<u16>);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % count
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn pick(&mut self, from: &[&str]) -> String {
        from[self.below(from.len())].to_string()
    }
}

/// JSON with fields in order, repeated ones too, and scalars as they are written.
enum Node {
    Scalar(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

const NAMES: [&str; 9] = ["a", "SN-0001", "机床一号", "x/y~z \\\"q\\\"", "\\u673a", "b\\n", "", "\u{7f}", "é"];
const INSTANTS: [&str; 8] = [
    "2019-11-05T08:00:00+08:00",
    "2019-11-05T00:00:00.123Z",
    "2019-11-05t00:02:00z",
    "2019-11-05T00:02:00.000001Z",
    "2019-02-29T00:00:00Z",
    "2016-12-31T23:59:60Z",
    "1970-01-01T00:00:00-00:00",
    "x",
];
const NUMBERS: [&str; 14] =
    ["1", "4.20", "-0", "0", "120", "1e3", "-1.5E-3", "0.30000000000000004", "12345678901234567890123", "1e400", "01", "-", "100001", "2."];
const OTHERS: [&str; 5] = ["null", "true", "false", "[]", "{\"p\":1}"];

fn text(text: String) -> Node {
    Node::Scalar(format!("\"{text}\""))
}

/// Mostly the first, so that most reports are sound.
fn mostly(dice: &mut Dice, from: &[&str]) -> String {
    if dice.one_in(60) { dice.pick(from) } else { from[dice.below(2)].to_string() }
}

fn object(dice: &mut Dice, fields: Vec<(&str, u16, Node)>) -> Node {
    let kept = fields.into_iter().filter(|(_, optional, _)| *optional == 0 || dice.below(*optional as usize + 1) > 0);
    let mut kept: Vec<_> = kept.map(|(name, _, value)| (name.to_string(), value)).collect();
    if dice.one_in(6) {
        kept.reverse();
    }
    Node::Object(kept)
}

fn readings(dice: &mut Dice) -> Node {
    let count = dice.below(4);
    Node::Object((0..count).map(|i| (mostly(dice, &NAMES) + &i.to_string(), value(dice))).collect())
}

fn value(dice: &mut Dice) -> Node {
    Node::Scalar(if dice.one_in(3) { dice.pick(&["true", "false"]) } else { mostly(dice, &NUMBERS) })
}

fn device_node(dice: &mut Dice) -> Node {
    let device = text(mostly(dice, &NAMES));
    let at = text(mostly(dice, &INSTANTS));
    let quality = text(mostly(dice, &["N", "D", "X"]));
    let state = text(mostly(dice, &["running", "idle", "asleep"]));
    let serial = object(dice, vec![("serial", 1, text("s".into())), ("model", 1, text("m".into()))]);
    let readings = readings(dice);
    object(
        dice,
        vec![
            ("device", 0, device),
            ("at", 0, at),
            ("quality", 0, quality),
            ("state", 3, state),
            ("readings", 5, readings),
            ("identity", 1, serial),
        ],
    )
}

fn usage_node(dice: &mut Dice) -> Node {
    let product = text(mostly(dice, &["P-1", "P-2", "P-3"]));
    let module = text(mostly(dice, &["报表", "报表", "OEE"]));
    let user = text(mostly(dice, &NAMES));
    let at = text(mostly(dice, &INSTANTS));
    let actions = Node::Scalar(mostly(dice, &NUMBERS).replace("4.20", "3"));
    let active_s = Node::Scalar(mostly(dice, &NUMBERS).replace("4.20", "0"));
    let fields = vec![("product", 0, product), ("function_module", 0, module), ("user", 0, user), ("at", 0, at)];
    object(dice, fields.into_iter().chain([("actions", 0, actions), ("active_s", 3, active_s)]).collect())
}

fn list(dice: &mut Dice, entry: fn(&mut Dice) -> Node) -> Node {
    let count = dice.below(5);
    // Entries mostly repeat the one before: that is what the fast way makes use of.
    let mut choices: Vec<u16> = Vec::new();
    let entries = (0..count).map(|i| {
        if i == 0 || dice.one_in(3) {
            choices = (0..24).map(|_| dice.0.next().unwrap_or(0)).collect();
        } else if dice.one_in(2) {
            let at = dice.below(24);
            choices[at] = dice.0.next().unwrap_or(0);
        }
        entry(&mut Dice(choices.clone().into_iter()))
    });
    Node::List(entries.collect())
}

fn report_node(dice: &mut Dice) -> Node {
    let [id, boot] = [(); 2].map(|()| text(mostly(dice, &NAMES)));
    let event = |dice: &mut Dice| {
        let (at, event) = (text(mostly(dice, &INSTANTS)), text(mostly(dice, &["start", "stop", "halt"])));
        object(dice, vec![("at", 0, at), ("event", 0, event), ("detail", 1, text("d".into()))])
    };
    let events = list(dice, event);
    let devices = list(dice, device_node);
    let usage = list(dice, usage_node);
    let enterprise = text(mostly(dice, &[CODE, CODE, "91440300708461136T", "x"]));
    let sent_at = text(mostly(dice, &INSTANTS));
    let clock = object(dice, vec![("synchronised", 1, Node::Scalar("true".into())), ("monotonic_ms", 1, Node::Scalar("7".into()))]);
    let seq = Node::Scalar(mostly(dice, &["1", "2", "0", "1.5"]));
    let v = Node::Scalar("1".into());
    let named =
        vec![("v", 0, v), ("id", 19, id), ("boot", 29, boot), ("seq", 29, seq), ("enterprise", 19, enterprise), ("sent_at", 1, sent_at)];
    object(
        dice,
        named.into_iter().chain([("clock", 1, clock), ("events", 1, events), ("devices", 9, devices), ("usage", 1, usage)]).collect(),
    )
}

/// Changes something somewhere in the tree.
fn mutate(node: &mut Node, dice: &mut Dice) {
    match node {
        Node::Object(fields) if !fields.is_empty() && !dice.one_in(8) => {
            let at = dice.below(fields.len());
            match dice.below(9) {
                0 => drop(fields.remove(at)),
                1 => fields.push((fields[at].0.clone(), Node::Scalar(dice.pick(&NUMBERS)))),
                2 => fields[at].0 = dice.pick(&["at", "x", "device", "v"]),
                3 => fields.swap(at, 0),
                _ => mutate(&mut fields[at].1, dice),
            }
        }
        Node::List(items) if !items.is_empty() && !dice.one_in(8) => {
            let at = dice.below(items.len());
            mutate(&mut items[at], dice);
        }
        node => {
            *node = match dice.below(4) {
                0 => text(dice.pick(&NAMES)),
                1 => text(dice.pick(&INSTANTS)),
                2 => Node::Scalar(dice.pick(&NUMBERS)),
                _ => Node::Scalar(dice.pick(&OTHERS)),
            };
        }
    }
}

fn write(node: &Node, space: &str, out: &mut String) {
    match node {
        Node::Scalar(text) => out.push_str(text),
        Node::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                out.push_str(space);
                write(item, space, out);
            }
            out.push(']');
        }
        Node::Object(fields) => {
            out.push('{');
            for (i, (name, value)) in fields.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                out.extend([space, "\"", name, "\"", space, ":", space]);
                write(value, space, out);
            }
            out.push('}');
        }
    }
}

/// A report as somebody might write it, mostly sound; `mutations` are mostly not.
pub(crate) fn written(choices: Vec<u16>, mutations: usize) -> (String, Door) {
    let mut dice = Dice(choices.into_iter());
    let door = if dice.one_in(3) { Door::Supplier } else { Door::Gateway };
    let space = dice.pick(&["", "", " ", "\n\t"]);
    let mut report = report_node(&mut dice);
    (0..mutations).for_each(|_| mutate(&mut report, &mut dice));
    let mut body = String::new();
    write(&report, &space, &mut body);
    (body, door)
}

/// For `written`.
pub(crate) fn choices() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 0..400)
}
