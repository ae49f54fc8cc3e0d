//! Stripes: tokens that are carved out of a bucket's burst, each part on a cache line of its own, so that
//! threads take without contention.
//!
//! Any thread takes: it only decrements, and without a clock. All else is for the holder of the bucket's
//! lock: it alone adds tokens, so a stripe that it has found empty stays empty. A stripe may be below zero
//! for a moment, when several threads took its last token and all but one failed: it is empty then.
//!
//! Linearization point of an admission: the decrement of the stripe.

use crossbeam_utils::CachePadded;

use crate::clock::Timestamp;
use crate::quota::Units;
use crate::sync::{AtomicU64, Ordering, UnmodelledU64, thread};

/// The fewest tokens of a stripe: a refill must cost little of the takes that it serves.
const MIN_BATCH: u64 = if cfg!(tollgate_loom) { 1 } else { 8 };

/// After a sweep the stripes stay empty for so many nanoseconds. Callers that read the bucket again and again
/// sweep it each time, and otherwise every take between them would carve. Not in a model, where no time
/// passes.
const REST: u64 = if cfg!(tollgate_loom) { 0 } else { 100_000 };

/// The most stripes.
const MAX_COUNT: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Stripes {
    /// As many as a power of two. Each is signed: see [`tokens_in`].
    tokens: Box<[CachePadded<AtomicU64>]>,
    /// The tokens of all stripes together; a quarter of the burst if `None`.
    share: Option<u64>,
    /// From how many units on it pays to ask for the lock and carve. A hint: the lock's holder decides.
    carve_from: UnmodelledU64,
    /// From when on, in nanoseconds: see [`REST`].
    carve_after: UnmodelledU64,
}

/// Returns the tokens of a stripe.
#[inline]
fn tokens_in(stripe: u64) -> u64 {
    stripe.cast_signed().max(0).cast_unsigned()
}

impl Stripes {
    /// Creates empty stripes: `count`, rounded up to a power of two. The first taker finds out how much to
    /// carve.
    pub(crate) fn new(count: usize, share: Option<u64>) -> Self {
        let count = count.clamp(1, MAX_COUNT).next_power_of_two();
        Self {
            tokens: (0..count).map(|_| CachePadded::default()).collect(),
            share,
            carve_from: UnmodelledU64::new(0),
            carve_after: UnmodelledU64::new(0),
        }
    }

    /// Changes the number of stripes, all of which are empty.
    pub(crate) fn set_count(&mut self, count: usize) {
        *self = Self::new(count, self.share);
    }

    /// Changes the number of tokens of all stripes together.
    pub(crate) fn set_share(&mut self, share: u64) {
        self.share = Some(share);
        self.carve_from = UnmodelledU64::new(0);
    }

    /// Notes which quota is in force; returns how many tokens of its burst to carve out, if any.
    pub(crate) fn fit(&self, units: Units) -> u64 {
        let carved = match units.per_token {
            // Such tokens are free, and no thread meets another.
            0 => 0,
            _ => self.share_of(units.burst),
        };
        let carve_from = match carved {
            0 => u64::MAX,
            carved => units.per_token.saturating_mul(2 * carved),
        };
        self.carve_from.store_relaxed(carve_from);
        carved
    }

    /// Notes when the stripes were swept.
    pub(crate) fn rest_from(&self, now: Timestamp) {
        let after = now.as_nanos().saturating_add(REST);
        self.carve_after.store_relaxed(after);
    }

    /// Returns whether to carve, at `now` from a bucket that has `left` units.
    #[inline]
    pub(crate) fn is_worth_carving(&self, left: u64, now: Timestamp) -> bool {
        left >= self.carve_from.load_relaxed() && now.as_nanos() >= self.carve_after.load_relaxed()
    }

    /// Takes `n` tokens of the caller's stripe, or none.
    #[inline]
    pub(crate) fn take(&self, n: u64) -> bool {
        let stripe = self.own();
        if n != 1 {
            return Self::take_many(stripe, n);
        }
        // Not by a compare-and-swap, which would wait for the load. The load keeps a taker that fails from
        // writing, except in a race.
        //
        // Acquire pairs with the Release of the lock's holder, who had held the word before. Otherwise a
        // thread that learns of this admission could still be denied by the word from before.
        tokens_in(stripe.load(Ordering::Relaxed)) > 0
            && tokens_in(stripe.fetch_sub(1, Ordering::Acquire)) > 0
    }

    fn take_many(stripe: &AtomicU64, n: u64) -> bool {
        if n == 0 {
            return true;
        }
        // Relaxed: a guess, which the compare-and-swap checks.
        let mut seen = stripe.load(Ordering::Relaxed);
        while tokens_in(seen) >= n {
            // Acquire as above.
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match stripe.compare_exchange_weak(seen, seen.wrapping_sub(n), success, failure) {
                Ok(_) => return true,
                Err(actual) => seen = actual,
            }
        }
        false
    }

    #[inline]
    fn own(&self) -> &AtomicU64 {
        &self.tokens[thread::number() & (self.tokens.len() - 1)]
    }
}

/// For the holder of the bucket's lock.
impl Stripes {
    /// Returns the part of a burst to carve out, the same number for each stripe; 0 if there are too few.
    fn share_of(&self, burst: u64) -> u64 {
        let share = self.share.unwrap_or(burst / 4).min(burst / 2);
        let batch = share / self.count();
        if batch < MIN_BATCH {
            0
        } else {
            batch * self.count()
        }
    }

    fn count(&self) -> u64 {
        self.tokens.len() as u64
    }

    /// Shares tokens out among the stripes, all of which are empty.
    pub(crate) fn fill(&self, carved: u64) {
        for stripe in &self.tokens {
            Self::put(stripe, carved / self.count());
        }
    }

    /// Returns the tokens of a full stripe, if `carved` are for all stripes.
    pub(crate) fn batch_of(&self, carved: u64) -> u64 {
        carved / self.count()
    }

    /// Fills the caller's stripe; returns the tokens that it had left.
    pub(crate) fn refill(&self, batch: u64) -> u64 {
        Self::put(self.own(), batch)
    }

    fn put(stripe: &AtomicU64, batch: u64) -> u64 {
        // Release pairs with the Acquire in `take`. A swap also where the stripe is empty: a taker that fails
        // may decrement it at the same time.
        tokens_in(stripe.swap(batch, Ordering::Release))
    }

    /// Takes all tokens out of all stripes; returns how many. At the end all are empty at once, since
    /// only the caller could have added any.
    pub(crate) fn sweep(&self) -> u64 {
        let mut swept = 0;
        for stripe in &self.tokens {
            // Relaxed: an empty stripe stays empty, and is not worth its cache line.
            if tokens_in(stripe.load(Ordering::Relaxed)) > 0 {
                // Relaxed: the tokens go back behind the lock, whose holder added them.
                swept += tokens_in(stripe.swap(0, Ordering::Relaxed));
            }
        }
        swept
    }
}
