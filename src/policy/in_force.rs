//! Which version of a rulebook or catalogue holds for a voucher (R26): the newest already valid when it was applied for.

use crate::calendar::Instant;

/// Something that holds from an instant on.
pub trait Dated {
    fn id(&self) -> &str;
    fn valid_from(&self) -> Instant;
    fn hash(&self) -> &str;
}

/// All configured versions of one kind, oldest first; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Versions<T>(Vec<T>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionsError {
    #[error("no version at all")]
    Empty,
    #[error("two versions with the id {0}")]
    SameId(String),
    #[error("{0} and {1} are valid from the same instant")]
    SameStart(String, String),
}

impl<T: Dated> Versions<T> {
    pub fn new(mut versions: Vec<T>) -> Result<Versions<T>, VersionsError> {
        versions.sort_by(|a, b| (a.valid_from(), a.id()).cmp(&(b.valid_from(), b.id())));
        if versions.is_empty() {
            return Err(VersionsError::Empty);
        }
        for (at, one) in versions.iter().enumerate() {
            for other in &versions[at + 1..] {
                if one.id() == other.id() {
                    return Err(VersionsError::SameId(one.id().to_string()));
                }
                if one.valid_from() == other.valid_from() {
                    return Err(VersionsError::SameStart(one.id().to_string(), other.id().to_string()));
                }
            }
        }
        Ok(Versions(versions))
    }

    /// A single version, which then holds always.
    pub fn of(version: T) -> Versions<T> {
        Versions(vec![version])
    }

    /// The newest version valid at `applied_at`, else the oldest.
    pub fn in_force(&self, applied_at: Instant) -> &T {
        self.0.iter().rev().find(|version| version.valid_from() <= applied_at).unwrap_or(&self.0[0])
    }

    /// The one that is valid from the latest instant.
    pub fn newest(&self) -> &T {
        // There is always one.
        &self.0[self.0.len() - 1]
    }

    pub fn get(&self, id: &str) -> Option<&T> {
        self.0.iter().find(|version| version.id() == id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}
