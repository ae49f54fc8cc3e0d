//! The name and kind of a contender.

use serde::Serialize;

/// The kind of a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A type of this library.
    Ours,
    /// A crate or package that a user could pick instead.
    Peer,
    /// A bucket that a user could write instead.
    Textbook,
    /// A lower bound on the time.
    Bound,
}

/// A contender's name, and what a reader needs to interpret its figures.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// Its name in tables, floors and targets.
    pub name: &'static str,
    /// Its kind.
    pub family: Family,
    /// The clock it reads.
    pub clock: &'static str,
    /// Whether it can take several tokens at once.
    #[serde(skip)]
    pub weights: bool,
    /// Whether it decides by a clock of its own, and so can be judged.
    #[serde(skip)]
    pub judged: bool,
}

impl About {
    /// A contender with every capability.
    pub const fn new(name: &'static str, family: Family, clock: &'static str) -> Self {
        Self {
            name,
            family,
            clock,
            weights: true,
            judged: true,
        }
    }

    /// Marks it as taking only one token a call.
    pub const fn single_tokens(mut self) -> Self {
        self.weights = false;
        self
    }

    /// Marks it as having no clock of its own, so that its quota cannot be judged.
    pub const fn speed_only(mut self) -> Self {
        self.judged = false;
        self
    }
}
