//! The bytes of a line into text. What cannot be read becomes U+FFFD, and a user or name with it is refused.

use std::borrow::Cow;

use crate::usage::Encoding;

pub(super) fn decode(line: &[u8], encoding: Encoding) -> Cow<'_, str> {
    match encoding {
        Encoding::Utf8 => String::from_utf8_lossy(line),
        Encoding::Gbk => encoding_rs::GBK.decode_without_bom_handling(line).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gbk_is_read_and_what_is_none_is_marked() {
        // python3: "用户=张三".encode("gbk")
        let line = b"\xd3\xc3\xbb\xa7=\xd5\xc5\xc8\xfd";
        assert_eq!(decode(line, Encoding::Gbk), "用户=张三");
        assert!(decode(line, Encoding::Utf8).contains('\u{FFFD}'));
        assert!(decode(b"\xff\xff", Encoding::Gbk).contains('\u{FFFD}'));
    }
}
