//! The token bucket as sequential arithmetic: `now` comes in, nothing is locked, nothing is rounded.
//!
//! It is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A): what is kept is not a
//! count of tokens but the instant at which the bucket is full again. A count would have to be brought up to date, and
//! rounded, whenever somebody looks; the instant changes only when somebody takes.

use std::time::Duration;

use super::Denied;
use crate::clock::Timestamp;
use crate::quota::Units;

/// 128 bits hold every sum of units that occurs: bounds on [`Quota`](crate::Quota) keep each product below 2^125.
type Amount = u128;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    units: Units,
    /// The latest instant at which somebody took.
    touched: Timestamp,
    /// What was missing to full at that instant.
    missing: Amount,
}

/// Tokens that were taken, by where they lie in virtual time; kept to give them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    cost: Amount,
    end: Amount,
}

impl Bucket {
    /// A full bucket.
    pub(super) const fn new(units: Units) -> Self {
        Self {
            units,
            touched: Timestamp::ZERO,
            missing: 0,
        }
    }

    pub(super) const fn check_burst(&self, n: u64) -> Result<(), Denied> {
        if n > self.units.burst {
            Err(Denied::ExceedsBurst {
                burst: self.units.burst,
            })
        } else {
            Ok(())
        }
    }

    /// How long after `now` `n` tokens can be had, if all of it is taken in pieces no larger than the burst.
    pub(super) fn wait_for(&self, n: Amount, now: Timestamp) -> Result<Duration, Denied> {
        let wanted = self
            .missing_at(now)
            .saturating_add(n.saturating_mul(self.units.per_token.into()));
        let short = wanted.saturating_sub(self.depth());
        if n == 0 || short == 0 {
            return Ok(Duration::ZERO);
        }
        let wait = short
            .checked_next_multiple_of(self.units.per_nano.into())
            .ok_or(Denied::Exhausted)?;
        let wait = wait / Amount::from(self.units.per_nano);
        let in_time = u64::try_from(wait)
            .ok()
            .filter(|wait| now.as_nanos().checked_add(*wait).is_some());
        in_time.map(Duration::from_nanos).ok_or(Denied::Exhausted)
    }

    /// Takes `n` tokens whether they are there or not. A `now` before the last take counts from the last take, which is
    /// what keeps a stale clock from minting.
    pub(super) fn take(&mut self, n: u64, now: Timestamp) -> Taken {
        let cost = self.cost(n);
        if cost > 0 && now > self.touched {
            self.missing = self.missing_at(now);
            self.touched = now;
        }
        self.missing += cost;
        Taken {
            cost,
            end: self.full_at(),
        }
    }

    /// Gives back what no later taker has built on.
    ///
    /// Had these tokens not been taken, a later taker that waited until r would have left the bucket full at r plus
    /// what was taken from then on, or later. No refund may promise less than that: so none reaches back before now,
    /// and none frees more than what a burst leaves beside all that was taken since.
    pub(super) fn give_back(&mut self, taken: Taken, now: Timestamp) {
        let now = now.max(self.touched);
        let since = self.full_at() - taken.end;
        let ahead = taken.end.saturating_sub(self.elapsed_units(now));
        let beside = self.depth().saturating_sub(since);
        self.missing -= taken.cost.min(ahead).min(beside);
    }

    pub(super) fn available(&self, now: Timestamp) -> u64 {
        let there = self.depth().saturating_sub(self.missing_at(now));
        match there.checked_div(self.units.per_token.into()) {
            None => u64::MAX,
            Some(tokens) => u64::try_from(tokens).unwrap_or(u64::MAX),
        }
    }

    fn depth(&self) -> Amount {
        self.cost(self.units.burst)
    }

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

    fn missing_at(&self, now: Timestamp) -> Amount {
        self.full_at().saturating_sub(self.elapsed_units(now))
    }
}
