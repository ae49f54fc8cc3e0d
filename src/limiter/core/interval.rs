//! Refill at intervals as sequential arithmetic: a bucket of B tokens that gains N at each boundary,
//! and none between.
//!
//! The algorithm is the token bucket with interval refill: the boundaries are the instants
//! anchor + k * P, for every integer k, before the anchor as well as after it. The gain between two
//! instants is N for each boundary between, by integer division, so nothing is rounded and nothing
//! drifts. Admitted from s to e is at most B + N for each boundary in (s, e].
//!
//! Reservations still to come are kept as they are, each debited at its `ready_at`. A take is
//! admitted if what is left covers each of them. Each reservation has a need: the level at its
//! instant that covers it and, with what accrues, those behind it. The needs are computed from the
//! last reservation to the first, and a take compares what it leaves with the first.
//!
//! # Cost
//! Constant while nothing is reserved ahead, and linear in the reservations ahead otherwise, of
//! which there are at most [`MAX_AHEAD`].

mod plan;
mod reserved;
#[cfg(all(test, not(tollgate_loom)))]
mod tests;
mod tokens;
mod wait;

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{Timestamp, saturating_nanos};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::interval::reserved::{Ready, Reserved};
use crate::limiter::core::window::History;
use crate::quota::{Quota, QuotaError};

/// The most instants for which tokens are reserved ahead, and the most that are remembered since, so
/// that a cancellation gives back: 24 bytes each.
pub(crate) const MAX_AHEAD: usize = 1 << 16;

/// The largest debt of charges, in tokens. More is dropped.
pub(crate) const MAX_DEBT: u64 = u64::MAX;

/// How an [`Interval`] refills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refill {
    /// Gained at each boundary. Zero is a rate too: the burst, and nothing after it.
    pub(crate) tokens: u64,
    /// From one boundary to the next.
    pub(crate) period: Duration,
    /// The most that the bucket holds.
    pub(crate) burst: u64,
    /// One of the boundaries. The others are whole periods before and after it.
    pub(crate) anchor: Timestamp,
}

impl Refill {
    fn check(&self) -> Result<(), QuotaError> {
        if self.period.is_zero() {
            Err(QuotaError::ZeroPeriod)
        } else if self.period > Quota::MAX_PERIOD {
            Err(QuotaError::PeriodTooLong)
        } else if self.burst == 0 {
            Err(QuotaError::ZeroBurst)
        } else if self.tokens.max(self.burst) > Quota::MAX_TOKENS {
            Err(QuotaError::TooManyTokens)
        } else {
            Ok(())
        }
    }
}

/// A bucket that is refilled at intervals.
///
/// A `now` before the latest operation that changed the tokens counts as that.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// N, below 2^60 as is the burst: so the gain between any two instants is below 2^125.
    tokens: i128,
    /// In nanoseconds.
    period: u64,
    burst: i128,
    anchor: Timestamp,
    /// The tokens at `latest`; debt is below zero.
    level: i128,
    latest: Timestamp,
    /// No token can be had before.
    paused: Timestamp,
    /// After `latest`, in the order of their instants, which differ.
    ahead: VecDeque<Reserved>,
    /// Debited, and not known to be used.
    ready: Ready,
}

impl Interval {
    /// A full bucket.
    ///
    /// # Errors
    /// [`QuotaError`], with the bound that was broken.
    pub(crate) fn new(refill: Refill) -> Result<Self, QuotaError> {
        refill.check()?;
        let mut interval = Self {
            tokens: 0,
            period: 1,
            burst: 0,
            anchor: Timestamp::ZERO,
            level: refill.burst.into(),
            latest: Timestamp::ZERO,
            paused: Timestamp::ZERO,
            ahead: VecDeque::new(),
            ready: Ready::default(),
        };
        interval.refill_by(refill);
        Ok(interval)
    }

    fn refill_by(&mut self, refill: Refill) {
        self.tokens = refill.tokens.into();
        self.period = saturating_nanos(refill.period);
        self.burst = refill.burst.into();
        self.anchor = refill.anchor;
    }

    /// What `now` counts as.
    fn start(&self, now: Timestamp) -> Timestamp {
        now.max(self.latest)
    }

    /// The first instant at which an admission may be looked for.
    fn open_from(&self, now: Timestamp) -> Timestamp {
        self.start(now).max(self.paused)
    }

    /// Checks that `n` tokens can ever be had at once above `floor`.
    pub(crate) fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        let burst = (self.burst - i128::from(floor)).max(0);
        if i128::from(n) > burst {
            // No more than the burst, which was a word.
            let burst = u64::try_from(burst).unwrap_or(u64::MAX);
            return Err(Denied::ExceedsBurst { burst });
        }
        Ok(())
    }

    /// How long after `now` the instant `at` is; zero if `now` counts as that.
    fn wait_until(&self, at: Timestamp, now: Timestamp) -> Duration {
        if at == self.start(now) {
            return Duration::ZERO;
        }
        at.saturating_since(now)
    }

    /// Brings the level up to `to`, an instant no earlier than the latest.
    fn settle(&mut self, to: Timestamp) {
        while let Some(first) = self.ahead.front().copied().filter(|first| first.at <= to) {
            self.ahead.pop_front();
            self.advance(first.at);
            self.debit(first);
        }
        self.advance(to);
    }

    fn advance(&mut self, to: Timestamp) {
        self.level = self.grown(self.level, self.boundary(to) - self.boundary(self.latest));
        self.latest = to;
        self.ready.keep_within(self.burst - self.level);
    }

    /// Takes `n` tokens if at least `floor` could be had as well.
    ///
    /// # Errors
    /// [`Denied`]; nothing was changed.
    pub(crate) fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.check_burst(n, floor)?;
        let start = self.start(now);
        match self.fit(n, floor, self.open_from(now)) {
            Some(at) if at == start => {
                self.debit_now(n.into(), start);
                Ok(())
            }
            at => Err(Denied::after(at.map(|at| at.saturating_since(now)))),
        }
    }

    fn debit_now(&mut self, n: i128, start: Timestamp) {
        self.settle(start);
        self.level -= n;
    }

    /// Takes what there is, at most `n`.
    pub(crate) fn take_up_to(&mut self, n: u64, now: Timestamp) -> u64 {
        let there = self.available(now).min(n);
        if there > 0 {
            self.debit_now(there.into(), self.start(now));
        }
        there
    }

    /// Gives back `n` tokens, never above the burst.
    pub(crate) fn refund(&mut self, n: u64, now: Timestamp) {
        self.settle(self.start(now));
        self.level = self.burst.min(self.level + i128::from(n));
        self.ready.keep_within(self.burst - self.level);
    }

    /// Takes `n` tokens whether they are there or not. Cannot be refused; a pause does not matter.
    /// What would make the debt larger than [`MAX_DEBT`] is dropped.
    pub(crate) fn charge(&mut self, n: u64, now: Timestamp) {
        if n == 0 {
            return;
        }
        self.settle(self.start(now));
        let deepest = self.level.min(-i128::from(MAX_DEBT));
        self.level = deepest.max(self.level - i128::from(n));
    }

    /// Lets no more than `keep` tokens be there at `now`.
    pub(crate) fn tighten(&mut self, keep: u64, now: Timestamp) {
        let start = self.start(now);
        let excess = self.room(start) - i128::from(keep);
        if excess > 0 {
            self.debit_now(excess, start);
        }
    }

    /// Blocks all admissions until `until`. Tokens accrue meanwhile. Nothing shortens it but
    /// [`History::Forgotten`].
    pub(crate) fn pause_until(&mut self, until: Timestamp) {
        self.paused = self.paused.max(until);
    }

    /// The tokens that can be had at `now`.
    pub(crate) fn available(&self, now: Timestamp) -> u64 {
        let start = self.start(now);
        if self.paused > start {
            return 0;
        }
        u64::try_from(self.room(start)).unwrap_or(0)
    }

    /// When all tokens of the burst can be had at once, if nothing else is taken; `None` if that is
    /// never, or the clock ends first.
    pub(crate) fn full_at(&self, now: Timestamp) -> Option<Timestamp> {
        let burst = u64::try_from(self.burst).ok()?;
        self.fit(burst, 0, self.open_from(now))
    }

    /// Changes the refill, from now on. Reservations keep their instants.
    ///
    /// [`History::Kept`] keeps the tokens that the new burst can hold, and the debt;
    /// [`History::Forgotten`] starts full, and ends a pause.
    ///
    /// # Errors
    /// [`QuotaError`]; nothing was changed.
    pub(crate) fn set_refill(
        &mut self,
        refill: Refill,
        history: History,
        now: Timestamp,
    ) -> Result<(), QuotaError> {
        refill.check()?;
        self.settle(self.start(now));
        self.refill_by(refill);
        match history {
            History::Kept => self.level = self.level.min(self.burst),
            History::Forgotten => {
                self.level = self.burst;
                self.paused = Timestamp::ZERO;
            }
        }
        self.ready.keep_within(self.burst - self.level);
        Ok(())
    }
}
