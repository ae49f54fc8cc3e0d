//! A [`KeyedLimiter`]: its shards, their locks, and what all keys share.

use std::fmt;
use std::hash::RandomState;

use crossbeam_utils::CachePadded;

use crate::clock::SystemClock;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::keyed::core::capacity::{Capacity, layout};
use crate::limiter::keyed::core::config::Config;
use crate::limiter::keyed::core::config_history::ConfigHistory;
use crate::limiter::keyed::core::hashed_key::HashedKey;
use crate::limiter::keyed::core::on_full::OnFull;
use crate::limiter::keyed::core::removed_keys::RemovedKeys;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::prefetch::PrefetchHint;
use crate::quota::{Quota, QuotaError};
use crate::sync::{AtomicU64, Mutex, RwLock, RwLockWriteGuard};

/// An exact token bucket for each key, in bounded memory.
///
/// Every possible key has a bucket, and every bucket starts full. [`key`](Self::key) gives the bucket of
/// a key as a [`RateLimiter`](crate::RateLimiter). The limiter keeps eight bytes a key, and only for
/// keys that callers have taken from and whose bucket is not full again.
///
/// Choose it for a limit for each tenant, client or address. For a few limits that are known in advance,
/// a field with an [`AtomicTokenBucket`](crate::AtomicTokenBucket) for each is simpler and faster.
///
/// # Memory
/// At most `capacity` keys are kept. A place in a table takes the size of the key and 9 bytes; the
/// tables grow with the number of keys, up to 4 places for 3 keys where the capacity is a multiple
/// of 12,288 keys, and for other capacities above some thousand, up to twice as many. Beside that: some
/// 400 bytes a shard, of which there are at most 1,024; what the keys own themselves; and a little for
/// each open reservation and for each key with a quota of its own, neither of which count as keys here.
///
/// # When it is full
/// A new key takes the place of a key whose bucket is full again: no caller can tell that bucket from
/// one that was never used. For each new key the limiter probes a few places only, so no call takes long
/// and nothing has to run in the background. If none of them can be evicted, the new key is denied with
/// [`Denied::TooManyKeys`](crate::Denied::TooManyKeys), or shares one bucket with all other keys without
/// a place, as [`OnFull`] says; [`stats`](Self::stats) counts both. Keys in use keep their places.
///
/// # Changing the quota
/// [`set_quota`](Self::set_quota) is for all keys that have no quota of their own, seen or not, and
/// takes the same time however many there are: a bucket is carried over when it is next used. From the
/// 128th change on, each change also carries over a part of the buckets.
///
/// # Waiting
/// Each key has a line of its own, in which waiters are served by floor, then by arrival, as
/// [every limiter](crate::RateLimiter#waiting) serves them. A waiter holds nothing before its turn, so
/// dropping it costs nothing; a waiter that is not polled blocks no other.
/// [`set_quota`](Self::set_quota) and [`close`](Self::close) reach the waiters of all keys, one step for
/// each; a pause, a refund, a charge and a quota of a key reach the waiters of that key. Keys that share
/// a bucket share one line.
///
/// A key with waiters keeps its place until its line is empty:
/// - [`remove`](Self::remove) and [`retain`](Self::retain) forget its debt, its pause and its own quota,
///   not its waiters. Those are served from the full bucket that it has then; the rest go on waiting,
///   under the quota of all keys.
/// - [`iter`](Self::iter) and [`len`](Self::len) count it.
///
/// # Panics
/// The limiter does not panic by itself, but it runs code of the caller's:
///
/// | code | is called | may call the limiter |
/// |---|---|---|
/// | `Hash`, `Eq`, the closure of [`retain`](Self::retain) | under a shard's lock | no: a deadlock |
/// | `Clone` in [`iter`](Self::iter), cloning a waker | under a shard's lock | no: a deadlock |
/// | the clock | also under a lock | no: a deadlock |
/// | [`ToKey`](crate::limiter::ToKey), `Drop`, waking and dropping a waker | without a lock | yes |
///
/// If one of them panics, the panic reaches the caller, and the limiter stays valid: no lock is poisoned,
/// no place and no debt of a key is lost, and every waiter is told of what has changed. A `retain` whose
/// closure panics has visited the keys before that one.
///
/// # Memory ordering
/// Taking a token synchronises with nothing: do not use it to publish data. Keys are spread over
/// shards, each behind a lock; takers that meet in a shard share its lock, and replace the bucket of
/// their key by compare-and-swap.
///
/// A thread whose time is older than what others have used is judged by its own time, never in its
/// favour. A key without a place counts as full from the instant at which the latest evicted bucket of
/// its shard was full. So a caller with a stale time may be denied a key that has no place, even a key
/// that no caller has ever used; at the time of the clock it is admitted.
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
    pub(crate) shards: Box<[CachePadded<LockedShard<K>>]>,
    /// The number of the generation in force, which every take compares with that of its shard.
    pub(crate) generation: CachePadded<AtomicU64>,
    pub(crate) capacity: CachePadded<Capacity>,
    pub(crate) history: Mutex<ConfigHistory>,
    /// Held while a generation begins, so that one begins at a time: the shard that was refreshed last.
    pub(crate) writer: Mutex<usize>,
    /// The bucket that keys without a place share, under [`SHARED_KEY`].
    pub(crate) shared: RwLock<Shard<()>>,
    pub(crate) on_full: OnFull,
    pub(crate) hasher: S,
    pub(crate) clock: C,
}

/// The one key of the shared bucket.
pub(crate) const SHARED_KEY: HashedKey<'_, ()> = HashedKey { hash: 0, key: &() };

/// A shard and its locks. `repr(C)`: the hint lies in one cache line with the lock that follows it.
#[repr(C)]
pub(crate) struct LockedShard<K> {
    /// Where the words of the shard are.
    pub(crate) table_hint: PrefetchHint,
    pub(crate) shard: RwLock<Shard<K>>,
    /// Locked by callers that take from several limiters.
    pub(crate) ordered_lock: OrderedLock,
}

/// What a [`KeyedLimiter`] is built from.
pub(crate) struct Settings {
    pub(crate) quota: Quota,
    pub(crate) capacity: usize,
    pub(crate) on_full: OnFull,
    pub(crate) bounds: Bounds,
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    pub(crate) fn from_settings(
        settings: &Settings,
        hasher: S,
        clock: C,
    ) -> Result<Self, QuotaError> {
        let first = Config::first(settings.quota)?;
        let capacity = settings.capacity as u64;
        let (shards, limit) = layout(capacity);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let shard = |_| {
            CachePadded::new(LockedShard {
                table_hint: PrefetchHint::new(),
                shard: RwLock::new(Shard::new(first, limit, settings.bounds)),
                ordered_lock: OrderedLock::new(),
            })
        };
        Ok(Self {
            shards: (0..shards).map(shard).collect(),
            generation: CachePadded::new(AtomicU64::new(first.generation)),
            capacity: CachePadded::new(Capacity::new(capacity)),
            history: Mutex::new(ConfigHistory::new(first)),
            writer: Mutex::new(0),
            shared: RwLock::new(Shard::new(first, 1, settings.bounds)),
            on_full: settings.on_full,
            hasher,
            clock,
        })
    }

    /// Returns what `read` makes of each shard, under its read lock.
    pub(crate) fn read_shards<T>(&self, read: impl Fn(&Shard<K>) -> T) -> impl Iterator<Item = T> {
        self.shards
            .iter()
            .map(move |locked| read(&locked.shard.read()))
    }

    /// Returns the shard of a hash: by its middle bits, since the table of the shard goes by the others.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "32 bits of the hash are meant"
    )]
    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        let middle = u64::from((hash >> 16) as u32);
        ((middle * self.shards.len() as u64) >> 32) as usize
    }

    /// Locks a shard for writing, and brings it to the configuration in force.
    #[inline]
    pub(crate) fn lock(&self, shard: usize) -> RwLockWriteGuard<'_, Shard<K>> {
        self.caught_up(self.shards[shard].shard.write())
    }

    /// For keys that are removed under a lock: to be declared before the lock is taken.
    pub(crate) fn removed_keys(&self) -> RemovedKeys<'_, K> {
        RemovedKeys::new(&self.capacity)
    }
}

impl<K, S, C> fmt::Debug for KeyedLimiter<K, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the locks: `Debug` never blocks.
        f.debug_struct("KeyedLimiter")
            .field("capacity", &self.capacity.limit)
            .field("on_full", &self.on_full)
            .finish_non_exhaustive()
    }
}
