//! What every handler has at hand, and who is asking.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use ingest::Intake;
use monitor::Monitor;
use observe::{Clock, Health, Metrics};
use policy::regions::same_city;
use policy::register::{Register, Voucher};
use store::{Actor, ApiKey, KeyRole, RegisterState, ServiceKeys, Store};

use crate::limits::RequestLimits;
use crate::problem::Problem;

pub struct WebParts {
    pub store: Store,
    pub register: RegisterState,
    pub intake: Intake,
    pub monitor: Monitor,
    pub metrics: Metrics,
    pub health: Health,
    pub clock: Clock,
    pub keys: ServiceKeys,
    pub limits: RequestLimits,
    /// Held while an evidence pack is made.
    pub packing: tokio::sync::Mutex<()>,
    /// Held while a register file is read and taken in: a large one takes much memory.
    pub importing: tokio::sync::Mutex<()>,
    /// Where gateways reach MQTT, as they are told when they are enrolled.
    pub gateway_mqtt_urls: Vec<String>,
    /// How long refused messages are kept.
    pub quarantine_keep_days: u64,
    /// Whether HTTP listens on loopback only: until there is a login, pages are shown nowhere else.
    pub loopback_only: bool,
}

pub type WebState = Arc<WebParts>;

/// The bearer of a key.
pub struct Caller {
    key: ApiKey,
    secret: String,
}

impl FromRequestParts<WebState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Caller, Problem> {
        let secret = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim());
        let Some(secret) = secret else { return Err(Problem::unauthorised("send Authorization: Bearer KEY")) };
        match state.store.find_key(secret).await? {
            Some(key) if key.expires_at.is_some_and(|at| at <= state.clock.now()) => {
                Err(Problem::unauthorised("the key has expired: have a new one made (shangyun key create)"))
            }
            Some(key) => {
                state.limits.check(secret)?;
                Ok(Caller { key, secret: secret.to_string() })
            }
            None => Err(Problem::unauthorised("the key is not known")),
        }
    }
}

impl Caller {
    /// Lets only these roles on.
    pub fn must_be(&self, roles: &[KeyRole]) -> Result<(), Problem> {
        if roles.contains(&self.key.role) {
            return Ok(());
        }
        let allowed: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
        Err(Problem::forbidden(format!("a key of role {} may not do this; {} may", self.key.role.as_str(), allowed.join(" or "))))
    }

    /// Lets only those on who see the whole province: an admin, or the redemption platform without a scope.
    pub fn must_see_all(&self) -> Result<(), Problem> {
        self.must_be(&[KeyRole::Admin, KeyRole::Platform])?;
        match (self.role(), self.scope()) {
            (KeyRole::Platform, Some(_)) => Err(Problem::forbidden("this is about the whole province: a key without a scope may read it")),
            _ => Ok(()),
        }
    }

    /// Who acts, for the audit log.
    pub fn actor(&self, state: &WebParts) -> Actor {
        Actor::new(format!("key:{}:{}", self.key.role.as_str(), self.key.name), state.clock.now()).with_key(&self.secret)
    }

    pub fn role(&self) -> KeyRole {
        self.key.role
    }

    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The supplier or carrier that the key stands for.
    pub fn sender(&self) -> Result<&str, Problem> {
        self.key.scope.as_deref().ok_or_else(|| Problem::forbidden("the key names no supplier or carrier: make one with --scope"))
    }

    /// Of whom only; `None` for everything that the role allows.
    pub fn scope(&self) -> Option<&str> {
        self.key.scope.as_deref()
    }

    /// May the caller see this voucher and its results?
    pub fn sees(&self, register: &Register, voucher: &Voucher) -> bool {
        let Some(scope) = self.scope() else { return !matches!(self.key.role, KeyRole::Carrier | KeyRole::Enrol) };
        match self.key.role {
            KeyRole::Admin => true,
            KeyRole::Platform => register.enterprises.get(&voucher.enterprise).is_some_and(|enterprise| same_city(&enterprise.city, scope)),
            KeyRole::Supplier => register.products.get(&voucher.product).is_some_and(|product| product.supplier == scope),
            KeyRole::Carrier | KeyRole::Enrol => false,
        }
    }
}
