//! What a take leaves behind, so that it can be given back.

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limiter::core::ledger::DebtId;
use crate::wait::WaitId;

/// A debit that can be reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debit {
    /// Of a bucket: its entry in the ledger.
    Entry(DebtId),
    /// Of a limiter that keeps reservations by their instants.
    Dated { at: Timestamp, n: u64 },
}

/// Tokens that were taken ahead of their time, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// When they can be used.
    pub(crate) ready_at: Timestamp,
    /// To give them back.
    pub(crate) debt: Option<Debit>,
    /// Where they stand in line, if they were not taken at once.
    pub(crate) place: Option<WaitId>,
    /// Whether that is the line of the keys that share a bucket.
    pub(crate) is_shared: bool,
}

impl Taken {
    pub(crate) const fn owed(ready_at: Timestamp, debt: Debit) -> Self {
        Self {
            ready_at,
            debt: Some(debt),
            place: None,
            is_shared: false,
        }
    }

    pub(crate) const fn booked(ready_at: Timestamp, place: WaitId) -> Self {
        Self {
            ready_at,
            debt: None,
            place: Some(place),
            is_shared: false,
        }
    }

    pub(crate) const fn nothing(now: Timestamp) -> Self {
        Self {
            ready_at: now,
            debt: None,
            place: None,
            is_shared: false,
        }
    }
}

/// What was taken, of each member of a limiter: of most limiters that is one.
pub(crate) type Parts = SmallVec<[Taken; 1]>;

/// When the last of them can be used; of none, at any time.
pub(crate) fn ready_at(parts: &Parts, now: Timestamp) -> Timestamp {
    let last = parts.iter().map(|taken| taken.ready_at).max();
    last.unwrap_or(now).max(now)
}
