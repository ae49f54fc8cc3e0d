//! A cached denial: until when a bucket has no token, and the word from which that was computed.
//!
//! A caller that polls an empty bucket repeats the same computation, so its result is cached. The
//! cache is keyed by the word: a thread that changes the word need not invalidate it. A writer that
//! begins a generation must, since the same bits mean another fill 128 generations later.
//!
//! The cache is a seqlock over (`until`, `word`), with `until` as its sequence number: a writer invalidates
//! `until` first, and a reader checks it again last.

use crate::sync::{AtomicU64, Ordering, const_unless_modelled, fence};

/// No denial is cached. Instants are below it; the two states after it are no instants either.
const EMPTY: u64 = 1 << 63;
/// A writer has claimed the cache; no other writer may store.
const STORING: u64 = EMPTY + 1;
/// Same as [`STORING`], but a generation has begun since the claim: the writer's result is stale.
const STORING_STALE: u64 = EMPTY + 2;

#[derive(Debug)]
pub(crate) struct CachedDenial {
    /// The first nanosecond with a token, or one of the states above.
    until: AtomicU64,
    /// The word of the bucket for which `until` holds.
    word: AtomicU64,
}

impl CachedDenial {
    const_unless_modelled! {
        pub(crate) fn new() -> Self {
            Self {
                until: AtomicU64::new(EMPTY),
                word: AtomicU64::new(0),
            }
        }
    }

    /// Returns how many nanoseconds after `now` the bucket has a token, if the cache holds a denial
    /// for the word that `word` loads. `None` means that the caller has to compute.
    ///
    /// Linearization point: the load of the bucket's word by `word`.
    #[inline]
    pub(crate) fn wait(&self, now: u64, word: impl Fn() -> u64) -> Option<u64> {
        // Acquire pairs with the Release at the end of `store`: the load of `self.word` below sees
        // the word stored with this instant, or a later one.
        let until = self.until.load(Ordering::Acquire);
        // A signed comparison: the states without an instant are negative, so one branch rejects
        // both them and instants that have passed. A `now` beyond 2^63 is checked below.
        if now.cast_signed() >= until.cast_signed() {
            return None;
        }
        // Acquire pairs with the SeqCst fence in `store`: if this is a later word, the last load
        // sees that the instant was invalidated. Without it a reader could combine an old instant
        // with a new word.
        let is_in_force = self.word.load(Ordering::Acquire) == word()
            && self.until.load(Ordering::Relaxed) == until
            && now | until < EMPTY;
        is_in_force.then(|| until - now)
    }

    /// Caches what `look` returns, a word and the instant until which it has no token. Does nothing
    /// while another thread stores.
    ///
    /// Known gap: the memory model lets `look` load a word older than the claim, and a reader
    /// compares instants by value. So it permits an ABA on (word, instant): a reader loads the same
    /// instant twice although another pair was stored between. It is harmless: a cached denial
    /// admits nothing, and the fences rule out words of ended generations. At worst one caller is told
    /// the wait of a word that the bucket has just left.
    pub(crate) fn store(&self, look: impl FnOnce() -> Option<(u64, u64)>) {
        // Relaxed: a guess, which the compare-and-swap checks.
        let seen = self.until.load(Ordering::Relaxed);
        if seen == STORING || seen == STORING_STALE {
            return;
        }
        // Acquire pairs with the Release of the writer before, so that the two stores to `word` are
        // in the order of the claims.
        let claimed =
            self.until
                .compare_exchange(seen, STORING, Ordering::Acquire, Ordering::Relaxed);
        if claimed.is_err() {
            return;
        }
        // SeqCst, for two readers of the claim. With the fence in `invalidate`: either this thread
        // looks at the generation that was begun, or that thread sees the claim. With the Acquire
        // loads in `wait`: a reader of the word stored below does not find the instant from before
        // the claim.
        fence(Ordering::SeqCst);
        let found = look().filter(|(_, until)| *until < EMPTY);
        let until = found.map_or(EMPTY, |(word, until)| {
            // Relaxed: the Release below publishes it with its instant.
            self.word.store(word, Ordering::Relaxed);
            until
        });
        // Release pairs with the first Acquire in `wait`.
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
        let stored = self
            .until
            .compare_exchange(STORING, until, success, failure);
        if stored.is_err() {
            // Only `invalidate` replaces a claim: what was found is of an ended generation.
            self.until.store(EMPTY, Ordering::Release);
        }
    }

    /// Drops what was computed before the latest generation began, also if a writer has not stored
    /// it yet. Called after the word of that generation is published.
    pub(crate) fn invalidate(&self) {
        // Pairs with the SeqCst fence in `store`: a writer whose claim the load below misses looks
        // at the generation that has begun. Without it the denial of an ended generation could be
        // cached, and hold again after 128 of them.
        fence(Ordering::SeqCst);
        let mut seen = self.until.load(Ordering::Relaxed);
        loop {
            let next = match seen {
                EMPTY | STORING_STALE => return,
                STORING => STORING_STALE,
                _ => EMPTY,
            };
            // AcqRel: a writer that claims the cache next (Acquire) sees the generation, and this
            // thread is ordered after the writer that stored what it drops.
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            match self.until.compare_exchange(seen, next, success, failure) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_denial_holds_for_its_word_until_its_instant() {
        let denial = CachedDenial::new();
        let wait = |now, word| denial.wait(now, || word);
        assert_eq!(wait(0, 0), None);
        denial.store(|| Some((7, 100)));
        assert_eq!([wait(0, 7), wait(99, 7)], [Some(100), Some(1)]);
        assert_eq!([wait(100, 7), wait(u64::MAX, 7), wait(99, 8)], [None; 3]);
        denial.store(|| Some((8, 200)));
        assert_eq!([wait(99, 7), wait(99, 8)], [None, Some(101)]);
        denial.store(|| None);
        assert_eq!(wait(99, 8), None);
    }

    #[test]
    fn instants_beyond_the_signed_range_are_not_cached() {
        let denial = CachedDenial::new();
        denial.store(|| Some((7, EMPTY - 1)));
        assert_eq!(denial.wait(EMPTY - 2, || 7), Some(1));
        for late in [EMPTY, STORING, STORING_STALE, u64::MAX] {
            assert_eq!(denial.wait(late, || 7), None);
        }
        for until in [EMPTY, STORING, STORING_STALE, u64::MAX] {
            denial.store(|| Some((7, until)));
            assert_eq!(denial.wait(0, || 7), None);
        }
        denial.store(|| {
            for late in [EMPTY, STORING, STORING_STALE] {
                assert_eq!(denial.wait(late, || 7), None);
            }
            denial.invalidate();
            for late in [EMPTY, STORING, STORING_STALE] {
                assert_eq!(denial.wait(late, || 7), None);
            }
            None
        });
    }

    #[test]
    fn a_denial_computed_before_an_invalidation_is_not_cached() {
        let denial = CachedDenial::new();
        denial.store(|| {
            // Another writer finds the cache claimed, before and after the invalidation.
            denial.store(|| unreachable!());
            denial.invalidate();
            denial.store(|| unreachable!());
            denial.invalidate();
            denial.store(|| unreachable!());
            Some((7, 100))
        });
        assert_eq!(denial.wait(0, || 7), None);
        denial.store(|| Some((7, 100)));
        assert_eq!(denial.wait(0, || 7), Some(100));
        denial.invalidate();
        assert_eq!(denial.wait(0, || 7), None);
    }
}
