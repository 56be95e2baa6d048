//! What a verification found, in plain words, Chinese first.

use std::fmt::Display;

/// Line by line, what was verified, and at last whether all is well.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub lines: Vec<String>,
    pub good: bool,
}

impl Account {
    pub(crate) fn verified(&mut self, chinese: impl Display, english: impl Display) {
        self.lines.push(format!("✓ {chinese} · {english}"));
    }

    pub(crate) fn told(&mut self, chinese: impl Display, english: impl Display) {
        self.lines.push(format!("  {chinese} · {english}"));
    }

    /// Ends an account that is not good.
    pub(crate) fn failed(mut self, chinese: impl Display, english: impl Display) -> Account {
        self.lines.push(format!("✗ {chinese} · {english}"));
        self.lines.push("核验未通过 · verification FAILED".into());
        self
    }

    pub(crate) fn well(mut self) -> Account {
        self.lines.push("核验通过 · verified".into());
        self.good = true;
        self
    }
}
