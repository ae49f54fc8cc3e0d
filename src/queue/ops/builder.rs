use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::backoff::{Backoff, ExponentialBackoff, Random};
use crate::clock::{Clock, SystemClock};
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::observe::Observer;
use crate::prefetch::PrefetchHint;
use crate::queue::core::bands::AGING;
use crate::queue::core::debounce::Debounce;
use crate::queue::core::given_up::{GivenUp, Revive};
use crate::queue::core::groups::grouping::{Grouping, Groups};
use crate::queue::core::groups::lanes;
use crate::queue::core::groups::lanes::Lanes;
use crate::queue::core::groups::ready::Ready;
use crate::queue::core::hash::FastHash;
use crate::queue::core::machine::{Limits, Machine};
use crate::queue::core::throttle::Throttle;
use crate::queue::core::waiting::state::State;
use crate::queue::ops::work_queue::WorkQueue;
use crate::queue::shell::shared::{Bell, Shared};
use crate::sync::Mutex;

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
    limits: Limits,
    backoff: Box<dyn Backoff>,
    max_attempts: Option<u16>,
    seed: u64,
    limiter: Option<Arc<dyn RateLimiter>>,
    grouping: Option<Box<dyn Grouping<K>>>,
    copy: Option<fn(&K) -> K>,
    observer: Option<Arc<dyn Observer>>,
    clock: C,
    hasher: S,
    keys: PhantomData<fn(K)>,
}

impl<K> WorkQueue<K> {
    /// A queue of at most `capacity` live keys, with the defaults of the [builder](Self::builder).
    ///
    /// # Errors
    /// [`QueueError::ZeroCapacity`], [`QueueError::CapacityTooLarge`].
    ///
    /// ```
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::new(1)?;
    /// queue.try_add("first").unwrap();
    /// assert_eq!(queue.try_add("second"), Err(AddError::Full("second")));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn new(capacity: usize) -> Result<Self, QueueError> {
        Self::builder(capacity).assemble(|_| None, |_| None)
    }

    /// To set a backoff, a debounce, a rate limit, a clock or an observer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ExponentialBackoff, WorkQueue};
    ///
    /// let backoff = ExponentialBackoff::new(Duration::from_millis(1), Duration::from_secs(30));
    /// let queue = WorkQueue::<u64>::builder(100).backoff(backoff).build()?;
    /// assert_eq!(queue.stats().capacity, 100);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn builder(capacity: usize) -> QueueBuilder<K> {
        QueueBuilder::new(capacity)
    }
}

impl<K> QueueBuilder<K> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            limits: Limits {
                capacity,
                reserve: 0,
                debounce: None,
                holds_backoff: false,
                aging: AGING,
                keeps_newest: false,
                min_interval: Duration::ZERO,
                given_up: None,
            },
            backoff: Box::new(ExponentialBackoff::default()),
            max_attempts: None,
            seed: RandomState::new().hash_one(()),
            limiter: None,
            grouping: None,
            copy: None,
            observer: None,
            clock: SystemClock::new(),
            hasher: FastHash::default(),
            keys: PhantomData,
        }
    }
}

impl<K, C, S> QueueBuilder<K, C, S> {
    /// How long a failed key waits; [`ExponentialBackoff::default`] unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{FixedBackoff, ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let backoff = FixedBackoff::new(Duration::from_secs(30));
    /// let queue = WorkQueue::builder(8).backoff(backoff).clock(clock.clone()).build()?;
    /// queue.try_add("key").unwrap();
    /// let _ = queue.try_get().unwrap().retry();
    /// clock.advance(Duration::from_secs(29));
    /// assert!(queue.try_get().is_none());
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(*queue.try_get().unwrap(), "key");
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn backoff(mut self, backoff: impl Backoff + 'static) -> Self {
        self.backoff = Box::new(backoff);
        self
    }

    /// After so many failures in a row a key is given up: see [`Work::retry`](crate::Work::retry).
    /// Without it, never.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::builder(8).max_attempts(1).build()?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().retry(), Some("key"));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn max_attempts(mut self, attempts: u16) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// The seed of the random numbers that the backoff gets; random unless set, so that processes that
    /// fail together do not come back together.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, QueueError, WorkQueue};
    ///
    /// let due_in = |seed| {
    ///     let backoff = |_: u32, random: u64| Duration::from_nanos(random >> 8);
    ///     let builder = WorkQueue::builder(8).seed(seed).backoff(backoff);
    ///     let queue = builder.clock(ManualClock::new()).build()?;
    ///     queue.try_add("key").unwrap();
    ///     let _ = queue.try_get().unwrap().retry();
    ///     Ok::<_, QueueError>(queue.snapshot()[0].due_in)
    /// };
    /// assert_eq!(due_in(7)?, due_in(7)?);
    /// assert_ne!(due_in(7)?, due_in(8)?);
    /// # Ok::<(), QueueError>(())
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The part of the capacity that only [`Work::add_related`](crate::Work::add_related) can use,
    /// so that producers who fill the queue leave workers the room to finish what they have begun.
    /// None unless set.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::builder(8).reserve(2).build()?;
    /// let refused = queue.try_add_batch(0..10, tollgate::AddOptions::new());
    /// assert_eq!(refused.len(), 4);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn reserve(mut self, keys: usize) -> Self {
        self.limits.reserve = keys;
        self
    }

    /// A key that is added becomes ready once nobody has added it for `quiet`, or once `max` has
    /// passed since the first add, whichever is first.
    ///
    /// A key that is delayed is never put off beyond its time, and an add with a delay of its own
    /// is not debounced. Adds while the key runs count for its next run.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let queue = WorkQueue::builder(8)
    ///     .clock(clock.clone())
    ///     .debounce(Duration::from_millis(10), Duration::from_millis(25))
    ///     .build()?;
    /// for _ in 0..4 {
    ///     queue.try_add("busy").unwrap();
    ///     assert!(queue.try_get().is_none());
    ///     clock.advance(Duration::from_millis(8)); // never quiet for 10 ms
    /// }
    /// assert!(queue.try_get().is_some()); // but 25 ms have passed
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn debounce(mut self, quiet: Duration, max: Duration) -> Self {
        self.limits.debounce = Some(Debounce { quiet, max });
        self
    }

    /// Lets a failing key wait until its backoff is over, also if it is added meanwhile, or during the
    /// run that fails; such an add does not get lost. Else an event ends the backoff.
    ///
    /// Leave it out where events tell of a user's changes, one of which may mend what failed. Set it
    /// where a reconcile writes to what it watches, such as a status: the event of that write would run
    /// the failing key again at once, for ever. One add can choose otherwise:
    /// [`AddOptions::cut_backoff`](crate::AddOptions::cut_backoff),
    /// [`AddOptions::hold_backoff`](crate::AddOptions::hold_backoff). The
    /// [guide](crate::guide::failures) has a table.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{FixedBackoff, ManualClock, WorkQueue};
    ///
    /// let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    /// let builder = WorkQueue::builder(8).clock(clock.clone()).backoff(FixedBackoff::new(minute));
    /// let queue = builder.hold_backoff().build()?;
    /// queue.try_add("key").unwrap();
    /// let work = queue.try_get().unwrap();
    /// queue.try_add("key").unwrap(); // the event of its own write
    /// let given_up = work.retry();
    /// assert!(given_up.is_none() && queue.try_get().is_none());
    /// clock.advance(minute);
    /// assert!(queue.try_get().is_some());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn hold_backoff(mut self) -> Self {
        self.limits.holds_backoff = true;
        self
    }

    /// Of the hand-outs that pass over a lower priority, one in so many goes to the priority that has
    /// been passed over longest, so that none starves; 16 unless set. 0 is strict: while a higher
    /// priority is ready, a lower one waits.
    ///
    /// ```
    /// use tollgate::{Priority, WorkQueue};
    ///
    /// let turn_of_the_low_one = |one_in| {
    ///     let queue = WorkQueue::builder(100).aging(one_in).build()?;
    ///     queue.try_add_with(0, Priority::LOW).unwrap();
    ///     assert!(queue.try_add_batch(1..40, Priority::HIGH).is_empty());
    ///     let turns = std::iter::from_fn(|| queue.try_get());
    ///     Ok::<_, tollgate::QueueError>(turns.take_while(|work| **work != 0).count() + 1)
    /// };
    /// assert_eq!(turn_of_the_low_one(16)?, 16);
    /// assert_eq!(turn_of_the_low_one(0)?, 40);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn aging(mut self, one_in: u32) -> Self {
        self.limits.aging = one_in;
        self
    }

    /// Has groups of keys take turns: by their tenant, for example. See [`Groups`], which also says what
    /// a group may have at most.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::builder(10_000)
    ///     .group_by(|key: &(&'static str, u32)| key.0)
    ///     .build()?;
    /// for n in 0..1_000 {
    ///     queue.try_add(("flood", n)).unwrap();
    /// }
    /// queue.try_add(("other", 0)).unwrap();
    /// queue.try_get().unwrap().done();
    /// assert_eq!(*queue.try_get().unwrap(), ("other", 0));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn group_by<G>(self, by: impl Fn(&K) -> G + Send + Sync + 'static) -> Self
    where
        K: 'static,
        G: Hash + Eq + Send + 'static,
    {
        self.groups(Groups::by(by))
    }

    /// As [`group_by`](Self::group_by), with weights, bounds or rate limits.
    pub fn groups<G>(mut self, groups: Groups<K, G>) -> Self
    where
        K: 'static,
        G: Hash + Eq + Send + 'static,
    {
        self.grouping = Some(Box::new(groups));
        self
    }

    /// The shortest time between two starts of one key; the first is at once. An event in between waits,
    /// whatever its priority, and so does a requeue or a retry. None unless set.
    ///
    /// For that the last start of a key is remembered: until the interval is over it rests in the queue, and
    /// gives way to a new key that needs the room, the one whose rest ends soonest first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let builder = WorkQueue::builder(8).min_interval(Duration::from_secs(10));
    /// let queue = builder.clock(clock.clone()).build()?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().done();
    /// clock.advance(Duration::from_secs(1));
    /// queue.try_add("key").unwrap();
    /// assert!(queue.try_get().is_none());
    /// clock.advance(Duration::from_secs(9));
    /// assert!(queue.try_get().is_some());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.limits.min_interval = interval;
        self
    }

    /// Remembers each key that was given up (after [`max_attempts`](Self::max_attempts), or by
    /// [`Work::fail`](crate::Work::fail)) for a while, and has events do to it what `revive` says. Unless
    /// set it is forgotten, and an event begins anew: if a failed attempt itself causes an event, for
    /// example by a status that it writes, the key is never given up for long.
    ///
    /// The key rests in the queue, and gives way as with [`min_interval`](Self::min_interval); what
    /// `retry` and `fail` return is a clone. [`remove`](WorkQueue::remove) forgets it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::WorkQueue;
    /// use tollgate::queue::Revive;
    ///
    /// let hour = Duration::from_secs(3_600);
    /// let builder = WorkQueue::builder(8).remember_given_up(Revive::Never, hour);
    /// let queue = builder.build()?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().fail(), Some("key"));
    /// queue.try_add("key").unwrap(); // of its own status write, perhaps
    /// assert!(queue.try_get().is_none());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn remember_given_up(mut self, revive: Revive, remembered: Duration) -> Self
    where
        K: Clone,
    {
        self.limits.given_up = Some(GivenUp { revive, remembered });
        self.copy = Some(K::clone);
        self
    }

    /// Keeps the newest of equal keys, for keys that carry more than what `Eq` compares: an add of a live
    /// key replaces the key that waits, and the next run of one that is being processed sees the key
    /// that was added last. Unless set, the key that was added first stays until it is done.
    ///
    /// Its place in line, its priority, delay and failures stay those of the key that was there.
    ///
    /// ```
    /// use std::hash::{Hash, Hasher};
    ///
    /// struct Setting {
    ///     id: u32,
    ///     revision: u32,
    /// }
    ///
    /// impl PartialEq for Setting {
    ///     fn eq(&self, other: &Self) -> bool {
    ///         self.id == other.id
    ///     }
    /// }
    ///
    /// impl Eq for Setting {}
    ///
    /// impl Hash for Setting {
    ///     fn hash<H: Hasher>(&self, state: &mut H) {
    ///         self.id.hash(state);
    ///     }
    /// }
    ///
    /// let queue = tollgate::WorkQueue::builder(8).keep_newest().build()?;
    /// for revision in 1..=3 {
    ///     assert!(queue.try_add(Setting { id: 7, revision }).is_ok());
    /// }
    /// assert_eq!(queue.try_get().unwrap().revision, 3);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn keep_newest(mut self) -> Self {
        self.limits.keeps_newest = true;
        self
    }

    /// Every key that is handed out takes a token of `limiter`, which may be any, several together
    /// ([`AllOf`](crate::AllOf)) among them; a key that is added again while it waits takes none.
    ///
    /// While a consumer waits for a key that the limiter holds back, the queue stands in the limiter's
    /// line, once, as any waiter does: newcomers do not overtake it, it waits exactly as long as it
    /// must, and it hears at once of another quota and of the end of a pause. It leaves the line when
    /// no consumer waits or nothing is ready. Where there is no line to stand in, since the limiter's
    /// rate is zero or its line is full, it asks once a second.
    ///
    /// The keys behind a limiter that is closed stay where they are, and the observer is told
    /// ([`limiter_closed`](Observer::limiter_closed)); [`close`](WorkQueue::close) and
    /// [`drain`](WorkQueue::drain) return them.
    ///
    /// The limiter's clock is read under the queue's lock; whoever else the limiter wakes is woken
    /// without it.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter, WorkQueue};
    ///
    /// let limiter = Arc::new(LockedTokenBucket::new(Quota::per_hour(10)?)?);
    /// let queue = WorkQueue::builder(8).rate_limit(limiter.clone()).build()?;
    /// for _ in 0..100 {
    ///     queue.try_add("key").unwrap();
    /// }
    /// assert_eq!(limiter.available(), 10);
    /// queue.try_get().unwrap().done();
    /// assert_eq!(limiter.available(), 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rate_limit(mut self, limiter: Arc<dyn RateLimiter>) -> Self {
        self.limiter = Some(limiter);
        self
    }

    /// Who is told what happens.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// #[derive(Default)]
    /// struct Rejects(AtomicU64);
    ///
    /// impl tollgate::Observer for Rejects {
    ///     fn rejected(&self) {
    ///         self.0.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// }
    ///
    /// let rejects = Arc::new(Rejects::default());
    /// let queue = tollgate::WorkQueue::builder(1).observer(rejects.clone()).build()?;
    /// assert!(queue.try_add("first").is_ok() && queue.try_add("second").is_err());
    /// assert_eq!(rejects.0.load(Ordering::Relaxed), 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The clock to go by; [`SystemClock`] unless set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let (clock, hour) = (ManualClock::new(), Duration::from_secs(3600));
    /// let queue = WorkQueue::builder(8).clock(clock.clone()).build()?;
    /// queue.try_add_after("key", hour).unwrap();
    /// clock.advance(hour);
    /// assert!(queue.try_get().is_some());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn clock<D: Clock>(self, clock: D) -> QueueBuilder<K, D, S> {
        let Self {
            limits,
            backoff,
            max_attempts,
            seed,
            limiter,
            grouping,
            copy,
            observer,
            clock: _,
            hasher,
            keys,
        } = self;
        QueueBuilder {
            limits,
            backoff,
            max_attempts,
            seed,
            limiter,
            grouping,
            copy,
            observer,
            clock,
            hasher,
            keys,
        }
    }

    /// How keys are hashed; [`FastHash`] unless set.
    ///
    /// ```
    /// use std::hash::RandomState;
    ///
    /// let queue = tollgate::WorkQueue::builder(8).hasher(RandomState::new()).build()?;
    /// queue.try_add("key").unwrap();
    /// assert!(queue.remove("key"));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn hasher<T>(self, hasher: T) -> QueueBuilder<K, C, T> {
        let Self {
            limits,
            backoff,
            max_attempts,
            seed,
            limiter,
            grouping,
            copy,
            observer,
            clock,
            hasher: _,
            keys,
        } = self;
        QueueBuilder {
            limits,
            backoff,
            max_attempts,
            seed,
            limiter,
            grouping,
            copy,
            observer,
            clock,
            hasher,
            keys,
        }
    }
}

impl<K, C, S> QueueBuilder<K, C, S>
where
    K: Send + Sync + 'static,
    C: Clock + 'static,
    S: Send + Sync + 'static,
{
    /// The queue.
    ///
    /// # Errors
    /// [`QueueError`] says what cannot be.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{QueueError, WorkQueue};
    ///
    /// assert_eq!(WorkQueue::<u8>::new(0).unwrap_err(), QueueError::ZeroCapacity);
    /// let builder = WorkQueue::<u8>::builder(8).debounce(Duration::from_secs(1), Duration::ZERO);
    /// assert_eq!(builder.build().unwrap_err(), QueueError::ZeroDebounceMaximum);
    /// ```
    pub fn build(mut self) -> Result<WorkQueue<K, C, S>, QueueError> {
        let limiter = self.limiter.take();
        let bell = |queue: &Weak<Shared<K, C, S>>, group| {
            let queue = Weak::clone(queue);
            Waker::from(Arc::new(Bell { queue, group }))
        };
        self.assemble(
            |queue| limiter.map(|limiter| Throttle::new(limiter, bell(queue, None))),
            |queue| {
                let queue = Weak::clone(queue);
                Some(Box::new(move |group| bell(&queue, Some(group))))
            },
        )
    }
}

impl<K, C, S> QueueBuilder<K, C, S> {
    /// The queue, if its limits are in order.
    pub(crate) fn assemble(
        self,
        throttle: impl FnOnce(&Weak<Shared<K, C, S>>) -> Option<Throttle>,
        bell: impl FnOnce(&Weak<Shared<K, C, S>>) -> Option<lanes::Bell>,
    ) -> Result<WorkQueue<K, C, S>, QueueError> {
        /// Places are numbered by 32 bits, of which one number means none.
        const MAX_CAPACITY: usize = u32::MAX as usize - 1;
        let Limits {
            capacity,
            reserve,
            debounce,
            ..
        } = self.limits;
        match capacity {
            0 => return Err(QueueError::ZeroCapacity),
            _ if capacity > MAX_CAPACITY => {
                return Err(QueueError::CapacityTooLarge { max: MAX_CAPACITY });
            }
            _ if reserve >= capacity => return Err(QueueError::NothingButReserve),
            _ => {}
        }
        if debounce.is_some_and(|debounce| debounce.max.is_zero()) {
            return Err(QueueError::ZeroDebounceMaximum);
        }
        if self.max_attempts == Some(0) {
            return Err(QueueError::ZeroAttempts);
        }
        let bounds = self.grouping.as_ref().map(|grouping| grouping.bounds());
        if bounds.is_some_and(|bounds| bounds.processing == 0 || bounds.live == 0) {
            return Err(QueueError::ZeroGroupBound);
        }
        let aging = self.limits.aging;
        let names = self.grouping.as_ref().map(|grouping| grouping.names());
        let has_memory = !self.limits.min_interval.is_zero() || self.limits.given_up.is_some();
        let adds_specially = names.is_some() || self.limits.keeps_newest || has_memory;
        let ready = |queue: &Weak<Shared<K, C, S>>| match (names, bounds, bell(queue)) {
            (Some(names), Some(bounds), Some(bell)) => {
                Ready::new(aging).in_lanes(Lanes::new(names, bounds, bell, aging))
            }
            _ => Ready::new(aging),
        };
        let shared = Arc::new_cyclic(|queue| Shared {
            state: Mutex::new(State::new(
                Machine::new(self.limits, ready(queue)),
                throttle(queue),
            )),
            index_hint: PrefetchHint::new(),
            clock: self.clock,
            hasher: self.hasher,
            backoff: self.backoff,
            max_attempts: self.max_attempts,
            random: Random::new(self.seed),
            observer: self.observer,
            grouping: self.grouping,
            copy: self.copy,
            adds_specially,
        });
        Ok(WorkQueue(shared))
    }
}

impl<K, C: fmt::Debug, S> fmt::Debug for QueueBuilder<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("limits", &self.limits)
            .field("max_attempts", &self.max_attempts)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Why a queue could not be built.
///
/// ```
/// let error = tollgate::WorkQueue::<u8>::new(0).unwrap_err();
/// assert_eq!(error.to_string(), "the capacity of a queue must be at least 1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError {
    /// A queue of capacity 0 could never take a key.
    ZeroCapacity,
    /// Keys are numbered by 32 bits.
    CapacityTooLarge {
        /// The largest that can be.
        max: usize,
    },
    /// The reserve leaves nobody but workers any room.
    NothingButReserve,
    /// With a maximum of zero no add would be put off: nothing would be debounced.
    ZeroDebounceMaximum,
    /// Every key is tried once at least.
    ZeroAttempts,
    /// [`Groups::max_processing`](crate::queue::Groups::max_processing) or
    /// [`max_live`](crate::queue::Groups::max_live) of 0: no key of any group could run.
    ZeroGroupBound,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroCapacity => f.write_str("the capacity of a queue must be at least 1"),
            Self::CapacityTooLarge { max } => {
                write!(f, "the capacity of a queue must be at most {max}")
            }
            Self::NothingButReserve => {
                f.write_str("the reserve of a queue must be less than its capacity")
            }
            Self::ZeroDebounceMaximum => {
                f.write_str("the maximum of a debounce must be more than zero")
            }
            Self::ZeroAttempts => f.write_str("the attempts of a queue must be at least 1"),
            Self::ZeroGroupBound => f.write_str("what a group may have must be at least 1"),
        }
    }
}

impl std::error::Error for QueueError {}
