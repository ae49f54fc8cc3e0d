//! The bucket of one key, without a borrow of the limiter.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::limiter::core::acquire_turn::AcquireTurn;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::Parts;
use crate::limiter::core::status::Status;
use crate::limiter::keyed::core::hashed_key::HashedKey;
use crate::limiter::keyed::ops::handle::KeyHandle;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::limiter::ops::limiter::{Limiter, forward, forward_limiter, forward_uncounted};
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::wait::Progress;

/// The bucket of one key, as a [`RateLimiter`] that owns a share of the limiter: from
/// [`KeyedLimiter::owned_key`].
///
/// An `OwnedKey` can be stored, sent to a task, and waited for without a borrow. It waits as a
/// [`KeyHandle`](KeyHandle#waiting) does. Where a borrow is enough, [`KeyedLimiter::key`] needs no `Arc`
/// and no owned key.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::{KeyedLimiter, RateLimiter};
///
/// let limiter: Arc<KeyedLimiter<String>> = Arc::new(KeyedLimiter::new("2/h".parse()?, 100)?);
/// let ada = limiter.owned_key("ada".to_owned());
/// let thread = std::thread::spawn(move || ada.acquire(2).wait());
/// thread.join().unwrap()?;
/// assert_eq!(limiter.key("ada").available(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct OwnedKey<K, S = RandomState, C = SystemClock> {
    limiter: Arc<KeyedLimiter<K, S, C>>,
    key: K,
    /// Kept, so that no call and no drop of a reservation runs the caller's `Hash`.
    hash: u64,
}

impl<K: Hash, S: BuildHasher, C> KeyedLimiter<K, S, C> {
    /// Returns the bucket of a key, as a [`RateLimiter`] that owns a share of this limiter. For what
    /// stores its limiter, such as a [`WorkQueue`](crate::WorkQueue) or a task.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::{AllOf, AtomicTokenBucket, KeyedLimiter, RateLimiter, WorkQueue};
    ///
    /// let tenants: Arc<KeyedLimiter<String>> = Arc::new(KeyedLimiter::new("1/h".parse()?, 100)?);
    /// let all = Arc::new(AtomicTokenBucket::new("5/h".parse()?)?);
    /// let both = AllOf::new((tenants.owned_key("ada".to_owned()), all.clone()));
    /// let queue = WorkQueue::builder(8).rate_limit(Arc::new(both)).build()?;
    /// queue.try_add("first").unwrap();
    /// queue.try_add("second").unwrap();
    /// assert!(queue.try_get().is_some());
    /// assert!(queue.try_get().is_none()); // ada's one token an hour is used
    /// assert_eq!(all.available(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn owned_key(self: &Arc<Self>, key: K) -> OwnedKey<K, S, C> {
        OwnedKey {
            hash: self.hasher.hash_one(&key),
            limiter: Arc::clone(self),
            key,
        }
    }
}

impl<K, S, C> OwnedKey<K, S, C> {
    /// Returns the same bucket, borrowed.
    pub fn handle(&self) -> KeyHandle<'_, K, K, S, C> {
        let (hash, key) = (self.hash, &self.key);
        KeyHandle::new(&self.limiter, HashedKey { hash, key })
    }
}

impl<K, S, C> RateLimiter for OwnedKey<K, S, C> where Self: Limiter {}

impl<K, S, C> Limiter for OwnedKey<K, S, C>
where
    K: Hash + Eq + Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    fn clock(&self) -> &dyn Clock {
        &self.limiter.clock
    }

    fn as_dyn(&self) -> &dyn Limiter {
        self
    }

    fn ordered_lock(&self) -> Option<&OrderedLock> {
        Some(&self.limiter.shards[self.limiter.shard_of(self.hash)].ordered_lock)
    }

    forward_limiter!(self => self.handle());
}

impl<K: Clone, S, C> Clone for OwnedKey<K, S, C> {
    fn clone(&self) -> Self {
        Self {
            limiter: Arc::clone(&self.limiter),
            key: self.key.clone(),
            hash: self.hash,
        }
    }
}

impl<K, S, C> fmt::Debug for OwnedKey<K, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key, which need not be `Debug`.
        f.debug_struct("OwnedKey")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}
