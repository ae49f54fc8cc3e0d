//! The options of a queue.

pub(crate) mod build;

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::{Backoff, ExponentialBackoff};
use crate::clock::{Clock, SystemClock};
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::observe::Observer;
use crate::queue::core::bands::DEFAULT_AGING;
use crate::queue::core::debounce::Debounce;
use crate::queue::core::given_up::{GivenUp, Revive};
use crate::queue::core::groups::grouping::{Grouping, Groups};
use crate::queue::core::hash::FastHash;
use crate::queue::core::machine::QueueConfig;
use crate::queue::ops::queue_error::QueueError;
use crate::queue::ops::work_queue::WorkQueue;

/// Builds a [`WorkQueue`]; from [`WorkQueue::builder`].
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use tollgate::{AtomicTokenBucket, ExponentialBackoff, Quota, WorkQueue};
///
/// let limiter = AtomicTokenBucket::new(Quota::per_second(100)?)?;
/// let queue = WorkQueue::<String>::builder(10_000)
///     .backoff(ExponentialBackoff::new(Duration::from_millis(10), Duration::from_secs(60)))
///     .max_attempts(20)
///     .debounce(Duration::from_millis(50), Duration::from_secs(1))
///     .rate_limit(Arc::new(limiter))
///     .build()?;
/// assert_eq!(queue.stats().capacity, 10_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct QueueBuilder<K, C = SystemClock, S = FastHash> {
    options: Options<K>,
    clock: C,
    hasher: S,
}

/// The options that depend on neither the clock's nor the hasher's type.
struct Options<K> {
    limits: QueueConfig,
    backoff: Box<dyn Backoff>,
    max_attempts: Option<u16>,
    seed: u64,
    limiter: Option<Arc<dyn RateLimiter>>,
    grouping: Option<Box<dyn Grouping<K>>>,
    /// `K::clone`, set by the option that needs it: other queues take keys that are not `Clone`.
    clone_key: Option<fn(&K) -> K>,
    observer: Option<Arc<dyn Observer>>,
}

impl<K> WorkQueue<K> {
    /// Creates a queue of at most `capacity` live keys, with the defaults of the
    /// [builder](Self::builder).
    ///
    /// # Errors
    /// [`QueueError::ZeroCapacity`], [`QueueError::CapacityTooLarge`].
    pub fn new(capacity: usize) -> Result<Self, QueueError> {
        // Without limiters, so keys need not be `Send`, `Sync` and `'static` as `build` asks.
        Self::builder(capacity).build_with(None)
    }

    /// Returns a builder of a queue of at most `capacity` live keys.
    pub fn builder(capacity: usize) -> QueueBuilder<K> {
        QueueBuilder {
            options: Options {
                limits: QueueConfig {
                    capacity,
                    aging: DEFAULT_AGING,
                    ..QueueConfig::default()
                },
                backoff: Box::new(ExponentialBackoff::default()),
                max_attempts: None,
                seed: RandomState::new().hash_one(()),
                limiter: None,
                grouping: None,
                clone_key: None,
                observer: None,
            },
            clock: SystemClock::new(),
            hasher: FastHash::default(),
        }
    }
}

impl<K, C, S> QueueBuilder<K, C, S> {
    /// Sets the delay before a failed key is retried. Default: [`ExponentialBackoff::default`].
    pub fn backoff(mut self, backoff: impl Backoff + 'static) -> Self {
        self.options.backoff = Box::new(backoff);
        self
    }

    /// Sets after how many failures in a row a key is given up as a dead letter: see
    /// [`Work::retry`](crate::Work::retry). Default: never.
    pub fn max_attempts(mut self, attempts: u16) -> Self {
        self.options.max_attempts = Some(attempts);
        self
    }

    /// Sets the seed of the random numbers that the [`Backoff`] gets for its jitter. Default:
    /// random, so that processes that fail together do not return together.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// Reserves room for `keys` keys that only [`Work::add_related`](crate::Work::add_related) may
    /// use. Default: 0.
    ///
    /// Producers cannot fill it, so a worker has room for the keys that its run finds.
    pub fn reserve(mut self, keys: usize) -> Self {
        self.options.limits.reserve = keys;
        self
    }

    /// Debounces adds: an added key becomes ready once no add of it has come for `quiet`, and at
    /// the latest `max` after the first of them. Default: no debounce.
    ///
    /// An add never puts a delayed key off beyond its instant. An add with a delay of its own is
    /// not debounced. Adds during a run count towards the next run.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let (quiet, max) = (Duration::from_millis(10), Duration::from_millis(25));
    /// let queue = WorkQueue::builder(8).clock(clock.clone()).debounce(quiet, max).build()?;
    /// queue.try_add("key").unwrap();
    /// assert!(queue.try_get().is_none());
    /// clock.advance(quiet);
    /// assert!(queue.try_get().is_some());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn debounce(mut self, quiet: Duration, max: Duration) -> Self {
        self.options.limits.debounce = Some(Debounce { quiet, max });
        self
    }

    /// Makes adds wait for a failed key's backoff. Default: an add ends the backoff.
    ///
    /// An add during the backoff, or during the run that fails, is not lost: the key runs when the
    /// backoff is over.
    ///
    /// Set it where a reconcile causes events of its own key, for example by writing a status:
    /// without it the failing key runs in a hot loop. Leave it out where events come from users,
    /// whose change may mend the failure. A single add overrides it:
    /// [`AddOptions::hold_backoff`](crate::AddOptions::hold_backoff),
    /// [`AddOptions::cut_backoff`](crate::AddOptions::cut_backoff). The
    /// [guide](crate::guide::failures) has a table and an example.
    pub fn hold_backoff(mut self) -> Self {
        self.options.limits.holds_backoff = true;
        self
    }

    /// Sets how often a lower priority is served: of the hand-outs that pass over a lower priority,
    /// one in `one_in` goes to the priority that was passed over longest. Default: 16.
    ///
    /// 0 disables aging: priorities are strict, and a lower one may starve. 1 makes priorities take
    /// turns.
    pub fn aging(mut self, one_in: u32) -> Self {
        self.options.limits.aging = one_in;
        self
    }

    /// Groups keys, for example by tenant, so that groups take turns. Default: no groups.
    ///
    /// Same as [`groups`](Self::groups) with [`Groups::by`].
    pub fn group_by<G>(self, by: impl Fn(&K) -> G + Send + Sync + 'static) -> Self
    where
        K: 'static,
        G: Hash + Eq + Send + 'static,
    {
        self.groups(Groups::by(by))
    }

    /// Groups keys, with weights, bounds or rate limits for each group: see [`Groups`].
    pub fn groups<G>(mut self, groups: Groups<K, G>) -> Self
    where
        K: 'static,
        G: Hash + Eq + Send + 'static,
    {
        self.options.grouping = Some(Box::new(groups));
        self
    }

    /// Sets the shortest interval between two starts of one key. Default: zero, no limit.
    ///
    /// The first start is not delayed. Until the interval is over, an add of any priority waits,
    /// and so do a requeue and a retry.
    ///
    /// A key without pending work *rests* in the queue until its interval is over. It gives way to
    /// a new key that needs the room, the key whose rest ends first before the others; a key that
    /// gave way may start again early.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.options.limits.min_interval = interval;
        self
    }

    /// Remembers each key that was given up, after [`max_attempts`](Self::max_attempts) or by
    /// [`Work::fail`](crate::Work::fail), for the time `remembered`; `revive` says what an add does
    /// to it. Default: the key is forgotten, and an add starts over.
    ///
    /// Set it where a failed attempt causes an event of its own key, for example by writing a
    /// status: without it that event revives the key.
    ///
    /// The key rests in the queue, and gives way to new keys as with
    /// [`min_interval`](Self::min_interval). `retry` and `fail` return a clone of it.
    /// [`WorkQueue::remove`] forgets it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::WorkQueue;
    /// use tollgate::queue::Revive;
    ///
    /// let hour = Duration::from_secs(3_600);
    /// let queue = WorkQueue::builder(8).remember_given_up(Revive::Never, hour).build()?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().fail(), Some("key"));
    /// queue.try_add("key").unwrap(); // the event of its own status write
    /// assert!(queue.try_get().is_none());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn remember_given_up(mut self, revive: Revive, remembered: Duration) -> Self
    where
        K: Clone,
    {
        self.options.limits.given_up = Some(GivenUp { revive, remembered });
        self.options.clone_key = Some(K::clone);
        self
    }

    /// Keeps the newest of equal keys. Default: the key that was added first stays until its run is
    /// done.
    ///
    /// For keys with a payload that `Eq` and `Hash` leave out, such as a revision beside an id. An
    /// add replaces a live key that waits; of a key in process the next run sees the newest. The
    /// priority, delay, failures and place in line stay.
    pub fn keep_newest(mut self) -> Self {
        self.options.limits.keeps_newest = true;
        self
    }

    /// Makes each start of a key take a token of `limiter`, which may be an
    /// [`AllOf`](crate::AllOf) of several. Default: no limit.
    ///
    /// Tokens are taken when keys start, never when they are added: a coalesced add costs none.
    ///
    /// While a consumer waits for a key that the limiter holds back, the queue takes one place in
    /// the limiter's line, like any waiter: newcomers do not barge past it, and a new quota or the
    /// end of a pause reaches it at once. It leaves the line when no consumer waits or no key is
    /// ready. If the limiter has no place to give (a rate of zero, a full line), the queue asks it
    /// once a second.
    ///
    /// Keys behind a closed limiter stay in the queue, and the observer is told
    /// ([`limiter_closed`](Observer::limiter_closed)); [`close`](WorkQueue::close) and
    /// [`drain`](WorkQueue::drain) return them.
    ///
    /// The queue asks the limiter, and reads its clock, under the queue's lock. Waiters that the
    /// limiter wakes then are woken after the lock is released.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter, WorkQueue};
    ///
    /// let limiter = Arc::new(LockedTokenBucket::new(Quota::per_hour(10)?)?);
    /// let queue = WorkQueue::builder(8).rate_limit(limiter.clone()).build()?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(limiter.available(), 10);
    /// queue.try_get().unwrap().done();
    /// assert_eq!(limiter.available(), 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rate_limit(mut self, limiter: Arc<dyn RateLimiter>) -> Self {
        self.options.limiter = Some(limiter);
        self
    }

    /// Sets the [`Observer`] of the queue's events, for metrics. Default: none.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.options.observer = Some(observer);
        self
    }

    /// Sets the clock. Default: [`SystemClock`].
    pub fn clock<D: Clock>(self, clock: D) -> QueueBuilder<K, D, S> {
        QueueBuilder {
            options: self.options,
            clock,
            hasher: self.hasher,
        }
    }

    /// Sets the hasher of keys. Default: [`FastHash`].
    pub fn hasher<T>(self, hasher: T) -> QueueBuilder<K, C, T> {
        QueueBuilder {
            options: self.options,
            clock: self.clock,
            hasher,
        }
    }
}

impl<K, C: fmt::Debug, S> fmt::Debug for QueueBuilder<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("limits", &self.options.limits)
            .field("max_attempts", &self.options.max_attempts)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
