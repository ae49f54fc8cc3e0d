//! The atomic word and its compare-and-swap loops: the concurrent half of
//! [`AtomicTokenBucket`](crate::AtomicTokenBucket), without any policy.
//!
//! Any thread takes. Everything else is for the *writer*, the thread that holds the bucket's lock: it
//! begins generations ([`ConfigRing`]), and it *holds* the word while waiters stand in line. While
//! the word is held, the fill is behind the lock, and takers go there.
//!
//! Linearization points: of an admission, the successful compare-and-swap of the word; of a denial,
//! the load of the word that it was computed from; of a change of the quota, the compare-and-swap or
//! store that moves the word to the next generation.

use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::clock::{Clock, MonotonicClock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::{LockedFill, WordOverflow};
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::limiter::core::word::{Base, HELD, TooEarly, Word, WordQuota};
use crate::limiter::shell::config_ring::{ConfigRing, WordSnapshot};
use crate::limiter::shell::turn::{TURN, Turn};
use crate::quota::Units;
use crate::sync::{AtomicU64, Ordering, const_unless_modelled, fence};

/// The shortest wait, in nanoseconds, for which a denial is cached: to cache it must cost little of
/// the time for which it serves. Under the model checker it is ten days, so that most models leave
/// the cache out.
const MIN_CACHED_WAIT: u64 = if cfg!(tollgate_loom) {
    864_000_000_000_000
} else {
    4_000
};

/// Why a decision by the word needs the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NeedsWriter {
    /// The word is held: the fill is behind the lock.
    Held,
    /// The time is too far from the base.
    BaseTooOld,
    /// The result does not fit the word.
    WordOverflow,
}

#[derive(Debug)]
pub(crate) struct WordCell {
    /// On a cache line of its own: takers write it, and only read the configuration (no false
    /// sharing).
    word: CachePadded<AtomicU64>,
    configs: ConfigRing,
    turn: Turn,
}

impl WordCell {
    const_unless_modelled! {
        /// Creates a full bucket.
        pub(crate) fn new(quota: &WordQuota) -> Self {
            Self {
                word: CachePadded::new(AtomicU64::new(0)),
                configs: ConfigRing::new(quota),
                turn: Turn::new(),
            }
        }
    }

    /// Takes `n` tokens at `now` if `floor` remain: the hot path, to be inlined. Returns the units that
    /// are left, or 0 if the tokens are free. `None` if it decided nothing, and the caller has to ask
    /// [`try_update`](Self::try_update).
    #[expect(clippy::inline_always, reason = "a call would cost a third of it")]
    #[inline(always)]
    pub(crate) fn take(&self, n: u64, floor: u64, at: Timestamp) -> Option<Result<u64, Denied>> {
        let now = at.as_nanos();
        // The cache holds denials of one token: what nearly all callers ask for.
        let is_one = n == 1 && floor == 0;
        if is_one && let Some(wait) = self.configs.denial.wait(now, || self.load()) {
            return Some(Err(Denied::after(Some(Duration::from_nanos(wait)))));
        }
        let taken = match self.try_take(n, floor, now)? {
            Ok(Some(left)) => Ok(left),
            Ok(None) => self.take_contended(n, floor, now)?,
            Err(early) => Err(early),
        };
        Some(taken.map_err(|early| {
            if is_one && early.is_at_least(MIN_CACHED_WAIT) {
                self.cache_denial(at);
            }
            early.denied(at)
        }))
    }

    /// Caches until when the bucket has no token.
    #[cold]
    fn cache_denial(&self, now: Timestamp) {
        self.configs.denial.store(|| {
            let denied = |seen: &WordSnapshot| (seen.word.pack(), seen.view().take(1, 0, now));
            let (word, taken) = self.look(denied)?;
            let wait = taken.err()?.retry_after()?;
            Some((word, now.saturating_add(wait).as_nanos()))
        });
    }

    /// Takes after another thread was faster. The first retry is immediate, since the failure has
    /// brought the cache line here; the back-off comes after the take, for the other threads' sake.
    #[cold]
    fn take_contended(&self, n: u64, floor: u64, now: u64) -> Option<Result<u64, TooEarly>> {
        loop {
            if let Some(decided) = self.try_take(n, floor, now)?.transpose() {
                // Not in a model: time does not pass there.
                if cfg!(not(tollgate_loom)) {
                    // Not the caller's clock, which may stand still.
                    let nanos = || MonotonicClock::new().now().as_nanos();
                    self.turn.contended(TURN, nanos);
                }
                return Some(decided);
            }
        }
    }

    /// Takes, or denies; `Ok(None)` if another thread was faster.
    #[inline]
    fn try_take(&self, n: u64, floor: u64, now: u64) -> Option<Result<Option<u64>, TooEarly>> {
        let hot = self.configs.hot();
        // The word last: if it is of that generation, what was read before is consistent. The fence
        // pairs with the Release fence of the writer of a slot, as in `is_in_force`; without it the
        // word could be loaded first, and judged by a slot that was overwritten since.
        fence(Ordering::Acquire);
        let word = self.load();
        match hot.take(word, n, floor, now)? {
            Ok(Some(next)) => {
                let taken = self.swap(word, next);
                Some(Ok(taken.then(|| hot.left(next, now))))
            }
            Ok(None) => Some(Ok(Some(0))),
            Err(early) => Some(Err(early)),
        }
    }

    /// Sets when the bucket is full to what `decide` returns; returns the output of `decide`. An
    /// unchanged instant writes nothing.
    ///
    /// `reach` times the horizon is how far from the base the time may be. The time is read after
    /// the word, which is replaced only if it is unchanged: so no taker with this word has used a
    /// later time.
    pub(crate) fn try_update<T>(
        &self,
        now: impl Fn() -> Timestamp,
        reach: u64,
        decide: impl Fn(&View, Timestamp) -> (Instant, T),
    ) -> Result<T, NeedsWriter> {
        loop {
            let Some(seen) = self.snapshot()? else {
                continue;
            };
            let now = now();
            let elapsed = now.as_nanos().saturating_sub(seen.base.as_nanos());
            let is_far = elapsed > seen.quota.horizon.saturating_mul(reach);
            let view = seen.view();
            // A torn read can lead anywhere, but not to a panic; the word tells below.
            let (full_at, output) = decide(&view, now);
            let overflows = full_at > view.max_full_at;
            let next = Word {
                time: seen.base.time_of(full_at),
                ..seen.word
            };
            let is_decided = if is_far || overflows || next == seen.word {
                // Nothing is swapped in, so no failed swap would tell of a torn read.
                self.is_in_force(seen.word)
            } else {
                // As in `is_in_force`: the swap is the last load of the word.
                fence(Ordering::Acquire);
                self.swap(seen.word.pack(), next.pack())
            };
            if !is_decided {
                continue;
            }
            return if is_far {
                Err(NeedsWriter::BaseTooOld)
            } else if overflows {
                Err(NeedsWriter::WordOverflow)
            } else {
                Ok(output)
            };
        }
    }

    #[inline]
    fn swap(&self, word: u64, next: u64) -> bool {
        // Relaxed: a take publishes nothing but the word itself. A read-modify-write continues the
        // release sequence of the store that began the generation, so the Acquire of the next reader
        // still pairs with that store.
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        self.word
            .compare_exchange_weak(word, next, success, failure)
            .is_ok()
    }

    /// Returns what `read` makes of the bucket, at any time, however far from the base; `None` if the
    /// word is held. Writes nothing.
    pub(crate) fn peek<T>(&self, read: impl Fn(&View) -> T) -> Option<T> {
        self.look(|seen| read(&seen.view()))
    }

    fn look<T>(&self, read: impl Fn(&WordSnapshot) -> T) -> Option<T> {
        loop {
            let Some(seen) = self.snapshot().ok()? else {
                continue;
            };
            let output = read(&seen);
            if self.is_in_force(seen.word) {
                return Some(output);
            }
        }
    }

    fn snapshot(&self) -> Result<Option<WordSnapshot>, NeedsWriter> {
        let bits = self.load();
        if bits & HELD != 0 {
            return Err(NeedsWriter::Held);
        }
        Ok(self.configs.snapshot(Word::unpack(bits)))
    }

    /// Returns whether the generation of `word` is still in force after all loads before this call.
    #[inline]
    fn is_in_force(&self, word: Word) -> bool {
        // Acquire pairs with the Release fence of the writer of a slot: a thread that has read any
        // part of an overwritten slot sees here that its generation has ended.
        fence(Ordering::Acquire);
        // Relaxed: the fence orders it; nothing is read through it.
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
    /// Same as [`try_update`](Self::try_update), but moves the base first if the time is too far from
    /// it.
    pub(crate) fn update<T>(
        &self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> (Instant, T),
    ) -> Result<T, WordOverflow> {
        loop {
            match self.try_update(&now, 1, &decide) {
                Ok(output) => return Ok(output),
                Err(NeedsWriter::BaseTooOld) => self.move_base(now()),
                Err(NeedsWriter::WordOverflow) => return Err(WordOverflow),
                Err(NeedsWriter::Held) => unreachable!("only the writer holds the word"),
            }
        }
    }

    /// Returns the generation in force, which only the writer ends.
    fn in_force(&self, bits: u64) -> WordSnapshot {
        let seen = self.configs.snapshot(Word::unpack(bits));
        seen.expect("the word is of the generation that its writer began")
    }

    /// Moves the base nearer to `now`: a generation with the same quota.
    pub(crate) fn move_base(&self, now: Timestamp) {
        let units = self.in_force(self.load()).quota.units;
        let moved = self.configure(units, || now, |view, _, _| view.full_at);
        debug_assert!(moved.is_ok(), "a later base leaves less to hold");
    }

    /// Begins a generation with another quota, in force from the time that `now` reads; `full_at`
    /// says how the fill carries over.
    ///
    /// # Errors
    /// [`WordOverflow`]; nothing has changed for takers.
    pub(crate) fn configure(
        &self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), WordOverflow> {
        let quota = WordQuota::new(units).map_err(|_| WordOverflow)?;
        let (next, rate) = (self.configs.write_next(&quota), quota.rate());
        loop {
            let bits = self.load();
            // The time is read after the word, which is replaced only if it is unchanged: so no taker
            // of the old generation has used a later time, up to which it counted the old rate.
            let (seen, now) = (self.in_force(bits), now());
            let base = quota.base_at(now.as_nanos()).max(seen.base.as_nanos());
            self.configs.set_base(next, base);
            let moved = packed(
                next,
                Base::new(&rate, base),
                full_at(&seen.view(), &rate, now),
            )?;
            // Release pairs with the Acquire in `load`: the slot is visible with its generation.
            // Linearization point of a change of the quota.
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            let swapped = self.word.compare_exchange(bits, moved, success, failure);
            if swapped.is_ok() {
                self.configs.set_current(next);
                return Ok(());
            }
        }
    }

    /// Holds the word, which sends takers to the lock; returns the fill.
    pub(crate) fn hold(&self) -> LockedFill {
        // Returns the last word that a taker swapped in; from here on every swap fails, since the
        // bits differ. AcqRel as in `load` and `configure`, although the lock orders the writer's own
        // accesses too.
        let bits = self.word.fetch_or(HELD, Ordering::AcqRel);
        LockedFill::of(&self.in_force(bits).view())
    }

    /// Releases the word: takers go by it again, from `now` on.
    ///
    /// # Errors
    /// [`WordOverflow`]; the word stays held.
    pub(crate) fn release(&self, fill: &LockedFill, now: Timestamp) -> Result<(), WordOverflow> {
        let quota = WordQuota::new(fill.rate.units).map_err(|_| WordOverflow)?;
        let seen = self.in_force(self.load());
        let elapsed = now.as_nanos().saturating_sub(seen.base.as_nanos());
        if seen.quota.units == quota.units && elapsed <= quota.horizon {
            let word = packed(self.configs.current(), seen.base, fill.full_at)?;
            // A plain store: no other thread writes a held word. Release keeps the writer's release
            // sequence, which the store would end, for the Acquire in `load`.
            self.word.store(word, Ordering::Release);
            return Ok(());
        }
        let base = quota.base_at(now.as_nanos()).max(seen.base.as_nanos());
        let next = self.configs.write_next(&quota);
        self.configs.set_base(next, base);
        let word = packed(next, Base::new(&fill.rate, base), fill.full_at)?;
        // Release pairs with the Acquire in `load`: the slot is visible with its generation.
        self.word.store(word, Ordering::Release);
        self.configs.set_current(next);
        Ok(())
    }
}

/// Returns the word of a bucket that is full at an instant.
fn packed(generation: u64, base: Base, full_at: Instant) -> Result<u64, WordOverflow> {
    if !base.holds(full_at) {
        return Err(WordOverflow);
    }
    let time = base.time_of(full_at);
    Ok(Word { generation, time }.pack())
}
