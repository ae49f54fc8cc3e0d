//! Reservations of a bucket: into debt at once, or by a place in its line.

use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::{Debit, ReservedPart};
use crate::limiter::shell::bucket::BucketOps;
use crate::limiter::shell::line_shell::LineShell;
use crate::unwind::Panics;

impl<C: Clock> BucketOps<'_, C> {
    pub(crate) fn reserve(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<ReservedPart, Denied> {
        let by_word = self.on_word(|state, fill| state.account().reserve(fill, n, max_wait, now));
        by_word.unwrap_or_else(|| LineShell::reserve(self, n, max_wait, now))
    }

    /// Gives back what no later taker has built on.
    pub(crate) fn give_back(&self, part: &ReservedPart, now: Option<Timestamp>) {
        match part.debit {
            Some(Debit::Ledger(debt)) => {
                let mut panics = Panics::default();
                panics.catch(|| {
                    self.on_fill(now, false, |state, fill, now| {
                        state.account().give_back(fill, debt, now)
                    });
                });
                if !panics.is_empty() {
                    // The clock panicked. Without a time nothing can come back: it counts as used.
                    self.commit(part);
                }
            }
            _ => self.leave_line(now, |state, now, _| state.line.give_back(part, now)),
        }
    }
}
