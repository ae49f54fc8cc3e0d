//! Tokens that keep each reservation by its instant: those of a sliding window, and of a bucket that
//! refills at intervals. No change of what is there moves a reservation.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::Debit;
use crate::limiter::core::status::Status;
use crate::limiter::core::tokens::{TokenCount, Tokens};

/// The most instants ahead for which a limiter keeps reservations and charges, at 24 bytes each.
pub(crate) const MAX_AHEAD: usize = 1 << 16;

/// Tokens whose reservations have instants. A `now` before the latest change counts as that.
pub(crate) trait DatedTokens: TokenCount {
    /// Returns the time that `now` counts as.
    fn effective_now(&self, now: Timestamp) -> Timestamp;

    /// Returns when the whole burst can be had at once, if no caller takes; `None` if that is never, or
    /// the clock ends first.
    fn full_at(&self, now: Timestamp) -> Option<Timestamp>;

    /// Returns when `n` tokens can be had above `floor`, once the waiters `ahead` have theirs, first
    /// come, first served; `None` if that is never, or the clock ends first. A waiter is its number of
    /// tokens and its floor; one that asks for more than it can ever have is passed.
    ///
    /// A reservation may need the tokens later: that they can be had then does not mean that they can be
    /// had after.
    fn fit_behind(
        &self,
        ahead: impl Iterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Option<Timestamp>;

    /// Returns whether a reservation at `at` is none after `start`, or one of at most [`MAX_AHEAD`].
    fn has_place_at(&self, at: Timestamp, start: Timestamp) -> bool;

    /// Reserves `n` tokens at `at`, when they are there. `start` is the time that now counts as.
    fn reserve_at(&mut self, n: u64, at: Timestamp, start: Timestamp);

    /// Gives back `n` tokens that were reserved for `ready_at`, as far as they can come back.
    fn cancel(&mut self, ready_at: Timestamp, n: u64);

    /// Marks `n` tokens that were reserved for `ready_at` as used.
    fn commit_at(&mut self, ready_at: Timestamp, n: u64);

    /// Returns `n` tokens.
    fn refund(&mut self, n: u64, now: Timestamp);

    /// Takes `n` tokens, whether they are there or not. Cannot be refused; a pause does not matter.
    fn charge(&mut self, n: u64, now: Timestamp);

    /// Leaves no more than `remaining` tokens at `now`.
    fn tighten(&mut self, remaining: u64, now: Timestamp);

    /// Blocks all admissions until `until`. Only a change that forgets the history shortens it.
    fn pause_until(&mut self, until: Timestamp);

    /// Returns how long after `now` the instant `at` is; zero if `now` counts as that.
    fn wait_until(&self, at: Timestamp, now: Timestamp) -> Duration {
        if at == self.effective_now(now) {
            return Duration::ZERO;
        }
        at.saturating_since(now)
    }
}

impl<T: DatedTokens> Tokens for T {
    // Parts have no meaning here: a full bucket loses tokens between them, and a window admits other
    // callers between them.
    const IN_PARTS: bool = false;
    // A debit counts at its instant, and a take is judged by every instant that it affects.
    const DATED: bool = true;

    fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        let burst = self.burst().saturating_sub(floor);
        if n > burst {
            return Err(Denied::ExceedsBurst { burst });
        }
        Ok(())
    }

    fn is_free(&self, n: u64) -> bool {
        n == 0
    }

    fn status(&self, now: Timestamp) -> Status {
        Status {
            limit: self.burst(),
            remaining: self.available(now),
            retry_after: Some(Duration::ZERO),
            full_after: self.full_at(now).map(|at| self.wait_until(at, now)),
            waiting: 0,
        }
    }

    fn wait_behind(
        &self,
        _sum: impl FnOnce() -> u128,
        each: impl Iterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        self.check_burst(n, floor)?;
        let at = self.fit_behind(each, n, floor, now);
        Ok(self.wait_until(at.ok_or(Denied::Exhausted)?, now))
    }

    fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.check_burst(n, floor)?;
        match self.fit_behind(std::iter::empty(), n, floor, now) {
            Some(at) if at == self.effective_now(now) => {
                self.take_now(n, now);
                Ok(())
            }
            at => Err(Denied::after(at.map(|at| at.saturating_since(now)))),
        }
    }

    fn debit_now(&mut self, n: u64, now: Timestamp) -> Debit {
        let at = self.effective_now(now);
        self.reserve_at(n, at, at);
        Debit::Dated { at, n }
    }

    fn debit_at(&mut self, n: u64, ready_at: Timestamp, now: Timestamp) -> Result<Debit, Denied> {
        let start = self.effective_now(now);
        let at = ready_at.max(start);
        if !self.has_place_at(at, start) {
            let retry_after = at.saturating_since(now);
            return Err(Denied::TooLong { retry_after });
        }
        self.reserve_at(n, at, start);
        Ok(Debit::Dated { at, n })
    }

    fn give_back(&mut self, debit: Debit, _now: Timestamp) {
        if let Debit::Dated { at, n } = debit {
            self.cancel(at, n);
        }
    }

    fn commit(&mut self, debit: Debit) {
        if let Debit::Dated { at, n } = debit {
            self.commit_at(at, n);
        }
    }
}

/// What a [`Line`](crate::limiter::core::line::Line) composes of the above, for the tests of the tokens
/// alone.
#[cfg(all(test, not(tollgate_loom)))]
pub(crate) trait Composed: DatedTokens + Tokens {
    /// Same as [`Tokens::wait_behind`], behind a list of waiters.
    fn wait_after(
        &self,
        ahead: impl IntoIterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Duration, Denied> {
        self.wait_behind(|| 0, ahead.into_iter(), n, floor, now)
    }

    /// Takes what there is, at most `n`; returns how many.
    fn take_up_to(&mut self, n: u64, now: Timestamp) -> u64 {
        let there = self.available(now).min(n);
        if there > 0 {
            self.take_now(there, now);
        }
        there
    }

    /// Reserves `n` tokens at the first instant at which they can be had; returns that instant.
    fn reserve(&mut self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Timestamp, Denied> {
        if n == 0 {
            return Ok(now);
        }
        let retry_after = self.wait_after([], n, 0, now)?;
        if retry_after > max_wait {
            return Err(Denied::TooLong { retry_after });
        }
        let ready_at = now.saturating_add(retry_after).max(self.effective_now(now));
        self.debit_at(n, ready_at, now)?;
        Ok(ready_at)
    }
}

#[cfg(all(test, not(tollgate_loom)))]
impl<T: DatedTokens> Composed for T {}
