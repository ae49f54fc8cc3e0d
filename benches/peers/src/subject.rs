//! Who is measured.

use serde::Serialize;

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// This library's.
    Ours,
    /// What a user could pick instead.
    Peer,
    /// What a user could write instead.
    Textbook,
    /// What nothing can be faster than.
    Bound,
}

/// A name, and what must be known to read its figures.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The name in tables.
    pub name: &'static str,
    /// Whose it is.
    pub family: Family,
    /// The clock it goes by.
    pub clock: &'static str,
    /// Whether it can take several tokens at once.
    #[serde(skip)]
    pub weights: bool,
    /// Whether it goes by the time, and so can be judged.
    #[serde(skip)]
    pub judged: bool,
}

impl About {
    /// One that can do everything.
    pub const fn new(name: &'static str, family: Family, clock: &'static str) -> Self {
        Self {
            name,
            family,
            clock,
            weights: true,
            judged: true,
        }
    }

    /// Takes one token at a time.
    pub const fn single_tokens(mut self) -> Self {
        self.weights = false;
        self
    }

    /// Does not go by a clock of its own: its quota can't be judged.
    pub const fn speed_only(mut self) -> Self {
        self.judged = false;
        self
    }
}
