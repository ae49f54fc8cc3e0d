//! The operations of a bucket that refills at intervals.

use crate::clock::Timestamp;
use crate::limiter::core::interval::{IntervalBucket, MAX_DEBT_TOKENS};
use crate::limiter::core::tokens::dated::DatedTokens;
use crate::limiter::core::tokens::{TokenCount, Tokens};

impl TokenCount for IntervalBucket {
    fn burst(&self) -> u64 {
        u64::try_from(self.burst).unwrap_or(u64::MAX)
    }

    fn available(&self, now: Timestamp) -> u64 {
        let now = self.effective_now(now);
        if self.paused > now {
            return 0;
        }
        u64::try_from(self.room(now)).unwrap_or(0)
    }

    fn take_now(&mut self, n: u64, now: Timestamp) {
        self.debit(n.into(), self.effective_now(now));
    }
}

impl DatedTokens for IntervalBucket {
    fn effective_now(&self, now: Timestamp) -> Timestamp {
        now.max(self.latest)
    }

    fn full_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.fit(self.burst(), 0, self.open_from(now))
    }

    /// The sum of what the waiters want would be too short a wait: while the first waits for its last
    /// tokens, a bucket that becomes full loses some.
    fn fit_behind(
        &self,
        ahead: impl Iterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let (mut plan, mut from) = (None, self.open_from(now));
        for (n, floor) in ahead {
            if n > 0 && self.check_burst(n, floor).is_ok() {
                let plan = plan.get_or_insert_with(|| self.plan());
                from = plan.fit(n, floor, from)?;
                plan.debit(n.into(), from);
            }
        }
        plan.as_ref().unwrap_or(self).fit(n, floor, from)
    }

    fn has_place_at(&self, at: Timestamp, start: Timestamp) -> bool {
        self.ahead.has_place_at(at, start)
    }

    fn reserve_at(&mut self, n: u64, at: Timestamp, start: Timestamp) {
        self.ahead.add(at, n, n);
        self.settle(start);
    }

    /// Before they are debited, all of them come back; after, what the bucket would still hold of them
    /// if all debited reservations were cancelled.
    fn cancel(&mut self, ready_at: Timestamp, n: u64) {
        if let Some((index, entry)) = self.ahead.find(ready_at) {
            self.ahead.remove(index, 0, n.min(entry.reserved));
        } else {
            self.level += self.debited.close(ready_at, n);
        }
    }

    /// What is used leaves more to the cancellations of others.
    fn commit_at(&mut self, ready_at: Timestamp, n: u64) {
        if let Some((index, entry)) = self.ahead.find(ready_at) {
            self.ahead.commit(index, n.min(entry.reserved));
        } else {
            self.debited.close(ready_at, n);
        }
    }

    fn refund(&mut self, n: u64, now: Timestamp) {
        self.settle(self.effective_now(now));
        self.level = self.burst.min(self.level + i128::from(n));
        self.debited.limit_to(self.burst - self.level);
    }

    /// The debt saturates at [`MAX_DEBT_TOKENS`].
    fn charge(&mut self, n: u64, now: Timestamp) {
        if n == 0 {
            return;
        }
        self.settle(self.effective_now(now));
        // A debt that is deeper already, by reservations, stays.
        let deepest = self.level.min(-i128::from(MAX_DEBT_TOKENS));
        self.level = deepest.max(self.level - i128::from(n));
    }

    fn tighten(&mut self, remaining: u64, now: Timestamp) {
        let start = self.effective_now(now);
        let excess = self.room(start) - i128::from(remaining);
        if excess > 0 {
            self.debit(excess, start);
        }
    }

    /// Tokens accrue meanwhile.
    fn pause_until(&mut self, until: Timestamp) {
        self.paused = self.paused.max(until);
    }
}
