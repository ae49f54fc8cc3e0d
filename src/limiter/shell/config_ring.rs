//! The configurations that the word is counted by: a ring of generations, each a base and a quota.
//!
//! A seqlock whose sequence number is the generation in the word. The writer, which holds the bucket's
//! lock, writes the slot of the next generation while no word is of it, and then moves the word. A
//! taker reads a slot first and the word last: if the word is of that generation, what the taker
//! read is consistent. Takers never wait for the writer, and never complete its work (no helping).

use crate::limiter::core::rate::View;
use crate::limiter::core::word::{Base, HotGeneration, Word, WordQuota};
use crate::limiter::shell::cached_denial::CachedDenial;
use crate::quota::Units;
use crate::sync::{AtomicU64, Ordering, UnmodelledU64, const_unless_modelled, fence};

/// One slot is in force and one is written next. The other two give a stalled taker time before its
/// slot is overwritten and it has to read again.
const SLOTS: usize = 4;

#[derive(Debug)]
pub(crate) struct ConfigRing {
    /// The full number of the generation in force; while a writer publishes the next, of the one
    /// before it.
    current: AtomicU64,
    /// Of the generation in force, or of the one before it. Here because takers load this cache line
    /// anyway.
    pub(crate) denial: CachedDenial,
    slots: [ConfigSlot; SLOTS],
}

/// The configuration of a generation. All fields are written and read alike, so that a model needs
/// only two of them: base and depth stand for the rest.
#[derive(Debug)]
#[repr(align(64))]
struct ConfigSlot {
    base: AtomicU64,
    depth: AtomicU64,
    per_nano: UnmodelledU64,
    per_token: UnmodelledU64,
    horizon: UnmodelledU64,
    burst: UnmodelledU64,
}

// Relaxed throughout: the Release that moves the word publishes a slot, and the fences around slot
// accesses turn a torn read into a changed word.
impl ConfigSlot {
    const_unless_modelled! {
        fn new(quota: &WordQuota) -> Self {
            Self {
                base: AtomicU64::new(0),
                depth: AtomicU64::new(quota.depth),
                per_nano: UnmodelledU64::new(quota.units.per_nano),
                per_token: UnmodelledU64::new(quota.units.per_token),
                horizon: UnmodelledU64::new(quota.horizon),
                burst: UnmodelledU64::new(quota.units.burst),
            }
        }
    }

    fn store(&self, quota: &WordQuota) {
        self.depth.store(quota.depth, Ordering::Relaxed);
        self.per_nano.store_relaxed(quota.units.per_nano);
        self.per_token.store_relaxed(quota.units.per_token);
        self.horizon.store_relaxed(quota.horizon);
        self.burst.store_relaxed(quota.units.burst);
    }

    /// Returns the quota, with a burst that is read beside it.
    #[inline]
    fn quota(&self, burst: u64) -> WordQuota {
        WordQuota {
            units: Units {
                per_nano: self.per_nano.load_relaxed(),
                per_token: self.per_token.load_relaxed(),
                burst,
            },
            depth: self.depth.load(Ordering::Relaxed),
            horizon: self.horizon.load_relaxed(),
        }
    }
}

/// A bucket as one load of its word had it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordSnapshot {
    pub(crate) word: Word,
    pub(crate) base: Base,
    pub(crate) quota: WordQuota,
}

impl WordSnapshot {
    pub(crate) fn view(&self) -> View {
        self.base.view(self.quota.rate(), self.word.time)
    }
}

impl ConfigRing {
    const_unless_modelled! {
        /// Generation 0, with its base at the clock's origin.
        pub(crate) fn new(quota: &WordQuota) -> Self {
            Self {
                current: AtomicU64::new(0),
                denial: CachedDenial::new(),
                slots: [
                    ConfigSlot::new(quota),
                    ConfigSlot::new(quota),
                    ConfigSlot::new(quota),
                    ConfigSlot::new(quota),
                ],
            }
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    fn slot(&self, generation: u64) -> &ConfigSlot {
        &self.slots[generation as usize % SLOTS]
    }

    /// Returns the generation in force, or the one before it. The caller checks it against a word
    /// that it loads later, behind an Acquire fence.
    #[inline]
    pub(crate) fn hot(&self) -> HotGeneration {
        // Acquire pairs with the Release in `set_current`: the slot of that generation is visible.
        // Without it a taker could read the zeroes, or the older generation, in its slot.
        let generation = self.current.load(Ordering::Acquire);
        let slot = self.slot(generation);
        let base = slot.base.load(Ordering::Relaxed);
        HotGeneration::new(generation, base, slot.quota(0))
    }

    /// Returns what a word says; `None` if its generation has ended. The caller has loaded the word
    /// with Acquire, and checks it again later, behind an Acquire fence.
    pub(crate) fn snapshot(&self, word: Word) -> Option<WordSnapshot> {
        // Acquire: as in `hot`. The word is of the generation `current`, or of the next, whose slot
        // the word's own Release published, or its generation has ended.
        let current = self.current.load(Ordering::Acquire);
        let generation = [current, current.wrapping_add(1)];
        let generation = generation.into_iter().find(|number| word.is_of(*number))?;
        let slot = self.slot(generation);
        let quota = slot.quota(slot.burst.load_relaxed());
        let base = Base::new(&quota.rate(), slot.base.load(Ordering::Relaxed));
        Some(WordSnapshot { word, base, quota })
    }

    /// Returns the number of the generation in force. For the writer.
    pub(crate) fn current(&self) -> u64 {
        // Relaxed: only the writer stores it, under the lock.
        self.current.load(Ordering::Relaxed)
    }

    /// Writes the slot of the next generation, except for its base; returns its number. For the
    /// writer.
    pub(crate) fn write_next(&self, quota: &WordQuota) -> u64 {
        let next = self.current() + 1;
        // Release pairs with the Acquire fence before a taker's last load of the word: a taker that
        // has read any of the stores below also sees that its generation has ended. Without it a
        // stalled taker could judge its old word by the new quota.
        fence(Ordering::Release);
        self.slot(next).store(quota);
        next
    }

    /// Sets the base of a generation that has not begun. For the writer.
    pub(crate) fn set_base(&self, generation: u64, base: u64) {
        self.slot(generation).base.store(base, Ordering::Relaxed);
    }

    /// Directs takers to a generation that has begun, and invalidates the cached denial. For the
    /// writer.
    pub(crate) fn set_current(&self, generation: u64) {
        // Release pairs with the Acquire in `hot` and `snapshot`.
        self.current.store(generation, Ordering::Release);
        self.denial.invalidate();
    }
}
