//! How long a take waits: alone, in parts, and behind others.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::interval::Interval;

impl Interval {
    /// How long after `now` `n` tokens can be had above `floor`, if nothing else is taken. More than
    /// can be had at once are taken in parts, each as early and as large as it can be.
    ///
    /// That they can be had at that instant does not mean that they can be had later: a reservation
    /// may need them then.
    ///
    /// # Errors
    /// [`Denied::ExceedsBurst`] if the floor leaves nothing, [`Denied::Exhausted`] if nothing
    /// accrues, or the clock ends first.
    pub(crate) fn wait_for(&self, n: u128, floor: u64, now: Timestamp) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        self.check_burst(1, floor)?;
        let from = self.open_from(now);
        let at = match u64::try_from(n) {
            Ok(n) if self.check_burst(n, floor).is_ok() => self.fit(n, floor, from),
            _ => self.fit_in_parts(n, floor, from),
        };
        Ok(self.wait_until(at.ok_or(Denied::Exhausted)?, now))
    }

    /// How long after `now` `n` tokens can be had above `floor`, once the waiters `ahead` have
    /// theirs, first come, first served. A waiter is its number of tokens and its floor; one that
    /// asks for more than it can ever have is passed over.
    ///
    /// [`wait_for`](Self::wait_for) their sum is too short: while the first waiter waits for its last
    /// tokens, a bucket that becomes full loses some.
    ///
    /// # Errors
    /// [`Denied::ExceedsBurst`], or [`Denied::Exhausted`] if nothing accrues, or the clock ends
    /// first.
    pub(crate) fn wait_behind(
        &self,
        ahead: impl IntoIterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        self.check_burst(n, floor)?;
        let mut plan = self.plan();
        let mut from = self.open_from(now);
        for (n, floor) in ahead {
            if n > 0 && self.check_burst(n, floor).is_ok() {
                from = plan.fit(n, floor, from).ok_or(Denied::Exhausted)?;
                plan.debit_now(n.into(), from);
            }
        }
        let at = plan.fit(n, floor, from).ok_or(Denied::Exhausted)?;
        Ok(self.wait_until(at, now))
    }
}
