//! The hash of a value: SHA-256 over its RFC 8785 form, written `sha256:<hex>`.

use serde::Serialize;
use sha2::{Digest, Sha256};

pub fn hash_of<T: Serialize>(value: &T) -> String {
    hash_of_bytes(&bytes_of(value))
}

/// The RFC 8785 form.
pub fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    serde_jcs::to_vec(value).expect("values of this crate have text keys and no unrepresentable numbers")
}

pub fn hash_of_bytes(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_stands_on_rfc_8785_bytes() {
        // SHA-256 of {"a":"元","b":[1,true,null]}: sorted keys, no blanks, UTF-8.
        let bytes = "{\"a\":\"元\",\"b\":[1,true,null]}";
        let expected = format!("sha256:{}", hex::encode(Sha256::digest(bytes.as_bytes())));
        assert_eq!(hash_of(&json!({"b": [1, true, null], "a": "元"})), expected);
        assert_eq!(hash_of(&json!({})), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        assert_ne!(hash_of(&json!({"a": 1})), hash_of(&json!({"a": "1"})));
    }
}
