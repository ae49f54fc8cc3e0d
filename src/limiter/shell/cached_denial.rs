//! A denial that stands: until when a bucket has no token, as its word said.
//!
//! Who is denied again and again until then need not work it out again. It is a memory of what the
//! word says, and holds for that word only, so nobody who changes the word has to know of it; only
//! whoever begins a generation, after 128 of which the same word says something else.
//!
//! It is two words that cannot be written at once. Whoever writes first takes the instant away, and
//! whoever reads looks at the instant before and after the word. So what is read either belongs
//! together, or was written in the meantime, by somebody who saw it in force in the meantime.

use crate::sync::{AtomicU64, Ordering, const_unless_modelled, fence};

/// Instants are below; it is none, as are the next two.
const NOTHING: u64 = 1 << 63;
/// Somebody is about to keep a denial, and nobody else may.
const KEEPING: u64 = NOTHING + 1;
/// As [`KEEPING`], but what is kept is not to stand.
const VOID: u64 = NOTHING + 2;

#[derive(Debug)]
pub(crate) struct StandingDenial {
    /// The first nanosecond at which there is a token.
    until: AtomicU64,
    /// While the bucket is in this word.
    word: AtomicU64,
}

impl StandingDenial {
    const_unless_modelled! {
        pub(crate) fn new() -> Self {
            Self {
                until: AtomicU64::new(NOTHING),
                word: AtomicU64::new(0),
            }
        }
    }

    /// How many nanoseconds after `now` there is a token, if it is known that there is none now.
    #[inline]
    pub(crate) fn wait(&self, now: u64, word: impl Fn() -> u64) -> Option<u64> {
        // Acquire, here and below, so that they are read in this order.
        let until = self.until.load(Ordering::Acquire);
        // By sign, so that what is no instant has passed, but for times that are none either.
        if now.cast_signed() >= until.cast_signed() {
            return None;
        }
        let stands = self.word.load(Ordering::Acquire) == word()
            && self.until.load(Ordering::Relaxed) == until
            && now | until < NOTHING;
        stands.then(|| until - now)
    }

    /// Keeps what `look` finds, a word and until when it has no token, unless somebody else is at it.
    pub(crate) fn keep(&self, look: impl FnOnce() -> Option<(u64, u64)>) {
        let seen = self.until.load(Ordering::Relaxed);
        if seen == KEEPING || seen == VOID {
            return;
        }
        // Acquire pairs with the Release of who was at it before.
        let claimed =
            self.until
                .compare_exchange(seen, KEEPING, Ordering::Acquire, Ordering::Relaxed);
        if claimed.is_err() {
            return;
        }
        // As in `forget`; and who reads the word that is stored does not find the instant that was kept
        // before.
        fence(Ordering::SeqCst);
        let found = look().filter(|(_, until)| *until < NOTHING);
        let until = found.map_or(NOTHING, |(word, until)| {
            self.word.store(word, Ordering::Relaxed);
            until
        });
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
        let kept = self
            .until
            .compare_exchange(KEEPING, until, success, failure);
        if kept.is_err() {
            self.until.store(NOTHING, Ordering::Release);
        }
    }

    /// Forgets what was found before the latest generation began, also if it is not kept yet.
    pub(crate) fn forget(&self) {
        // Whoever claims it unseen by this looks at that generation.
        fence(Ordering::SeqCst);
        let mut seen = self.until.load(Ordering::Relaxed);
        loop {
            let next = match seen {
                NOTHING | VOID => return,
                KEEPING => VOID,
                _ => NOTHING,
            };
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
    fn it_stands_for_its_word_and_until_its_instant() {
        let denial = StandingDenial::new();
        let wait = |now, word| denial.wait(now, || word);
        assert_eq!(wait(0, 0), None);
        denial.keep(|| Some((7, 100)));
        assert_eq!([wait(0, 7), wait(99, 7)], [Some(100), Some(1)]);
        assert_eq!([wait(100, 7), wait(u64::MAX, 7), wait(99, 8)], [None; 3]);
        denial.keep(|| Some((8, 200)));
        assert_eq!([wait(99, 7), wait(99, 8)], [None, Some(101)]);
        denial.keep(|| None);
        assert_eq!(wait(99, 8), None);
    }

    #[test]
    fn what_lies_centuries_ahead_is_not_kept() {
        let denial = StandingDenial::new();
        denial.keep(|| Some((7, NOTHING - 1)));
        assert_eq!(denial.wait(NOTHING - 2, || 7), Some(1));
        for late in [NOTHING, KEEPING, VOID, u64::MAX] {
            assert_eq!(denial.wait(late, || 7), None);
        }
        for until in [NOTHING, KEEPING, VOID, u64::MAX] {
            denial.keep(|| Some((7, until)));
            assert_eq!(denial.wait(0, || 7), None);
        }
        denial.keep(|| {
            for late in [NOTHING, KEEPING, VOID] {
                assert_eq!(denial.wait(late, || 7), None);
            }
            denial.forget();
            for late in [NOTHING, KEEPING, VOID] {
                assert_eq!(denial.wait(late, || 7), None);
            }
            None
        });
    }

    #[test]
    fn what_was_found_before_it_was_forgotten_does_not_stand() {
        let denial = StandingDenial::new();
        denial.keep(|| {
            // Another finds it taken, before and after.
            denial.keep(|| unreachable!());
            denial.forget();
            denial.keep(|| unreachable!());
            denial.forget();
            denial.keep(|| unreachable!());
            Some((7, 100))
        });
        assert_eq!(denial.wait(0, || 7), None);
        denial.keep(|| Some((7, 100)));
        assert_eq!(denial.wait(0, || 7), Some(100));
        denial.forget();
        assert_eq!(denial.wait(0, || 7), None);
    }
}
