//! Quotas that change, and bases that move: each begins a generation, and each shard catches up
//! when it is next locked.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::rate::Instant;
use crate::limiter::keyed::core::generation::{Carry, Generation, Generations, TURN};
use crate::limiter::keyed::core::hashed::Hashed;
use crate::limiter::keyed::core::leaving::Leaving;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::core::to_key::ToKey;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::quota::{Quota, QuotaError};
use crate::sync::{AtomicU64, Mutex, Ordering, RwLockWriteGuard, fence};
use crate::wake::Wakers;

/// Takes the number of a generation back that has not begun, should the caller's clock panic.
struct Undo<'a>(&'a AtomicU64, u64);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Release);
    }
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    #[inline]
    pub(crate) fn caught_up<'a, T>(
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
    pub(crate) fn carry(&self) -> impl Carry + use<'_, K, S, C> {
        #[cold]
        fn unpack(generations: &Mutex<Generations>, word: u64, to: u64) -> Instant {
            generations.lock().unpack(word, to)
        }
        |word, to| unpack(&self.generations, word, to)
    }

    /// Begins a generation: `make` makes it of the one in force and a time, if it is needed.
    fn begin<E>(
        &self,
        now: Option<Timestamp>,
        make: impl Fn(&Generation, Timestamp) -> Result<Option<Generation>, E>,
        leaving: &mut Leaving<'_, K>,
    ) -> Result<Timestamp, E>
    where
        C: Clock,
    {
        let mut turn = self.writer.lock();
        // Only a writer begins a generation, and there is only one.
        let (current, before) = (*self.generations.lock().current(), self.clock.now());
        let Some(next) = make(&current, now.unwrap_or(before))? else {
            return Ok(before);
        };
        if Generations::is_due(next.number) {
            let some = (self.shards.len() as u64).div_ceil(TURN);
            for _ in 0..some {
                *turn = (*turn + 1) % self.shards.len();
                let mut shard = self.lock(*turn);
                shard.refresh(before, self.carry(), &mut leaving.seated);
            }
        }
        let mut generations = self.generations.lock();
        // Whoever finds the number comes for the generation, and waits until it is there. Release
        // pairs with the Acquire in `caught_up`.
        self.current.store(next.number, Ordering::Release);
        let undo = Undo(&self.current, current.number);
        // The time is read once no take of the generation before can be at a later one: those that
        // have not seen the number have read their clocks before it was there.
        fence(Ordering::SeqCst);
        let now = now.unwrap_or_else(|| self.clock.now());
        generations.begin(make(&current, now)?.unwrap_or(next));
        std::mem::forget(undo);
        drop(generations);
        drop(turn);
        Ok(now)
    }

    /// Moves the base of all words nearer to `now`, unless another thread has done so.
    #[cold]
    pub(crate) fn move_base(&self, now: Timestamp)
    where
        C: Clock,
    {
        let moved = |current: &Generation, now| {
            let beyond = !current.covers(now) && !current.is_closed;
            beyond.then(|| current.moved(now)).transpose()
        };
        let moved = self.begin(Some(now), moved, &mut self.leaving());
        debug_assert!(moved.is_ok(), "the quota in force fits");
    }

    /// Has the waiters of all keys look at a change: one step for each key that has any.
    fn serve_all(&self, now: Timestamp) {
        // Woken once all have been served: one that panics is not to keep others from it.
        let mut wakers = Wakers::default();
        for shard in 0..self.shards.len() {
            let mut shard = self.lock(shard);
            for line in shard.lines.iter_mut() {
                line.line.serve(now, &mut wakers);
            }
            drop(shard);
        }
        let mut shared = self.caught_up(self.shared.write());
        for line in shared.lines.iter_mut() {
            line.line.serve(now, &mut wakers);
        }
        drop(shared);
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
        self.change_quota(quota, carry, None)
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
        self.change_quota(quota, carry, Some(now))
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

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
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
        Q: Hash + Eq + ToKey<K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        self.set_own(Hashed { hash, key }, (quota, carry), None)
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
        Q: Hash + Eq + ToKey<K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        self.set_own(Hashed { hash, key }, (quota, carry), Some(now))
    }
}
