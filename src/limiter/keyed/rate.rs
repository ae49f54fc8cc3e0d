//! The token bucket of a key as sequential arithmetic, on the one number that is kept of it.
//!
//! That number is when the bucket is full again, in units since the clock's origin: 128 bits, so
//! that no base and no horizon is in the way here. [`Generation`](super::generation::Generation)
//! packs it into a word.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::Denied;
use crate::limiter::word;
use crate::quota::Units;

/// An instant in units since the clock's origin. Bounds on [`Quota`](crate::Quota) keep each
/// product of units below 2^125.
pub(super) type Instant = u128;

/// What a decision makes of a bucket: when it is full again, and what the caller gets.
pub(super) type Decided<T> = Result<(Instant, T), Denied>;

/// A bucket as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) rate: Rate,
    pub(super) full_at: Instant,
    /// The latest instant that can be kept.
    pub(super) most: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) units: Units,
    /// The burst in units.
    pub(super) depth: u128,
}

impl Rate {
    pub(super) fn new(units: Units) -> Self {
        Self {
            units,
            depth: units.depth(),
        }
    }

    #[inline]
    pub(super) fn at(&self, now: Timestamp) -> Instant {
        u128::from(now.as_nanos()) * u128::from(self.units.per_nano)
    }

    /// For `n` up to the burst.
    #[inline]
    pub(super) fn cost(&self, n: u64) -> u128 {
        u128::from(n) * u128::from(self.units.per_token)
    }

    fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        let burst = self.units.burst.saturating_sub(floor);
        if n > burst && self.units.per_token > 0 {
            Err(Denied::ExceedsBurst { burst })
        } else {
            Ok(())
        }
    }

    /// How long after `now` a bucket that would be full at `full_at` has nothing owing; `None` if
    /// the clock ends first.
    fn wait(&self, full_at: Instant, now: Timestamp) -> Option<Duration> {
        let short = full_at.saturating_sub(self.at(now) + self.depth);
        match (u64::try_from(short), self.units.per_nano) {
            (Ok(0), _) => Some(Duration::ZERO),
            // Dividing words is several times faster.
            (Ok(short), _) => word::wait(short, self.units.per_nano, now),
            (Err(_), 0) => None,
            (Err(_), per_nano) => {
                let wait = u64::try_from(short.div_ceil(per_nano.into())).ok()?;
                now.as_nanos().checked_add(wait)?;
                Some(Duration::from_nanos(wait))
            }
        }
    }
}

impl View {
    /// Takes `n` tokens if `floor` remain.
    ///
    /// A `now` before the last take counts from when the bucket is full, which is what keeps a
    /// stale clock from minting.
    #[inline]
    pub(super) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Decided<()> {
        self.rate.check_burst(n, floor)?;
        let cost = self.rate.cost(n);
        if cost == 0 {
            return Ok((self.full_at, ()));
        }
        let at = self.rate.at(now);
        let next = self.full_at.max(at) + cost;
        let wanted = next + self.rate.cost(floor);
        if wanted <= at + self.rate.depth {
            Ok((next, ()))
        } else {
            Err(self.too_early(wanted, now))
        }
    }

    #[cold]
    fn too_early(&self, wanted: Instant, now: Timestamp) -> Denied {
        Denied::after(self.rate.wait(wanted, now))
    }

    /// Takes what there is, at most `n`.
    pub(super) fn take_up_to(&self, n: u64, now: Timestamp) -> (Instant, u64) {
        let there = self.available(now).min(n);
        let cost = self.rate.cost(there);
        if cost == 0 {
            return (self.full_at, there);
        }
        (self.full_at.max(self.rate.at(now)) + cost, there)
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`: what they cost, and
    /// when they can be used.
    pub(super) fn owe(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Decided<(u128, Timestamp)> {
        self.rate.check_burst(n, 0)?;
        let cost = self.rate.cost(n);
        if cost == 0 {
            return Ok((self.full_at, (0, now)));
        }
        let next = self.full_at.max(self.rate.at(now)) + cost;
        let retry_after = self.rate.wait(next, now).ok_or(Denied::Exhausted)?;
        if retry_after > max_wait || next > self.most {
            return Err(Denied::TooLong { retry_after });
        }
        Ok((next, (cost, now.saturating_add(retry_after))))
    }

    /// Returns `n` tokens, never above the burst: what came back, in units.
    pub(super) fn refund(&self, n: u64, now: Timestamp) -> (Instant, u128) {
        let missing = self.full_at.saturating_sub(self.rate.at(now));
        let back = self.rate.cost(n.min(self.rate.units.burst)).min(missing);
        (self.full_at - back, back)
    }

    /// Lets no more than `keep` tokens be there at `now`.
    pub(super) fn tighten(&self, keep: u64, now: Timestamp) -> Instant {
        let keep = self.rate.cost(keep.min(self.rate.units.burst));
        match self.rate.depth - keep {
            // However full it is; it is not to look less full to a time before.
            0 => self.full_at,
            missing => self.raise(self.rate.at(now) + missing),
        }
    }

    /// Lets the first token be there at `until`, not before.
    pub(super) fn pause_until(&self, until: Timestamp, now: Timestamp) -> Decided<()> {
        if until <= now || self.rate.units.per_token == 0 {
            return Ok((self.full_at, ()));
        }
        if self.rate.units.per_nano == 0 {
            return Err(Denied::Exhausted);
        }
        let first = self.rate.at(until) + self.rate.depth - self.rate.cost(1);
        if first > self.most {
            let retry_after = until.saturating_since(now);
            return Err(Denied::TooLong { retry_after });
        }
        Ok((self.raise(first), ()))
    }

    fn raise(&self, to: Instant) -> Instant {
        self.full_at.max(to.min(self.most))
    }

    /// The whole tokens at `now`.
    pub(super) fn available(&self, now: Timestamp) -> u64 {
        let missing = self.full_at.saturating_sub(self.rate.at(now));
        let there = self.rate.depth.saturating_sub(missing);
        match there.checked_div(self.rate.units.per_token.into()) {
            None => u64::MAX,
            Some(tokens) => u64::try_from(tokens).unwrap_or(u64::MAX),
        }
    }
}
