//! What a reservation holds of each limiter, so that it can be given back.

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limiter::core::ledger::DebtId;
use crate::wait::WaitId;

/// A debit that can be reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debit {
    /// Of a bucket: its debt in the ledger.
    Ledger(DebtId),
    /// Of a limiter that keeps each reservation by its instant.
    Dated { at: Timestamp, n: u64 },
}

/// What a reservation holds of one limiter: tokens that were debited, or a place in line for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReservedPart {
    /// When the tokens can be used.
    pub(crate) ready_at: Timestamp,
    /// The debit, if the tokens were debited at once.
    pub(crate) debit: Option<Debit>,
    /// The place in line, if they were not.
    pub(crate) place: Option<WaitId>,
    /// Whether the place is in the line of the keys that share a bucket.
    pub(crate) is_shared: bool,
}

impl ReservedPart {
    /// Tokens that cost nothing.
    pub(crate) const fn free(ready_at: Timestamp) -> Self {
        Self {
            ready_at,
            debit: None,
            place: None,
            is_shared: false,
        }
    }

    pub(crate) const fn debited(ready_at: Timestamp, debit: Debit) -> Self {
        Self {
            debit: Some(debit),
            ..Self::free(ready_at)
        }
    }

    pub(crate) const fn in_line(ready_at: Timestamp, place: WaitId) -> Self {
        Self {
            place: Some(place),
            ..Self::free(ready_at)
        }
    }
}

/// What a reservation holds of each member of a limiter; most limiters have one.
#[derive(Debug, Default)]
pub struct Parts(SmallVec<[ReservedPart; 1]>);

impl Parts {
    pub(crate) fn of(part: ReservedPart) -> Self {
        Self(SmallVec::from_elem(part, 1))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, ReservedPart> {
        self.0.iter()
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns when all parts can be used, `now` at the earliest.
    pub(crate) fn ready_at(&self, now: Timestamp) -> Timestamp {
        let last = self.iter().map(|part| part.ready_at).max();
        last.unwrap_or(now).max(now)
    }
}
