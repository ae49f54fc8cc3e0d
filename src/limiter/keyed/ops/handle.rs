//! The bucket of one key, as a handle that borrows the limiter.

mod limiter;

use std::fmt;
use std::hash::RandomState;

use crate::clock::SystemClock;
use crate::limiter::keyed::core::hashed_key::HashedKey;
use crate::limiter::keyed::core::word_table::WordEntry;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;

/// The bucket of one key, as a [`RateLimiter`](crate::RateLimiter): from [`KeyedLimiter::key`].
///
/// The handle borrows the limiter and the key, and looks the key up at each call. To store a bucket or send it
/// to a task, use [`KeyedLimiter::owned_key`].
///
/// A quota of its own, by [`set_quota`](Self::set_quota), holds until [`KeyedLimiter::remove`] forgets
/// it. Such a key does not count towards the capacity, and is never evicted.
///
/// # Waiting
/// As [every limiter](crate::RateLimiter#waiting), each key by itself: see
/// [`KeyedLimiter`](KeyedLimiter#waiting). A waiter keeps the key's place until it is served or leaves. A
/// new key without a place is denied with [`Denied::TooManyKeys`](crate::Denied::TooManyKeys) before it
/// waits, unless it shares a bucket.
///
/// # Examples
/// ```
/// use tollgate::{KeyedLimiter, Quota, RateLimiter};
///
/// let limiter: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(3)?, 1_000)?;
/// let ada = limiter.key("ada");
/// assert!(ada.try_acquire(2).is_ok());
/// ada.refund(1);
/// assert_eq!(ada.available(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyHandle<'a, K, Q: ?Sized, S = RandomState, C = SystemClock> {
    limiter: &'a KeyedLimiter<K, S, C>,
    key: HashedKey<'a, Q>,
}

/// Cache lines of entries that are prefetched. A lookup reads up to four entries of 16 bytes in a line,
/// and most keys lie in the first three lines.
const PREFETCHED_LINES: usize = 3;

impl<K, Q: ?Sized, S, C> Clone for KeyHandle<'_, K, Q, S, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, Q: ?Sized, S, C> Copy for KeyHandle<'_, K, Q, S, C> {}

impl<'a, K, Q: ?Sized, S, C> KeyHandle<'a, K, Q, S, C> {
    #[inline]
    pub(crate) fn new(limiter: &'a KeyedLimiter<K, S, C>, key: HashedKey<'a, Q>) -> Self {
        let handle = Self { limiter, key };
        // Each call looks the key up: its cache lines arrive while the clock is read and the lock taken.
        let table = limiter.shards[handle.shard()].table_hint.load();
        table.prefetch::<WordEntry<K>>(key.hash, PREFETCHED_LINES);
        handle
    }

    fn shard(&self) -> usize {
        self.limiter.shard_of(self.key.hash)
    }
}

impl<K, Q: ?Sized, S, C> fmt::Debug for KeyHandle<'_, K, Q, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key, which need not be `Debug`.
        f.debug_struct("KeyHandle")
            .field("limiter", self.limiter)
            .finish_non_exhaustive()
    }
}
