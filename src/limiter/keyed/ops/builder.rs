use std::fmt;
use std::hash::RandomState;
use std::marker::PhantomData;
use std::time::Duration;

use crate::clock::SystemClock;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::keyed::core::on_full::OnFull;
use crate::limiter::keyed::shell::keyed_limiter::{KeyedLimiter, Settings};
use crate::quota::{Quota, QuotaError};

/// Builds a [`KeyedLimiter`]; from [`KeyedLimiter::builder`].
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
    /// A bucket of this quota for every key, of which at most `capacity` are kept, on the
    /// [`SystemClock`].
    ///
    /// # Errors
    /// [`KeyedError::ZeroCapacity`], and [`KeyedError::Quota`] for a quota that does not fit the
    /// eight bytes of a key.
    ///
    /// ```
    /// use tollgate::{Denied, KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(1)?, 2)?;
    /// assert!(limiter.key(&1).try_acquire(1).is_ok());
    /// assert!(limiter.key(&2).try_acquire(1).is_ok());
    /// assert_eq!(limiter.key(&3).try_acquire(1), Err(Denied::TooManyKeys)); // two are kept
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(quota: Quota, capacity: usize) -> Result<Self, KeyedError> {
        Self::builder(quota, capacity).build()
    }

    /// To choose a hasher, a clock, and what happens when it is full.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, OnFull, Quota};
    ///
    /// let builder = KeyedLimiter::<u64>::builder(Quota::per_second(5)?, 100);
    /// assert!(builder.on_full(OnFull::Shared).build().is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn builder(quota: Quota, capacity: usize) -> KeyedBuilder<K> {
        KeyedBuilder::new(quota, capacity)
    }
}

impl<K> KeyedBuilder<K> {
    pub(crate) fn new(quota: Quota, capacity: usize) -> Self {
        Self {
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
    /// What becomes of new keys when it is full; [`OnFull::Deny`] unless set. See there.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, OnFull, Quota};
    ///
    /// let builder = KeyedLimiter::<u64>::builder(Quota::per_hour(2)?, 1).on_full(OnFull::Deny);
    /// assert!(builder.build().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.settings.on_full = on_full;
        self
    }

    /// The most callers that may wait for one key at once; any number unless set. The next is refused
    /// with [`Denied::TooManyWaiters`](crate::Denied::TooManyWaiters).
    pub fn max_waiters(mut self, most: usize) -> Self {
        self.settings.bounds.max_waiters = most;
        self
    }

    /// The longest that a caller may wait for a key; any time unless set. One that would wait for
    /// longer, as the line stands, is refused at once with
    /// [`Denied::TooLong`](crate::Denied::TooLong).
    pub fn max_wait(mut self, longest: Duration) -> Self {
        self.settings.bounds.max_wait = longest;
        self
    }

    /// How keys are hashed; [`RandomState`] unless set, so that nobody can craft keys that collide.
    /// All 64 bits of the hash are used.
    ///
    /// ```
    /// use std::hash::{BuildHasherDefault, DefaultHasher};
    /// use tollgate::{KeyedLimiter, Quota, RateLimiter};
    ///
    /// let builder = KeyedLimiter::builder(Quota::per_hour(2)?, 100);
    /// let builder = builder.hasher(BuildHasherDefault::<DefaultHasher>::default());
    /// let limiter: KeyedLimiter<String, _> = builder.build()?;
    /// assert!(limiter.key("ada").try_acquire(2).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hasher<T>(self, hasher: T) -> KeyedBuilder<K, T, C> {
        KeyedBuilder {
            settings: self.settings,
            hasher,
            clock: self.clock,
            keys: self.keys,
        }
    }

    /// The clock to go by; [`SystemClock`] unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{KeyedLimiter, ManualClock, Quota, RateLimiter};
    ///
    /// let clock = ManualClock::new();
    /// let builder = KeyedLimiter::builder(Quota::per_second(1)?, 100).clock(clock.clone());
    /// let limiter: KeyedLimiter<u64, _, _> = builder.build()?;
    /// assert!(limiter.key(&7).try_acquire(1).is_ok());
    /// clock.advance(Duration::from_secs(1));
    /// assert!(limiter.key(&7).try_acquire(1).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock<D>(self, clock: D) -> KeyedBuilder<K, S, D> {
        KeyedBuilder {
            settings: self.settings,
            hasher: self.hasher,
            clock,
            keys: self.keys,
        }
    }

    /// The limiter.
    ///
    /// # Errors
    /// [`KeyedError::ZeroCapacity`], and [`KeyedError::Quota`] for a quota that does not fit the
    /// eight bytes of a key.
    ///
    /// ```
    /// use tollgate::{KeyedError, KeyedLimiter, Quota, QuotaError};
    ///
    /// let small = KeyedLimiter::<u64>::builder(Quota::per_second(1)?, 0).build();
    /// assert_eq!(small.unwrap_err(), KeyedError::ZeroCapacity);
    /// let huge = Quota::new(1, Quota::MAX_PERIOD)?.burst(1_000_000)?;
    /// let beyond = KeyedLimiter::<u64>::builder(huge, 10).build();
    /// assert!(matches!(beyond, Err(KeyedError::Quota(QuotaError::BeyondWord { .. }))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(self) -> Result<KeyedLimiter<K, S, C>, KeyedError> {
        if self.settings.capacity == 0 {
            return Err(KeyedError::ZeroCapacity);
        }
        let Self {
            settings,
            hasher,
            clock,
            ..
        } = self;
        Ok(KeyedLimiter::from_settings(settings, hasher, clock)?)
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
    /// A limiter of capacity 0 could never take a key.
    ZeroCapacity,
    /// The quota was refused.
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
