//! The token bucket as sequential arithmetic: `now` comes in, nothing is locked, nothing is
//! rounded.
//!
//! It is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A):
//! what is kept is not a count of tokens but the instant at which the bucket is full again. A count
//! would have to be brought up to date, and rounded, whenever somebody looks; the instant changes
//! only when somebody takes.

use std::time::Duration;

use super::carry::{Change, first_after};
use super::ledger::{Ledger, Most};
use super::reservation::Taken;
use super::{CarryOver, Denied};
use crate::clock::Timestamp;
use crate::quota::{Units, nanos_for};

/// 128 bits hold every sum of units that occurs: bounds on [`Quota`](crate::Quota) keep each
/// product below 2^125.
type Amount = u128;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    units: Units,
    /// The burst in units.
    depth: Amount,
    /// The latest instant at which somebody took.
    touched: Timestamp,
    /// What was missing to full at that instant.
    missing: Amount,
    ledger: Ledger,
    /// A server's word that no token is to be had before: nothing that comes back ends it.
    paused: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(units: Units) -> Self {
        Self {
            units,
            depth: units.depth(),
            touched: Timestamp::ZERO,
            missing: 0,
            ledger: Ledger::default(),
            paused: Timestamp::ZERO,
        }
    }

    pub(super) const fn units(&self) -> Units {
        self.units
    }

    #[inline]
    pub(super) const fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        let burst = self.units.burst.saturating_sub(floor);
        // Without a limit there is none to the floor either.
        if n > burst && self.units.per_token > 0 {
            Err(Denied::ExceedsBurst { burst })
        } else {
            Ok(())
        }
    }

    /// How long after `now` `n` tokens can be had, if all of it is taken in pieces no larger than
    /// the burst.
    #[inline]
    pub(super) fn wait_for(&self, n: Amount, now: Timestamp) -> Result<Duration, Denied> {
        // Multiplying words is several times faster.
        let cost = match u64::try_from(n) {
            Ok(n) => self.cost(n),
            Err(_) => n.saturating_mul(self.units.per_token.into()),
        };
        let wanted = self.missing_at(now).saturating_add(cost);
        let short = wanted.saturating_sub(self.depth);
        if n == 0 || short == 0 {
            return Ok(Duration::ZERO);
        }
        let wait = match (u64::try_from(short), self.units.per_nano) {
            (_, 0) => return Err(Denied::Exhausted),
            (Ok(short), _) => nanos_for(short, self.units.per_nano).into(),
            (Err(_), per_nano) => short.div_ceil(per_nano.into()),
        };
        let in_time = u64::try_from(wait)
            .ok()
            .filter(|wait| now.as_nanos().checked_add(*wait).is_some());
        in_time.map(Duration::from_nanos).ok_or(Denied::Exhausted)
    }

    /// Takes `n` tokens whether they are there or not. A `now` before the last take counts from the
    /// last take, which is what keeps a stale clock from minting.
    #[inline]
    pub(super) fn take(&mut self, n: u64, now: Timestamp) {
        let cost = self.cost(n);
        if cost > 0 {
            self.touch(now);
        }
        self.missing += cost;
    }

    /// Takes `n` tokens that can be used at `ready_at`, and that may come back.
    pub(super) fn owe(&mut self, n: u64, now: Timestamp, ready_at: Timestamp) -> Taken {
        self.take(n, now);
        let debt = self.ledger.open(self.cost(n), self.full_at());
        Taken { ready_at, debt }
    }

    /// Gives back what no later taker has built on.
    pub(super) fn give_back(&mut self, taken: &Taken, now: Timestamp) {
        let (full_at, at) = (self.full_at(), self.elapsed_units(now.max(self.touched)));
        let most = Most::of(
            self.depth,
            full_at,
            first_after(self.paused, self.units, now),
        );
        let Some(refund) = self.ledger.plan(taken.debt, full_at, at, most) else {
            return;
        };
        self.missing = self.missing.saturating_sub(refund.back);
        self.ledger.commit(taken.debt, refund);
    }

    /// The tokens will be used.
    pub(super) fn keep(&mut self, taken: &Taken) {
        self.ledger.close(taken.debt);
    }

    /// Returns `n` tokens, never above the burst, nor before a pause ends.
    pub(super) fn refund(&mut self, n: u64, now: Timestamp) {
        let most = self.missing.saturating_sub(self.least(now));
        let back = self.cost(n.min(self.units.burst)).min(most);
        self.missing -= back;
        self.ledger.returned(back);
    }

    /// Lets no more than `keep` tokens be there at `now`.
    pub(super) fn tighten(&mut self, keep: u64, now: Timestamp) {
        let least = self.depth - self.cost(keep.min(self.units.burst));
        if self.missing_at(now) < least {
            self.touch(now);
            // What has accrued since, if somebody has taken at a later time, stays.
            let later = self.elapsed_units(self.touched) - self.elapsed_units(now);
            self.missing = self.missing.max(least.saturating_sub(later));
        }
    }

    /// Lets the first token be there at `until`, not before.
    pub(super) fn pause_until(&mut self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        if until > now && self.units.per_nano == 0 && self.units.per_token > 0 {
            return Err(Denied::Exhausted);
        }
        let first = first_after(until, self.units, now);
        if self.full_at() < first {
            self.touch(now);
            self.missing = first - self.elapsed_units(self.touched);
        }
        self.paused = self.paused.max(until);
        Ok(())
    }

    /// Changes the quota, in force since `now`, or since the last take, if that was later: what was
    /// taken then is not to be gained again.
    pub(super) fn configure(
        &mut self,
        units: Units,
        carry: CarryOver,
        carved: u64,
        now: Timestamp,
    ) {
        if carry == CarryOver::Full {
            self.paused = Timestamp::ZERO;
        }
        let change = Change {
            carry,
            carved,
            paused: self.paused,
        };
        self.touch(now);
        self.missing = change.missing(self.units, units, self.missing);
        (self.units, self.depth) = (units, units.depth());
        self.missing = self.missing.max(self.least(now));
        self.ledger.reset();
    }

    /// Changes the burst, for a lease that comes or goes.
    pub(super) fn resize(&mut self, burst: u64, now: Timestamp) {
        let units = Units {
            burst,
            ..self.units
        };
        self.touch(now);
        let change = Change::new(CarryOver::Tokens);
        self.missing = change.missing(self.units, units, self.missing);
        let carved = self.depth.cast_signed() - units.depth().cast_signed();
        (self.units, self.depth) = (units, units.depth());
        self.missing = self.missing.max(self.least(now));
        self.ledger.carve(carved);
    }

    /// What has to be missing since the last take, as long as a pause lasts.
    fn least(&self, now: Timestamp) -> Amount {
        first_after(self.paused, self.units, now).saturating_sub(self.elapsed_units(self.touched))
    }

    pub(super) fn available(&self, now: Timestamp) -> u64 {
        let there = self.depth.saturating_sub(self.missing_at(now));
        match there.checked_div(self.units.per_token.into()) {
            None => u64::MAX,
            Some(tokens) => u64::try_from(tokens).unwrap_or(u64::MAX),
        }
    }

    #[inline]
    fn touch(&mut self, now: Timestamp) {
        if now > self.touched {
            self.missing = self.missing_at(now);
            self.touched = now;
        }
    }

    #[inline]
    fn cost(&self, n: u64) -> Amount {
        Amount::from(n) * Amount::from(self.units.per_token)
    }

    fn elapsed_units(&self, at: Timestamp) -> Amount {
        Amount::from(at.as_nanos()) * Amount::from(self.units.per_nano)
    }

    /// The virtual time at which the bucket is full again.
    fn full_at(&self) -> Amount {
        self.elapsed_units(self.touched) + self.missing
    }

    #[inline]
    fn missing_at(&self, now: Timestamp) -> Amount {
        let (now, touched) = (now.as_nanos(), self.touched.as_nanos());
        let units = |nanos| Amount::from(nanos) * Amount::from(self.units.per_nano);
        if now >= touched {
            self.missing.saturating_sub(units(now - touched))
        } else {
            self.missing + units(touched - now)
        }
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::Quota;

    #[test]
    fn what_is_used_is_not_remembered() {
        let mut bucket = Bucket::new(Quota::per_second(5).unwrap().units().unwrap());
        let taken = bucket.owe(1, Timestamp::ZERO, Timestamp::ZERO);
        assert!(!bucket.ledger.is_settled());
        bucket.keep(&taken);
        assert!(bucket.ledger.is_settled());
    }
}
