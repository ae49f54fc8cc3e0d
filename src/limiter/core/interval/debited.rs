//! The reservations of a bucket that refills at intervals that were debited, and can still be cancelled.

use crate::clock::Timestamp;
use crate::limiter::core::tokens::dated::MAX_AHEAD;
use crate::limiter::core::tokens::log::Log;

/// Reservations that were debited, as far as they can still be cancelled: their open parts.
///
/// Invariant: their open parts together are no more than what was missing to a full bucket at any
/// instant since. What the bucket could not have kept does not come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Debited {
    /// At most [`MAX_AHEAD`].
    pub(crate) log: Log,
    /// The sum of the open parts, which may exceed the totals of the log.
    open: i128,
}

impl Debited {
    pub(crate) fn add(&mut self, at: Timestamp, open: u64) {
        self.open += i128::from(open);
        self.log.add(at, open, open);
        if self.log.len() > MAX_AHEAD
            && let Some(first) = self.log.get(0)
        {
            self.remove(0, first.tokens);
        }
    }

    /// Limits the open parts to what is missing; the oldest are lost first.
    pub(crate) fn limit_to(&mut self, missing: i128) {
        while self.open > missing
            && let Some(first) = self.log.get(0)
        {
            let lost = u64::try_from(self.open - missing).unwrap_or(u64::MAX);
            self.remove(0, lost.min(first.tokens));
        }
    }

    /// Closes `n` tokens of what was reserved for `at`; returns how many of them were open.
    pub(crate) fn close(&mut self, at: Timestamp, n: u64) -> i128 {
        let found = self.log.find(at);
        found.map_or(0, |(index, entry)| self.remove(index, n.min(entry.tokens)))
    }

    fn remove(&mut self, index: usize, n: u64) -> i128 {
        self.log.remove(index, 0, n);
        self.open -= i128::from(n);
        n.into()
    }
}
