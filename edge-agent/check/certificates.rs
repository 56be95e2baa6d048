//! Certificates and keys in files: whether they can be used, are in force, and belong together.

use std::path::Path;

use chrono::{DateTime, Utc};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

use super::Findings;
use crate::config::Config;
use crate::fault::FaultCode;

pub(super) fn look(config: &Config, found: &mut Findings) {
    let now: DateTime<Utc> = std::time::SystemTime::now().into();
    let broker = &config.broker;
    if let Some(path) = &broker.ca_file {
        certificates("broker.ca_file", path, now, found);
    }
    if let Some(client) = &broker.client_certificate {
        let chain = certificates("broker.client_cert_file", &client.cert_file, now, found);
        key("broker.client_key_file", &client.key_file, chain.as_deref(), found);
        let names = chain.as_deref().and_then(names);
        if !found.fault_at("gateway.id") && names.as_ref().is_some_and(|names| !names.contains(&config.gateway.id)) {
            let (id, names) = (&config.gateway.id, names.unwrap_or_default().join(", "));
            found.add(
                FaultCode::CertificateOther,
                "broker.client_cert_file",
                format!("证书属于“{names}”，不是本网关“{id}”；请向平台申请本网关的证书"),
                format!("the certificate is of `{names}`, not of this gateway, `{id}`; ask for one of its own"),
            );
        }
    }
    for (address, bus) in &config.buses {
        let place = |key: &str| format!("bus ({address}).{key}");
        if let Some(path) = &bus.ca_file {
            certificates(&place("ca_file"), path, now, found);
        }
        if let (Some(cert_file), Some(key_file)) = (&bus.client_cert_file, &bus.client_key_file) {
            let chain = certificates(&place("client_cert_file"), cert_file, now, found);
            key(&place("client_key_file"), key_file, chain.as_deref(), found);
        }
    }
}

/// Reads a file of certificates and looks at the first; `None` after a fault that leaves nothing to look at.
fn certificates(place: &str, path: &Path, now: DateTime<Utc>, found: &mut Findings) -> Option<Vec<CertificateDer<'static>>> {
    let shown = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            found.add(FaultCode::FileUnreadable, place, format!("读不到 {shown}：{error}"), format!("{shown} cannot be read: {error}"));
            return None;
        }
    };
    let chain: Option<Vec<_>> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().ok().filter(|chain: &Vec<_>| !chain.is_empty());
    let parsed = chain.as_ref().and_then(|chain| Certificate::from_der(&chain[0]).ok());
    let (Some(chain), Some(certificate)) = (chain, parsed) else {
        found.add(
            FaultCode::CertificateInvalid,
            place,
            format!("{shown} 里没有可用的证书；应为 PEM 格式（-----BEGIN CERTIFICATE-----）"),
            format!("{shown} holds no certificate; it must be PEM (-----BEGIN CERTIFICATE-----)"),
        );
        return None;
    };
    let validity = certificate.tbs_certificate().validity();
    if let (Some(from), Some(until)) = (instant(validity.not_before), instant(validity.not_after)) {
        if now > until {
            let day = until.date_naive();
            found.add(
                FaultCode::CertificateExpired,
                place,
                format!("证书已于 {day} 过期；请更换，并核对本机时钟"),
                format!("the certificate expired on {day}; renew it, and check this machine's clock"),
            );
        } else if now < from {
            let day = from.date_naive();
            found.add(
                FaultCode::CertificateNotYetValid,
                place,
                format!("证书自 {day} 起才有效；多半是本机时钟落后，请校时"),
                format!("the certificate is valid from {day} only; most likely this machine's clock is behind"),
            );
        }
    }
    Some(chain)
}

fn instant(time: Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(time.to_unix_duration().as_secs()).ok()?, 0)
}

/// A private key's file, and whether it is the key of the certificate.
fn key(place: &str, path: &Path, chain: Option<&[CertificateDer<'static>]>, found: &mut Findings) {
    let shown = path.display();
    let key = match PrivateKeyDer::from_pem_file(path) {
        Ok(key) => key,
        Err(error) => {
            let code = if path.exists() { FaultCode::KeyFileInvalid } else { FaultCode::FileUnreadable };
            found.add(
                code,
                place,
                format!("{shown} 里没有可用的私钥（{error}）；应为未加密的 PEM 格式"),
                format!("{shown} holds no private key ({error}); it must be PEM, not encrypted"),
            );
            return;
        }
    };
    let Some(chain) = chain else { return };
    let together = CertifiedKey::from_der(chain.to_vec(), key, &rustls::crypto::ring::default_provider());
    if let Err(error) = together {
        found.add(
            FaultCode::CertificateKeyOther,
            place,
            format!("私钥与证书不是一对（{error}）；请核对两个文件"),
            format!("the key does not belong to the certificate ({error}); compare the two files"),
        );
    }
}

/// Whose certificate it is: common names and DNS names.
fn names(chain: &[CertificateDer<'_>]) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    let certificate = certificate.tbs_certificate();
    let subject = certificate.subject().to_string();
    let mut names: Vec<String> = subject.split([',', '+']).filter_map(|part| part.trim().strip_prefix("CN=")).map(str::to_string).collect();
    if let Ok(Some((_, alternative))) = certificate.get_extension::<SubjectAltName>() {
        names.extend(alternative.0.into_iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_string()),
            _ => None,
        }));
    }
    Some(names)
}
