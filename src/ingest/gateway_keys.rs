//! Public keys of gateways, with which signed reports of the evidence log are verified once more.

use std::collections::BTreeMap;

use store::Record;
use wire::identity::Sender;
use wire::{PublicKey, reopen_report};

/// By gateway.
#[derive(Clone, Debug, Default)]
pub struct GatewayKeys(BTreeMap<String, PublicKey>);

/// What a record's own signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnSignature {
    /// It came without one.
    None,
    /// It is by the gateway's key, over exactly what was received.
    Good,
    /// It is by no key that is known of the gateway.
    Other,
}

impl GatewayKeys {
    /// Of (gateway, key in base64); what is no key is left out.
    pub fn of<'a>(keys: impl IntoIterator<Item = (&'a str, &'a str)>) -> GatewayKeys {
        let read = |(gateway, key): (&'a str, &'a str)| Some((gateway.to_string(), PublicKey::read(key).ok()?));
        GatewayKeys(keys.into_iter().filter_map(read).collect())
    }

    pub fn signature(&self, record: &Record<'_>) -> OwnSignature {
        let Sender::Gateway(gateway) = &record.sender else { return OwnSignature::None };
        let Some(signed) = reopen_report(record.body).ok().and_then(|opened| opened.signed) else { return OwnSignature::None };
        let by_its_key = self.0.get(&**gateway).is_some_and(|key| signed.kid == gateway.as_bytes() && signed.verify(key));
        if by_its_key { OwnSignature::Good } else { OwnSignature::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Vouched;
    use wire::cose::{SigningKey, seal};

    #[test]
    fn a_report_is_verified_by_its_own_gateways_key_alone() {
        let keys = [7, 8].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let [one, two] = [&keys[0], &keys[1]].map(|key| PublicKey::from(key).to_string());
        let known = GatewayKeys::of([("one", one.as_str()), ("two", &two), ("three", "no key")]);
        let said = |gateway: &str, body: &[u8]| {
            let sender = Sender::Gateway(gateway.into());
            known.signature(&Record { sender, enterprise: "E".into(), vouched: Vouched::Key, received_at_us: 0, body })
        };
        let sealed = seal(b"{\"v\":1}", "one", &keys[0]);
        assert_eq!(said("one", &sealed), OwnSignature::Good);
        assert_eq!(said("one", b"{\"v\":1}"), OwnSignature::None);
        assert_eq!(said("two", &sealed), OwnSignature::Other);
        assert_eq!(said("three", &seal(b"{\"v\":1}", "three", &keys[0])), OwnSignature::Other);
        assert_eq!(said("one", &seal(b"{\"v\":1}", "one", &keys[1])), OwnSignature::Other);
        let mut changed = sealed.clone();
        *changed.iter_mut().rev().nth(66).unwrap() ^= 1;
        assert_eq!(said("one", &changed), OwnSignature::Other);
    }
}
