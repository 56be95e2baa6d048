//! Sits between the agent and a machine, passes everything on, and writes down every request. It parses frames by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Whatever is no frame.
const NO_FRAME: u8 = 0;
const ENCAPSULATED_INTERFACE: u8 = 43;

#[derive(Clone, Copy)]
pub enum Frames {
    Tcp,
    Rtu,
}

pub struct Tap {
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

/// From the function code on.
#[derive(Clone, Debug)]
pub struct Request {
    pub unit_id: u8,
    pub pdu: Vec<u8>,
}

impl Request {
    /// Its function code; of an encapsulated interface (43) also which one that is.
    pub fn function(&self) -> Vec<u8> {
        let length = if self.pdu[0] == ENCAPSULATED_INTERFACE { 2 } else { 1 };
        self.pdu[..length.min(self.pdu.len())].to_vec()
    }
}

impl Tap {
    pub fn start(frames: Frames, machine_port: u16) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tap = Tap { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = tap.seen.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(machine) = TcpStream::connect(("127.0.0.1", machine_port)) else { continue };
                let (to_client, from_machine) = (client.try_clone().unwrap(), machine.try_clone().unwrap());
                std::thread::spawn(move || pass(from_machine, to_client, |_| {}));
                let seen = seen.clone();
                let mut bytes = Vec::new();
                let write_down = move |read: &[u8]| {
                    bytes.extend_from_slice(read);
                    while let Some((length, request)) = request(frames, &bytes) {
                        bytes.drain(..length);
                        seen.lock().unwrap().push(request);
                    }
                };
                std::thread::spawn(move || pass(client, machine, write_down));
            }
        });
        tap
    }

    /// Every request since it was last asked.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// How often each unit was asked with each function so far.
    pub fn counts(&self) -> BTreeMap<(u8, Vec<u8>), usize> {
        let mut counts = BTreeMap::new();
        for request in self.seen.lock().unwrap().iter() {
            *counts.entry((request.unit_id, request.function())).or_default() += 1;
        }
        counts
    }
}

pub fn functions(requests: &[Request]) -> BTreeSet<Vec<u8>> {
    requests.iter().map(Request::function).collect()
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut seen: impl FnMut(&[u8])) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        // Before it is passed on: whoever has an answer finds its request here.
        seen(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// The first request in these bytes, and how many it takes; `None` while it is not all there.
fn request(frames: Frames, bytes: &[u8]) -> Option<(usize, Request)> {
    match frames {
        Frames::Tcp => {
            let header = bytes.get(..7)?;
            let end = 6 + usize::from(u16::from_be_bytes([header[4], header[5]]));
            if header[2..4] != [0, 0] || end < 8 {
                return Some((bytes.len(), Request { unit_id: header[6], pdu: vec![NO_FRAME] }));
            }
            let frame = bytes.get(..end)?;
            Some((end, Request { unit_id: frame[6], pdu: frame[7..].to_vec() }))
        }
        // How long it is depends on the function: it ends where its checksum is right.
        Frames::Rtu => {
            let end = (4..=bytes.len()).find(|end| checksum(&bytes[..end - 2]).to_le_bytes() == bytes[end - 2..*end]);
            match end {
                Some(end) => Some((end, Request { unit_id: bytes[0], pdu: bytes[1..end - 2].to_vec() })),
                None if bytes.len() >= 256 => Some((bytes.len(), Request { unit_id: bytes[0], pdu: vec![NO_FRAME] })),
                None => None,
            }
        }
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let shift = |crc: u16, _| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
    bytes.iter().fold(0xFFFF, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), shift))
}
