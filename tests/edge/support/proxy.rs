//! A router between the agent and its broker that can stop forwarding without telling anybody.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a read may keep a connection from noticing that it is dead.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    dead: AtomicBool,
    connections: Mutex<Vec<Arc<AtomicBool>>>,
    accepted: AtomicUsize,
}

impl Proxy {
    pub fn start(broker_port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { port: listener.local_addr().unwrap().port(), shared: Arc::default() };
        let shared = proxy.shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let dead = Arc::new(AtomicBool::new(shared.dead.load(Ordering::SeqCst)));
                shared.connections.lock().unwrap().push(dead.clone());
                let Ok(broker) = TcpStream::connect(("127.0.0.1", broker_port)) else { continue };
                for (from, to) in [(&client, &broker), (&broker, &client)] {
                    let (from, to, dead) = (from.try_clone().unwrap(), to.try_clone().unwrap(), dead.clone());
                    std::thread::spawn(move || forward(from, to, &dead));
                }
            }
        });
        proxy
    }

    /// Connections that there are, and new ones, are accepted and dead: nothing is forwarded and nothing is closed.
    pub fn die(&self) {
        self.shared.dead.store(true, Ordering::SeqCst);
        self.shared.connections.lock().unwrap().iter().for_each(|dead| dead.store(true, Ordering::SeqCst));
    }

    /// New connections are forwarded again; those that were dead stay so.
    pub fn recover(&self) {
        self.shared.dead.store(false, Ordering::SeqCst);
    }

    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, dead: &AtomicBool) {
    from.set_read_timeout(Some(LOOK_EVERY)).unwrap();
    let mut bytes = [0; 4096];
    loop {
        let read = from.read(&mut bytes);
        if dead.load(Ordering::SeqCst) {
            // Held open for the rest of the test.
            std::mem::forget((from, to));
            return;
        }
        match read {
            Ok(0) => break,
            Ok(count) if to.write_all(&bytes[..count]).is_ok() => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    // Whoever has closed, closes the other side too.
    let _ = to.shutdown(std::net::Shutdown::Both);
}
