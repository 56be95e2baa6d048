//! The MQTT door over TLS: versions, certificates in place of tokens, files that change, and connections that only wait.
#![allow(clippy::unwrap_used)]

#[path = "support/certificates.rs"]
mod certificates;
#[allow(dead_code)]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use certificates::{Authority, Identity, Wanted};
use chrono::Utc;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use support::history::gateway_report;
use support::mqtt::{Hello, Mqtt, Packet, V3, V5};
use support::register::TOKEN;
use support::street::Street;
use support::{stderr, stdout, wait_for};

const REPORT: &str = "shangyun/v1/gw-1/report";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A street whose door speaks TLS too.
struct Gate {
    street: Street,
    city: Authority,
}

impl Gate {
    /// With client certificates and a revocation list that is empty.
    fn new(more: &[&str]) -> Gate {
        let city = Authority::new("City CA");
        let street = Street::with(|dir| {
            let server = city.server(dir, "server", 1);
            let (ca, crl) = (city.write(&dir.join("ca.pem")), city.revoke(&dir.join("crl.pem"), 1, &[]));
            let file = |name: &str, path: &Path| format!("mqtt.tls.{name}={}", path.display());
            let mut settings = vec![file("cert", &server.cert), file("key", &server.key), file("client_ca", &ca), file("crl", &crl)];
            settings.push("mqtt.tls.listen=127.0.0.1:0".into());
            settings.extend(more.iter().map(ToString::to_string));
            settings
        });
        Gate { street, city }
    }

    fn dir(&self) -> &Path {
        self.street.site.scratch()
    }

    fn client(&self, wanted: Wanted<'_>) -> Identity {
        self.city.client(self.dir(), wanted)
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.street.site.service.mqtts.unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// A TLS connection once its handshake is over as the client sees it; and the server's certificate.
    fn handshake(
        &self,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Identity>,
    ) -> Result<(StreamOwned<ClientConnection, TcpStream>, CertificateDer<'static>), String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.dir().join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_file(&identity.cert).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&identity.key).unwrap()).unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), self.tcp());
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        let certificate = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
        Ok((stream, certificate))
    }

    /// Connects and gives the CONNACK's code, or what went wrong in TLS.
    fn open(
        &self,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Identity>,
        hello: Hello<'_>,
    ) -> Result<(Mqtt, u8), String> {
        let (stream, _) = self.handshake(version, identity)?;
        Mqtt::over(stream, hello.version).say(hello)
    }

    fn mosquitto_pub(&self, args: &[&str], seq: u64) -> Output {
        let address = self.street.site.service.mqtts.unwrap();
        let (host, port, ca) = (address.ip().to_string(), address.port().to_string(), self.dir().join("ca.pem").display().to_string());
        Command::new("mosquitto_pub")
            .args(["-h", &host, "-p", &port, "--cafile", &ca, "-i", "gw-1", "-q", "1", "-t", REPORT])
            .args(["-m", &gateway_report("m", seq, "SN-1", Utc::now()).to_string()])
            .args(args)
            .output()
            .unwrap()
    }

    /// What openssl says of the door.
    fn openssl(&self, args: &[&str]) -> String {
        let (address, ca) = (self.street.site.service.mqtts.unwrap().to_string(), self.dir().join("ca.pem").display().to_string());
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, "-CAfile", &ca]).args(args).stdin(Stdio::null());
        let output = command.output().unwrap();
        stdout(&output) + &stderr(&output)
    }

    /// The first record that answers a hello of TLS 1.`minor - 1` without a choice of versions.
    fn say_hello(&self, minor: u8) -> Vec<u8> {
        let extensions = [&[0, 0x0A, 0, 4, 0, 2, 0, 0x17][..], &[0, 0x0B, 0, 2, 1, 0], &[0, 0x0D, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1]].concat();
        let length = |bytes: usize| u8::try_from(bytes).unwrap();
        let suites = [0, 4, 0xC0, 0x2B, 0xC0, 0x09];
        let hello = [&[3, minor][..], &[7; 32], &[0], &suites, &[1, 0, 0, length(extensions.len())], &extensions].concat();
        let message = [&[1, 0, 0, length(hello.len())], &hello[..]].concat();
        let mut stream = self.tcp();
        stream.write_all(&[&[0x16, 3, 1, 0, length(message.len())], &message[..]].concat()).unwrap();
        let mut record = vec![0; 7];
        stream.read_exact(&mut record).unwrap();
        record
    }

    fn metric(&self, name: &str) -> u64 {
        self.street.site.service.metric(name)
    }
}

/// Without a user name and a token.
fn nameless(version: u8, client_id: &str) -> Hello<'_> {
    Hello { user: "", password: "", ..Hello::of(version, client_id) }
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let gate = Gate::new(&[]);
    for (seq, version, mqtt) in [(1, "tlsv1.2", "mqttv311"), (2, "tlsv1.3", "mqttv5")] {
        let output = gate.mosquitto_pub(&["-u", "gw-1", "-P", TOKEN, "--tls-version", version, "-V", mqtt], seq);
        assert!(output.status.success(), "{version}: {}", stderr(&output));
    }
    for (flag, version) in [("-tls1_2", "New, TLSv1.2"), ("-tls1_3", "New, TLSv1.3")] {
        let said = gate.openssl(&[flag, "-verify_return_error"]);
        assert!(said.contains(version) && said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    // The same hello by version number 1.2 and 1.1: the one is answered by the server's hello, the other by an alert.
    assert_eq!(gate.say_hello(3)[0], 0x16);
    let refused = gate.say_hello(2);
    assert_eq!((refused[0], refused[5], refused[6]), (0x15, 2, 70), "protocol version");
    let wrong = gate.mosquitto_pub(&["-u", "gw-1", "-P", "wrong-token"], 3);
    assert!(!wrong.status.success(), "TLS vouches for nobody");
    for version in VERSIONS {
        let (mut mqtt, code) = gate.open(version, None, Hello::of(V5, "gw-1")).unwrap();
        assert_eq!(code, 0);
        assert!(mqtt.ping());
    }
    gate.street.await_ended("bad_credentials", 1);
    assert!(gate.street.ended("handshake") >= 1);
    gate.street.all_well(2);
}

#[test]
fn a_certificate_of_our_ca_stands_in_place_of_the_token_by_its_common_name_or_a_dns_name() {
    let gate = Gate::new(&[]);
    let by_name = gate.client(Wanted::client("gw-1", 10));
    let by_dns = gate.client(Wanted { dns: &["elsewhere.example", "gw-1"], ..Wanted::client("Factory No. 1", 11) });
    let stranger = gate.client(Wanted::client("gw-404", 12));
    for version in VERSIONS {
        for identity in [&by_name, &by_dns] {
            for mqtt in [V3, V5] {
                let code = |hello: Hello<'_>| gate.open(version, Some(identity), hello).unwrap().1;
                let (no_name, no_id) = if mqtt == V5 { (0x86, 0x85) } else { (4, 2) };
                assert_eq!(code(nameless(mqtt, "gw-1")), 0, "the client id names the gateway");
                assert_eq!(code(nameless(mqtt, "gw-1/second")), 0);
                assert_eq!(code(Hello { user: "gw-1", ..nameless(mqtt, "gw-1") }), 0, "a user name may be given");
                assert_eq!(code(Hello { user: "gw-1", ..nameless(mqtt, "gw-2") }), no_id);
                assert_eq!(code(nameless(mqtt, "gw-2")), no_name, "it is not gw-2's certificate");
                // Not even with the token of another is a certificate anybody's but its own.
                assert_eq!(code(Hello::of(mqtt, "gw-2")), no_name);
            }
        }
        let code = |hello: Hello<'_>| gate.open(version, Some(&stranger), hello).unwrap().1;
        assert_eq!(code(nameless(V5, "gw-404")), 0x86, "it is not in the register");
        assert_eq!(code(Hello::of(V5, "gw-1")), 0x86);
        let without = gate.open(version, None, nameless(V5, "gw-1")).unwrap().1;
        assert_eq!(without, 0x86, "without a certificate the token is wanted");
        assert_eq!(gate.open(version, None, Hello::of(V5, "gw-1")).unwrap().1, 0);
    }
    let (cert, key) = (by_name.cert.display().to_string(), by_name.key.display().to_string());
    let output = gate.mosquitto_pub(&["--cert", &cert, "--key", &key], 1);
    assert!(output.status.success(), "{}", stderr(&output));
    gate.street.all_well(1);
}

#[test]
fn expired_revoked_and_foreign_certificates_are_refused_in_the_handshake() {
    let gate = Gate::new(&["mqtt.tls.reload_every_s=1"]);
    let good = gate.client(Wanted::client("gw-1", 20));
    let revoked = gate.client(Wanted::client("gw-1", 21));
    let expired = gate.client(Wanted { years: (2019, 2020), ..Wanted::client("gw-1", 22) });
    let foreign = Authority::new("City CA").client(gate.dir(), Wanted::client("gw-1", 23));
    let server = gate.city.server(gate.dir(), "other-server", 24);
    gate.city.revoke(&gate.dir().join("crl.pem"), 2, &[&revoked]);
    wait_for("the list is read", || (gate.metric("shangyun_ingest_mqtt_tls_reloads_total{outcome=\"taken\"}") == 1).then_some(()));
    for (count, version) in [(1, VERSIONS[0]), (2, VERSIONS[1])] {
        for (identity, reason) in [
            (&revoked, "certificate_revoked"),
            (&expired, "certificate_expired"),
            (&foreign, "certificate_foreign"),
            // A server's certificate is no client's.
            (&server, "certificate"),
        ] {
            // With TLS 1.3 the client learns of it when it reads.
            assert!(gate.open(version, Some(identity), Hello::of(V5, "gw-1")).is_err(), "{reason}");
            gate.street.await_ended(reason, count);
        }
        assert_eq!(gate.open(version, Some(&good), nameless(V5, "gw-1")).unwrap().1, 0);
    }
    gate.street.all_well(0);
}

#[test]
fn connections_that_only_wait_hold_up_nobody_and_are_cut_off() {
    let gate = Gate::new(&["mqtt.tls.handshake_timeout_s=2"]);
    let idle: Vec<TcpStream> = (0..100).map(|_| gate.tcp()).collect();
    let began = Instant::now();
    for version in VERSIONS {
        assert_eq!(gate.open(version, None, Hello::of(V5, "gw-1")).unwrap().1, 0);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for the idle ones");
    for mut stream in idle {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    gate.street.await_ended("handshake_timeout", 100);
    gate.street.all_well(0);
}

#[test]
fn handshakes_under_way_are_bounded_for_one_address() {
    let gate = Gate::new(&["mqtt.tls.handshakes_max=8"]);
    let mut held: Vec<TcpStream> = (0..2).map(|_| gate.tcp()).collect();
    wait_for("they are accepted", || (gate.metric("shangyun_ingest_mqtt_connections") == 3).then_some(()));
    let mut third = gate.tcp();
    assert_eq!(third.read(&mut [0]).unwrap_or(0), 0, "a quarter of all is for one address");
    gate.street.await_ended("too_many_handshakes", 1);
    held.clear();
    wait_for("there is room again", || gate.open(VERSIONS[1], None, Hello::of(V5, "gw-1")).ok());
    gate.street.all_well(0);
}

#[test]
fn changed_files_are_taken_without_dropping_anybody_and_broken_ones_are_not() {
    let gate = Gate::new(&["mqtt.tls.reload_every_s=1"]);
    let (cert, key) = (gate.dir().join("server.pem"), gate.dir().join("server.key"));
    let of_door = || gate.handshake(VERSIONS[1], None).unwrap().1;
    let reloads = |outcome: &str| gate.metric(&format!("shangyun_ingest_mqtt_tls_reloads_total{{outcome=\"{outcome}\"}}"));
    let first = of_door();
    let (mut mqtt, _) = gate.open(VERSIONS[0], None, Hello::of(V5, "gw-1")).unwrap();
    let second = gate.city.server(gate.dir(), "second", 30);
    fs::copy(&second.key, &key).unwrap();
    wait_for("a key without its certificate is not taken", || (reloads("kept_former") == 1).then_some(()));
    assert_eq!(of_door(), first);
    let log = gate.street.site.service.log();
    assert!(log.contains("server.key: is not the key of the certificate in mqtt.tls.cert"), "{log}");
    fs::copy(&second.cert, &cert).unwrap();
    wait_for("both are taken", || (reloads("taken") == 1).then_some(()));
    assert_eq!(of_door(), CertificateDer::from_pem_file(&second.cert).unwrap());
    assert!(mqtt.ping(), "nobody was dropped");
    // The list names somebody who is connected.
    let revoked = gate.client(Wanted::client("gw-1", 31));
    let (mut theirs, code) = gate.open(VERSIONS[1], Some(&revoked), nameless(V5, "gw-1/revoked")).unwrap();
    assert_eq!(code, 0);
    gate.city.revoke(&gate.dir().join("crl.pem"), 2, &[&revoked]);
    assert_eq!(theirs.rest(), [Packet::Disconnect(0x87)]);
    gate.street.await_ended("certificate_lost", 1);
    assert!(mqtt.ping());
    drop((mqtt, theirs));
    gate.street.all_well(0);
}

#[test]
fn sighup_takes_the_files_at_once() {
    let gate = Gate::new(&["mqtt.tls.reload_every_s=86400"]);
    let second = gate.city.server(gate.dir(), "second", 40);
    fs::copy(&second.cert, gate.dir().join("server.pem")).unwrap();
    fs::copy(&second.key, gate.dir().join("server.key")).unwrap();
    gate.street.site.service.signal("HUP");
    let expected = CertificateDer::from_pem_file(&second.cert).unwrap();
    wait_for("the new certificate is shown", || (gate.handshake(VERSIONS[1], None).unwrap().1 == expected).then_some(()));
    gate.street.all_well(0);
}

#[test]
fn check_config_says_what_is_wrong_with_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let city = Authority::new("City CA");
    let (server, other) = (city.server(dir, "server", 1), city.server(dir, "other", 2));
    let expired = city.server_of(dir, "expired", 3, (2019, 2020));
    let crl = city.revoke(&dir.join("crl.pem"), 1, &[]);
    let ca = city.write(&dir.join("ca.pem"));
    let check = |settings: &[(&str, &Path)]| {
        let flags = settings.iter().map(|(name, path)| format!("--set=mqtt.tls.{name}={}", path.display()));
        let output = Command::new(support::SHANGYUN).arg("check-config").args(flags).output().unwrap();
        (output.status.code().unwrap(), stdout(&output) + &stderr(&output))
    };
    let listen = Path::new("127.0.0.1:0");
    let said = |settings: &[(&str, &Path)], code: i32, part: &str| {
        let (exit, text) = check(settings);
        assert!(exit == code && text.contains(part), "{exit}: {text}");
    };
    said(&[("listen", listen), ("cert", &server.cert), ("key", &server.key), ("client_ca", &ca), ("crl", &crl)], 0, "is sound");
    said(&[("listen", listen)], 2, "mqtt.tls.listen is set without mqtt.tls.cert");
    said(&[("cert", &server.cert)], 2, "mqtt.tls.cert is set without mqtt.tls.key");
    said(&[("cert", &dir.join("none.pem")), ("key", &server.key)], 2, "none.pem: cannot be read");
    said(&[("cert", &server.key), ("key", &server.key)], 2, "server.key: holds no certificate in PEM");
    said(&[("cert", &server.cert), ("key", &server.cert)], 2, "server.pem: holds no private key in PEM");
    said(&[("cert", &server.cert), ("key", &other.key)], 2, "other.key: is not the key of the certificate in mqtt.tls.cert");
    said(&[("cert", &server.cert), ("key", &server.key), ("client_ca", &crl)], 2, "crl.pem: holds no certificate in PEM");
    said(&[("cert", &server.cert), ("key", &server.key), ("crl", &crl)], 2, "mqtt.tls.crl is set without mqtt.tls.client_ca");
    said(&[("cert", &expired.cert), ("key", &expired.key)], 0, "warning: mqtt.tls.cert:");
    said(&[("cert", &expired.cert), ("key", &expired.key)], 0, "the certificate expired at 2020-12-31");
    said(&[("cert", &server.cert), ("key", &server.key)], 0, "mqtt.tls.listen is not: TLS is not spoken");
}
