//! What a [`KeyedLimiter`] offers on its keys: a handle for one, and operations on all that are kept.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use crate::clock::Clock;
use crate::limiter::keyed::core::hashed_key::HashedKey;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::ops::handle::KeyHandle;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::quota::Quota;
use crate::sync::Ordering;
use crate::wake::Wakers;

/// Counts since a [`KeyedLimiter`] was built; from [`KeyedLimiter::stats`].
///
/// A rising `overflowed` says that the capacity is too small for the keys in use.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStats {
    /// Keys that were evicted: their buckets were full again.
    pub evicted: u64,
    /// Requests of new keys that found no place, and were denied or shared a bucket.
    pub overflowed: u64,
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    /// Returns the number of keys that are kept, those with a quota of their own included.
    pub fn len(&self) -> usize {
        self.read_shards(Shard::len).sum()
    }

    /// Returns whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.read_shards(Shard::len).all(|keys| keys == 0)
    }

    /// Returns the most keys that are kept, not counting those with a quota of their own.
    pub fn capacity(&self) -> usize {
        usize::try_from(self.capacity.limit).unwrap_or(usize::MAX)
    }

    /// Returns the heap memory of the tables of keys, in bytes, without what the keys own themselves.
    pub fn allocated(&self) -> usize {
        self.read_shards(Shard::allocated).sum()
    }

    /// Counts since the limiter was built.
    pub fn stats(&self) -> KeyedStats {
        KeyedStats {
            evicted: self.read_shards(|shard| shard.evicted).sum(),
            // Relaxed: a count.
            overflowed: self.capacity.overflowed.load(Ordering::Relaxed),
        }
    }

    /// Returns the quota of the keys that have none of their own.
    pub fn quota(&self) -> Quota {
        self.history.lock().current().quota
    }
}

impl<K, S, C: Clock> KeyedLimiter<K, S, C> {
    /// Keeps only the keys that `keep` accepts, given the key and its whole tokens. The others and their
    /// own quotas are forgotten: their buckets are full.
    ///
    /// `keep` runs under a lock and must not call the limiter. A key with waiters stays until they have
    /// left: see [Waiting](#waiting).
    pub fn retain(&self, mut keep: impl FnMut(&K, u64) -> bool)
    where
        K: Eq,
    {
        let now = self.clock.now();
        for shard in 0..self.shards.len() {
            // Declared before the lock, and so dropped after it: both run the caller's code.
            let (mut wakers, mut removed) = (Wakers::default(), self.removed_keys());
            let mut shard = self.lock(shard);
            shard.retain_words(now, self.read_old(), &mut keep, &mut removed.counted);
            shard.retain_lines(now, &mut keep, &mut wakers, &mut removed);
        }
    }

    /// Iterates over clones of the keys that are kept, each with its whole tokens. The order is
    /// arbitrary, and each shard is read when the iterator comes to it.
    ///
    /// `Clone` runs under a lock and must not call the limiter.
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
            // Declared before the lock: if a `Clone` panics, the keys before it drop after the lock.
            let mut all = Vec::new();
            self.lock(shard).snapshot(now, self.read_old(), &mut all);
            all
        })
    }
}

impl<K: Hash, S: BuildHasher, C> KeyedLimiter<K, S, C> {
    /// Returns the bucket of a key, as a [`RateLimiter`](crate::RateLimiter). The key need not be known,
    /// and this call keeps nothing.
    ///
    /// The key may be given in a borrowed form, such as a `str` for a `String`: see
    /// [`ToKey`](crate::limiter::ToKey). [`owned_key`](Self::owned_key) gives a bucket that can be stored.
    #[inline]
    pub fn key<'a, Q>(&'a self, key: &'a Q) -> KeyHandle<'a, K, Q, S, C>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        KeyHandle::new(self, HashedKey { hash, key })
    }

    /// Forgets a key and its own quota, so that its bucket is full; returns whether the key was kept. A
    /// key with waiters stays until they have left: see [Waiting](#waiting).
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        C: Clock,
    {
        let hash = self.hasher.hash_one(key);
        // Declared before the lock, and so dropped after it: both run the caller's code.
        let (mut wakers, mut removed) = (Wakers::default(), self.removed_keys());
        let (key, now) = (HashedKey { hash, key }, || self.clock.now());
        let mut shard = self.lock(self.shard_of(hash));
        let was_kept = shard.remove(key, now, &mut wakers, &mut removed);
        drop(shard);
        was_kept
    }
}
