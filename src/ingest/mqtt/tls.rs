//! TLS of the door: what the files say, and the files again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use observe::{Clock, Metrics};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error, RootCertStore, ServerConfig};
use tokio::sync::{Notify, watch};

use super::certificate::{ClientCertificate, next_update_of, validity_of};

/// PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate and what leads to its CA.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// With it a client's certificate of this CA is taken in place of its token.
    pub client_ca: Option<PathBuf>,
    /// Revocation lists of that CA.
    pub crl: Option<PathBuf>,
}

/// What the files held when they were read.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
}

/// What is to be said about them.
#[derive(Default)]
struct Findings {
    faults: Vec<String>,
    warnings: Vec<String>,
}

/// TLS as it is spoken now.
pub struct Tls {
    contents: Arc<Contents>,
    pub(super) config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// When our own certificate ends.
    pub expires_at: DateTime<Utc>,
    pub warnings: Vec<String>,
}

impl TlsFiles {
    /// Reads the files; all faults at once.
    pub fn load(&self, now: DateTime<Utc>) -> Result<Tls, Vec<String>> {
        self.read().and_then(|contents| self.understand(contents, now))
    }

    fn read(&self) -> Result<Arc<Contents>, Vec<String>> {
        let mut faults = Vec::new();
        let mut read = |name: &str, path: &Path| match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                faults.push(format!("{name}: {}: cannot be read: {error}", path.display()));
                Vec::new()
            }
        };
        let contents = Contents {
            cert: read("mqtt.tls.cert", &self.cert),
            key: read("mqtt.tls.key", &self.key),
            client_ca: self.client_ca.as_deref().map(|path| read("mqtt.tls.client_ca", path)),
            crl: self.crl.as_deref().map(|path| read("mqtt.tls.crl", path)),
        };
        if faults.is_empty() { Ok(Arc::new(contents)) } else { Err(faults) }
    }

    fn understand(&self, contents: Arc<Contents>, now: DateTime<Utc>) -> Result<Tls, Vec<String>> {
        let provider = provider();
        let mut findings = Findings::default();
        let chain: Vec<CertificateDer<'static>> = findings.items("mqtt.tls.cert", &self.cert, "certificate", &contents.cert);
        let expires_at = findings.validity(&self.cert, chain.first(), now);
        let key = PrivateKeyDer::from_pem_slice(&contents.key);
        if let Err(error) = &key {
            findings.fault(format!("mqtt.tls.key: {}: holds no private key in PEM: {error}", self.key.display()));
        }
        let clients = self.clients(&contents, &provider, now, &mut findings);
        let (Ok(key), true) = (key, findings.faults.is_empty()) else { return Err(findings.faults) };
        match server_config(chain, key, clients.clone(), provider) {
            Ok(config) => Ok(Tls { contents, config: Arc::new(config), clients, expires_at, warnings: findings.warnings }),
            Err(Error::InconsistentKeys(_)) => {
                Err(vec![format!("mqtt.tls.key: {}: is not the key of the certificate in mqtt.tls.cert", self.key.display())])
            }
            Err(error) => Err(vec![format!("mqtt.tls.cert, mqtt.tls.key: cannot be used: {error}")]),
        }
    }

    /// Who says which client certificates are taken; `None` where none are, or the files are not sound.
    fn clients(
        &self,
        contents: &Contents,
        provider: &Arc<CryptoProvider>,
        now: DateTime<Utc>,
        findings: &mut Findings,
    ) -> Option<Arc<dyn ClientCertVerifier>> {
        let (path, ca) = (self.client_ca.as_deref()?, contents.client_ca.as_deref()?);
        let mut roots = RootCertStore::empty();
        for certificate in findings.items::<CertificateDer<'static>>("mqtt.tls.client_ca", path, "certificate", ca) {
            if let Err(error) = roots.add(certificate) {
                findings.fault(format!("mqtt.tls.client_ca: {}: {error}", path.display()));
            }
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).allow_unauthenticated();
        if let (Some(path), Some(crl)) = (&self.crl, &contents.crl) {
            let lists: Vec<CertificateRevocationListDer<'static>> = findings.items("mqtt.tls.crl", path, "revocation list", crl);
            for due in lists.iter().filter_map(|list| next_update_of(list)).filter(|due| *due <= now) {
                findings
                    .warnings
                    .push(format!("mqtt.tls.crl: {}: a newer list was due at {due}; this one holds meanwhile", path.display()));
            }
            verifier = verifier.with_crls(lists);
        }
        if !findings.faults.is_empty() {
            return None;
        }
        let fault = |error| findings.fault(format!("mqtt.tls.client_ca, mqtt.tls.crl: cannot be used: {error}"));
        verifier.build().map_err(fault).ok()
    }
}

impl Findings {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Everything of one kind in a PEM file; at least one.
    fn items<T: PemObject>(&mut self, name: &str, path: &Path, what: &str, pem: &[u8]) -> Vec<T> {
        match T::pem_slice_iter(pem).collect::<Result<Vec<T>, _>>() {
            Ok(items) if !items.is_empty() => return items,
            Ok(_) => self.fault(format!("{name}: {}: holds no {what} in PEM", path.display())),
            Err(error) => self.fault(format!("{name}: {}: is no sound PEM: {error}", path.display())),
        }
        Vec::new()
    }

    /// Until when our certificate holds. One that does not hold now is no fault of the configuration, but clients will refuse it.
    fn validity(&mut self, path: &Path, certificate: Option<&CertificateDer<'_>>, now: DateTime<Utc>) -> DateTime<Utc> {
        let Some(certificate) = certificate else { return now };
        let path = path.display();
        let Some((from, until)) = validity_of(certificate) else {
            self.fault(format!("mqtt.tls.cert: {path}: the certificate cannot be read"));
            return now;
        };
        if until <= now {
            self.warnings.push(format!("mqtt.tls.cert: {path}: the certificate expired at {until}: clients will refuse it"));
        } else if from > now {
            self.warnings.push(format!("mqtt.tls.cert: {path}: the certificate holds only from {from}: clients will refuse it"));
        }
        until
    }
}

impl Tls {
    /// Is a client's certificate to be trusted now?
    pub(super) fn trusts(&self, certificate: &ClientCertificate, now: DateTime<Utc>) -> bool {
        let Some((own, others)) = certificate.chain.split_first() else { return false };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.timestamp()).unwrap_or(0)));
        self.clients.as_ref().is_some_and(|clients| clients.verify_client_cert(own, others, now).is_ok())
    }
}

/// Looks at the files every so often, and when asked; speaks TLS by them once they are sound, by the former ones until then.
pub async fn keep_tls_fresh(
    files: TlsFiles,
    spoken: watch::Sender<Arc<Tls>>,
    every: Duration,
    asked: Arc<Notify>,
    clock: Clock,
    metrics: Metrics,
) {
    let mut seen = Ok(spoken.borrow().contents.clone());
    loop {
        let by_request = tokio::select! {
            () = tokio::time::sleep(every) => false,
            () = asked.notified() => true,
            // The door is closed.
            () = spoken.closed() => return,
        };
        let of = files.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || of.read()).await else { continue };
        if seen == read && !by_request {
            continue;
        }
        seen = read;
        match seen.clone().and_then(|contents| files.understand(contents, clock.now())) {
            Ok(tls) => {
                tls.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!(expires_at = %tls.expires_at, "the files of mqtt.tls were taken anew");
                show(&tls, &metrics);
                metrics.tls_reloads.with_label_values(&["taken"]).inc();
                spoken.send_replace(Arc::new(tls));
            }
            Err(faults) => {
                tracing::error!(faults = faults.join("; "), "the files of mqtt.tls have changed and are not sound; the former ones hold");
                metrics.tls_reloads.with_label_values(&["kept_former"]).inc();
            }
        }
    }
}

/// Shows when our certificate ends.
pub fn show(tls: &Tls, metrics: &Metrics) {
    metrics.tls_expires.set(tls.expires_at.timestamp());
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, Error> {
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    // Nothing is resumed: every connection shows its certificate anew, and none that was revoked slips in by an older handshake.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The one that the program has installed.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}
