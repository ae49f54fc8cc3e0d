//! What can be asked of all keys of a [`KeyedLimiter`].

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use crate::clock::Clock;
use crate::limiter::keyed::core::hashed::Hashed;
use crate::limiter::keyed::ops::handle::KeyHandle;
use crate::limiter::keyed::shell::keyed_limiter::{Guarded, KeyedLimiter};
use crate::quota::Quota;
use crate::sync::Ordering;
use crate::wake::Wakers;

/// What has happened to a [`KeyedLimiter`]; from [`KeyedLimiter::stats`].
///
/// ```
/// use tollgate::{KeyedLimiter, Quota};
///
/// let limiter = KeyedLimiter::<u64>::new(Quota::per_second(1)?, 10)?;
/// let stats = limiter.stats();
/// assert_eq!((stats.evicted, stats.overflowed), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStats {
    /// Keys that gave up their places, being full again.
    pub evicted: u64,
    /// Requests of new keys that found no place, and were denied or shared a bucket.
    pub overflowed: u64,
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    /// How many keys are kept, those with a quota of their own among them.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(1)?, 10)?;
    /// assert!(limiter.key(&1).try_acquire(1).is_ok());
    /// assert!(limiter.key(&1).try_acquire(1).is_err());
    /// assert_eq!(limiter.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.guarded()
            .map(|guarded| guarded.shard.read().len())
            .sum()
    }

    /// Whether no key is kept: all buckets are as full as those that were never used.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota};
    ///
    /// assert!(KeyedLimiter::<u64>::new(Quota::per_hour(1)?, 10)?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.guarded()
            .all(|guarded| guarded.shard.read().len() == 0)
    }

    /// The most keys that are kept, without those that have a quota of their own.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota};
    ///
    /// assert_eq!(KeyedLimiter::<u64>::new(Quota::per_hour(1)?, 10)?.capacity(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn capacity(&self) -> usize {
        usize::try_from(self.seats.capacity).unwrap_or(usize::MAX)
    }

    /// The bytes that the tables of keys take now, without what keys own themselves.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota};
    ///
    /// assert_eq!(KeyedLimiter::<u64>::new(Quota::per_hour(1)?, 10)?.allocated(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allocated(&self) -> usize {
        let allocated = |guarded: &Guarded<K>| guarded.shard.read().allocated();
        self.guarded().map(allocated).sum()
    }

    /// What has happened since it was built.
    ///
    /// ```
    /// use tollgate::{Denied, KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(1)?, 1)?;
    /// assert!(limiter.key(&1).try_acquire(1).is_ok());
    /// assert_eq!(limiter.key(&2).try_acquire(1), Err(Denied::TooManyKeys));
    /// assert_eq!(limiter.stats().overflowed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> KeyedStats {
        KeyedStats {
            evicted: self
                .guarded()
                .map(|guarded| guarded.shard.read().evicted)
                .sum(),
            // Relaxed: a count.
            overflowed: self.seats.overflowed.load(Ordering::Relaxed),
        }
    }

    /// The quota of the keys that have none of their own.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(1)?, 10)?;
    /// assert_eq!(limiter.quota(), Quota::per_hour(1)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quota(&self) -> Quota {
        self.generations.lock().current().quota
    }
}

impl<K, S, C: Clock> KeyedLimiter<K, S, C> {
    /// Keeps only the keys for which `keep`, given the key and what is there, says so. Those that
    /// go, and their own quotas, are forgotten: their buckets are full.
    ///
    /// `keep` runs under a lock, and must not call the limiter. A key that callers wait for stays until
    /// they have gone: see [Waiting](#waiting).
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(10)?, 100)?;
    /// assert!(limiter.key(&1).try_acquire(1).is_ok());
    /// assert!(limiter.key(&2).try_acquire(1).is_ok());
    /// limiter.retain(|key, _| *key != 2);
    /// assert_eq!(limiter.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&K, u64) -> bool)
    where
        K: Eq,
    {
        let now = self.clock.now();
        for shard in 0..self.shards.len() {
            // Woken, and dropped, once the lock is released.
            let (mut wakers, mut leaving) = (Wakers::default(), self.leaving());
            let mut shard = self.lock(shard);
            shard.retain(now, self.carry(), &mut keep, &mut leaving.seated);
            shard.retain_lines(now, &mut keep, &mut wakers, &mut leaving);
        }
    }

    /// The keys that are kept, with what is there of each, whether callers wait for it or not: shard by
    /// shard, each as it is when the iterator comes to it.
    ///
    /// `Clone` of the keys runs under a lock, and must not call the limiter.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(10)?, 100)?;
    /// assert!(limiter.key(&1).try_acquire(4).is_ok());
    /// assert_eq!(limiter.iter().collect::<Vec<_>>(), [(1, 6)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)>
    where
        K: Clone,
    {
        let now = self.clock.now();
        (0..self.shards.len()).flat_map(move |shard| {
            // Outside the lock, so that the keys are dropped there too if a `Clone` panics.
            let mut all = Vec::new();
            self.lock(shard).snapshot(now, self.carry(), &mut all);
            all
        })
    }
}

impl<K: Hash, S: BuildHasher, C> KeyedLimiter<K, S, C> {
    /// The bucket of a key, as a [`RateLimiter`](crate::RateLimiter). It need not be kept yet, and
    /// asking for it keeps nothing.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(2)?, 100)?;
    /// let ada = limiter.key("ada");
    /// assert_eq!(ada.available(), 2);
    /// assert!(ada.try_acquire(1).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn key<'a, Q>(&'a self, key: &'a Q) -> KeyHandle<'a, K, Q, S, C>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        KeyHandle::new(self, Hashed { hash, key })
    }

    /// Forgets a key and its own quota, if it has one: its bucket is full. Whether it was kept. A key
    /// that callers wait for stays until they have gone: see [Waiting](#waiting).
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(2)?, 100)?;
    /// assert!(limiter.key("ada").try_acquire(2).is_ok());
    /// assert!(limiter.remove("ada"));
    /// assert!(!limiter.remove("ada"));
    /// assert_eq!(limiter.key("ada").available(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        C: Clock,
    {
        let hash = self.hasher.hash_one(key);
        // Woken, and dropped, once the lock is released.
        let (mut wakers, mut leaving) = (Wakers::default(), self.leaving());
        let (key, now) = (Hashed { hash, key }, || self.clock.now());
        let mut shard = self.lock(self.shard_of(hash));
        let was_there = shard.remove(key, now, &mut wakers, &mut leaving);
        drop(shard);
        was_there
    }
}
