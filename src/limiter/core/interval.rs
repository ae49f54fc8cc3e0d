//! Refill at intervals as sequential arithmetic: a bucket of B tokens that gains N at each boundary, and
//! none between.
//!
//! The algorithm is the token bucket with interval refill. The boundaries are the instants
//! anchor + k * P, for every integer k, before the anchor as well as after it. The gain between two
//! instants is N for each boundary between, by integer division, so nothing is rounded and nothing
//! drifts. Invariant: what is admitted from s to e is at most B + N for each boundary in (s, e].
//!
//! Reservations still to come are kept as they are, each debited at its `ready_at`. A take is admitted
//! if what is left covers each of them. Each reservation has a need: the level at its instant that
//! covers it and, with what accrues, those behind it. The needs are computed from the last reservation
//! to the first, and a take compares what it leaves with the first.
//!
//! # Cost
//! Constant while nothing is reserved ahead, and linear in the reservations ahead otherwise, of which
//! there are at most [`MAX_AHEAD`](crate::limiter::core::tokens::dated::MAX_AHEAD).

mod debited;
mod plan;
mod tokens;

use std::time::Duration;

use crate::clock::{Timestamp, saturating_nanos};
use crate::limiter::core::history::History;
use crate::limiter::core::interval::debited::Debited;
use crate::limiter::core::tokens::dated::DatedTokens;
use crate::limiter::core::tokens::log::Log;
use crate::quota::{Quota, QuotaError};

/// The largest debt of charges, in tokens. What a charge adds beyond it is dropped.
pub(crate) const MAX_DEBT_TOKENS: u64 = u64::MAX;

/// How an [`IntervalBucket`] refills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refill {
    /// N, gained at each boundary. Zero means the burst, and nothing after it.
    pub(crate) tokens: u64,
    /// P, from one boundary to the next.
    pub(crate) period: Duration,
    /// B, the most that the bucket holds.
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
pub(crate) struct IntervalBucket {
    /// N, below 2^60 as is the burst: so the gain between any two instants is below 2^125.
    tokens: i128,
    /// In nanoseconds.
    period: u64,
    burst: i128,
    anchor: Timestamp,
    /// The tokens at `latest`; debt is below zero.
    level: i128,
    latest: Timestamp,
    /// Until when all admissions are blocked.
    paused: Timestamp,
    /// Reservations after `latest`, in the order of their instants, which differ.
    ahead: Log,
    debited: Debited,
}

impl IntervalBucket {
    /// Creates a full bucket.
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
            ahead: Log::default(),
            debited: Debited::default(),
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

    /// Changes the refill, from `now` on. Reservations keep their instants.
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
        self.settle(self.effective_now(now));
        self.refill_by(refill);
        match history {
            History::Kept => self.level = self.level.min(self.burst),
            History::Forgotten => {
                self.level = self.burst;
                self.paused = Timestamp::ZERO;
            }
        }
        self.debited.limit_to(self.burst - self.level);
        Ok(())
    }

    /// Returns the first instant at which an admission may be looked for.
    fn open_from(&self, now: Timestamp) -> Timestamp {
        self.effective_now(now).max(self.paused)
    }

    /// Brings the level up to `to`, an instant no earlier than the latest.
    fn settle(&mut self, to: Timestamp) {
        while let Some(first) = self.ahead.pop_until(to) {
            self.advance(first.at);
            self.level -= i128::from(first.tokens);
            self.debited.add(first.at, first.reserved);
        }
        self.advance(to);
    }

    fn advance(&mut self, to: Timestamp) {
        self.level = self.grown(self.level, self.boundary(to) - self.boundary(self.latest));
        self.latest = to;
        self.debited.limit_to(self.burst - self.level);
    }

    /// Debits `n` tokens at `at`, an instant no earlier than the latest.
    fn debit(&mut self, n: i128, at: Timestamp) {
        self.settle(at);
        self.level -= n;
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests;
