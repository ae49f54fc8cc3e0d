//! The token bucket as sequential arithmetic: `now` comes in, nothing is locked, nothing is rounded.
//!
//! It is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A):
//! what is kept of a bucket is not a count of tokens but the instant at which it is full again. A
//! count would have to be brought up to date, and rounded, whenever somebody looks; the instant
//! changes only when somebody takes.
//!
//! It is in units since the clock's origin: 128 bits, so that no base and no horizon is in the way
//! here. Who keeps a bucket in a [word](crate::limiter::core::word) counts it from a base there.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::ledger::{DebtId, Ledger, Most, Refund};
use crate::quota::{Units, nanos_for};

/// An instant in units since the clock's origin. Bounds on [`Quota`](crate::Quota) keep each
/// product of units below 2^125.
pub(crate) type Instant = u128;

/// The latest instant at which a bucket in debt can be full. Sums with it stay far from overflowing.
const MOST_DEBT: Instant = 1 << 126;

/// What a decision makes of a bucket: when it is full again, and what the caller gets.
pub(crate) type Decided<T> = Result<(Instant, T), Denied>;

/// A bucket as a decision sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) rate: Rate,
    pub(crate) full_at: Instant,
    /// Of who has taken since then nothing is known.
    pub(crate) known: Timestamp,
    /// The latest instant that the place where it is kept can hold.
    pub(crate) most: Instant,
}

/// A quota, as the arithmetic has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) units: Units,
    /// The burst in units.
    pub(crate) depth: u128,
}

impl Rate {
    pub(crate) const fn new(units: Units) -> Self {
        Self {
            units,
            depth: units.depth(),
        }
    }

    #[inline]
    pub(crate) fn at(&self, now: Timestamp) -> Instant {
        u128::from(now.as_nanos()) * u128::from(self.units.per_nano)
    }

    /// `n` tokens in units.
    #[inline]
    pub(crate) fn cost(&self, n: u64) -> u128 {
        u128::from(n) * u128::from(self.units.per_token)
    }

    #[inline]
    pub(crate) const fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        let burst = self.units.burst.saturating_sub(floor);
        // Without a limit there is none to the floor either.
        if n > burst && self.units.per_token > 0 {
            Err(Denied::ExceedsBurst { burst })
        } else {
            Ok(())
        }
    }

    /// Takes `n` tokens if `floor` remain, of a bucket that would be full at `full_at`: when it is full
    /// then.
    #[inline]
    pub(crate) fn take(
        &self,
        full_at: Instant,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Instant, Denied> {
        self.check_burst(n, floor)?;
        let cost = self.cost(n);
        if cost == 0 {
            return Ok(full_at);
        }
        let at = self.at(now);
        let next = full_at.max(at) + cost;
        let wanted = next + self.cost(floor);
        if wanted <= at + self.depth {
            Ok(next)
        } else {
            Err(Denied::after(self.wait(wanted, now)))
        }
    }

    /// When a bucket is full that has its first token at `paused`; 0 if that has passed at `now`, or if
    /// there is nothing to hold back. Where nothing accrues there is no first token.
    pub(crate) fn first_after(&self, paused: Timestamp, now: Timestamp) -> Instant {
        if paused <= now || self.units.per_token == 0 {
            return 0;
        }
        let but_one = self.depth.saturating_sub(self.units.per_token.into());
        self.at(paused) + but_one + u128::from(self.units.per_nano == 0)
    }

    /// How long after `now` a bucket that would be full at `full_at` has nothing owing; `None` if
    /// the clock ends first.
    #[inline]
    pub(crate) fn wait(&self, full_at: Instant, now: Timestamp) -> Option<Duration> {
        let short = full_at.saturating_sub(self.at(now) + self.depth);
        match (u64::try_from(short), self.units.per_nano) {
            (Ok(0), _) => Some(Duration::ZERO),
            // Dividing words is several times faster.
            (Ok(short), per_nano) => wait_for(short, per_nano, now),
            (Err(_), 0) => None,
            (Err(_), per_nano) => in_time(short.div_ceil(per_nano.into()).try_into().ok()?, now),
        }
    }
}

/// How long after `now` so many units have accrued; `None` if they never do, or the clock ends
/// first.
#[inline]
pub(crate) fn wait_for(short: u64, per_nano: u64, now: Timestamp) -> Option<Duration> {
    if per_nano == 0 {
        return None;
    }
    in_time(nanos_for(short, per_nano), now)
}

#[inline]
fn in_time(wait: u64, now: Timestamp) -> Option<Duration> {
    now.as_nanos().checked_add(wait)?;
    Some(Duration::from_nanos(wait))
}

impl View {
    /// What `now` counts as where tokens come back, or the quota changes: no time before that from
    /// which on nothing is known.
    pub(crate) fn since(&self, now: Timestamp) -> Timestamp {
        now.max(self.known)
    }

    /// Takes `n` tokens if `floor` remain.
    ///
    /// A `now` before the last take counts from when the bucket is full, which is what keeps a
    /// stale clock from minting.
    #[inline]
    pub(crate) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Decided<()> {
        let next = self.rate.take(self.full_at, n, floor, now)?;
        Ok((next, ()))
    }

    /// How long after `now` `n` tokens can be had, if they are taken in parts no larger than the
    /// burst.
    #[inline]
    pub(crate) fn wait_for(&self, n: u128, now: Timestamp) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        // Multiplying words is several times faster.
        let cost = match u64::try_from(n) {
            Ok(n) => self.rate.cost(n),
            Err(_) => n.saturating_mul(self.rate.units.per_token.into()),
        };
        let full_at = self.full_at.max(self.rate.at(now)).saturating_add(cost);
        self.rate.wait(full_at, now).ok_or(Denied::Exhausted)
    }

    /// Takes `n` tokens, whether they are there or not.
    #[inline]
    pub(crate) fn taken(&self, n: u64, now: Timestamp) -> Instant {
        match self.rate.cost(n) {
            0 => self.full_at,
            cost => self.full_at.max(self.rate.at(now)) + cost,
        }
    }

    /// Takes `n` tokens after their use was known, whether they are there or not. The debt saturates
    /// at [`MOST_DEBT`].
    pub(crate) fn charged(&self, n: u64, now: Timestamp) -> Instant {
        self.full_at.max(self.taken(n, now).min(MOST_DEBT))
    }

    /// Takes what there is, at most `n`.
    pub(crate) fn take_up_to(&self, n: u64, now: Timestamp) -> (Instant, u64) {
        let there = self.available(now).min(n);
        (self.taken(there, now), there)
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`: what they cost, and
    /// when they can be used.
    pub(crate) fn owe(
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
        let next = self.taken(n, now);
        let retry_after = self.rate.wait(next, now).ok_or(Denied::Exhausted)?;
        if retry_after > max_wait {
            return Err(Denied::TooLong { retry_after });
        }
        Ok((next, (cost, now.saturating_add(retry_after))))
    }

    /// Gives a debt back as far as the ledger and a pause allow it at `now`; `None` if it is none of
    /// the ledger's.
    pub(crate) fn give_back(
        &self,
        ledger: &Ledger,
        id: DebtId,
        paused: Timestamp,
        now: Timestamp,
    ) -> Option<(Instant, Refund)> {
        let first = self.rate.first_after(paused, now);
        let most = Most::of(self.rate.depth, self.full_at, first);
        let at = self.rate.at(self.since(now));
        let refund = ledger.plan(id, self.full_at, at, most)?;
        Some((self.full_at.saturating_sub(refund.back), refund))
    }

    /// Returns `n` tokens, never above the burst, nor before a pause ends: what came back, in units.
    pub(crate) fn refund(&self, n: u64, paused: Timestamp, now: Timestamp) -> (Instant, u128) {
        let at = self.rate.at(self.since(now));
        let least = at.max(self.rate.first_after(paused, now));
        let back = self.rate.cost(n.min(self.rate.units.burst));
        let back = back.min(self.full_at.saturating_sub(least));
        (self.full_at - back, back)
    }

    /// Lets no more than `keep` tokens be there at `now`.
    pub(crate) fn tighten(&self, keep: u64, now: Timestamp) -> Instant {
        let keep = self.rate.cost(keep.min(self.rate.units.burst));
        // Of a word the depth may have been read while it changed.
        match self.rate.depth.saturating_sub(keep) {
            // However full it is; it is not to look less full to a time before.
            0 => self.full_at,
            missing => self.full_at.max(self.rate.at(now) + missing),
        }
    }

    /// Lets the first token be there at `until`, not before.
    pub(crate) fn pause_until(&self, until: Timestamp, now: Timestamp) -> Decided<()> {
        if until <= now || self.rate.units.per_token == 0 {
            return Ok((self.full_at, ()));
        }
        if self.rate.units.per_nano == 0 {
            return Err(Denied::Exhausted);
        }
        let first = self.rate.first_after(until, now);
        Ok((self.full_at.max(first), ()))
    }

    /// How long after `now` the bucket is full; `None` if never.
    pub(crate) fn full_after(&self, now: Timestamp) -> Option<Duration> {
        let missing = self.full_at.saturating_sub(self.rate.at(now));
        match u128::from(self.rate.units.per_nano) {
            _ if missing == 0 => Some(Duration::ZERO),
            0 => None,
            per_nano => in_time(missing.div_ceil(per_nano).try_into().ok()?, now),
        }
    }

    /// The whole tokens at `now`.
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
    use crate::limiter::core::carry::CarryOver;
    use crate::limiter::core::carry::Change;
    use crate::limiter::core::word::{Base, TIME_MAX};

    proptest! {
        /// Of a word, base and rate may have been read while they changed, each by itself.
        #[test]
        fn whatever_was_read_overflows_nothing(
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
            let _ = view.owe(n, Duration::MAX, now);
            let (full_at, there) = view.take_up_to(n, now);
            prop_assert!(full_at >= view.full_at && there <= n);
            let (full_at, back) = view.refund(n, other, now);
            prop_assert_eq!(full_at + back, view.full_at);
            prop_assert!(view.tighten(n, now) >= view.full_at);
            let _ = view.pause_until(other, now);
            for rule in [CarryOver::Tokens, CarryOver::Fraction, CarryOver::Empty] {
                Change::new(rule).full_at(&view, &rate, now);
            }
        }
    }
}
