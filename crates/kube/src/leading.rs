//! Whether the operator may work: always without an election, and for the terms of its lease with one.

use crate::election::{Leadership, Term};

/// The leadership that an operator works under.
#[derive(Clone, Debug)]
pub(crate) struct Leading(Option<Leadership>);

/// The lease may be another's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

impl Leading {
    pub(crate) const fn new(leadership: Option<Leadership>) -> Self {
        Self(leadership)
    }

    /// The term, or `None` without an election.
    pub(crate) fn check(&self) -> Result<Option<Term>, Lost> {
        match &self.0 {
            None => Ok(None),
            Some(leadership) => leadership.check().map(Some).ok_or(Lost),
        }
    }

    /// Whether this replica leads; `None` without an election.
    pub(crate) fn is_leading(&self) -> Option<bool> {
        self.0
            .as_ref()
            .map(|leadership| leadership.check().is_some())
    }

    /// Completes when the lease is won; `None` once the candidate has ended, or without an election.
    pub(crate) async fn won(&self) -> Option<Term> {
        match &self.0 {
            None => None,
            Some(leadership) => leadership.leading().await,
        }
    }

    /// Completes when `term` is over; never without one.
    pub(crate) async fn lost(&self, term: Option<Term>) {
        match (&self.0, term) {
            (Some(leadership), Some(term)) => leadership.lost(term).await,
            _ => std::future::pending().await,
        }
    }
}
