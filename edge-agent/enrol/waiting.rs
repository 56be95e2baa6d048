//! Reports that wait in the spool while the gateway gets a key: the service takes none that this key has not signed.

use std::fmt;
use std::path::Path;

use wire::PublicKey;
use wire::cose::Signed;

use crate::spool;

/// Those that the service will not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    unsigned: u64,
    /// Signed by another key than this.
    former: u64,
}

impl Waiting {
    /// `None` if there is none. What cannot be read is the business of `check`.
    pub(super) fn look(spool_dir: &Path, key: &PublicKey) -> Option<Waiting> {
        let mut waiting = Waiting::default();
        let looked = spool::waiting(spool_dir, |report| {
            match Signed::read(&report.body) {
                Ok(signed) if signed.verify(key) => {}
                Ok(_) => waiting.former += 1,
                Err(_) => waiting.unsigned += 1,
            }
            Ok(())
        });
        looked.ok().filter(|()| waiting != Waiting::default()).map(|()| waiting)
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Waiting { unsigned, former } = *self;
        let count = unsigned + former;
        let (zh, en) = match (unsigned, former) {
            (_, 0) => ("暂时去掉该网关的 public_key", "take this gateway's public_key out of the register for a while"),
            (0, _) => ("暂时登记原来的 public_key", "register the former public_key for a while"),
            _ => ("先登记原来的 public_key，再去掉它，各等一段时间", "register the former public_key for a while, and then none"),
        };
        writeln!(
            f,
            "警告：暂存中有 {count} 份报告不是用这把密钥签名的（未签名 {unsigned} 份，由其他密钥签名 {former} 份），平台现在不接收。\
             它们不会丢：留在暂存中，隔一段时间重试。请立即重新启动 shangyun-edge（在此之前产生的报告也不会用这把密钥签名）；\
             要计入这些报告，请平台管理员{zh}，待其发完再登记新公钥"
        )?;
        write!(
            f,
            "warning: {count} reports wait in the spool that this key has not signed ({unsigned} unsigned, {former} by another key), and the service does not take them now. \
             They are not lost: they stay in the spool and are tried again from time to time. Restart shangyun-edge at once, for until then it goes on as before; \
             to have these reports counted, ask the service's administrator to {en}, and to register the new one again once they are delivered"
        )
    }
}

#[cfg(test)]
mod tests {
    use wire::cose::{SigningKey, seal};

    use super::*;
    use crate::spool::{ReportKey, Spool};

    #[test]
    fn what_this_key_has_not_signed_and_still_waits_is_counted_and_what_to_do_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (own, former) = (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]));
        let public = PublicKey::from(&own);
        assert_eq!(Waiting::look(&dir.path().join("nowhere"), &public), None);
        let mut spool = Spool::open(dir.path(), 1 << 20).unwrap();
        let key = |seq| ReportKey { boot: "b7".into(), seq };
        spool.append_all(&[(key(1), b"{}".to_vec()), (key(2), seal(b"{}", "gw-1", &own))]).unwrap();
        spool.settle(0).unwrap();
        spool.save_marks().unwrap();
        assert_eq!(Waiting::look(dir.path(), &public), None, "the unsigned one is settled");
        spool.append_all(&[(key(3), b"{}".to_vec()), (key(4), b"{}".to_vec()), (key(5), seal(b"{}", "gw-1", &former))]).unwrap();
        let waiting = Waiting::look(dir.path(), &public).unwrap();
        assert_eq!(waiting, Waiting { unsigned: 2, former: 1 });
        let said = waiting.to_string();
        let (zh, en) = said.split_once('\n').unwrap();
        assert!(zh.contains("3 份") && zh.contains("未签名 2 份") && zh.contains("重新启动"), "{zh}");
        assert!(en.is_ascii() && en.contains("3 reports") && en.contains("2 unsigned, 1 by another key") && en.contains("Restart"), "{en}");
    }
}
