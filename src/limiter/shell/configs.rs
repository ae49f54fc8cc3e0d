//! What the word is counted by: generation after generation, each a base and a quota.
//!
//! A seqlock whose sequence number is the generation in the word. One writer at a time, the holder
//! of the bucket's lock, writes the slot of the next generation while no word is of it, and then
//! moves the word. A taker reads the slot first and the word last: if the word is of that
//! generation, what it read belongs together. No thread completes what another has begun, and no
//! taker waits for a writer.

use crate::limiter::core::rate::View;
use crate::limiter::core::word::{Base, Pace, Scale, Word, Words};
use crate::limiter::shell::cached_denial::StandingDenial;
use crate::quota::Units;
use crate::sync::{AtomicU64, Ordering, UnmodelledU64, const_unless_modelled, fence};

/// Slots: of the generation in force, of the next, and of two that a stalled taker may still be
/// reading.
const SLOTS: usize = 4;

#[derive(Debug)]
pub(crate) struct Configs {
    /// The full number of the generation in force, or, while a writer is at work, of the one
    /// before it.
    current: AtomicU64,
    /// Of the generation in force, or of the one before it.
    pub(crate) denial: StandingDenial,
    slots: [Slot; SLOTS],
}

/// A generation. All fields are written and read alike; in a model, base and depth stand for the
/// rest.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    base: AtomicU64,
    depth: AtomicU64,
    per_nano: UnmodelledU64,
    per_token: UnmodelledU64,
    horizon: UnmodelledU64,
    burst: UnmodelledU64,
}

// Relaxed throughout: moving the word publishes a slot, and a reader checks the word last.
impl Slot {
    const_unless_modelled! {
        fn new(scale: &Scale) -> Self {
            Self {
                base: AtomicU64::new(0),
                depth: AtomicU64::new(scale.depth),
                per_nano: UnmodelledU64::new(scale.units.per_nano),
                per_token: UnmodelledU64::new(scale.units.per_token),
                horizon: UnmodelledU64::new(scale.horizon),
                burst: UnmodelledU64::new(scale.units.burst),
            }
        }
    }

    fn store(&self, scale: &Scale) {
        self.depth.store(scale.depth, Ordering::Relaxed);
        self.per_nano.store_relaxed(scale.units.per_nano);
        self.per_token.store_relaxed(scale.units.per_token);
        self.horizon.store_relaxed(scale.horizon);
        self.burst.store_relaxed(scale.units.burst);
    }

    #[inline]
    fn pace(&self) -> Pace {
        Pace {
            per_nano: self.per_nano.load_relaxed(),
            per_token: self.per_token.load_relaxed(),
            depth: self.depth.load(Ordering::Relaxed),
            horizon: self.horizon.load_relaxed(),
        }
    }

    fn scale(&self) -> Scale {
        let Pace {
            per_nano,
            per_token,
            depth,
            horizon,
        } = self.pace();
        let burst = self.burst.load_relaxed();
        let units = Units {
            per_nano,
            per_token,
            burst,
        };
        Scale {
            units,
            depth,
            horizon,
        }
    }
}

/// A bucket as its word had it, at one look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) word: Word,
    pub(crate) base: Base,
    pub(crate) scale: Scale,
}

impl Seen {
    pub(crate) fn view(&self) -> View {
        self.base.view(self.scale.rate(), self.word.time)
    }
}

impl Configs {
    const_unless_modelled! {
        /// Generation 0, with the base at the clock's origin.
        pub(crate) fn new(scale: &Scale) -> Self {
            Self {
                current: AtomicU64::new(0),
                denial: StandingDenial::new(),
                slots: [
                    Slot::new(scale),
                    Slot::new(scale),
                    Slot::new(scale),
                    Slot::new(scale),
                ],
            }
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    fn slot(&self, generation: u64) -> &Slot {
        &self.slots[generation as usize % SLOTS]
    }

    /// The generation in force, or the one before it, as its words see it. To be checked against a
    /// word that is read later, behind an Acquire fence.
    #[inline]
    pub(crate) fn words(&self) -> Words {
        // Acquire pairs with the Release in `set_current`: the slot is visible.
        let generation = self.current.load(Ordering::Acquire);
        let slot = self.slot(generation);
        let base = slot.base.load(Ordering::Relaxed);
        Words::new(generation, base, slot.pace())
    }

    /// What a word says; `None` if its generation has ended. To be checked against a word that is
    /// read later, behind an Acquire fence.
    pub(crate) fn seen(&self, word: Word) -> Option<Seen> {
        // Acquire: as in `words`. The word was read before, by Acquire too, so it is of this
        // generation, of the next, whose slot its writer published with it, or it has ended.
        let current = self.current.load(Ordering::Acquire);
        let generation = [current, current.wrapping_add(1)];
        let generation = generation.into_iter().find(|number| word.is_of(*number))?;
        let slot = self.slot(generation);
        let scale = slot.scale();
        let base = Base::new(&scale.rate(), slot.base.load(Ordering::Relaxed));
        Some(Seen { word, base, scale })
    }

    /// The number of the generation in force, for the writer.
    pub(crate) fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }

    /// Writes the slot of the generation after the one in force, but for its base.
    pub(crate) fn write_next(&self, scale: &Scale) -> u64 {
        let next = self.current() + 1;
        // Pairs with the Acquire fence before a reader's last look at the word: a reader that has
        // read anything of what is written here sees that its generation has ended.
        fence(Ordering::Release);
        self.slot(next).store(scale);
        next
    }

    /// Sets the base of a generation that is not in force yet.
    pub(crate) fn set_base(&self, generation: u64, base: u64) {
        self.slot(generation).base.store(base, Ordering::Relaxed);
    }

    /// Lets takers go by a generation that has begun.
    pub(crate) fn set_current(&self, generation: u64) {
        // Release pairs with the Acquire in `words`.
        self.current.store(generation, Ordering::Release);
        self.denial.forget();
    }
}
