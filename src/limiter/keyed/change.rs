//! Quotas that change, and bases that move: each begins a generation, and each shard catches up
//! when it is next locked.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use super::KeyedLimiter;
use super::generation::{Carry, Generation, Generations, TURN};
use super::shard::{Hashed, Shard};
use crate::clock::{Clock, Timestamp};
use crate::limiter::CarryOver;
use crate::limiter::rate::Instant;
use crate::quota::{Quota, QuotaError};
use crate::sync::{Mutex, Ordering, RwLockWriteGuard};

impl<K, S, C> KeyedLimiter<K, S, C> {
    #[inline]
    pub(super) fn caught_up<'a, T>(
        &self,
        mut shard: RwLockWriteGuard<'a, Shard<T>>,
    ) -> RwLockWriteGuard<'a, Shard<T>> {
        // Acquire pairs with the Release in `begin`: who knows of a change of the quota sees it.
        if shard.generation().number != self.current.load(Ordering::Acquire) {
            self.catch_up(&mut shard);
        }
        shard
    }

    #[cold]
    fn catch_up<T>(&self, shard: &mut Shard<T>) {
        shard.catch_up(&self.generations.lock());
    }

    /// Reads words of older generations.
    #[inline]
    pub(super) fn carry(&self) -> impl Carry + use<'_, K, S, C> {
        #[cold]
        fn unpack(generations: &Mutex<Generations>, word: u64, to: u64) -> Instant {
            generations.lock().unpack(word, to)
        }
        |word, to| unpack(&self.generations, word, to)
    }

    /// Begins a generation: `make` makes it of the one in force, if it is needed.
    fn begin<E>(
        &self,
        now: Timestamp,
        make: impl FnOnce(&Generation) -> Result<Option<Generation>, E>,
    ) -> Result<(), E> {
        let mut turn = self.writer.lock();
        // Only a writer begins a generation, and there is only one.
        let current = *self.generations.lock().current();
        let Some(next) = make(&current)? else {
            return Ok(());
        };
        if Generations::is_due(next.number) {
            let some = (self.shards.len() as u64).div_ceil(TURN);
            for _ in 0..some {
                *turn = (*turn + 1) % self.shards.len();
                let gone = self.lock(*turn).refresh(now, self.carry());
                self.seats.free(gone);
            }
            self.caught_up(self.shared.write())
                .refresh(now, self.carry());
        }
        self.generations.lock().begin(next);
        // Release pairs with the Acquire in `caught_up`.
        self.current.store(next.number, Ordering::Release);
        Ok(())
    }

    /// Moves the base of all words nearer to `now`, unless somebody has done so.
    #[cold]
    pub(super) fn move_base(&self, now: Timestamp) {
        let moved = self.begin(now, |current| {
            let beyond = !current.covers(now);
            beyond.then(|| current.moved(now)).transpose()
        });
        debug_assert!(moved.is_ok(), "the quota in force fits");
    }
}

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
        self.set_quota_at(quota, carry, self.clock.now())
    }

    /// As [`set_quota`](Self::set_quota), with the new quota in force since `now`.
    ///
    /// # Errors
    /// As [`set_quota`](Self::set_quota).
    ///
    /// ```
    /// use tollgate::{CarryOver, KeyedLimiter, Quota, RateLimiter, Timestamp};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_second(1)?, 100)?;
    /// let now = Timestamp::from_nanos(500_000_000);
    /// limiter.set_quota_at(Quota::per_second(2)?, CarryOver::Empty, now)?;
    /// assert_eq!(limiter.key(&1).available_at(Timestamp::from_nanos(1_000_000_000)), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_quota_at(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Timestamp,
    ) -> Result<(), QuotaError> {
        self.begin(now, |current| current.changed(quota, carry, now).map(Some))
    }
}

impl<K: Hash, S: BuildHasher, C> KeyedLimiter<K, S, C> {
    /// Gives a key a quota of its own, any quota, until it is [removed](Self::remove); how its fill
    /// carries over is `carry`'s choice.
    ///
    /// # Errors
    /// [`QuotaError::ZeroBurst`].
    ///
    /// ```
    /// use tollgate::{CarryOver, KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(2)?, 100)?;
    /// limiter.set_quota_for("ada", Quota::per_hour(50)?, CarryOver::Full)?;
    /// assert_eq!(limiter.key("ada").available(), 50);
    /// assert_eq!(limiter.key("bob").available(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_quota_for<Q>(
        &self,
        key: &Q,
        quota: Quota,
        carry: CarryOver,
    ) -> Result<(), QuotaError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        C: Clock,
    {
        self.set_quota_for_at(key, quota, carry, self.clock.now())
    }

    /// As [`set_quota_for`](Self::set_quota_for), with the key's quota in force since `now`.
    ///
    /// # Errors
    /// As [`set_quota_for`](Self::set_quota_for).
    ///
    /// ```
    /// use tollgate::{CarryOver, KeyedLimiter, Quota, RateLimiter, Timestamp};
    ///
    /// let limiter: KeyedLimiter<u64> = KeyedLimiter::new(Quota::per_hour(2)?, 100)?;
    /// let now = Timestamp::from_nanos(500_000_000);
    /// limiter.set_quota_for_at(&7, Quota::per_second(2)?, CarryOver::Empty, now)?;
    /// assert_eq!(limiter.key(&7).available_at(Timestamp::from_nanos(1_000_000_000)), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_quota_for_at<Q>(
        &self,
        key: &Q,
        quota: Quota,
        carry: CarryOver,
        now: Timestamp,
    ) -> Result<(), QuotaError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        self.set_own(Hashed { hash, key }, (quota, carry, now))
    }

    pub(super) fn set_own<Q>(
        &self,
        key: Hashed<'_, Q>,
        change: (Quota, CarryOver, Timestamp),
    ) -> Result<(), QuotaError>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut shard = self.lock(self.shard_of(key.hash));
        let placed = shard.set_quota(key, change, self.carry())?;
        self.seats.free(placed.into());
        Ok(())
    }
}
