//! The state of a [`LockedTokenBucket`](super::LockedTokenBucket) but for those who wait: a bucket
//! with what it takes to give back, and to be paused. Sequential.

use std::time::Duration;

use super::carry::Change;
use super::ledger::Ledger;
use super::rate::{Instant, Rate, View};
use super::reservation::Taken;
use super::{CarryOver, Denied};
use crate::clock::Timestamp;
use crate::quota::Units;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// When it is full again.
    full_at: Instant,
    /// The latest instant at which somebody took, or since when the quota is in force.
    touched: Timestamp,
    ledger: Ledger,
    /// A server's word that no token is to be had before: nothing that comes back ends it.
    paused: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(units: Units) -> Self {
        Self {
            rate: Rate::new(units),
            full_at: 0,
            touched: Timestamp::ZERO,
            ledger: Ledger::default(),
            paused: Timestamp::ZERO,
        }
    }

    pub(super) const fn units(&self) -> Units {
        self.rate.units
    }

    #[inline]
    const fn view(&self) -> View {
        View {
            rate: self.rate,
            full_at: self.full_at,
            known: self.touched,
            most: Instant::MAX,
        }
    }

    #[inline]
    pub(super) const fn check_burst(&self, n: u64, floor: u64) -> Result<(), Denied> {
        self.rate.check_burst(n, floor)
    }

    /// How long after `now` `n` tokens can be had, if all of it is taken in pieces no larger than
    /// the burst.
    #[inline]
    pub(super) fn wait_for(&self, n: u128, now: Timestamp) -> Result<Duration, Denied> {
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

    /// Takes `n` tokens whether they are there or not. A `now` before the last take counts from when
    /// the bucket is full, which is what keeps a stale clock from minting.
    #[inline]
    pub(super) fn take(&mut self, n: u64, now: Timestamp) {
        self.take_until(self.view().taken(n, now), now);
    }

    /// Takes until it is full then, if it is not as it was.
    #[inline]
    fn take_until(&mut self, full_at: Instant, now: Timestamp) {
        if self.full_at != full_at {
            self.full_at = full_at;
            self.touched = self.touched.max(now);
        }
    }

    /// Takes `n` tokens that can be used at `ready_at`, and that may come back.
    pub(super) fn owe(&mut self, n: u64, now: Timestamp, ready_at: Timestamp) -> Taken {
        self.take(n, now);
        let debt = self.ledger.open(self.rate.cost(n), self.full_at);
        Taken { ready_at, debt }
    }

    /// Gives back what no later taker has built on.
    pub(super) fn give_back(&mut self, taken: &Taken, now: Timestamp) {
        let view = self.view();
        let given = view.give_back(&self.ledger, taken.debt, self.paused, now);
        if let Some((full_at, refund)) = given {
            self.full_at = full_at;
            self.ledger.commit(taken.debt, refund);
        }
    }

    /// The tokens will be used.
    pub(super) fn keep(&mut self, taken: &Taken) {
        self.ledger.close(taken.debt);
    }

    /// Returns `n` tokens, never above the burst, nor before a pause ends.
    pub(super) fn refund(&mut self, n: u64, now: Timestamp) {
        let (full_at, back) = self.view().refund(n, self.paused, now);
        self.full_at = full_at;
        self.ledger.returned(back);
    }

    /// Lets no more than `keep` tokens be there at `now`.
    pub(super) fn tighten(&mut self, keep: u64, now: Timestamp) {
        self.take_until(self.view().tighten(keep, now), now);
    }

    /// Lets the first token be there at `until`, not before.
    pub(super) fn pause_until(&mut self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        let (full_at, ()) = self.view().pause_until(until, now)?;
        self.take_until(full_at, now);
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
        self.change(&change, Rate::new(units), now);
        self.ledger.reset();
    }

    /// Changes the burst, for a lease that comes or goes.
    pub(super) fn resize(&mut self, burst: u64, now: Timestamp) {
        let rate = Rate::new(Units {
            burst,
            ..self.rate.units
        });
        // Tokens neither come nor go, so a pause stays what it is.
        let change = Change::new(CarryOver::Tokens);
        let carved = self.rate.depth.cast_signed() - rate.depth.cast_signed();
        self.change(&change, rate, now);
        self.ledger.carve(carved);
    }

    fn change(&mut self, change: &Change, rate: Rate, now: Timestamp) {
        self.full_at = change.full_at(&self.view(), &rate, now);
        self.touched = self.touched.max(now);
        self.rate = rate;
    }

    pub(super) fn available(&self, now: Timestamp) -> u64 {
        self.view().available(now)
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
