//! Changes that concern all keys of a [`KeyedLimiter`].

use std::convert::Infallible;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::carry::CarryOver;
use crate::limiter::keyed::core::config::Config;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::limiter::ops::at::At;
use crate::quota::{Quota, QuotaError};

impl<K, S, C: Clock> KeyedLimiter<K, S, C> {
    /// Changes the quota of all keys that have none of their own, from now on; `carry` says how the fill
    /// of each carries over. A key that was never used carries over as a full bucket: by
    /// [`CarryOver::Tokens`], a larger burst leaves it with the tokens of the smaller one.
    ///
    /// The change takes the same time however many keys are kept: see
    /// [Changing the quota](#changing-the-quota).
    ///
    /// # Errors
    /// [`QuotaError`] if the quota does not fit the eight bytes of a key; the keys keep theirs.
    pub fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.change_quota(quota, carry, None)
    }

    fn change_quota(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Option<Timestamp>,
    ) -> Result<(), QuotaError> {
        let next = |current: &Config, now| current.with_quota(quota, carry, now).map(Some);
        // Dropped once the waiters have been served: a key whose drop panics must not keep them waiting.
        let mut removed = self.removed_keys();
        let now = self.begin(now, next, &mut removed)?;
        self.serve_all(now);
        Ok(())
    }

    /// Closes the limiter, for ever: all waits of all keys end with
    /// [`Denied::Closed`](crate::Denied::Closed), and later takes, reservations and waits answer it.
    /// Reads, refunds and charges go on.
    pub fn close(&self) {
        let next = |current: &Config, now| {
            let is_open = !current.is_closed;
            Ok::<_, Infallible>(is_open.then(|| current.next_closed(now)))
        };
        // Dropped once the waiters have been served, as above.
        let mut removed = self.removed_keys();
        let Ok(now) = self.begin(None, next, &mut removed);
        self.serve_all(now);
    }

    /// Returns whether the limiter is closed.
    pub fn is_closed(&self) -> bool {
        self.history.lock().current().is_closed
    }

    /// Returns the operations on all keys at the caller's time; those on one key are in
    /// [`RateLimiter::at`](crate::RateLimiter::at) of its handle.
    pub const fn at(&self, now: Timestamp) -> At<'_, Self> {
        At::new(self, now)
    }
}

impl<K, S, C: Clock> At<'_, KeyedLimiter<K, S, C>> {
    /// Same as [`KeyedLimiter::set_quota`], with the new quota in force since this instant.
    ///
    /// # Errors
    /// [`QuotaError`] if the quota does not fit the eight bytes of a key; the keys keep theirs.
    pub fn set_quota(self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.limiter.change_quota(quota, carry, Some(self.now))
    }
}
