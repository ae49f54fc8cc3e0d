use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use super::KeyedLimiter;
use super::admit::SHARED;
use super::shard::Hashed;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::limiter::debt::{Acquire, Lender};
use crate::limiter::gate::Gate;
use crate::limiter::reservation::{Internal, Taken};
use crate::limiter::{CarryOver, Denied, RateLimiter, Reservation};
use crate::quota::{Quota, QuotaError};
use crate::wait::Wait;

/// The bucket of one key of a [`KeyedLimiter`]: from [`KeyedLimiter::key`].
///
/// It is a [`RateLimiter`], so that it can be one of several limits in an
/// [`AllOf`](crate::AllOf). [`set_quota`](RateLimiter::set_quota) gives this key a quota of its own.
/// A [`lease`](RateLimiter::lease) of it is refused, with [`Denied::ExceedsBurst`]: eight bytes have
/// no room for what is carved out. A refund goes to the bucket of the key, if that is kept; the
/// bucket that keys without a place share gets nothing back by it.
///
/// ```
/// use tollgate::{KeyedLimiter, Quota, RateLimiter};
///
/// let limiter: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(5)?, 100)?;
/// let ada = limiter.key("ada");
/// assert_eq!(ada.try_acquire_up_to(3), 3);
/// ada.refund(1);
/// assert_eq!(ada.available(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyHandle<'a, K, Q: ?Sized, S = RandomState, C = SystemClock> {
    limiter: &'a KeyedLimiter<K, S, C>,
    key: Hashed<'a, Q>,
}

impl<K, Q: ?Sized, S, C> Clone for KeyHandle<'_, K, Q, S, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, Q: ?Sized, S, C> Copy for KeyHandle<'_, K, Q, S, C> {}

impl<'a, K, Q: ?Sized, S, C> KeyHandle<'a, K, Q, S, C> {
    #[inline]
    pub(super) fn new(limiter: &'a KeyedLimiter<K, S, C>, key: Hashed<'a, Q>) -> Self {
        Self { limiter, key }
    }

    fn shard(&self) -> usize {
        self.limiter.shard_of(self.key.hash)
    }
}

impl<K, Q, S, C> KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q>,
    Q: Eq + ToOwned<Owned = K> + ?Sized,
    S: BuildHasher,
{
    /// Has the words reach as far as `now` before what is decided by how far they reach.
    fn reach(&self, now: Timestamp) {
        let covers = self.limiter.lock(self.shard()).generation().covers(now);
        if !covers {
            self.limiter.move_base(now);
        }
    }
}

impl<K, Q, S, C> RateLimiter for KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToOwned<Owned = K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    #[inline]
    fn now(&self) -> Timestamp {
        self.limiter.clock.now()
    }

    fn quota(&self) -> Quota {
        self.limiter.lock(self.shard()).quota(self.key)
    }

    #[inline]
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.limiter.take(self.key, n, floor, now)
    }

    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        self.limiter
            .update(
                self.key,
                now,
                |view| Ok(view.take_up_to(n, now)),
                |taken, _| taken,
            )
            .unwrap_or(0)
    }

    fn reserve_at(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Reservation<'_>, Denied> {
        self.owe(n, max_wait, now)
            .map(|taken| Reservation::new(self, taken))
    }

    fn refund_at(&self, n: u64, now: Timestamp) {
        let limiter = self.limiter;
        let mut shard = limiter.lock(self.shard());
        shard.refund(self.key, n, now, limiter.carry());
    }

    fn sync_remaining_at(&self, remaining: u64, now: Timestamp) {
        self.reach(now);
        // A new key that finds no place is denied everything anyway.
        let _: Result<(), Denied> = self.limiter.update(
            self.key,
            now,
            |view| Ok((view.tighten(remaining, now), ())),
            |(), _| (),
        );
    }

    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.reach(now);
        self.limiter.update(
            self.key,
            now,
            |view| view.pause_until(until, now),
            |(), _| (),
        )
    }

    fn set_quota_at(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Timestamp,
    ) -> Result<(), QuotaError> {
        self.limiter.set_own(self.key, (quota, carry, now))
    }

    fn available_at(&self, now: Timestamp) -> u64 {
        self.limiter
            .lock(self.shard())
            .update(self.key, self.limiter.carry(), |view| {
                Ok((view.full_at, view.available(now)))
            })
            .map_or(0, |change| change.value)
    }
}

impl<K, Q, S, C> Internal for KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToOwned<Owned = K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    fn gate(&self) -> &Gate {
        &self.limiter.shards[self.shard()].gate
    }

    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.limiter
            .lock(self.shard())
            .update(self.key, self.limiter.carry(), |view| {
                view.take(n, floor, now).map(|_| (view.full_at, ()))
            })
            .map(|_| ())
    }

    fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Taken, Denied> {
        self.reach(now);
        self.limiter.update(
            self.key,
            now,
            |view| view.owe(n, max_wait, now),
            |(cost, ready_at), open| Taken {
                ready_at,
                debt: open(cost),
            },
        )
    }

    fn give_back(&self, taken: &Taken, now: Option<Timestamp>) {
        let (limiter, debt) = (self.limiter, taken.debt);
        // The clock is read under the lock, so that no taker before has used a later time.
        let now = || now.unwrap_or_else(|| limiter.clock.now());
        let mut shard = limiter.lock(self.shard());
        let found = shard.give_back(self.key, debt, now(), limiter.carry());
        drop(shard);
        if !found {
            let mut all = limiter.caught_up(limiter.shared.write());
            all.give_back(SHARED, debt, now(), limiter.carry());
        }
    }

    fn keep(&self, taken: &Taken) {
        let limiter = self.limiter;
        let found = limiter.lock(self.shard()).keep(self.key, taken.debt);
        if !found {
            limiter
                .caught_up(limiter.shared.write())
                .keep(SHARED, taken.debt);
        }
    }

    fn uncarved(&self) -> u64 {
        0
    }

    fn carve(&self, _: u64) -> Result<(), Denied> {
        Err(Denied::ExceedsBurst { burst: 0 })
    }

    fn restore(&self, _: u64) {}
}

impl<'a, K, Q, S, C> KeyHandle<'a, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToOwned<Owned = K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    /// Takes `n` tokens and waits until they are there: `.await` it, or `.wait()` for it on a
    /// thread. First come, first served.
    ///
    /// # Errors
    /// At once, with nothing taken: as [`reserve`](RateLimiter::reserve).
    ///
    /// # Cancel safety
    /// Dropping the future gives back what no later taker has built on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{KeyedLimiter, RateLimiter};
    ///
    /// let limiter: KeyedLimiter<String> = KeyedLimiter::new("1000/s burst 1".parse()?, 100)?;
    /// let ada = limiter.key("ada");
    /// let start = ada.now();
    /// for _ in 0..3 {
    ///     ada.acquire(1).wait()?; // `ada.acquire(1).await?` in a task
    /// }
    /// assert!(ada.now().saturating_since(start) >= Duration::from_millis(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(self, n: u64) -> Wait<Acquire<Self>> {
        self.acquire_timeout(n, Duration::MAX)
    }

    /// As [`acquire`](Self::acquire), if the tokens are there within `timeout` from the first poll;
    /// if they will not be, it fails at once.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Denied::TooLong`]; nothing was taken.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Denied, KeyedLimiter, Quota};
    ///
    /// let limiter: KeyedLimiter<u64> = KeyedLimiter::new(Quota::per_hour(1)?, 100)?;
    /// assert!(limiter.key(&1).acquire_timeout(1, Duration::ZERO).wait().is_ok());
    /// let denied = limiter.key(&1).acquire_timeout(1, Duration::from_secs(1)).wait();
    /// assert!(matches!(denied, Err(Denied::TooLong { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire_timeout(self, n: u64, timeout: Duration) -> Wait<Acquire<Self>> {
        Wait::new(Acquire::new(self, n, timeout))
    }
}

impl<K, Q, S, C> Lender for KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToOwned<Owned = K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    type Debt = Taken;

    fn clock(&self) -> &dyn Clock {
        &self.limiter.clock
    }

    fn lend(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Taken, Denied> {
        self.owe(n, max_wait, now)
    }

    fn ready_at(debt: &Taken) -> Timestamp {
        debt.ready_at
    }

    fn settle(&self, debt: Taken) {
        self.keep(&debt);
    }

    fn give_back(&self, debt: Taken) {
        Internal::give_back(self, &debt, None);
    }
}

impl<K, Q: ?Sized, S, C> fmt::Debug for KeyHandle<'_, K, Q, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key, which need not be printable.
        f.debug_struct("KeyHandle")
            .field("limiter", self.limiter)
            .finish_non_exhaustive()
    }
}
