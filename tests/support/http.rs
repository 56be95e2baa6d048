//! HTTP as any client speaks it; every answer is given, whatever its status.

use serde_json::Value;

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// As a browser asks that was led here by a page elsewhere.
pub fn get_from_elsewhere(url: &str) -> Answer {
    answer(request("GET", url, "", &[("Sec-Fetch-Site", "cross-site")]).body(()).unwrap()).unwrap()
}

pub fn get(url: &str, key: &str) -> Answer {
    answer(request("GET", url, key, &[]).body(()).unwrap()).unwrap()
}

/// A body that is no text.
pub fn get_bytes(url: &str, key: &str) -> Vec<u8> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
    let mut response = ureq::Agent::new_with_config(config).run(request("GET", url, key, &[]).body(()).unwrap()).unwrap();
    response.body_mut().read_to_vec().unwrap()
}

/// Content-Type is JSON unless another is given.
pub fn post(url: &str, key: &str, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    try_post(url, key, body, headers).unwrap()
}

/// For a service that may be killed meanwhile.
pub fn try_post(url: &str, key: &str, body: &[u8], headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
    let mut request = request("POST", url, key, headers);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        request = request.header("Content-Type", "application/json");
    }
    answer(request.body(body.to_vec()).unwrap())
}

fn request(method: &str, url: &str, key: &str, headers: &[(&str, &str)]) -> ureq::http::request::Builder {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if !key.is_empty() {
        request = request.header("Authorization", format!("Bearer {key}"));
    }
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

fn answer(request: ureq::http::Request<impl ureq::AsSendBody>) -> Result<Answer, ureq::Error> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None).build();
    let mut response = ureq::Agent::new_with_config(config).run(request)?;
    Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body: response.body_mut().read_to_string()? })
}
