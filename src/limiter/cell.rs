//! The word, and how it moves: the concurrent half of
//! [`AtomicTokenBucket`](super::AtomicTokenBucket), without any policy.
//!
//! The word is judged by its generation: a base and a scale, from [`Generations`]. They may be read
//! while they change, but then the generation has ended. A word that is read after them says so; if
//! it was read before, its compare-and-swap fails, or, for a denial, `is_in_force` does. Whoever
//! needs the next generation does what is left to do, so nobody waits for anybody.

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::Denied;
use super::carry::Change;
use super::generations::Generations;
use super::rate::{Instant, View};
use super::word::{Anchor, Base, CONFIGS, Scale, TooEarly, Word};
use crate::clock::Timestamp;
use crate::sync::{AtomicU64, Ordering, fence, pause};

/// Pauses of a taker who has met others, once it has what it came for: some hundred nanoseconds, in
/// which they go on in their own caches. Nobody is waited for.
const PAUSES: u32 = 32;

/// A denial for at least so many nanoseconds is kept. To do so takes some thirty, less than a
/// hundredth of the time for which it serves. In models it is ten days, so that most of them end.
const LONG: u64 = if cfg!(tollgate_loom) {
    864_000_000_000_000
} else {
    4_000
};

#[derive(Debug)]
pub(super) struct WordCell {
    word: CachePadded<AtomicU64>,
    generations: Generations,
}

/// A bucket as its word had it, at one look.
struct Seen {
    word: Word,
    base: Base,
    view: View,
}

impl Seen {
    fn new(word: Word, base: u64, scale: &Scale) -> Self {
        let rate = scale.rate();
        let base = Base::new(&rate, base);
        let view = base.view(rate, word.time);
        Self { word, base, view }
    }

    /// The word of a bucket that is full at another instant.
    fn with(&self, full_at: Instant) -> u64 {
        let time = self.base.time_of(full_at);
        Word { time, ..self.word }.pack()
    }
}

impl WordCell {
    /// A full bucket.
    pub(super) fn new(scale: &Scale) -> Self {
        let word = Word {
            generation: 0,
            time: 0,
        };
        Self {
            word: CachePadded::new(AtomicU64::new(word.pack())),
            generations: Generations::new(scale),
        }
    }

    /// Takes `n` tokens at `now` if `floor` remain: the hot path, to be inlined. `None`: nothing
    /// was decided, and [`update`](Self::update) is to be asked.
    #[expect(clippy::inline_always, reason = "a call would cost a third of it")]
    #[inline(always)]
    pub(super) fn take(&self, n: u64, floor: u64, at: Timestamp) -> Option<Result<(), Denied>> {
        let now = at.as_nanos();
        // Of one token, which nearly all ask for, it may be known already.
        let one = n == 1 && floor == 0;
        if one && let Some(wait) = self.generations.denial.wait(now, || self.load()) {
            return Some(Err(Denied::after(Some(Duration::from_nanos(wait)))));
        }
        let taken = match self.try_take(n, floor, now)? {
            Ok(true) => Ok(()),
            Ok(false) => self.take_among_others(n, floor, now)?,
            Err(early) => Err(early),
        };
        Some(taken.map_err(|early| {
            if one && early.is_at_least(LONG) {
                self.keep_denial(at);
            }
            early.denied(at)
        }))
    }

    /// Keeps until when there is no token.
    #[cold]
    fn keep_denial(&self, now: Timestamp) {
        self.generations.denial.keep(|| {
            let (word, taken) = self.look(|seen| (seen.word.pack(), seen.view.take(1, 0, now)));
            let wait = taken.err()?.retry_after()?;
            Some((word, now.saturating_add(wait).as_nanos()))
        });
    }

    /// As [`take`](Self::take), for who has met others: tries at once again, since to fail has
    /// brought the word here, and then leaves it to them for a moment.
    #[cold]
    fn take_among_others(&self, n: u64, floor: u64, now: u64) -> Option<Result<(), TooEarly>> {
        loop {
            match self.try_take(n, floor, now)? {
                Ok(false) => {}
                decided => {
                    pause(PAUSES);
                    return Some(decided.map(|_| ()));
                }
            }
        }
    }

    /// `Ok(false)`: another was faster.
    #[inline]
    fn try_take(&self, n: u64, floor: u64, now: u64) -> Option<Result<bool, TooEarly>> {
        let words = self.generations.words();
        // The word last: if it is of that generation, so was what was read before. Pairs as in
        // `is_in_force`.
        fence(Ordering::Acquire);
        let word = self.load();
        match words.take(word, n, floor, now)? {
            Ok(Some(next)) => Some(Ok(self.swap(word, next))),
            taken => Some(taken.map(|_| true)),
        }
    }

    /// Changes when the bucket is full to what `decide` makes of it, unless it denies.
    pub(super) fn update<T, E>(
        &self,
        now: u64,
        decide: impl Fn(&View) -> Result<(Instant, T), E>,
    ) -> Result<T, E> {
        loop {
            let seen = self.seen_at(now);
            let word = seen.word.pack();
            let decided = decide(&seen.view);
            // What was read while it changed may have led anywhere, and then this fails.
            let next = decided
                .as_ref()
                .map_or(word, |(full_at, _)| seen.with(*full_at));
            let stands = if next == word {
                // Nothing is written that would tell.
                self.is_in_force(seen.word)
            } else {
                self.swap_in_force(word, next)
            };
            if stands {
                return decided.map(|(_, output)| output);
            }
        }
    }

    /// As [`swap`](Self::swap), where the rest was read after the word.
    fn swap_in_force(&self, word: u64, next: u64) -> bool {
        // As in `is_in_force`.
        fence(Ordering::Acquire);
        self.swap(word, next)
    }

    #[inline]
    fn swap(&self, word: u64, next: u64) -> bool {
        // Relaxed: taking publishes nothing but the word itself. A replacement of the word
        // continues the release sequence of the store that began the generation, so the Acquire of
        // the next reader still pairs with that.
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        self.word
            .compare_exchange_weak(word, next, success, failure)
            .is_ok()
    }

    /// What `read` makes of the bucket, at any time, however far from the base. Writes nothing.
    pub(super) fn peek<T>(&self, read: impl Fn(&View) -> T) -> T {
        self.look(|seen| read(&seen.view))
    }

    fn look<T>(&self, read: impl Fn(&Seen) -> T) -> T {
        loop {
            let (word, anchor) = self.in_force();
            let seen = Seen::new(word, anchor.base, &self.generations.scale(anchor));
            let output = read(&seen);
            if self.is_in_force(word) {
                return output;
            }
        }
    }

    /// The bucket, to be changed at `now`. Moves the base on first, if that is too far from it.
    fn seen_at(&self, now: u64) -> Seen {
        loop {
            let (word, anchor) = self.in_force_as_hinted();
            let scale = self.generations.scale(anchor);
            if now.saturating_sub(anchor.base) <= scale.horizon {
                return Seen::new(word, anchor.base, &scale);
            }
            let base = scale.base_at(now).max(anchor.base);
            if let Some(next) = self.generations.propose(anchor, anchor.config, base) {
                self.advance(word, anchor, next);
            }
        }
    }

    /// Whether the generation of `word` is in force after all that was read before.
    #[inline]
    fn is_in_force(&self, word: Word) -> bool {
        // Pairs with the Release fences of those who write a scale: whoever read a part of what
        // they wrote sees that its generation has ended.
        fence(Ordering::Acquire);
        Word::unpack(self.word.load(Ordering::Relaxed)).generation == word.generation
    }

    #[inline]
    fn load(&self) -> u64 {
        // Acquire pairs with the Release that began the generation: its anchor is visible.
        self.word.load(Ordering::Acquire)
    }

    /// The word, and the anchor of its generation.
    fn in_force(&self) -> (Word, Anchor) {
        loop {
            let word = Word::unpack(self.load());
            let anchor = self.generations.anchor(word.generation.into());
            // Else the generation has ended, and its slot is used again.
            if anchor.is_for(word) {
                return (word, anchor);
            }
        }
    }

    /// As [`in_force`](Self::in_force), once takers go by that anchor, too.
    fn in_force_as_hinted(&self) -> (Word, Anchor) {
        loop {
            let hint = self.generations.hint();
            let (word, anchor) = self.in_force();
            if self.generations.correct(hint, anchor) {
                return (word, anchor);
            }
        }
    }

    /// Moves the word from the generation of `anchor`, to which the hint has come, to that of
    /// `next`, unless somebody has moved it.
    fn advance(&self, word: Word, anchor: Anchor, next: Anchor) {
        let moved = Word {
            generation: next.short_generation(),
            time: self.generations.carried_over(word.time, anchor, next),
        };
        // Release publishes the anchor with the generation; the next reader's Acquire pairs with
        // it, also if it was somebody else who began the generation.
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        let _ = self
            .word
            .compare_exchange(word.pack(), moved.pack(), success, failure);
        // Whoever was faster does so too, and if it is held up, then whoever begins the next.
        self.generations.denial.forget();
    }

    /// Begins a generation with another configuration, made from the one in force, at the time that
    /// `now` says.
    pub(super) fn configure<E>(
        &self,
        change: Change,
        now: impl Fn() -> u64,
        make: impl FnOnce(&Scale) -> Result<Scale, E>,
    ) -> Result<(), E> {
        let _writer = self.generations.writer.lock();
        // Only a writer changes which configuration is in force, and there is only one.
        let (_, before) = self.in_force();
        let scale = make(&self.generations.scale(before))?;
        let config = (before.config + 1) % CONFIGS;
        // Pairs with the fence in `is_in_force`: the generations that this configuration was in
        // force for have ended.
        fence(Ordering::Release);
        self.generations.configure(config, &scale, change);
        loop {
            let (word, anchor) = self.in_force_as_hinted();
            if anchor.config == config {
                return Ok(());
            }
            // Read after the word, which is replaced only if it is still the same: so whoever has
            // taken before has not used a later time, at which less was to come.
            let now = now();
            self.generations.set_since(config, now);
            let base = scale.base_at(now).max(anchor.base);
            if let Some(next) = self.generations.propose(anchor, config, base) {
                self.advance(word, anchor, next);
            }
        }
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;
    use crate::limiter::CarryOver;
    use crate::quota::Units;

    #[test]
    fn what_costs_nothing_is_decided_anew_if_the_quota_changed_meanwhile() {
        let units = Units {
            per_nano: 1,
            per_token: 1_000,
            burst: 1,
        };
        let cell = WordCell::new(&Scale::new(units).unwrap());
        let looks = Cell::new(0);
        let decide = |view: &View| {
            looks.set(looks.get() + 1);
            if looks.get() == 1 {
                let same = |scale: &Scale| Ok::<_, Infallible>(*scale);
                let Ok(()) = cell.configure(Change::new(CarryOver::Tokens), || 0, same);
            }
            Ok::<_, Infallible>((view.full_at, looks.get()))
        };
        assert_eq!(cell.update(0, decide), Ok(2));
    }

    #[test]
    fn a_long_denial_of_one_token_is_kept_and_no_other() {
        for (per_nano, per_token, n, floor, kept) in [
            (1, LONG, 1, 0, Some(LONG)),
            (3, 3 * LONG - 2, 1, 0, None),
            (3, 3 * LONG, 1, 0, Some(LONG)),
            (1, LONG - 1, 1, 0, None),
            (1, LONG, 2, 0, None),
            (1, LONG, 1, 1, None),
            // Never.
            (0, LONG, 1, 0, None),
        ] {
            let units = Units {
                per_nano,
                per_token,
                burst: 2,
            };
            let cell = WordCell::new(&Scale::new(units).unwrap());
            let now = Timestamp::ZERO;
            assert_eq!(cell.take(2, 0, now), Some(Ok(())));
            assert!(matches!(cell.take(n, floor, now), Some(Err(_))));
            let wait = cell.generations.denial.wait(0, || cell.load());
            assert_eq!(wait, kept, "{n} of {units:?}");
        }
    }
}
