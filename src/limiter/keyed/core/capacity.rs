//! How many keys a limiter may keep, and over how many shards they are spread.

use crate::sync::{AtomicU64, Ordering};

/// Counts the keys of all shards against the capacity of the limiter.
pub(crate) struct Capacity {
    used: AtomicU64,
    pub(crate) limit: u64,
    /// Requests of keys that found no place.
    pub(crate) overflowed: AtomicU64,
    /// The shard that is searched for a key to evict when a new key's own shard has none.
    pub(crate) next_shard: AtomicU64,
}

/// Keys per full shard: three quarters of a power of two, so that its table is well filled.
const MEAN: u64 = 12_288;
/// Below this many shards, the shards are made smaller instead.
const MANY_SHARDS: u64 = 64;
/// Above this many shards, the shards are made larger instead.
const MOST_SHARDS: u64 = 1_024;

/// Returns the number of shards and the most keys of each. All shards together hold `capacity` keys,
/// however a hash spreads them.
pub(crate) fn layout(capacity: u64) -> (u64, u64) {
    let mut means = (0..9).map(|halved| MEAN >> halved);
    let mean = means.find(|mean| capacity.div_ceil(*mean) >= MANY_SHARDS);
    let mean = mean
        .unwrap_or(MEAN >> 8)
        .max(capacity.div_ceil(MOST_SHARDS));
    let shards = capacity.div_ceil(mean);
    let mean = capacity.div_ceil(shards);
    // Eight standard deviations above the mean: no fair hash exceeds that in the age of a process.
    let limit = mean.saturating_add(8 * mean.isqrt() + 8);
    (shards, if shards == 1 { capacity } else { limit })
}

impl Capacity {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            limit,
            overflowed: AtomicU64::new(0),
            next_shard: AtomicU64::new(0),
        }
    }

    /// Counts one more key, if there is room for it; returns whether there was.
    // Relaxed throughout: the counts publish nothing, and keys are behind the locks of the shards.
    pub(crate) fn take(&self) -> bool {
        let mut used = self.used.load(Ordering::Relaxed);
        while used < self.limit {
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            match self
                .used
                .compare_exchange_weak(used, used + 1, success, failure)
            {
                Ok(_) => return true,
                Err(actual) => used = actual,
            }
        }
        false
    }

    /// Same as [`take`](Self::take), for a key that is about to be placed.
    pub(crate) fn reserve(&self) -> Option<CapacityGuard<'_>> {
        self.take().then(|| CapacityGuard(self))
    }

    /// Counts `keys` fewer keys.
    pub(crate) fn release(&self, keys: u64) {
        if keys > 0 {
            self.used.fetch_add(keys.wrapping_neg(), Ordering::Relaxed);
        }
    }
}

/// Capacity for one key that is not placed yet. Dropping it, also by a panic, releases the capacity.
pub(crate) struct CapacityGuard<'a>(pub(crate) &'a Capacity);

impl CapacityGuard<'_> {
    /// Leaves the capacity to the key, which has been placed.
    pub(crate) fn assign(self) {
        std::mem::forget(self);
    }
}

impl Drop for CapacityGuard<'_> {
    fn drop(&mut self) {
        self.0.release(1);
    }
}
