//! Reservations of a bucket that refills at intervals: those ahead, and those that were debited and can
//! still be cancelled.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::limiter::core::tokens::dated::MAX_AHEAD;

/// Tokens reserved for one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved {
    pub(crate) at: Timestamp,
    pub(crate) tokens: u64,
    /// The part that a cancellation can still give back.
    pub(crate) open: u64,
}

/// Reservations that were debited, as far as they can still be cancelled.
///
/// Invariant: their open parts together are no more than what was missing to a full bucket at any
/// instant since. What the bucket could not have kept does not come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Debited {
    /// In the order of their instants, which differ. Each has an open part. At most [`MAX_AHEAD`].
    pub(crate) reserved: VecDeque<Reserved>,
    /// The sum of the open parts.
    open: i128,
}

impl Debited {
    pub(crate) fn add(&mut self, reserved: Reserved) {
        if reserved.open == 0 {
            return;
        }
        self.open += i128::from(reserved.open);
        match self.reserved.back_mut() {
            Some(last) if last.at == reserved.at => last.open += reserved.open,
            _ => self.reserved.push_back(reserved),
        }
        if self.reserved.len() > MAX_AHEAD
            && let Some(first) = self.reserved.pop_front()
        {
            self.open -= i128::from(first.open);
        }
    }

    /// Limits the open parts to what is missing; the oldest are lost first.
    pub(crate) fn limit_to(&mut self, missing: i128) {
        while self.open > missing
            && let Some(first) = self.reserved.front_mut()
        {
            let lost = u64::try_from(self.open - missing).unwrap_or(u64::MAX);
            let lost = lost.min(first.open);
            first.open -= lost;
            self.open -= i128::from(lost);
            if first.open == 0 {
                self.reserved.pop_front();
            }
        }
    }

    /// Closes `n` tokens of what was reserved for `at`; returns how many of them were open.
    pub(crate) fn close(&mut self, at: Timestamp, n: u64) -> i128 {
        let Some(reserved) = find(&mut self.reserved, at) else {
            return 0;
        };
        let closed = reserved.open.min(n);
        reserved.open -= closed;
        if reserved.open == 0 {
            self.reserved.retain(|reserved| reserved.open > 0);
        }
        self.open -= i128::from(closed);
        closed.into()
    }
}

/// Returns what is reserved for an instant, of reservations in the order of their instants.
pub(crate) fn find(reserved: &mut VecDeque<Reserved>, at: Timestamp) -> Option<&mut Reserved> {
    let index = reserved.binary_search_by_key(&at, |one| one.at).ok()?;
    reserved.get_mut(index)
}
