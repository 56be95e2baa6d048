//! Who sent a message, and by which identity it is known: the same identity is counted once.

use std::fmt;

use compact_str::CompactString;

use crate::content::Content;

/// A sender, as the door has established it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    Gateway(CompactString),
    Supplier(CompactString),
    Carrier(CompactString),
    /// Who administers the service: sends no message, but his acts stand in the evidence log beside them.
    Operator(CompactString),
}

impl Sender {
    /// The other way round than `kind` and `id`.
    pub fn of_kind(kind: &str, id: &str) -> Option<Sender> {
        let all = [Sender::Gateway(id.into()), Sender::Supplier(id.into()), Sender::Carrier(id.into()), Sender::Operator(id.into())];
        all.into_iter().find(|sender| sender.kind() == kind)
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Sender::Gateway(_) => "gateway",
            Sender::Supplier(_) => "supplier",
            Sender::Carrier(_) => "carrier",
            Sender::Operator(_) => "operator",
        }
    }

    pub fn id(&self) -> &str {
        match self {
            Sender::Gateway(id) | Sender::Supplier(id) | Sender::Carrier(id) | Sender::Operator(id) => id,
        }
    }
}

/// Identity of a message within its sender: gateways (boot, seq), suppliers and carriers an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MessageIdentity {
    Sequence { boot: CompactString, seq: u64 },
    Id(CompactString),
}

/// For people, and different for different identities: what is quoted is escaped.
impl fmt::Display for MessageIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageIdentity::Sequence { boot, seq } => write!(f, "boot {boot:?}, seq {seq}"),
            MessageIdentity::Id(id) => write!(f, "id {id:?}"),
        }
    }
}

/// A fixed-size key for (sender, identity): the first 16 bytes of a SHA-256.
pub type IdentityKey = [u8; 16];

pub fn identity_key(sender: &Sender, identity: &MessageIdentity) -> IdentityKey {
    let mut out = Content::new();
    out.text(Some(sender.kind()));
    out.text(Some(sender.id()));
    match identity {
        MessageIdentity::Sequence { boot, seq } => {
            out.text(Some(boot));
            out.whole(*seq);
        }
        MessageIdentity::Id(id) => out.text(Some(id)),
    }
    out.short_sha256()
}
