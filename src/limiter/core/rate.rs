//! The token bucket as sequential arithmetic: `now` is an argument, nothing is locked, and nothing is
//! rounded.
//!
//! The algorithm is the generic cell rate algorithm (GCRA) in its virtual scheduling form (ITU-T
//! I.371, annex A): what is kept of a bucket is not a count of tokens but an instant, at which it is
//! full again (the theoretical arrival time). A count would have to be updated, and rounded, at every
//! read; the instant changes only when a caller takes.
//!
//! Instants are 128-bit numbers of *units* since the clock's origin. A nanosecond and a token are each
//! a whole number of units, so no division rounds. A bucket that is kept in a
//! [word](crate::limiter::core::word) counts from a base there.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::ledger::{DebtId, Ledger, Refund};
use crate::quota::{Units, nanos_for};

/// An instant, in units since the clock's origin. The bounds of [`Quota`](crate::Quota) keep each
/// product of units below 2^125.
pub(crate) type Instant = u128;

/// The latest instant at which a bucket in debt can be full: a power of two that leaves sums with it
/// far from overflowing.
const MAX_DEBT: Instant = 1 << 126;

/// A decision: when the bucket is full after it, and what the caller gets.
pub(crate) type Decided<T> = Result<(Instant, T), Denied>;

/// A bucket as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) rate: Rate,
    pub(crate) full_at: Instant,
    /// Every take at or after this time is in `full_at`. Of earlier times nothing is known.
    pub(crate) known_since: Timestamp,
    /// The latest `full_at` that the place where the bucket is kept can hold.
    pub(crate) max_full_at: Instant,
}

/// A quota in units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) units: Units,
    /// The burst in units.
    pub(crate) depth: u128,
}

/// Returns what is left of a burst when leases carve `leased` tokens out of it.
///
/// # Errors
/// [`Denied::ExceedsBurst`] if nothing is left.
pub(crate) fn burst_without(burst: u64, leased: u64) -> Result<u64, Denied> {
    let left = burst.checked_sub(leased).filter(|left| *left > 0);
    left.ok_or(Denied::ExceedsBurst {
        burst: burst.saturating_sub(1),
    })
}

impl Rate {
    pub(crate) const fn new(units: Units) -> Self {
        Self {
            units,
            depth: units.depth(),
        }
    }

    /// Returns a time in units.
    #[inline]
    pub(crate) fn at(&self, now: Timestamp) -> Instant {
        u128::from(now.as_nanos()) * u128::from(self.units.per_nano)
    }

    /// Returns the cost of `n` tokens in units.
    #[inline]
    pub(crate) fn cost(&self, n: u64) -> u128 {
        u128::from(n) * u128::from(self.units.per_token)
    }

    /// Checks that `n` tokens can ever be had at once above `floor`.
    #[inline]
    pub(crate) const fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        let burst = self.units.burst.saturating_sub(floor);
        // An unlimited quota has no burst, and so no floor either.
        if n > burst && self.units.per_token > 0 {
            Err(Denied::ExceedsBurst { burst })
        } else {
            Ok(())
        }
    }

    /// Takes `n` tokens if `floor` remain, of a bucket that is full at `full_at`; returns when it is
    /// full after that, or `None` if the tokens cost nothing.
    #[inline]
    pub(crate) fn take(
        &self,
        full_at: Instant,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Option<Instant>, Refused> {
        let cost = self.cost(n);
        if cost == 0 {
            return Ok(None);
        }
        let at = self.at(now);
        let next = full_at.max(at) + cost;
        let (wanted, there) = (next + self.cost(floor), at + self.depth);
        if wanted <= there {
            return Ok(Some(next));
        }
        // Only here: more than the burst is never there.
        self.check_burst(n, floor).map_err(Refused::Never)?;
        Err(Refused::Early {
            short: wanted - there,
            per_nano: self.units.per_nano,
        })
    }

    /// Returns when a bucket is full whose first token is there at `paused`; zero if that has passed at
    /// `now`, or the quota is unlimited. At a rate of zero there is no first token.
    pub(crate) fn paused_full_at(&self, paused: Timestamp, now: Timestamp) -> Instant {
        if paused <= now || self.units.per_token == 0 {
            return 0;
        }
        let all_but_one = self.depth.saturating_sub(self.units.per_token.into());
        self.at(paused) + all_but_one + u128::from(self.units.per_nano == 0)
    }

    /// Returns how long after `now` a bucket that is full at `full_at` is out of debt; `None` if the
    /// clock ends first.
    #[inline]
    pub(crate) fn wait(&self, full_at: Instant, now: Timestamp) -> Option<Duration> {
        let short = full_at.saturating_sub(self.at(now) + self.depth);
        wait_for_any(short, self.units.per_nano, now)
    }
}

/// Why a take is refused, without the division that tells the caller how long to wait: that is for
/// after the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    /// So many units have to accrue first.
    Early {
        short: u128,
        per_nano: u64,
    },
    Never(Denied),
}

impl Refused {
    #[inline]
    pub(crate) fn denied(self, now: Timestamp) -> Denied {
        match self {
            Self::Early { short, per_nano } => Denied::after(wait_for_any(short, per_nano, now)),
            Self::Never(denied) => denied,
        }
    }
}

/// Same as [`wait_for`], of any number of units.
#[inline]
fn wait_for_any(short: u128, per_nano: u64, now: Timestamp) -> Option<Duration> {
    match u64::try_from(short) {
        Ok(0) => Some(Duration::ZERO),
        // A division of words is several times faster than one of 128 bits.
        Ok(short) => wait_for(short, per_nano, now),
        Err(_) => wait_for_many(short, per_nano, now),
    }
}

#[cold]
fn wait_for_many(short: u128, per_nano: u64, now: Timestamp) -> Option<Duration> {
    if per_nano == 0 {
        return None;
    }
    in_time(short.div_ceil(per_nano.into()).try_into().ok()?, now)
}

/// Returns how long after `now` that many units have accrued; `None` if they never do, or the clock
/// ends first.
#[inline]
pub(crate) fn wait_for(short: u64, per_nano: u64, now: Timestamp) -> Option<Duration> {
    if per_nano == 0 {
        return None;
    }
    in_time(nanos_for(short, per_nano), now)
}

/// Returns a wait, unless the clock ends first.
#[inline]
fn in_time(wait: u64, now: Timestamp) -> Option<Duration> {
    now.as_nanos().checked_add(wait)?;
    Some(Duration::from_nanos(wait))
}

impl View {
    /// Returns the time that `now` counts as where tokens come back or the quota changes: no earlier
    /// than [`known_since`](Self::known_since).
    pub(crate) fn effective_now(&self, now: Timestamp) -> Timestamp {
        now.max(self.known_since)
    }

    /// Returns a decision as an update of the bucket: a denial leaves the bucket as it is.
    pub(crate) fn as_update<T>(&self, decided: Decided<T>) -> (Instant, Result<T, Denied>) {
        match decided {
            Ok((full_at, output)) => (full_at, Ok(output)),
            Err(denied) => (self.full_at, Err(denied)),
        }
    }

    /// Takes `n` tokens if `floor` remain.
    ///
    /// A `now` before the last take counts from when the bucket is full, so a stale clock mints no
    /// token.
    #[inline]
    pub(crate) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Decided<()> {
        match self.rate.take(self.full_at, n, floor, now) {
            Ok(next) => Ok((next.unwrap_or(self.full_at), ())),
            Err(refused) => Err(refused.denied(now)),
        }
    }

    /// Returns how long after `now` `n` tokens can be had, in parts no larger than the burst.
    #[inline]
    pub(crate) fn wait_for(&self, n: u128, now: Timestamp) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        // A product of words is several times faster than one of 128 bits.
        let cost = match u64::try_from(n) {
            Ok(n) => self.rate.cost(n),
            Err(_) => n.saturating_mul(self.rate.units.per_token.into()),
        };
        let full_at = self.full_at.max(self.rate.at(now)).saturating_add(cost);
        self.rate.wait(full_at, now).ok_or(Denied::Exhausted)
    }

    /// Returns when the bucket is full after a take of `n` tokens, whether they are there or not.
    #[inline]
    pub(crate) fn full_at_after(&self, n: u64, now: Timestamp) -> Instant {
        match self.rate.cost(n) {
            0 => self.full_at,
            cost => self.full_at.max(self.rate.at(now)) + cost,
        }
    }

    /// Same as [`full_at_after`](Self::full_at_after), with a debt that saturates at [`MAX_DEBT`].
    pub(crate) fn full_at_after_charge(&self, n: u64, now: Timestamp) -> Instant {
        self.full_at.max(self.full_at_after(n, now).min(MAX_DEBT))
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`; returns their cost, when
    /// they can be used, and when the bucket is full afterwards.
    pub(crate) fn reserve(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Decided<(u128, Timestamp, Instant)> {
        self.rate.check_burst(n, 0)?;
        let cost = self.rate.cost(n);
        if cost == 0 {
            return Ok((self.full_at, (0, now, self.full_at)));
        }
        let next = self.full_at_after(n, now);
        let retry_after = self.rate.wait(next, now).ok_or(Denied::Exhausted)?;
        if retry_after > max_wait {
            return Err(Denied::TooLong { retry_after });
        }
        Ok((next, (cost, now.saturating_add(retry_after), next)))
    }

    /// Gives a debt back as far as the ledger and a pause allow it at `now`; no refund if the debt is
    /// not in the ledger.
    pub(crate) fn give_back(
        &self,
        ledger: &Ledger,
        id: DebtId,
        paused: Timestamp,
        now: Timestamp,
    ) -> (Instant, Option<Refund>) {
        let cap = match self.rate.paused_full_at(paused, now) {
            0 => u128::MAX,
            first => self.full_at.saturating_sub(first),
        };
        let at = self.rate.at(self.effective_now(now));
        let refund = ledger.plan_refund(id, self.full_at, at, self.rate.depth, cap);
        let back = refund.map_or(0, |refund| refund.back);
        (self.full_at.saturating_sub(back), refund)
    }

    /// Returns `n` tokens, never above the burst, nor before a pause ends; returns what came back, in
    /// units.
    pub(crate) fn refund(&self, n: u64, paused: Timestamp, now: Timestamp) -> (Instant, u128) {
        let at = self.rate.at(self.effective_now(now));
        let least = at.max(self.rate.paused_full_at(paused, now));
        let back = self.rate.cost(n.min(self.rate.units.burst));
        let back = back.min(self.full_at.saturating_sub(least));
        (self.full_at - back, back)
    }

    /// Returns when the bucket is full if no more than `remaining` tokens are left at `now`.
    pub(crate) fn tighten(&self, remaining: u64, now: Timestamp) -> Instant {
        let remaining = self.rate.cost(remaining.min(self.rate.units.burst));
        // Saturates, since a torn read of a slot may combine any depth with any burst.
        match self.rate.depth.saturating_sub(remaining) {
            // A full bucket stays as it is: an earlier time must not find it less full.
            0 => self.full_at,
            missing => self.full_at.max(self.rate.at(now) + missing),
        }
    }

    /// Blocks all admissions until `until`, when the first token is there.
    pub(crate) fn pause_until(&self, until: Timestamp, now: Timestamp) -> Decided<()> {
        if until <= now || self.rate.units.per_token == 0 {
            return Ok((self.full_at, ()));
        }
        if self.rate.units.per_nano == 0 {
            return Err(Denied::Exhausted);
        }
        let first = self.rate.paused_full_at(until, now);
        Ok((self.full_at.max(first), ()))
    }

    /// Returns how long after `now` the bucket is full; `None`: never.
    pub(crate) fn full_after(&self, now: Timestamp) -> Option<Duration> {
        // `wait` counts until the bucket lacks a burst, so for a burst more, until it lacks nothing.
        let a_burst_on = self.full_at.saturating_add(self.rate.depth);
        self.rate.wait(a_burst_on, now)
    }

    /// Returns the whole tokens at `now`.
    pub(crate) fn available(&self, now: Timestamp) -> u64 {
        let missing = self.full_at.saturating_sub(self.rate.at(now));
        let there = self.rate.depth.saturating_sub(missing);
        match there.checked_div(self.rate.units.per_token.into()) {
            None => u64::MAX,
            Some(tokens) => u64::try_from(tokens).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limiter::core::carry::{CarryOver, QuotaChange};
    use crate::limiter::core::word::{Base, TIME_MAX};

    proptest! {
        /// A torn read of a slot may combine any base with any rate.
        #[test]
        fn a_torn_read_overflows_nothing(
            per_nano in 0..1_u64 << 33, per_token in 0..1_u64 << 62, burst in 1..1_u64 << 60,
            depth in 0..1_u128 << 54, base: u64, time in 0..=TIME_MAX,
            now: u64, n in prop_oneof![1..1_000_u64, any::<u64>()], floor in prop_oneof![Just(0), any::<u64>()],
            other: u64,
        ) {
            let units = Units { per_nano, per_token, burst };
            let rate = Rate { units, depth };
            let view = Base::new(&rate, base).view(rate, time);
            let (now, other) = (Timestamp::from_nanos(now), Timestamp::from_nanos(other));
            let _ = view.take(n, floor, now);
            let _ = view.reserve(n, Duration::MAX, now);
            let _ = view.wait_for(n.into(), now);
            prop_assert!(view.full_at_after(view.available(now).min(n), now) >= view.full_at);
            let (full_at, back) = view.refund(n, other, now);
            prop_assert_eq!(full_at + back, view.full_at);
            prop_assert!(view.tighten(n, now) >= view.full_at);
            let _ = view.pause_until(other, now);
            for rule in [CarryOver::Tokens, CarryOver::Fraction, CarryOver::Empty] {
                QuotaChange::new(rule).full_at(&view, &rate, now);
            }
        }
    }
}
