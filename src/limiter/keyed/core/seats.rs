//! The places of all keys together, and over how many shards they are spread.

use crate::sync::{AtomicU64, Ordering};

/// How many keys are placed, of how many; and the other counts.
pub(crate) struct Seats {
    taken: AtomicU64,
    pub(crate) capacity: u64,
    /// Requests of keys that found no place.
    pub(crate) overflowed: AtomicU64,
    /// Which shard gives up a place when another has none.
    pub(crate) next: AtomicU64,
}

/// Keys a shard, in the mean, when it is full: three quarters of a power of two.
const MEAN: u64 = 12_288;
/// Fewer shards are made smaller.
const MANY_SHARDS: u64 = 64;
/// More shards are made larger.
const MOST_SHARDS: u64 = 1_024;

/// How many shards, and the most keys of each, so that all together hold `capacity` keys however a
/// hash spreads them.
pub(crate) fn layout(capacity: u64) -> (u64, u64) {
    let mut means = (0..9).map(|halved| MEAN >> halved);
    let mean = means.find(|mean| capacity.div_ceil(*mean) >= MANY_SHARDS);
    let mean = mean
        .unwrap_or(MEAN >> 8)
        .max(capacity.div_ceil(MOST_SHARDS));
    let shards = capacity.div_ceil(mean);
    let mean = capacity.div_ceil(shards);
    // Eight standard deviations: no fair hash goes beyond in the age of a process.
    let limit = mean.saturating_add(8 * mean.isqrt() + 8);
    (shards, if shards == 1 { capacity } else { limit })
}

impl Seats {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            taken: AtomicU64::new(0),
            capacity,
            overflowed: AtomicU64::new(0),
            next: AtomicU64::new(0),
        }
    }

    // Relaxed throughout: they are counts, and publish nothing.
    pub(crate) fn take(&self) -> bool {
        let mut taken = self.taken.load(Ordering::Relaxed);
        while taken < self.capacity {
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            match self
                .taken
                .compare_exchange_weak(taken, taken + 1, success, failure)
            {
                Ok(_) => return true,
                Err(actual) => taken = actual,
            }
        }
        false
    }

    /// A seat for a key that is about to be placed, if there is one.
    pub(crate) fn reserve(&self) -> Option<Seat<'_>> {
        self.take().then(|| Seat(self))
    }

    pub(crate) fn free(&self, seats: u64) {
        if seats > 0 {
            self.taken
                .fetch_add(seats.wrapping_neg(), Ordering::Relaxed);
        }
    }
}

/// A seat that no key has yet: free again when it is dropped, whatever panics until then.
pub(crate) struct Seat<'a>(&'a Seats);

impl<'a> Seat<'a> {
    /// That of a key that has gone.
    pub(crate) const fn vacated(seats: &'a Seats) -> Self {
        Self(seats)
    }

    /// A key has it now.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.free(1);
    }
}
