//! The TLS handshake of one connection, and the trust in its client's certificate afterwards.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use observe::Clock;
use rustls::{CertificateError, Error};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::certificate::ClientCertificate;
use super::stream::Stream;
use super::tls::Tls;

/// A client's certificate, for as long as it is to be trusted.
pub(super) struct Trust {
    pub(super) certificate: ClientCertificate,
    spoken: watch::Receiver<Arc<Tls>>,
    clock: Clock,
}

/// Gives the connection and the trust in its certificate, if it has one; or the label under which its end is counted.
pub(super) async fn shake_hands(
    stream: TcpStream,
    spoken: &watch::Receiver<Arc<Tls>>,
    clock: &Clock,
    within: Duration,
) -> Result<(Stream, Option<Trust>), &'static str> {
    let config = spoken.borrow().config.clone();
    let stream = match timeout(within, TlsAcceptor::from(config).accept(stream)).await {
        Err(_) => return Err("handshake_timeout"),
        Ok(Err(error)) => return Err(label(&error)),
        Ok(Ok(stream)) => stream,
    };
    let trust = match stream.get_ref().1.peer_certificates() {
        None => None,
        Some(chain) => {
            let certificate = ClientCertificate::read(chain).ok_or("certificate")?;
            let mut spoken = spoken.clone();
            // Whatever has changed during the handshake is looked at once more.
            spoken.mark_changed();
            Some(Trust { certificate, spoken, clock: clock.clone() })
        }
    };
    Ok((Box::new(stream), trust))
}

impl Trust {
    /// Ends once the certificate is no longer to be trusted: it has expired, or the files name another CA or revoke it.
    pub(super) async fn lost(&mut self) {
        loop {
            let left = (self.certificate.until - self.clock.now()).to_std().unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(left) => return,
                changed = self.spoken.changed() => {
                    if changed.is_err() {
                        // Nobody renews TLS any more: the service stops.
                        return std::future::pending().await;
                    }
                }
            }
            let spoken = self.spoken.borrow_and_update().clone();
            if !spoken.trusts(&self.certificate, self.clock.now()) {
                return;
            }
        }
    }
}

fn label(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(error)) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate_expired",
            CertificateError::Revoked => "certificate_revoked",
            CertificateError::UnknownIssuer | CertificateError::BadSignature => "certificate_foreign",
            _ => "certificate",
        },
        _ => "handshake",
    }
}
