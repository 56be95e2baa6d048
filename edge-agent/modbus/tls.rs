//! Modbus/TCP security: the server is verified against the CA of the configuration, and we show our certificate where there is one.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::trouble::Unreachable;
use crate::bus::BusSettings;

/// The files are read anew for each connection, so that renewed certificates need no restart.
pub(super) async fn config(settings: &BusSettings) -> Result<Arc<ClientConfig>, Unreachable> {
    let settings = settings.clone();
    let built = tokio::task::spawn_blocking(move || build(&settings)).await;
    built.unwrap_or_else(|error| Err(error.to_string())).map(Arc::new).map_err(Unreachable::Tls)
}

fn build(settings: &BusSettings) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let ca_file = settings.ca_file.as_deref().ok_or("ca_file is missing")?;
    for certificate in certificates(ca_file)? {
        roots.add(certificate).map_err(|error| said(ca_file, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match (&settings.client_cert_file, &settings.client_key_file) {
        (Some(cert_file), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| said(key_file, &error))?;
            builder.with_client_auth_cert(certificates(cert_file)?, key).map_err(|error| said(cert_file, &error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| said(path, &error))?;
    if certificates.is_empty() { Err(format!("{} holds no certificate", path.display())) } else { Ok(certificates) }
}

fn said(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

pub(super) async fn handshake(config: Arc<ClientConfig>, name: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Unreachable> {
    let name = ServerName::try_from(name.to_string()).map_err(|error| Unreachable::Tls(error.to_string()))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| Unreachable::Tls(error.to_string()))
}
