//! A [`KeyedLimiter`]: its shards, their locks, and what all keys share.

use std::fmt;
use std::hash::RandomState;

use crossbeam_utils::CachePadded;

use crate::clock::SystemClock;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::keyed::core::generation::{Generation, Generations};
use crate::limiter::keyed::core::on_full::OnFull;
use crate::limiter::keyed::core::seats::{Seats, layout};
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::quota::{Quota, QuotaError};
use crate::sync::{AtomicU64, Mutex, RwLock, RwLockWriteGuard};
use crate::whereabouts::Signpost;

/// An exact token bucket for each key, in bounded memory.
///
/// Every possible key has a bucket, and every one of them started full. [`key`](Self::key) gives it
/// as a [`RateLimiter`](crate::RateLimiter). What is kept is eight bytes a key, and only of keys
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
/// [`Denied::TooManyKeys`](crate::Denied::TooManyKeys), or shares one bucket with all others that
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
/// [every limiter](crate::RateLimiter#waiting) serves them. A waiter holds nothing before its turn, so
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
/// | [`ToKey`](crate::limiter::ToKey), `Drop`, waking and dropping a waker | without a lock | yes |
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
    pub(crate) shards: Box<[CachePadded<Guarded<K>>]>,
    /// The generation in force: what the hot path compares.
    pub(crate) current: CachePadded<AtomicU64>,
    pub(crate) seats: CachePadded<Seats>,
    pub(crate) generations: Mutex<Generations>,
    /// Held by who begins a generation: the shard whose turn it is.
    pub(crate) writer: Mutex<usize>,
    /// The bucket of those that found no place.
    pub(crate) shared: RwLock<Shard<()>>,
    pub(crate) on_full: OnFull,
    pub(crate) hasher: S,
    pub(crate) clock: C,
}

/// A shard and its locks.
#[repr(C)]
pub(crate) struct Guarded<K> {
    /// Of the shard's table: before its lock, in one line of memory with it.
    pub(crate) whereabouts: Signpost,
    pub(crate) shard: RwLock<Shard<K>>,
    pub(crate) ordered_lock: OrderedLock,
}

/// What a [`KeyedLimiter`] is built by.
pub(crate) struct Settings {
    pub(crate) quota: Quota,
    pub(crate) capacity: usize,
    pub(crate) on_full: OnFull,
    pub(crate) bounds: Bounds,
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    pub(crate) fn from_settings(
        settings: Settings,
        hasher: S,
        clock: C,
    ) -> Result<Self, QuotaError> {
        let first = Generation::first(settings.quota)?;
        let capacity = settings.capacity as u64;
        let (shards, limit) = layout(capacity);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let guarded = |_| {
            CachePadded::new(Guarded {
                whereabouts: Signpost::new(),
                shard: RwLock::new(Shard::new(first, limit, settings.bounds)),
                ordered_lock: OrderedLock::new(),
            })
        };
        Ok(Self {
            shards: (0..shards).map(guarded).collect(),
            current: CachePadded::new(AtomicU64::new(first.number)),
            seats: CachePadded::new(Seats::new(capacity)),
            generations: Mutex::new(Generations::new(first)),
            writer: Mutex::new(0),
            shared: RwLock::new(Shard::new(first, 1, settings.bounds)),
            on_full: settings.on_full,
            hasher,
            clock,
        })
    }

    pub(crate) fn guarded(&self) -> impl Iterator<Item = &Guarded<K>> {
        self.shards.iter().map(|guarded| &**guarded)
    }

    /// The shard of a hash: by its middle bits, since the table goes by the others.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "32 bits of the hash are meant"
    )]
    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        let middle = u64::from((hash >> 16) as u32);
        ((middle * self.shards.len() as u64) >> 32) as usize
    }

    /// Locks a shard, in the generation in force.
    #[inline]
    pub(crate) fn lock(&self, shard: usize) -> RwLockWriteGuard<'_, Shard<K>> {
        self.caught_up(self.shards[shard].shard.write())
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
