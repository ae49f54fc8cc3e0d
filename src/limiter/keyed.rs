//! A bucket a key: one limit for each tenant, client or address.

mod address;
mod admit;
mod builder;
mod change;
mod generation;
mod handle;
mod in_line;
mod lines;
mod owned;
mod place;
mod seats;
mod shard;
mod table;
mod to_key;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

use crossbeam_utils::CachePadded;

pub use address::{ClientAddr, PrefixTooLong};
pub use builder::{KeyedBuilder, KeyedError, OnFull};
pub use handle::KeyHandle;
pub use owned::OwnedKey;
pub use to_key::ToKey;

use self::generation::{Generation, Generations};
use self::seats::{Seats, layout};
use self::shard::{Hashed, Shard};
use super::gate::Gate;
use crate::clock::{Clock, SystemClock};
use crate::quota::{Quota, QuotaError};
use crate::sync::{AtomicU64, Mutex, Ordering, RwLock, RwLockWriteGuard};
use crate::wake::Wakers;
use crate::whereabouts::Signpost;

/// An exact token bucket for each key, in bounded memory.
///
/// Every possible key has a bucket, and every one of them started full. [`key`](Self::key) gives it
/// as a [`RateLimiter`](super::RateLimiter). What is kept is eight bytes a key, and only of keys
/// that have been taken from and are not full again.
///
/// # Memory
/// At most `capacity` keys are kept. A place in a table takes the size of the key and 9 bytes; the
/// tables grow with the number of keys, up to 4 places for 3 keys where the capacity is a multiple
/// of 12,288 keys, and for other capacities above some thousand, up to twice as many. For `u64` keys
/// and a capacity of a million that is 23 bytes a key. Beside that: some 400 bytes a shard, of which
/// there are at most 1,024; what the keys own themselves; and a little for each open reservation
/// and for each key with a quota of its own, neither of which count as keys here.
///
/// # When it is full
/// A new key takes the place of one whose bucket is full again: nobody can tell that from a bucket
/// that was never used. Each new key looks at a few places only, those where it would be and then
/// those that a clock hand comes to, so that nothing ever takes long and nothing has to run in the
/// background. If it finds none, it is denied with
/// [`Denied::TooManyKeys`](super::Denied::TooManyKeys), or shares one bucket with all others that
/// found none, as [`OnFull`] says; [`stats`](Self::stats) counts them. Keys that are in use keep
/// their places.
///
/// # Changing the quota
/// [`set_quota`](Self::set_quota) is for all keys that have none of their own, seen or not, and
/// takes the same time however many there are: a bucket is carried over when it is next used, at
/// some nanoseconds for each change that it has missed. From the 128th change on, each change also
/// carries over a 64th of the buckets, so that none ever misses too many.
///
/// # Waiting
/// Each key has a line of its own, in which waiters are served by floor, then by arrival, as
/// [every limiter](super::RateLimiter#waiting) serves them. A waiter holds nothing before its turn, so
/// dropping it costs nothing; one that is not polled holds up no other. [`set_quota`](Self::set_quota)
/// and [`close`](Self::close) reach the waiters of all keys, one step for each; a pause, a refund, a
/// charge and a quota of a key reach its own. Keys that share a bucket share one line.
///
/// A key that callers wait for keeps its place until its line is empty:
/// - [`remove`](Self::remove) and [`retain`](Self::retain) forget its debt, its pause and its own quota,
///   not its waiters. Those are served of the full bucket that it has then; the rest go on waiting, by
///   the quota of all.
/// - [`iter`](Self::iter) and [`len`](Self::len) count it, with the tokens that are there.
///
/// # Panics
/// Never by itself. What the caller's code does:
///
/// | code | is called | may call the limiter |
/// |---|---|---|
/// | `Hash`, `Eq`, the closure of [`retain`](Self::retain) | under a shard's lock | no: a deadlock |
/// | `Clone` in [`iter`](Self::iter), cloning a waker | under a shard's lock | no: a deadlock |
/// | the clock | also under a lock | no: a deadlock |
/// | [`ToKey`], `Drop`, waking and dropping a waker | without a lock | yes |
///
/// If one of them panics, the panic is the caller's, and the limiter stays valid: no lock is poisoned,
/// no place and no debt of a key is lost, and every waiter is told of what has changed. A `retain` whose
/// closure panics has looked at the keys before that one.
///
/// # Memory ordering
/// Taking a token synchronises with nothing: do not use it to publish data. Keys are spread over
/// shards, each behind a lock; takers who meet in one share it, and replace the bucket of their key
/// by compare-and-swap. A thread whose time is older than what others have used is judged by its own
/// time, which is never in its favour: a key whose place was taken meanwhile is then judged as if
/// it had been full when the last one that gave up its place was.
///
/// # Examples
/// ```
/// use tollgate::{KeyedLimiter, Quota, RateLimiter};
///
/// let limiter: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(2)?, 10_000)?;
/// assert!(limiter.key("ada").try_acquire(2).is_ok());
/// assert!(limiter.key("ada").try_acquire(1).is_err());
/// assert!(limiter.key("bob").try_acquire(1).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyedLimiter<K, S = RandomState, C = SystemClock> {
    shards: Box<[CachePadded<Guarded<K>>]>,
    /// The generation in force: what the hot path compares.
    current: CachePadded<AtomicU64>,
    seats: CachePadded<Seats>,
    generations: Mutex<Generations>,
    /// Held by who begins a generation: the shard whose turn it is.
    writer: Mutex<usize>,
    /// The bucket of those that found no place.
    shared: RwLock<Shard<()>>,
    on_full: OnFull,
    hasher: S,
    clock: C,
}

/// A shard and its locks.
#[repr(C)]
struct Guarded<K> {
    /// Of the shard's table: before its lock, in one line of memory with it.
    whereabouts: Signpost,
    shard: RwLock<Shard<K>>,
    gate: Gate,
}

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

impl<K, S, C> KeyedLimiter<K, S, C> {
    fn from_builder(builder: KeyedBuilder<K, S, C>) -> Result<Self, QuotaError> {
        let first = Generation::first(builder.quota)?;
        let capacity = builder.capacity as u64;
        let (shards, limit) = layout(capacity);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let guarded = |_| {
            CachePadded::new(Guarded {
                whereabouts: Signpost::new(),
                shard: RwLock::new(Shard::new(first, limit, builder.bounds)),
                gate: Gate::new(),
            })
        };
        Ok(Self {
            shards: (0..shards).map(guarded).collect(),
            current: CachePadded::new(AtomicU64::new(first.number)),
            seats: CachePadded::new(Seats::new(capacity)),
            generations: Mutex::new(Generations::new(first)),
            writer: Mutex::new(0),
            shared: RwLock::new(Shard::new(first, 1, builder.bounds)),
            on_full: builder.on_full,
            hasher: builder.hasher,
            clock: builder.clock,
        })
    }

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

    fn guarded(&self) -> impl Iterator<Item = &Guarded<K>> {
        self.shards.iter().map(|guarded| &**guarded)
    }

    /// The shard of a hash: by its middle bits, since the table goes by the others.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "32 bits of the hash are meant"
    )]
    fn shard_of(&self, hash: u64) -> usize {
        let middle = u64::from((hash >> 16) as u32);
        ((middle * self.shards.len() as u64) >> 32) as usize
    }

    /// Locks a shard, in the generation in force.
    #[inline]
    fn lock(&self, shard: usize) -> RwLockWriteGuard<'_, Shard<K>> {
        self.caught_up(self.shards[shard].shard.write())
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
    /// The bucket of a key, as a [`RateLimiter`](super::RateLimiter). It need not be kept yet, and
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

impl<K, S, C> fmt::Debug for KeyedLimiter<K, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the locks: `Debug` never blocks.
        f.debug_struct("KeyedLimiter")
            .field("capacity", &self.seats.capacity)
            .field("on_full", &self.on_full)
            .finish_non_exhaustive()
    }
}
