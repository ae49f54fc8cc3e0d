//! The word, and how it moves: the concurrent half of
//! [`AtomicTokenBucket`](crate::AtomicTokenBucket), without any policy.
//!
//! Any thread takes, by a compare-and-swap loop. The rest is for the holder of the bucket's lock,
//! the *writer*: it begins generations ([`Configs`]), and it *holds* the word while waiters stand
//! in line. The fill of a held word is kept behind the lock, where takers then go.

use crate::limiter::core::fill::Beyond;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::Held;
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::limiter::core::word::{Base, HELD, Scale, TooEarly, Word};
use crate::limiter::shell::configs::{Configs, Seen};
use crate::quota::Units;
use crate::sync::{AtomicU64, Ordering, const_unless_modelled, fence, pause};

/// Spin hints after a contended take: some hundred nanoseconds, in which the other threads take in
/// their own caches.
const PAUSES: u32 = 32;

/// A denial is cached if it lasts for so many nanoseconds: to cache it takes some thirty, less than
/// a hundredth of the time for which it serves. In models it is ten days, so that most of them end.
const LONG: u64 = if cfg!(tollgate_loom) {
    864_000_000_000_000
} else {
    4_000
};

/// Why a thread that is not the writer cannot decide by the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedsWriter {
    /// The fill is behind the lock.
    Held,
    /// The time is too far from the base.
    Far,
    /// The outcome does not fit the word.
    Beyond,
}

#[derive(Debug)]
pub(crate) struct WordCell {
    word: CachePadded<AtomicU64>,
    configs: Configs,
}

impl WordCell {
    const_unless_modelled! {
        /// A full bucket.
        pub(crate) fn new(scale: &Scale) -> Self {
            Self {
                word: CachePadded::new(AtomicU64::new(0)),
                configs: Configs::new(scale),
            }
        }
    }

    /// Takes `n` tokens at `now` if `floor` remain: the hot path, to be inlined. `None`: nothing
    /// was decided, and [`try_update`](Self::try_update) is to be asked.
    #[expect(clippy::inline_always, reason = "a call would cost a third of it")]
    #[inline(always)]
    pub(crate) fn take(&self, n: u64, floor: u64, at: Timestamp) -> Option<Result<(), Denied>> {
        let now = at.as_nanos();
        // Nearly all callers ask for one token, for which a denial may be cached.
        let one = n == 1 && floor == 0;
        if one && let Some(wait) = self.configs.denial.wait(now, || self.load()) {
            return Some(Err(Denied::after(Some(Duration::from_nanos(wait)))));
        }
        let taken = match self.try_take(n, floor, now)? {
            Ok(true) => Ok(()),
            Ok(false) => self.take_contended(n, floor, now)?,
            Err(early) => Err(early),
        };
        Some(taken.map_err(|early| {
            if one && early.is_at_least(LONG) {
                self.cache_denial(at);
            }
            early.denied(at)
        }))
    }

    /// Caches until when there is no token.
    #[cold]
    fn cache_denial(&self, now: Timestamp) {
        self.configs.denial.keep(|| {
            let denied = |seen: &Seen| (seen.word.pack(), seen.view().take(1, 0, now));
            let (word, taken) = self.look(denied)?;
            let wait = taken.err()?.retry_after()?;
            Some((word, now.saturating_add(wait).as_nanos()))
        });
    }

    /// Takes after another thread was faster: at once again, since the failure has brought the line
    /// here, and then backs off.
    #[cold]
    fn take_contended(&self, n: u64, floor: u64, now: u64) -> Option<Result<(), TooEarly>> {
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

    /// `Ok(false)`: another thread was faster.
    #[inline]
    fn try_take(&self, n: u64, floor: u64, now: u64) -> Option<Result<bool, TooEarly>> {
        let words = self.configs.words();
        // The word last: if it is of that generation, so was what was read before. Pairs as in
        // `is_in_force`.
        fence(Ordering::Acquire);
        let word = self.load();
        match words.take(word, n, floor, now)? {
            Ok(Some(next)) => Some(Ok(self.swap(word, next))),
            taken => Some(taken.map(|_| true)),
        }
    }

    /// Changes when the bucket is full to what `decide` makes of it, unless it denies. The time is
    /// read after the word, which is replaced only if it is still the same: so no taker in it has
    /// used a later time.
    pub(crate) fn try_update<T, E>(
        &self,
        now: impl Fn() -> Timestamp,
        reach: u64,
        decide: impl Fn(&View, Timestamp) -> Result<(Instant, T), E>,
    ) -> Result<Result<T, E>, NeedsWriter> {
        loop {
            let Some(seen) = self.seen()? else { continue };
            let now = now();
            let elapsed = now.as_nanos().saturating_sub(seen.base.as_nanos());
            let far = elapsed > seen.scale.horizon.saturating_mul(reach);
            let view = seen.view();
            // What was read while it changed may have led anywhere, and then this fails.
            let decided = decide(&view, now);
            let full_at = decided
                .as_ref()
                .map_or(view.full_at, |(full_at, _)| *full_at);
            let next = Word {
                time: seen.base.time_of(full_at),
                ..seen.word
            };
            let stands = if far || full_at > view.most || next == seen.word {
                // Nothing is written that would tell.
                self.is_in_force(seen.word)
            } else {
                // As in `is_in_force`.
                fence(Ordering::Acquire);
                self.swap(seen.word.pack(), next.pack())
            };
            if stands {
                return match decided {
                    _ if far => Err(NeedsWriter::Far),
                    Ok(_) if full_at > view.most => Err(NeedsWriter::Beyond),
                    decided => Ok(decided.map(|(_, output)| output)),
                };
            }
        }
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

    /// What `read` makes of the bucket, at any time, however far from the base; `None` if its fill
    /// is behind the lock. Writes nothing.
    pub(crate) fn peek<T>(&self, read: impl Fn(&View) -> T) -> Option<T> {
        self.look(|seen| read(&seen.view()))
    }

    fn look<T>(&self, read: impl Fn(&Seen) -> T) -> Option<T> {
        loop {
            let Some(seen) = self.seen().ok()? else {
                continue;
            };
            let output = read(&seen);
            if self.is_in_force(seen.word) {
                return Some(output);
            }
        }
    }

    fn seen(&self) -> Result<Option<Seen>, NeedsWriter> {
        let bits = self.load();
        if bits & HELD != 0 {
            return Err(NeedsWriter::Held);
        }
        Ok(self.configs.seen(Word::unpack(bits)))
    }

    /// Whether the generation of `word` is in force after all that was read before.
    #[inline]
    fn is_in_force(&self, word: Word) -> bool {
        // Pairs with the Release fence of the writer of a slot: a thread that has read a part of
        // what it wrote sees that the generation has ended.
        fence(Ordering::Acquire);
        let bits = self.word.load(Ordering::Relaxed);
        bits & HELD == 0 && Word::unpack(bits).generation == word.generation
    }

    #[inline]
    fn load(&self) -> u64 {
        // Acquire pairs with the Release that began the generation: its slot is visible.
        self.word.load(Ordering::Acquire)
    }
}

/// For the writer.
impl WordCell {
    /// As [`try_update`](Self::try_update). Moves the base first, if the time is too far from it.
    pub(crate) fn update<T, E>(
        &self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> Result<(Instant, T), E>,
    ) -> Result<Result<T, E>, Beyond> {
        loop {
            match self.try_update(&now, 1, &decide) {
                Ok(decided) => return Ok(decided),
                Err(NeedsWriter::Far) => self.move_base(now()),
                Err(NeedsWriter::Beyond) => return Err(Beyond),
                Err(NeedsWriter::Held) => unreachable!("only the writer holds the word"),
            }
        }
    }

    /// The generation in force, which only the writer ends.
    fn in_force(&self, bits: u64) -> Seen {
        let seen = self.configs.seen(Word::unpack(bits));
        seen.expect("the word is of the generation that its writer began")
    }

    /// Moves the base nearer to `now`.
    pub(crate) fn move_base(&self, now: Timestamp) {
        let units = self.in_force(self.load()).scale.units;
        let moved = self.configure(units, || now, |view, _, _| view.full_at);
        debug_assert!(moved.is_ok(), "less is left of it than before");
    }

    /// Begins a generation with another quota, in force from the time that is read for it; `full_at`
    /// says how the fill carries over.
    pub(crate) fn configure(
        &self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), Beyond> {
        let scale = Scale::new(units).map_err(|_| Beyond)?;
        let (next, rate) = (self.configs.write_next(&scale), scale.rate());
        loop {
            let bits = self.load();
            // Read after the word, which is replaced only if it is still the same: so no taker
            // before has used a later time, at which less was to come.
            let (seen, now) = (self.in_force(bits), now());
            let base = scale.base_at(now.as_nanos()).max(seen.base.as_nanos());
            self.configs.set_base(next, base);
            let moved = packed(
                next,
                Base::new(&rate, base),
                full_at(&seen.view(), &rate, now),
            )?;
            // Release publishes the slot with the generation.
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            let swapped = self.word.compare_exchange(bits, moved, success, failure);
            if swapped.is_ok() {
                self.configs.set_current(next);
                return Ok(());
            }
        }
    }

    /// Sends takers to the lock, and hands its holder the fill.
    pub(crate) fn hold(&self) -> Held {
        // Whatever a taker swaps in later fails: the word is another.
        let bits = self.word.fetch_or(HELD, Ordering::AcqRel);
        let seen = self.in_force(bits);
        let View {
            rate,
            full_at,
            known,
            ..
        } = seen.view();
        Held {
            rate,
            full_at,
            known,
        }
    }

    /// Lets takers go by the word again, from `now` on.
    ///
    /// # Errors
    /// [`Beyond`]: a word cannot hold that. It stays held.
    pub(crate) fn release(&self, held: &Held, now: Timestamp) -> Result<(), Beyond> {
        let scale = Scale::new(held.rate.units).map_err(|_| Beyond)?;
        let seen = self.in_force(self.load());
        let elapsed = now.as_nanos().saturating_sub(seen.base.as_nanos());
        if seen.scale.units == scale.units && elapsed <= scale.horizon {
            let word = packed(self.configs.current(), seen.base, held.full_at)?;
            self.word.store(word, Ordering::Release);
            return Ok(());
        }
        let base = scale.base_at(now.as_nanos()).max(seen.base.as_nanos());
        let next = self.configs.write_next(&scale);
        self.configs.set_base(next, base);
        let word = packed(next, Base::new(&held.rate, base), held.full_at)?;
        // Release publishes the slot with the generation.
        self.word.store(word, Ordering::Release);
        self.configs.set_current(next);
        Ok(())
    }
}

/// The word of a bucket that is full at an instant.
fn packed(generation: u64, base: Base, full_at: Instant) -> Result<u64, Beyond> {
    if !base.holds(full_at) {
        return Err(Beyond);
    }
    let time = base.time_of(full_at);
    Ok(Word { generation, time }.pack())
}
