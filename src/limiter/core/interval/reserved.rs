//! Tokens that are reserved: ahead, and since they were debited.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::interval::{Interval, MAX_AHEAD};

/// Tokens reserved for one instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved {
    pub(crate) at: Timestamp,
    pub(crate) tokens: u64,
    /// The part that a cancellation can still give back.
    pub(crate) open: u64,
}

/// Reservations that were debited, as far as they can still be cancelled.
///
/// Together they are no more than what was missing to a full bucket at any instant since: what the
/// bucket could not have kept does not come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ready {
    /// In the order of their instants, which differ. Each has an open part.
    pub(crate) reserved: VecDeque<Reserved>,
    /// The open parts of all.
    open: i128,
}

impl Ready {
    fn add(&mut self, reserved: Reserved) {
        if reserved.open == 0 {
            return;
        }
        self.open += i128::from(reserved.open);
        match self.reserved.back_mut() {
            Some(last) if last.at == reserved.at => last.open += reserved.open,
            _ => self.reserved.push_back(reserved),
        }
        if self.reserved.len() > MAX_AHEAD
            && let Some(first) = self.reserved.pop_front()
        {
            self.open -= i128::from(first.open);
        }
    }

    /// Keeps the open parts within what is missing: the oldest are lost first.
    pub(crate) fn keep_within(&mut self, missing: i128) {
        while self.open > missing
            && let Some(first) = self.reserved.front_mut()
        {
            let lost = u64::try_from(self.open - missing).unwrap_or(u64::MAX);
            let lost = lost.min(first.open);
            first.open -= lost;
            self.open -= i128::from(lost);
            if first.open == 0 {
                self.reserved.pop_front();
            }
        }
    }

    /// Closes `n` tokens of what was reserved for `at`: how many were open.
    fn close(&mut self, at: Timestamp, n: u64) -> i128 {
        let Some(reserved) = find(&mut self.reserved, at) else {
            return 0;
        };
        let closed = reserved.open.min(n);
        reserved.open -= closed;
        if reserved.open == 0 {
            self.reserved.retain(|reserved| reserved.open > 0);
        }
        self.open -= i128::from(closed);
        closed.into()
    }
}

impl Interval {
    /// Takes what is reserved, at its instant, which is the latest.
    pub(crate) fn debit(&mut self, reserved: Reserved) {
        self.level -= i128::from(reserved.tokens);
        self.ready.add(reserved);
    }

    /// Takes `n` tokens at the first instant at which they can be had, if that is at most `max_wait`
    /// away: they are debited at that instant.
    ///
    /// # Errors
    /// [`Denied`]; nothing was changed. [`Denied::TooLong`] also if there are reservations for
    /// [`MAX_AHEAD`] instants.
    pub(crate) fn reserve(
        &mut self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, Denied> {
        if n == 0 {
            return Ok(now);
        }
        self.check_burst(n, 0)?;
        let at = self
            .fit(n, 0, self.open_from(now))
            .ok_or(Denied::Exhausted)?;
        let retry_after = self.wait_until(at, now);
        if retry_after > max_wait {
            return Err(Denied::TooLong { retry_after });
        }
        self.reserve_at(n, at, now)?;
        Ok(at)
    }

    /// Reserves `n` tokens at `ready_at`, an instant that the caller has computed: behind waiters,
    /// from [`wait_behind`](Self::wait_behind). A `ready_at` that has passed counts as `now`.
    ///
    /// # Errors
    /// [`Denied::TooLong`] if there are reservations for [`MAX_AHEAD`] instants; nothing was changed.
    pub(crate) fn reserve_at(
        &mut self,
        n: u64,
        ready_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let start = self.start(now);
        let reserved = Reserved {
            at: ready_at.max(start),
            tokens: n,
            open: n,
        };
        let place = self.ahead.binary_search_by_key(&reserved.at, |one| one.at);
        let passed = self.ahead.partition_point(|one| one.at <= start);
        if reserved.at > start && place.is_err() && self.ahead.len() - passed >= MAX_AHEAD {
            let retry_after = reserved.at.saturating_since(now);
            return Err(Denied::TooLong { retry_after });
        }
        self.settle(start);
        if reserved.at == start {
            self.debit(reserved);
            return Ok(());
        }
        match place {
            Ok(place) => {
                let same = &mut self.ahead[place - passed];
                same.tokens = same.tokens.saturating_add(n);
                same.open = same.open.saturating_add(n);
            }
            Err(place) => self.ahead.insert(place - passed, reserved),
        }
        Ok(())
    }

    /// Gives back `n` tokens that were reserved for `ready_at`: before they are debited, all of them;
    /// after, what the bucket would still hold of them if all debited reservations were cancelled.
    pub(crate) fn cancel(&mut self, ready_at: Timestamp, n: u64) {
        if let Some(reserved) = find(&mut self.ahead, ready_at) {
            let back = reserved.open.min(n);
            reserved.tokens -= back;
            reserved.open -= back;
            if reserved.tokens == 0 {
                self.ahead.retain(|reserved| reserved.tokens > 0);
            }
        } else {
            self.level += self.ready.close(ready_at, n);
        }
    }

    /// Notes that `n` tokens that were reserved for `ready_at` will not be cancelled: they leave more
    /// to the cancellations of others.
    pub(crate) fn keep(&mut self, ready_at: Timestamp, n: u64) {
        if let Some(reserved) = find(&mut self.ahead, ready_at) {
            reserved.open -= reserved.open.min(n);
        } else {
            self.ready.close(ready_at, n);
        }
    }
}

fn find(reserved: &mut VecDeque<Reserved>, at: Timestamp) -> Option<&mut Reserved> {
    let index = reserved.binary_search_by_key(&at, |one| one.at).ok()?;
    reserved.get_mut(index)
}
