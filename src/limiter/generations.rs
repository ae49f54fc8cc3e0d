//! What the word is counted by: generation after generation, each a base and a configuration.
//!
//! A generation begins in two steps that any thread can do: an anchor is proposed in the next slot,
//! where the first proposal wins and the full number of the generation that stood there a round ago
//! keeps a late one out; then the word is moved to it ([`cell`](super::cell)).
//!
//! A configuration is several words, so it can be read while it changes. It is written only while
//! it is not in force, before the anchor that names it is proposed. Who reads it long after it was
//! in force finds that out by the word.

use super::carry::{CarryOver, Change};
use super::standing_denial::StandingDenial;
use super::word::{Anchor, Base, CONFIGS, Pace, Scale, Words};
use crate::clock::Timestamp;
use crate::quota::Units;
use crate::sync::{AtomicU64, Mutex, Ordering, UnmodelledU64};

/// Slots for anchors: the generation in force, the next, and two that stale threads may still be
/// looking at.
const SLOTS: u16 = 4;

#[derive(Debug)]
pub(super) struct Generations {
    /// The anchor that takers go by, so that they find what they need without waiting for the word.
    /// If it is not that of the generation in force, the word tells, and they go by the word.
    ///
    /// But the word has eight bits of a generation, by which a hint of 256 generations ago would be
    /// right again. So nobody moves the word from a generation that the hint has not come to.
    hint: AtomicU64,
    anchors: [AtomicU64; SLOTS as usize],
    configs: [Config; CONFIGS as usize],
    /// Of the generation in force, or of the one before it.
    pub(super) denial: StandingDenial,
    /// Held by who changes the configuration.
    pub(super) writer: Mutex<()>,
}

/// A [`Scale`], and how the generation that begins it carries over.
///
/// All of it is written and read alike. In a model the depth, which may be read late, stands for
/// the rest.
#[derive(Debug)]
#[repr(align(64))]
struct Config {
    per_nano: UnmodelledU64,
    per_token: UnmodelledU64,
    depth: AtomicU64,
    horizon: UnmodelledU64,
    burst: UnmodelledU64,
    carry: UnmodelledU64,
    /// Tokens that leases have carved out of the bursts before and after.
    carved: UnmodelledU64,
    /// Nothing is to be had before.
    paused: UnmodelledU64,
    /// From when on it is in force.
    since: UnmodelledU64,
}

// Relaxed throughout: an anchor publishes it, and a fence finds out who reads it too late.
impl Config {
    fn new(scale: &Scale) -> Self {
        let zero = || UnmodelledU64::new(0);
        let config = Self {
            per_nano: zero(),
            per_token: zero(),
            depth: AtomicU64::new(0),
            horizon: zero(),
            burst: zero(),
            carry: zero(),
            carved: zero(),
            paused: zero(),
            since: zero(),
        };
        config.store(scale, Change::new(CarryOver::Full));
        config
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
        Scale {
            units: Units {
                per_nano,
                per_token,
                burst,
            },
            depth,
            horizon,
        }
    }

    fn store(&self, scale: &Scale, change: Change) {
        let Scale {
            units,
            depth,
            horizon,
        } = *scale;
        self.per_nano.store_relaxed(units.per_nano);
        self.per_token.store_relaxed(units.per_token);
        self.depth.store(depth, Ordering::Relaxed);
        self.horizon.store_relaxed(horizon);
        self.burst.store_relaxed(units.burst);
        let Change {
            carry,
            carved,
            paused,
        } = change;
        self.carry.store_relaxed(carry.code());
        self.carved.store_relaxed(carved);
        self.paused.store_relaxed(paused.as_nanos());
    }

    fn change(&self) -> Change {
        Change {
            carry: CarryOver::from_code(self.carry.load_relaxed()),
            carved: self.carved.load_relaxed(),
            paused: Timestamp::from_nanos(self.paused.load_relaxed()),
        }
    }
}

/// The slot of a generation, whose low bits are enough.
fn slot_of(generation: u16) -> usize {
    (generation % SLOTS).into()
}

impl Generations {
    /// Generation 0, with the base at the clock's origin.
    pub(super) fn new(scale: &Scale) -> Self {
        // Slot i is for generation i next; it looks as if it had last been used one round ago.
        let anchors = [0, 1, 2, 3].map(|slot: u16| {
            let generation = if slot == 0 {
                0
            } else {
                slot.wrapping_sub(SLOTS)
            };
            let (config, base) = (0, 0);
            let anchor = Anchor {
                generation,
                config,
                base,
            };
            anchor.pack()
        });
        let configs = [(); CONFIGS as usize].map(|()| Config::new(scale));
        Self {
            hint: AtomicU64::new(anchors[0]),
            anchors: anchors.map(AtomicU64::new),
            configs,
            denial: StandingDenial::new(),
            writer: Mutex::new(()),
        }
    }

    /// The anchor of a generation of which the low bits are enough; another one if that has ended.
    #[inline]
    pub(super) fn anchor(&self, generation: u16) -> Anchor {
        // Acquire pairs with the Release of the proposal: the configuration that the anchor names
        // is visible.
        Anchor::unpack(self.anchors[slot_of(generation)].load(Ordering::Acquire))
    }

    #[inline]
    fn config(&self, config: u8) -> &Config {
        &self.configs[usize::from(config % CONFIGS)]
    }

    /// The scale of an anchor's configuration. Once its generation has ended it may be another.
    #[inline]
    pub(super) fn scale(&self, anchor: Anchor) -> Scale {
        self.config(anchor.config).scale()
    }

    /// The hint, to be read before it is looked at which generation is in force.
    pub(super) fn hint(&self) -> u64 {
        // Acquire: what is in force is looked at later, and is this generation or a later one.
        self.hint.load(Ordering::Acquire)
    }

    /// Lets takers go by the anchor of the generation in force. False if the hint has changed since
    /// it was read as `seen`: then `anchor` may be of a generation that ended long ago.
    pub(super) fn correct(&self, seen: u64, anchor: Anchor) -> bool {
        let corrected = anchor.pack();
        if seen == corrected {
            return true;
        }
        // Release publishes the configuration, as the proposal has done.
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
        self.hint
            .compare_exchange(seen, corrected, success, failure)
            .is_ok()
    }

    /// The generation of the hint, as its words see it.
    #[inline]
    pub(super) fn words(&self) -> Words {
        // Acquire pairs with the Release of `correct`: the configuration is visible.
        let anchor = Anchor::unpack(self.hint.load(Ordering::Acquire));
        Words {
            zero: anchor.zero(),
            base: anchor.base,
            pace: self.config(anchor.config).pace(),
        }
    }

    /// Writes a configuration that is not in force, to be named by an anchor.
    pub(super) fn configure(&self, config: u8, scale: &Scale, change: Change) {
        self.config(config).store(scale, change);
    }

    /// Says from when on a configuration is in force, before it is.
    pub(super) fn set_since(&self, config: u8, since: u64) {
        self.config(config).since.store_relaxed(since);
    }

    /// Proposes what follows `anchor`; returns what will, by this proposal or another. `None`:
    /// something else follows already.
    pub(super) fn propose(&self, anchor: Anchor, config: u8, base: u64) -> Option<Anchor> {
        let generation = anchor.generation.wrapping_add(1);
        let slot = &self.anchors[slot_of(generation)];
        let seen = Anchor::unpack(slot.load(Ordering::Acquire));
        if seen.generation == generation {
            return Some(seen);
        }
        if seen.generation != generation.wrapping_sub(SLOTS) {
            return None;
        }
        let mine = Anchor {
            generation,
            config,
            base,
        };
        // AcqRel publishes this proposal and its configuration; Acquire sees those of the one that
        // was faster.
        match slot.compare_exchange(
            seen.pack(),
            mine.pack(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => Some(Anchor::unpack(mine.pack())),
            Err(faster) => {
                Some(Anchor::unpack(faster)).filter(|faster| faster.generation == generation)
            }
        }
    }

    /// A virtual time of the generation of `anchor`, as one of that of `next`.
    pub(super) fn carried_over(&self, time: u64, anchor: Anchor, next: Anchor) -> u64 {
        let old = self.scale(anchor).rate();
        let bucket = Base::new(&old, anchor.base).view(old, time);
        if next.config == anchor.config {
            return Base::new(&old, next.base).time_of(bucket.full_at);
        }
        let config = self.config(next.config);
        let (new, since) = (config.scale().rate(), config.since.load_relaxed());
        let full_at = config
            .change()
            .full_at(&bucket, &new, Timestamp::from_nanos(since));
        Base::new(&new, next.base).time_of(full_at)
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::Quota;

    #[test]
    fn a_thread_that_was_held_up_does_not_bring_an_old_hint_back() {
        let quota = Quota::per_second(1).expect("it is in range");
        let units = quota.units().expect("it has a burst");
        let generations = Generations::new(&Scale::new(units).expect("it fits"));
        let anchor = |generation| Anchor {
            generation,
            config: 0,
            base: 0,
        };
        let seen = generations.hint();
        assert!(generations.correct(seen, anchor(2)));
        assert!(!generations.correct(seen, anchor(1)));
        assert_eq!(generations.words().zero, anchor(2).zero());
    }
}
