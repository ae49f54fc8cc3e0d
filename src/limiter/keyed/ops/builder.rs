//! How a [`KeyedLimiter`] is built, and why that can fail.

use std::fmt;
use std::hash::RandomState;
use std::marker::PhantomData;
use std::time::Duration;

use crate::clock::SystemClock;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::keyed::core::on_full::OnFull;
use crate::limiter::keyed::shell::keyed_limiter::{KeyedLimiter, Settings};
use crate::quota::{Quota, QuotaError};

/// Builds a [`KeyedLimiter`]: from [`KeyedLimiter::builder`].
///
/// ```
/// use tollgate::{KeyedLimiter, ManualClock, OnFull, Quota};
///
/// let limiter: KeyedLimiter<String, _, _> = KeyedLimiter::builder(Quota::per_second(10)?, 1_000)
///     .on_full(OnFull::Shared)
///     .clock(ManualClock::new())
///     .build()?;
/// assert!(limiter.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyedBuilder<K, S = RandomState, C = SystemClock> {
    settings: Settings,
    hasher: S,
    clock: C,
    keys: PhantomData<fn(K)>,
}

impl<K> KeyedLimiter<K> {
    /// Creates a limiter with a full bucket of this quota for every key, of which at most `capacity` are
    /// kept, on the [`SystemClock`].
    ///
    /// # Errors
    /// As [`KeyedBuilder::build`].
    pub fn new(quota: Quota, capacity: usize) -> Result<Self, KeyedError> {
        Self::builder(quota, capacity).build()
    }

    /// Creates a builder, to choose a hasher, a clock, bounds on waiting, and what happens to new keys when
    /// the limiter is full.
    pub fn builder(quota: Quota, capacity: usize) -> KeyedBuilder<K> {
        KeyedBuilder {
            settings: Settings {
                quota,
                capacity,
                on_full: OnFull::default(),
                bounds: Bounds::NONE,
            },
            hasher: RandomState::new(),
            clock: SystemClock::new(),
            keys: PhantomData,
        }
    }
}

impl<K, S, C> KeyedBuilder<K, S, C> {
    /// Sets what happens to new keys when the limiter is full; [`OnFull::Deny`] unless set.
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.settings.on_full = on_full;
        self
    }

    /// Sets the most callers that may wait for one key at once; no bound unless set. The next is refused
    /// with [`Denied::TooManyWaiters`](crate::Denied::TooManyWaiters).
    pub fn max_waiters(mut self, most: usize) -> Self {
        self.settings.bounds.max_waiters = most;
        self
    }

    /// Sets the longest that a caller may wait for a key; no bound unless set. A caller that would wait
    /// longer, as the line stands, is refused at once with [`Denied::TooLong`](crate::Denied::TooLong).
    pub fn max_wait(mut self, longest: Duration) -> Self {
        self.settings.bounds.max_wait = longest;
        self
    }

    /// Sets how keys are hashed; [`RandomState`] unless set. Keys that come from outside need a hasher with
    /// a random seed, or an attacker can send keys that collide. All 64 bits of the hash are used.
    pub fn hasher<T>(self, hasher: T) -> KeyedBuilder<K, T, C> {
        KeyedBuilder {
            settings: self.settings,
            hasher,
            clock: self.clock,
            keys: self.keys,
        }
    }

    /// Sets the clock of the limiter; [`SystemClock`] unless set.
    pub fn clock<D>(self, clock: D) -> KeyedBuilder<K, S, D> {
        KeyedBuilder {
            settings: self.settings,
            hasher: self.hasher,
            clock,
            keys: self.keys,
        }
    }

    /// Builds the limiter.
    ///
    /// # Errors
    /// [`KeyedError::ZeroCapacity`], and [`KeyedError::Quota`] for a quota that does not fit the eight
    /// bytes of a key.
    pub fn build(self) -> Result<KeyedLimiter<K, S, C>, KeyedError> {
        if self.settings.capacity == 0 {
            return Err(KeyedError::ZeroCapacity);
        }
        let limiter = KeyedLimiter::from_settings(&self.settings, self.hasher, self.clock)?;
        Ok(limiter)
    }
}

impl<K, S, C: fmt::Debug> fmt::Debug for KeyedBuilder<K, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("quota", &self.settings.quota)
            .field("capacity", &self.settings.capacity)
            .field("on_full", &self.settings.on_full)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Why a [`KeyedLimiter`] could not be built.
///
/// ```
/// use tollgate::{KeyedError, KeyedLimiter, Quota};
///
/// let error = KeyedLimiter::<u64>::new(Quota::per_second(1)?, 0).unwrap_err();
/// assert_eq!(error, KeyedError::ZeroCapacity);
/// assert_eq!(error.to_string(), "the capacity of a keyed limiter must be at least 1 key");
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyedError {
    /// The capacity is 0: the limiter could keep no key.
    ZeroCapacity,
    /// The quota is refused.
    Quota(QuotaError),
}

impl From<QuotaError> for KeyedError {
    fn from(error: QuotaError) -> Self {
        Self::Quota(error)
    }
}

impl fmt::Display for KeyedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroCapacity => {
                f.write_str("the capacity of a keyed limiter must be at least 1 key")
            }
            Self::Quota(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeyedError {}
