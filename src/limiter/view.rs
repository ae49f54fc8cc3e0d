//! The bucket that a word stands for, at one instant: every decision about it but the hot path's,
//! as sequential arithmetic.

use std::time::Duration;

use super::Denied;
use super::carry::{Change, first_after};
use super::ledger::{DebtId, Ledger, Most, Refund};
use super::word::{Scale, TIME_MAX, Word};
use crate::clock::Timestamp;
use crate::quota::{QuotaError, Units};

/// The word as it was read, with what is needed to judge it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) word: u64,
    /// The word of this generation at the virtual time zero.
    pub(super) zero: u64,
    /// In nanoseconds.
    base: u64,
    /// Before the base, the depth is what of it has accrued by now.
    pub(super) scale: Scale,
    /// Now, in units since the base; 0 before it.
    at: u64,
}

/// What a decision makes of a bucket: its virtual time, and what the caller gets. An error leaves
/// the bucket as it is.
pub(super) type Decided<T, E = Denied> = Result<(u64, T), E>;

/// Tokens taken into debt.
pub(super) struct Owed {
    pub(super) ready_at: Timestamp,
    /// In units.
    pub(super) cost: u64,
    /// In units since the clock's origin.
    pub(super) full_at: u128,
}

impl View {
    /// At any time, however far from the base.
    pub(super) fn new(word: Word, base: u64, mut scale: Scale, now: u64) -> Self {
        let per_nano = scale.units.per_nano;
        let at = now.saturating_sub(base).saturating_mul(per_nano);
        // Before the base, as much less of the burst has accrued.
        let behind = base.saturating_sub(now).saturating_mul(per_nano);
        scale.depth = scale.depth.saturating_sub(behind);
        Self {
            word: word.pack(),
            zero: word.pack() - word.time,
            base,
            scale,
            at,
        }
    }

    /// When the bucket is full, in units since the base.
    #[inline]
    pub(super) const fn time(&self) -> u64 {
        self.word.wrapping_sub(self.zero)
    }

    /// A virtual time in units since the clock's origin, which no re-anchoring changes.
    fn absolute(&self, time: u64) -> u128 {
        u128::from(self.base) * u128::from(self.scale.units.per_nano) + u128::from(time)
    }

    /// What `n` tokens cost, of a burst at most.
    fn cost(&self, n: u64) -> u64 {
        let Units {
            per_token, burst, ..
        } = self.scale.units;
        n.min(burst).wrapping_mul(per_token)
    }

    /// The whole burst in units, also where the depth is what of it has accrued.
    fn burst(&self) -> u64 {
        self.cost(u64::MAX)
    }

    /// How long after `now` what is taken up to a virtual time can be used: when the bucket is full
    /// but for a burst. `None` if the clock ends first.
    fn wait(&self, time: u64, now: Timestamp) -> Option<Duration> {
        let units = self.scale.units;
        let accrued = self.absolute(time).saturating_sub(units.depth());
        let per_nano = u128::from(units.per_nano);
        let ready_at = match accrued {
            0 => 0,
            _ => u64::try_from(accrued.checked_next_multiple_of(per_nano)? / per_nano).ok()?,
        };
        Some(Timestamp::from_nanos(ready_at).saturating_since(now))
    }

    /// Takes `n` tokens if `floor` remain.
    pub(super) fn take(&self, n: u64, floor: u64, now: Timestamp) -> Decided<()> {
        let Units {
            per_token, burst, ..
        } = self.scale.units;
        if per_token == 0 {
            return Ok((self.time(), ()));
        }
        let burst = burst.saturating_sub(floor);
        if n > burst {
            return Err(Denied::ExceedsBurst { burst });
        }
        let latest = self.time().max(self.at);
        let needed = self.cost(n + floor);
        // Looked at from afar, `at` may be the largest number there is.
        if (latest - self.at).saturating_add(needed) > self.scale.depth {
            return Err(Denied::after(self.wait(latest.saturating_add(needed), now)));
        }
        Ok((latest.wrapping_add(self.cost(n)), ()))
    }

    /// Takes what there is, at most `n`; an error if that costs nothing.
    pub(super) fn take_up_to(&self, n: u64) -> Decided<u64, u64> {
        let there = self.available().min(n);
        match there.wrapping_mul(self.scale.units.per_token) {
            0 => Err(there),
            cost => Ok((self.time().max(self.at).wrapping_add(cost), there)),
        }
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`.
    pub(super) fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Decided<Owed> {
        let burst = self.scale.units.burst;
        if n > burst {
            return Err(Denied::ExceedsBurst { burst });
        }
        let (cost, mut next, mut wait) = (self.cost(n), self.time(), Duration::ZERO);
        if cost > 0 {
            next = next.max(self.at).wrapping_add(cost);
            wait = self.wait(next, now).ok_or(Denied::Exhausted)?;
        }
        if wait > max_wait || next > TIME_MAX {
            return Err(Denied::TooLong { retry_after: wait });
        }
        let owed = Owed {
            ready_at: now.saturating_add(wait),
            cost,
            full_at: self.absolute(next),
        };
        Ok((next, owed))
    }

    /// The virtual time of a bucket that has its first token at `paused`; 0 if that has passed.
    fn first_after(&self, paused: Timestamp, now: Timestamp) -> u64 {
        let first = first_after(paused, self.scale.units, now);
        let first = first.saturating_sub(self.absolute(0));
        u64::try_from(first).unwrap_or(TIME_MAX)
    }

    /// Gives a debt back as far as the ledger and a pause allow it at `now`.
    pub(super) fn give_back(
        &self,
        ledger: &Ledger,
        id: DebtId,
        paused: Timestamp,
        now: Timestamp,
    ) -> Decided<Refund, ()> {
        let first = first_after(paused, self.scale.units, now);
        let now = u128::from(now.as_nanos()) * u128::from(self.scale.units.per_nano);
        let full_at = self.absolute(self.time());
        let refund = ledger
            .plan(
                id,
                full_at,
                now,
                Most::of(self.burst().into(), full_at, first),
            )
            .ok_or(())?;
        let back = u64::try_from(refund.back).unwrap_or(u64::MAX);
        Ok((self.time().saturating_sub(back), refund))
    }

    /// Returns `n` tokens, never above the burst, nor before a pause ends: what came back, in units.
    pub(super) fn refund(&self, n: u64, paused: Timestamp, now: Timestamp) -> Decided<u64, ()> {
        let least = self.at.max(self.first_after(paused, now));
        match self.cost(n).min(self.time().saturating_sub(least)) {
            0 => Err(()),
            back => Ok((self.time() - back, back)),
        }
    }

    /// Lets no more than `keep` tokens be there.
    pub(super) fn tighten(&self, keep: u64) -> Decided<(), ()> {
        match self.scale.depth.saturating_sub(self.cost(keep)) {
            // However full it is; it is not to look less full to a time before.
            0 => Err(()),
            missing => self.raise(self.at.saturating_add(missing)).ok_or(()),
        }
    }

    /// Lets the first token be there at `until`, not before. An error without a denial if that is
    /// so already.
    pub(super) fn pause_until(
        &self,
        until: Timestamp,
        now: Timestamp,
    ) -> Decided<(), Option<Denied>> {
        let Units {
            per_nano,
            per_token,
            ..
        } = self.scale.units;
        if per_token == 0 || until <= now {
            return Err(None);
        }
        if per_nano == 0 {
            return Err(Some(Denied::Exhausted));
        }
        let ahead = until.as_nanos().saturating_sub(self.base);
        let first = ahead
            .checked_mul(per_nano)
            .and_then(|at| at.checked_add(self.burst().saturating_sub(per_token)))
            .filter(|first| *first <= TIME_MAX);
        match first {
            Some(first) => self.raise(first).ok_or(None),
            None => Err(Some(Denied::TooLong {
                retry_after: until.saturating_since(now),
            })),
        }
    }

    /// A later virtual time, or none.
    fn raise(&self, to: u64) -> Option<(u64, ())> {
        (to > self.time()).then_some((to, ()))
    }

    /// What would be missing to full if the quota changed to `units` at `now`: more than a word can
    /// hold is an error.
    pub(super) fn check_change(
        &self,
        change: &Change,
        units: Units,
        now: Timestamp,
    ) -> Result<(), QuotaError> {
        let missing = self.time().saturating_sub(self.at).into();
        let missing = change.missing(self.scale.units, units, missing);
        let at = u128::from(now.as_nanos()) * u128::from(units.per_nano);
        let paused = first_after(change.paused, units, now).saturating_sub(at);
        // The base is less than a quarter of the word back.
        if missing.max(paused) > (TIME_MAX - TIME_MAX / 4).into() {
            return Err(QuotaError::DebtBeyondWord);
        }
        Ok(())
    }

    /// The whole tokens that are there.
    pub(super) fn available(&self) -> u64 {
        let missing = self.time().saturating_sub(self.at);
        let there = self.scale.depth.saturating_sub(missing);
        there
            .checked_div(self.scale.units.per_token)
            .unwrap_or(u64::MAX)
    }
}
