//! An edge node's messages in a row, up to the reports that they become.
//!
//! An input is several messages, each `kind:u8 length:u16 payload`; the kind says the topic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use wire::json::Json;
use wire::limits::{FAULTS_MAX, REPORT_BYTES_MAX};
use wire::report::Instant;
use wire::sparkplug::{Session, rebirth_request, state};
use wire::{AdmittedBefore, Door, FaultCode, ReadContext, read_report};

use super::{Target, report};

pub(crate) const TARGET: Target = Target { name: "sparkplug", run, seeds, words: WORDS };

const ENTERPRISE: &str = "91440101231245152Y";
const GATEWAY: &str = "gw-1";
const FUTURE_SKEW_S_MAX: u32 = 120;
const KINDS: [&str; 6] = ["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"];
/// Of a birth, of what is left out and of why it is refused: each list is bounded; few more stand alone.
const FAULTS_OF_A_MESSAGE_MAX: usize = 3 * FAULTS_MAX + 8;

pub(crate) fn run(input: &[u8]) {
    let will = input.first().filter(|first| *first & 0x80 != 0).map(|_| bytes(NDEATH));
    let mut session = Session::new(ENTERPRISE, GATEWAY, FUTURE_SKEW_S_MAX, will.as_deref());
    let (mut rest, mut received_at) = (input, report::received_at());
    while let Some((topic, payload)) = message(&mut rest) {
        apply(&mut session, &topic, payload, received_at);
        received_at += TimeDelta::seconds(1);
    }
}

/// What a session makes of a message is sound, and says why where it makes nothing of it.
fn apply(session: &mut Session, topic: &str, payload: &[u8], received_at: Instant) {
    let applied = session.apply(topic, payload, received_at);
    assert!(applied.faults.len() <= FAULTS_OF_A_MESSAGE_MAX, "{} faults", applied.faults.len());
    assert!(applied.faults.iter().all(|fault| FaultCode::ALL.contains(&fault.code) && !fault.detail.is_empty()), "{:?}", applied.faults);
    let Some(report) = applied.report else { return };
    assert!(report.len() <= REPORT_BYTES_MAX);
    let context = ReadContext { door: Door::Gateway, received_at, future_skew_s_max: FUTURE_SKEW_S_MAX, admission: &AdmittedBefore };
    let readout = read_report(&report, &context);
    assert!(readout.report.is_ok(), "{:?}", readout.report);
    assert_eq!(original(&report), (topic.to_string(), payload.to_vec()));
}

/// The message that a report carries.
fn original(report: &[u8]) -> (String, Vec<u8>) {
    let report = Json::read(report).unwrap();
    let sparkplug = field(&report, "sparkplug");
    let text = |name| match field(sparkplug, name) {
        Json::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    };
    (text("topic"), STANDARD.decode(text("payload")).unwrap())
}

fn field<'a, 'j>(json: &'a Json<'j>, name: &str) -> &'a Json<'j> {
    let Json::Object(fields) = json else { panic!("{json:?}") };
    &fields.iter().find(|(key, _)| key == name).unwrap().1
}

/// The next message and its topic; one that is cut short counts as far as it goes.
fn message<'a>(rest: &mut &'a [u8]) -> Option<(String, &'a [u8])> {
    let (&[kind, high, low], after) = rest.split_first_chunk()?;
    let (payload, after) = after.split_at(after.len().min(usize::from(u16::from_be_bytes([high, low]))));
    *rest = after;
    let topic = match usize::from(kind & 0x7F) {
        at @ 0..3 => format!("spBv1.0/{ENTERPRISE}/{}/{GATEWAY}", KINDS[at]),
        at @ 3..6 => format!("spBv1.0/{ENTERPRISE}/{}/{GATEWAY}/机床", KINDS[at]),
        // The payload's own text as the name of a device, or as the whole topic.
        at @ 6..64 => format!("spBv1.0/{ENTERPRISE}/{}/{GATEWAY}/{}", KINDS[3 + at % 3], String::from_utf8_lossy(payload)),
        _ => String::from_utf8_lossy(payload).into_owned(),
    };
    Some((topic, payload))
}

fn seeds() -> Vec<Vec<u8>> {
    let session = |messages: &[(u8, Vec<u8>)]| {
        let framed = |(kind, payload): &(u8, Vec<u8>)| {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            [&[*kind], &length[..], payload].concat()
        };
        messages.iter().flat_map(framed).collect::<Vec<u8>>()
    };
    let (birth, device, data) = ((0, bytes(NBIRTH)), (3, bytes(DBIRTH)), (4, bytes(DDATA)));
    let (device_death, death) = ((5, bytes(DDEATH)), (2, bytes(NDEATH)));
    let at = report::received_at();
    vec![
        session(&[birth.clone(), device.clone(), data.clone(), device_death.clone(), death.clone()]),
        session(&[(0x80, bytes(NBIRTH)), device.clone(), data.clone(), birth.clone(), device.clone(), death]),
        session(&[birth.clone(), data.clone(), birth, (3, bytes(DBIRTH_JS)), device_death]),
        session(&[(0, rebirth_request(at)), (1, state(true, at)), device, data]),
    ]
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

/// Payloads of other implementations, as in `src/wire/sparkplug/golden.rs`.
const NBIRTH: &str = "\
    0880d8f1c6e32d12120a0562645365711880d8f1c6e32d2004580712210a144e6f646520436f6e74726f6c2f526562697274681880d8f1\
    c6e32d200b700012180a06e69f9ce6b8a910011880d8f1c6e32d2009650000fc411800";
const NDEATH: &str = "08f8b0f1c6e32d12120a05626453657118f8b0f1c6e32d20045807";
const DBIRTH: &str = "\
    08e8dff1c6e32d12120a026938100a18e8dff1c6e32d200150fb0112140a03693136100b18e8dff1c6e32d200250d4fd0312160a036933\
    32100c18e8dff1c6e32d20035090ddfbff0f121b0a03693634100d18e8dff1c6e32d200458809ce8afedffffffff0112120a027538100e\
    18e8dff1c6e32d200550fa0112140a03753136100f18e8dff1c6e32d200650e8fb0312160a03753332101018e8dff1c6e32d20075080d0\
    acf30e121b0a03753634101118e8dff1c6e32d2008588080a0a89c94b6e6f90112150a03663332101218e8dff1c6e32d20096566668640\
    12190a03663634101318e8dff1c6e32d200a699a9999999999b9bf12150a06e8bf90e8a18c101418e8dff1c6e32d200b7001121c0a06e5\
    9e8be58fb7101518e8dff1c6e32d200c7a07564d432d383530121a0a06e697b6e588bb101618e8dff1c6e32d200d5880d8f1c6e32d1216\
    0a04626c6f62101718e8dff1c6e32d201182010200ff12170a03617272101818e8dff1c6e32d20178201040100feff1801";
const DDATA: &str = "\
    08d0e7f1c6e32d120c100a18d0e7f1c6e32d50fa01120e101218d0e7f1c6e32d6500008840120b101418d0e7f1c6e32d7000120b101318\
    d0e7f1c6e32d3801120f100b1880fb95c5e32d280150d3fd031802";
const DDEATH: &str = "08b8eff1c6e32d1803";
const DBIRTH_JS: &str = "\
    0880d8f1c6e32d12290a016110011880d8f1c6e32d200a4a100a075175616c6974791205080318c00169000000000000f83f12360a0162\
    10021880d8f1c6e32d20034a200a07656e67556e69740a075175616c6974791206080c42026b5712040803180050feffffff0f12220a01\
    6310031880d8f1c6e32d20074a100a075175616c6974791205080318f403580312190a016410041880d8f1c6e32d200458fcffffffffff\
    ffffff0112150a02693810051880d8f1c6e32d200150fbffffff0f122a0a0373657410061880d8f1c6e32d20108a011708021201781201\
    791803180c22090a0208010a0332017a123a0a0874656d706c61746510071880d8f1c6e32d20139201220a0131120b0a05696e6e657220\
    0350091a080a0170100c420176220470756d70280012230a0466696c6510081880d8f1c6e32d2012420a1201782a05662e62696e820103\
    010203122b0a066e657374656410091880d8f1c6e32d200b4a140a03736574120d08144a090a016b12040803180170011801";

const WORDS: &[&[u8]] = &[
    b"\x00\x00\x40",
    b"\x03\x00\x40",
    b"\x04\x00\x20",
    b"\x05\x00\x09",
    b"\x06\x00\x04",
    b"\x18\x00",
    b"\x18\x01",
    b"\x18\x02",
    b"\x18\xFF\x01",
    b"\x08\x80\xD8\xF1\xC6\xE3\x2D",
    b"\x12\x04\x10\x0A\x50\x01",
    b"\x0A\x05bdSeq",
    b"\x0A\x14Node Control/Rebirth",
    b"\x0A\x07Quality",
    b"\x20\x09\x65\x00\x00\xC0\x7F",
    b"\x28\x01",
    b"\x38\x01",
    b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
];
