//! What a certificate says: whose it is and how long it holds.

use chrono::{DateTime, Utc};
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, oid::ObjectIdentifier};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A client's certificate, which our CA has issued.
#[derive(Clone, Debug)]
pub(super) struct ClientCertificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Common names and DNS names: the gateways that it may be.
    pub(super) names: Vec<String>,
    pub(super) until: DateTime<Utc>,
}

impl ClientCertificate {
    /// `None` where the certificate cannot be read, although its signature is right.
    pub(super) fn read(chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
        let certificate = Certificate::from_der(chain.first()?).ok()?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(ClientCertificate { chain, names: names(&certificate)?, until: validity(&certificate)?.1 })
    }

    pub(super) fn is(&self, gateway: &str) -> bool {
        self.names.iter().any(|name| name == gateway)
    }
}

/// From when and until when a certificate holds.
pub(super) fn validity_of(certificate: &CertificateDer<'_>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    validity(&Certificate::from_der(certificate).ok()?)
}

/// When the next revocation list is due.
pub(super) fn next_update_of(revocation_list: &[u8]) -> Option<DateTime<Utc>> {
    let list: x509_cert::crl::CertificateList = Decode::from_der(revocation_list).ok()?;
    instant(list.tbs_cert_list.next_update?)
}

fn names(certificate: &Certificate) -> Option<Vec<String>> {
    let certificate = certificate.tbs_certificate();
    let common = certificate.subject().iter().filter(|attribute| attribute.oid == COMMON_NAME).filter_map(|attribute| {
        let text = attribute.value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_string());
        text.or_else(|_| attribute.value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_string())).ok()
    });
    let alternative = certificate.get_extension::<SubjectAltName>().ok()?;
    let dns = alternative.into_iter().flat_map(|(_, names)| names.0).filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_string()),
        _ => None,
    });
    Some(common.chain(dns).collect())
}

fn validity(certificate: &Certificate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let validity = certificate.tbs_certificate().validity();
    Some((instant(validity.not_before)?, instant(validity.not_after)?))
}

fn instant(time: x509_cert::time::Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(time.to_unix_duration().as_secs()).ok()?, 0)
}
