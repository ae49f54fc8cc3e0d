//! The choice for a new key that finds no place.

/// What a [`KeyedLimiter`](crate::KeyedLimiter) does with a new key when it is full of keys that are in
/// use.
///
/// ```
/// use tollgate::{Denied, KeyedLimiter, OnFull, Quota, RateLimiter};
///
/// let builder = KeyedLimiter::builder(Quota::per_hour(2)?, 1).on_full(OnFull::Shared);
/// let limiter: KeyedLimiter<u64> = builder.build()?;
/// assert!(limiter.key(&1).try_acquire(1).is_ok());
/// // All other keys share one bucket.
/// assert!(limiter.key(&2).try_acquire(1).is_ok());
/// assert!(limiter.key(&3).try_acquire(1).is_ok());
/// assert!(matches!(limiter.key(&4).try_acquire(1), Err(Denied::NotYet { .. })));
/// assert_eq!(limiter.stats().overflowed, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnFull {
    /// Denies it, with [`Denied::TooManyKeys`](crate::Denied::TooManyKeys).
    #[default]
    Deny,
    /// Counts it in one bucket, of the same quota, that it shares with all other keys without a place.
    Shared,
}
