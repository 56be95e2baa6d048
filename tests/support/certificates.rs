//! Certificates made for one test, as files of a directory.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

/// A certificate and its key as files.
#[derive(Clone)]
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
    serial: u64,
}

/// What is asked of an authority.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub common_name: &'a str,
    pub dns: &'a [&'a str],
    pub serial: u64,
    /// First and last year.
    pub years: (i32, i32),
}

impl<'a> Wanted<'a> {
    pub fn client(common_name: &'a str, serial: u64) -> Wanted<'a> {
        Wanted { common_name, dns: &[], serial, years: (2019, 2039) }
    }
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes the authority's own certificate.
    pub fn write(&self, path: &Path) -> PathBuf {
        fs::write(path, self.certificate.pem()).unwrap();
        path.to_path_buf()
    }

    /// Of a server on 127.0.0.1.
    pub fn server(&self, dir: &Path, name: &str, serial: u64) -> Identity {
        self.server_of(dir, name, serial, (2019, 2039))
    }

    pub fn server_of(&self, dir: &Path, name: &str, serial: u64, years: (i32, i32)) -> Identity {
        self.server_named(dir, name, Wanted { common_name: name, dns: &["127.0.0.1", "localhost"], serial, years })
    }

    pub fn server_named(&self, dir: &Path, name: &str, wanted: Wanted<'_>) -> Identity {
        self.issue(dir, name, wanted, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(&self, dir: &Path, wanted: Wanted<'_>) -> Identity {
        self.issue(dir, &format!("client-{}", wanted.serial), wanted, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, dir: &Path, file: &str, wanted: Wanted<'_>, usage: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = wanted.dns.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = named(wanted.common_name);
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        (params.not_before, params.not_after) = (date_time_ymd(wanted.years.0, 1, 1), date_time_ymd(wanted.years.1, 12, 31));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let of = |ending: &str| dir.join(format!("{file}.{ending}"));
        let identity = Identity { cert: of("pem"), key: of("key"), serial: wanted.serial };
        fs::write(&identity.cert, certificate.pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    /// Writes a list that revokes these.
    pub fn revoke(&self, path: &Path, number: u64, revoked: &[&Identity]) -> PathBuf {
        let entry = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2039, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(path, params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path.to_path_buf()
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
