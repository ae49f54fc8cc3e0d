//! Changes that concern all keys of a [`KeyedLimiter`].

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::carry::CarryOver;
use crate::limiter::keyed::core::generation::Generation;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::limiter::ops::at::At;
use crate::quota::{Quota, QuotaError};

impl<K, S, C: Clock> KeyedLimiter<K, S, C> {
    /// Changes the quota of all keys that have none of their own, from now on; how their fill
    /// carries over is `carry`'s choice. Keys that are not kept are carried over alike, as full
    /// ones.
    ///
    /// # Errors
    /// [`QuotaError`] if the quota does not fit the eight bytes of a key: they keep the one they
    /// have.
    ///
    /// ```
    /// use tollgate::{CarryOver, KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(10)?, 100)?;
    /// assert!(limiter.key(&1).try_acquire(4).is_ok());
    /// limiter.set_quota(Quota::per_hour(100)?, CarryOver::Tokens)?;
    /// assert_eq!(limiter.key(&1).available(), 6);
    /// assert_eq!(limiter.key(&2).available(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.change_quota(quota, carry, None)
    }

    fn change_quota(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Option<Timestamp>,
    ) -> Result<(), QuotaError> {
        let next = |current: &Generation, now| {
            let next = current.changed(quota, carry, now)?;
            let is_closed = current.is_closed;
            Ok(Some(if is_closed { next.closed() } else { next }))
        };
        // Dropped once the waiters have been served.
        let mut leaving = self.leaving();
        let now = self.begin(now, next, &mut leaving)?;
        self.serve_all(now);
        Ok(())
    }

    /// Ends all waits of all keys with [`Denied::Closed`](crate::Denied::Closed), which every take,
    /// reservation and wait answers from now on. It cannot be undone.
    ///
    /// ```
    /// use tollgate::{Denied, KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(10)?, 100)?;
    /// limiter.close();
    /// assert_eq!(limiter.key(&1).try_acquire(1), Err(Denied::Closed));
    /// assert!(limiter.is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) {
        let closed = |current: &Generation, now| {
            let open = !current.is_closed;
            Ok::<_, QuotaError>(open.then(|| current.next(now).closed()))
        };
        // Dropped once the waiters have been served.
        let mut leaving = self.leaving();
        let closed = self.begin(None, closed, &mut leaving);
        if let Ok(now) = closed {
            self.serve_all(now);
        }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.generations.lock().current().is_closed
    }
}

impl<K, S, C: Clock> KeyedLimiter<K, S, C> {
    /// The operations on all keys at the caller's time.
    pub const fn at(&self, now: Timestamp) -> At<'_, Self> {
        At::new(self, now)
    }
}

impl<K, S, C: Clock> At<'_, KeyedLimiter<K, S, C>> {
    /// As [`KeyedLimiter::set_quota`], with the new quota in force since this instant.
    ///
    /// # Errors
    /// [`QuotaError`] if the quota does not fit the eight bytes of a key; the keys keep theirs.
    pub fn set_quota(self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.limiter.change_quota(quota, carry, Some(self.now))
    }
}
