//! The one request to the service, and in plain words what may go wrong with it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;
use serde_json::Value;
use ureq::http::{StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use super::failure::Failure;

const PATH: &str = "/api/v1/enrol";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The service syncs what it has done before it answers.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const AGAIN_ZH: &str = "用同一个一次性密钥再运行一次即可，不会重复登记";
const AGAIN_EN: &str = "run this again with the same one-time key: nothing is done twice";

pub(super) struct Service {
    agent: Agent,
    url: String,
    uri: Uri,
}

impl Service {
    pub(super) fn new(url: &str, ca_file: Option<&Path>) -> Result<Service, Failure> {
        let address = url.trim_end_matches('/');
        let uri = format!("{address}{PATH}").parse::<Uri>().ok();
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some() && uri.query().is_none());
        let Some(uri) = uri else {
            return Err(Failure::use_of(
                "--url",
                format!("“{url}”不是服务地址；应如 https://shangyun.example.cn"),
                format!("`{url}` is no address of a service, such as https://shangyun.example.cn"),
            ));
        };
        let roots = match ca_file {
            Some(path) => RootCerts::Specific(Arc::new(authorities(path)?)),
            None => RootCerts::WebPki,
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // The one-time key is for this address, and no other.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(WHOLE_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Service { agent: Agent::new_with_config(config), url: address.to_string(), uri })
    }

    /// Not encrypted, and beyond this machine.
    pub(super) fn plain_and_far(&self) -> bool {
        let host = self.uri.host().unwrap_or("").trim_matches(['[', ']']);
        let near = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        self.uri.scheme_str() == Some("http") && !near
    }

    /// The text of the answer.
    pub(super) fn enrol(&self, secret: &str, gateway: &str, question: &str) -> Result<String, Failure> {
        let request = self.agent.post(self.uri.to_string());
        let request = request.header("Authorization", format!("Bearer {secret}")).header("Content-Type", "application/json");
        let mut response = request.send(question).map_err(|error| self.unanswered(&error))?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| self.unanswered(&error))?;
        if status == StatusCode::OK { Ok(text) } else { Err(self.refused(status, &text, gateway)) }
    }

    fn refused(&self, status: StatusCode, text: &str, gateway: &str) -> Failure {
        let problem: Value = serde_json::from_str(text).unwrap_or_default();
        let Some(detail) = problem["detail"].as_str() else {
            return Failure::no(
                &self.url,
                format!("这个地址不像监测服务（HTTP {status}）；请核对 --url"),
                format!("this does not look like the service (HTTP {status}); look at --url"),
            );
        };
        let create = format!("shangyun key create --role enrol --scope {gateway} --name …");
        let zh = match status.as_u16() {
            401 => format!("一次性密钥不被接受：抄错了，或已过期。请管理员重新生成：{create}"),
            403 => format!("这个密钥不能登记网关 {gateway}：它属于别的网关或别的用途。请管理员生成：{create}"),
            404 => format!("网关 {gateway} 还不在登记册里。请先导入登记册（gateways），再用同一个密钥运行一次"),
            409 => {
                format!("没有登记，服务端没有改动，原因见下行。密钥若已用过：{create}；本机密钥若是从别的网关复制来的：删除密钥文件后重试")
            }
            415 | 422 => "服务不接受本机送去的内容；请升级 shangyun-edge，或核对网关私钥文件".to_string(),
            429 | 503 | 507 => format!("服务现在忙或写不了；稍后{AGAIN_ZH}"),
            _ => format!("服务没有受理（HTTP {status}）；原因见下行"),
        };
        Failure::no(&self.url, zh, format!("{detail} (HTTP {})", status.as_u16()))
    }

    fn unanswered(&self, error: &Error) -> Failure {
        let (zh, en) = match error {
            Error::HostNotFound => no_such_host(),
            Error::Timeout(_) => (
                format!("等不到答复；请检查网络、防火墙和 --url，然后{AGAIN_ZH}"),
                format!("no answer in time: look at network, firewall and --url, then {AGAIN_EN}"),
            ),
            Error::Rustls(error) => tls(error),
            Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => tls(error),
                None => network(error),
            },
            Error::ConnectProxyFailed(said) => (
                format!("代理不让连接（{said}）；请核对 HTTPS_PROXY、NO_PROXY"),
                format!("the proxy refuses ({said}): look at HTTPS_PROXY and NO_PROXY"),
            ),
            other => (format!("没有得到答复（{other}）；{AGAIN_ZH}"), format!("no answer ({other}); {AGAIN_EN}")),
        };
        Failure::no(&self.url, zh, en)
    }
}

fn no_such_host() -> (String, String) {
    ("找不到这个主机名；请核对 --url 和本机的 DNS".into(), "no such host: look at --url, and at this machine's DNS".into())
}

fn network(error: &io::Error) -> (String, String) {
    match error.kind() {
        // The resolver has no kind of its own.
        _ if error.to_string().starts_with("failed to lookup address") => no_such_host(),
        io::ErrorKind::ConnectionRefused => (
            "连接被拒绝：服务没有运行，或端口不对；请核对 --url".into(),
            "connection refused: the service does not run there, or on another port; look at --url".into(),
        ),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => (
            format!("网络不通（{error}）；请检查网线、网关和路由"),
            format!("the network does not lead there ({error}): look at cable and routes"),
        ),
        _ => (format!("连接中断（{error}）；{AGAIN_ZH}"), format!("the connection broke ({error}); {AGAIN_EN}")),
    }
}

fn tls(error: &rustls::Error) -> (String, String) {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => (
            "服务的证书已过期，或本机时钟不对；请先核对时间（date）".into(),
            "the service's certificate has expired, or this machine's clock is wrong: look at the time first".into(),
        ),
        rustls::Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => (
            "服务的证书尚未生效：多半是本机时钟慢了；请先对时".into(),
            "the service's certificate is not valid yet: this machine's clock is probably behind".into(),
        ),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
            "服务的证书不是由已知机构签发；若为单位自建 CA，请用 --ca-file 指定其证书，并确认它确实属于服务方".into(),
            "nobody known has issued the service's certificate: if it is a private CA, name its certificate with --ca-file, after making sure whose it is".into(),
        ),
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => (
            "证书不是这个主机名的；请核对 --url（用域名，不要用 IP）".into(),
            "the certificate is not of this host: look at --url (its name rather than its address)".into(),
        ),
        rustls::Error::InvalidMessage(_) => (
            "对方不说 TLS；地址可能应是 http:// 或别的端口".into(),
            "there is no TLS: perhaps the address is http://, or has another port".into(),
        ),
        other => (format!("TLS 连接不成（{other}）"), format!("TLS failed ({other})")),
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::use_of(path.display(), format!("读不到 CA 证书：{error}"), format!("the CA's certificate cannot be read: {error}"))
    })?;
    let certificates: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Failure::use_of(path.display(), "里面没有 PEM 证书", "holds no certificate in PEM"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_service_are_taken_with_or_without_a_path_before_the_api() {
        for (url, asked) in [
            ("https://h", "https://h/api/v1/enrol"),
            ("https://h:8443/", "https://h:8443/api/v1/enrol"),
            ("http://[::1]:8080/monitor/", "http://[::1]:8080/monitor/api/v1/enrol"),
        ] {
            assert_eq!(Service::new(url, None).unwrap().uri.to_string(), asked);
        }
        for url in ["", "h", "h:8080", "ftp://h", "https://", "https://h?x=1", "https://a b"] {
            assert_eq!(Service::new(url, None).err().map(|failure| failure.exit), Some(2), "{url}");
        }
    }

    #[test]
    fn plain_http_is_warned_of_beyond_this_machine() {
        let warned = |url: &str| Service::new(url, None).unwrap().plain_and_far();
        assert!(["http://10.0.0.1", "http://h:80", "http://[2001:db8::1]"].into_iter().all(warned));
        assert!(!["https://h", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"].into_iter().any(warned));
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_wrong_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert_eq!(Service::new("https://h", Some(&path)).err().map(|failure| failure.exit), Some(2));
        std::fs::write(&path, "no certificate").unwrap();
        assert_eq!(Service::new("https://h", Some(&path)).err().map(|failure| failure.exit), Some(2));
    }
}
