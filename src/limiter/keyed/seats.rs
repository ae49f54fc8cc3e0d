//! The places of all keys together, and over how many shards they are spread.

use super::lines::KeyLine;
use crate::sync::{AtomicU64, Ordering};

/// How many keys are placed, of how many; and the other counts.
pub(super) struct Seats {
    taken: AtomicU64,
    pub(super) capacity: u64,
    /// Requests of keys that found no place.
    pub(super) overflowed: AtomicU64,
    /// Which shard gives up a place when another has none.
    pub(super) next: AtomicU64,
}

/// Keys a shard, in the mean, when it is full: three quarters of a power of two.
const MEAN: u64 = 12_288;
/// Fewer shards are made smaller.
const MANY_SHARDS: u64 = 64;
/// More shards are made larger.
const MOST_SHARDS: u64 = 1_024;

/// How many shards, and the most keys of each, so that all together hold `capacity` keys however a
/// hash spreads them.
pub(super) fn layout(capacity: u64) -> (u64, u64) {
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
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            taken: AtomicU64::new(0),
            capacity,
            overflowed: AtomicU64::new(0),
            next: AtomicU64::new(0),
        }
    }

    // Relaxed throughout: they are counts, and publish nothing.
    pub(super) fn take(&self) -> bool {
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
    pub(super) fn reserve(&self) -> Option<Seat<'_>> {
        self.take().then(|| Seat(self))
    }

    pub(super) fn free(&self, seats: u64) {
        if seats > 0 {
            self.taken
                .fetch_add(seats.wrapping_neg(), Ordering::Relaxed);
        }
    }
}

/// A seat that no key has yet: free again when it is dropped, whatever panics until then.
pub(super) struct Seat<'a>(&'a Seats);

impl<'a> Seat<'a> {
    /// That of a key that has gone.
    pub(super) const fn vacated(seats: &'a Seats) -> Self {
        Self(seats)
    }

    /// A key has it now.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.free(1);
    }
}

/// Keys that were taken out under a lock, to be dropped once it is released. The seats that they had
/// are free then, whatever panics until then.
pub(super) struct Leaving<'a, K> {
    seats: &'a Seats,
    pub(super) seated: Vec<K>,
    others: Vec<K>,
}

impl<'a, K> Leaving<'a, K> {
    pub(super) const fn new(seats: &'a Seats) -> Self {
        Self {
            seats,
            seated: Vec::new(),
            others: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, line: KeyLine<K>) {
        if line.has_seat {
            self.seated.push(line.key);
        } else {
            self.others.push(line.key);
        }
    }
}

impl<K> Drop for Leaving<'_, K> {
    fn drop(&mut self) {
        self.seats.free(self.seated.len() as u64);
    }
}
