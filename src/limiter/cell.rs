//! The word, and how it moves from one generation to the next: the concurrent half of
//! [`AtomicTokenBucket`](super::AtomicTokenBucket), without any policy.
//!
//! A generation is a base and a configuration. It begins in two steps that any thread can do: an
//! anchor is proposed in the next slot, where the first proposal wins and the full number of the
//! generation that stood there a round ago keeps a late one out; then the word is moved to it.
//! Whoever needs the new generation does what is left to do, so nobody waits for anybody.
//!
//! A configuration is several words, so it can be read while it changes. It is written only while
//! it is not in force, before the anchor that names it is proposed. A thread that reads it long
//! after it was in force finds that out: its compare-and-swap of the word fails, or, if it denies,
//! `is_current` does.

use crossbeam_utils::CachePadded;

use super::CarryOver;
use super::word::{Anchor, CONFIGS, Scale, TIME_MAX, Word};
use crate::quota::Units;
use crate::sync::{AtomicU64, Mutex, Ordering, UnmodelledU64, fence};

/// Slots for anchors: the generation in force, the next, and two that stale threads may still be
/// looking at.
const SLOTS: u16 = 4;

#[derive(Debug)]
pub(super) struct WordCell {
    word: CachePadded<AtomicU64>,
    /// What the hot path only reads, on another cache line than what it writes.
    rest: CachePadded<Rest>,
}

#[derive(Debug)]
struct Rest {
    /// The generation that was in force not long ago. It need not be right: it lets the anchor and
    /// the configuration be read without waiting for the word.
    hint: UnmodelledU64,
    anchors: [AtomicU64; SLOTS as usize],
    configs: [Config; CONFIGS as usize],
    /// Held by who changes the configuration.
    writer: Mutex<()>,
}

/// A [`Scale`], and how the generation that begins it carries over.
///
/// All of it is written and read alike. In a model the burst, which may be read late, stands for
/// the rest.
#[derive(Debug)]
struct Config {
    burst: AtomicU64,
    per_nano: UnmodelledU64,
    per_token: UnmodelledU64,
    depth: UnmodelledU64,
    horizon: UnmodelledU64,
    carry: UnmodelledU64,
    /// From when on it is in force.
    since: UnmodelledU64,
}

impl Config {
    fn new() -> Self {
        let zero = || UnmodelledU64::new(0);
        Self {
            burst: AtomicU64::new(0),
            per_nano: zero(),
            per_token: zero(),
            depth: zero(),
            horizon: zero(),
            carry: zero(),
            since: zero(),
        }
    }

    // Relaxed throughout: the anchor that names the configuration publishes it, see above.
    #[inline]
    fn scale(&self) -> Scale {
        let units = Units {
            per_nano: self.per_nano.load_relaxed(),
            per_token: self.per_token.load_relaxed(),
            burst: self.burst.load(Ordering::Relaxed),
        };
        Scale {
            units,
            depth: self.depth.load_relaxed(),
            horizon: self.horizon.load_relaxed(),
        }
    }

    fn set(&self, scale: &Scale, carry: CarryOver, since: u64) {
        let Scale {
            units:
                Units {
                    per_nano,
                    per_token,
                    burst,
                },
            depth,
            horizon,
        } = *scale;
        self.burst.store(burst, Ordering::Relaxed);
        self.per_nano.store_relaxed(per_nano);
        self.per_token.store_relaxed(per_token);
        self.depth.store_relaxed(depth);
        self.horizon.store_relaxed(horizon);
        self.carry.store_relaxed(carry.code());
        self.since.store_relaxed(since);
    }
}

/// The word as it was read, with what is needed to judge it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    word: Word,
    anchor: Anchor,
    /// Before the base, the depth is what of it has accrued by now.
    pub(super) scale: Scale,
    /// Now, in units since the base; 0 before it.
    pub(super) at: u64,
}

impl View {
    /// When the bucket is full, in units since the base.
    #[inline]
    pub(super) const fn time(&self) -> u64 {
        self.word.time
    }

    /// In nanoseconds.
    pub(super) const fn base(&self) -> u64 {
        self.anchor.base
    }

    /// When, in nanoseconds since the clock's origin, the bucket is full but for a burst at the
    /// virtual time `time`: what is taken up to there can be used then. `None` if the clock ends
    /// first.
    pub(super) fn ready_at(&self, time: u64) -> Option<u64> {
        let Scale { units, depth, .. } = self.scale;
        if time > depth && units.depth() == u128::from(depth) && units.per_nano > 0 {
            // Not before the base, so all of it fits a word.
            return self
                .anchor
                .base
                .checked_add((time - depth).div_ceil(units.per_nano));
        }
        let accrued = self.absolute(time).saturating_sub(units.depth());
        if accrued == 0 {
            return Some(0);
        }
        let per_nano = u128::from(units.per_nano);
        u64::try_from(accrued.checked_next_multiple_of(per_nano)? / per_nano).ok()
    }

    /// A virtual time in units since the clock's origin, which no re-anchoring changes.
    pub(super) fn absolute(&self, time: u64) -> u128 {
        u128::from(self.anchor.base) * u128::from(self.scale.units.per_nano) + u128::from(time)
    }

    #[inline]
    fn new(word: Word, anchor: Anchor, scale: Scale, elapsed: u64) -> Self {
        // Wraps only if the scale was read while it changed.
        Self {
            word,
            anchor,
            scale,
            at: elapsed.wrapping_mul(scale.units.per_nano),
        }
    }

    /// At any time, however far from the base.
    fn at_any_time(word: Word, anchor: Anchor, mut scale: Scale, now: u64) -> Self {
        let ahead = now
            .saturating_sub(anchor.base)
            .saturating_mul(scale.units.per_nano);
        // Before the base, as much less of the burst has accrued.
        let behind = anchor
            .base
            .saturating_sub(now)
            .saturating_mul(scale.units.per_nano);
        scale.depth = scale.depth.saturating_sub(behind);
        Self {
            word,
            anchor,
            scale,
            at: ahead,
        }
    }
}

/// The slot of a generation, whose low bits are enough.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
fn slot_of(generation: u64) -> usize {
    (generation % u64::from(SLOTS)) as usize
}

impl WordCell {
    /// A full bucket.
    pub(super) fn new(scale: &Scale) -> Self {
        // Slot i is for generation i next; it looks as if it had last been used one round ago.
        let anchors = [0, 1, 2, 3].map(|slot: u16| {
            let generation = if slot == 0 {
                0
            } else {
                slot.wrapping_sub(SLOTS)
            };
            AtomicU64::new(
                Anchor {
                    generation,
                    config: 0,
                    base: 0,
                }
                .pack(),
            )
        });
        let configs = [(); CONFIGS as usize].map(|()| Config::new());
        configs[0].set(scale, CarryOver::Full, 0);
        let word = AtomicU64::new(
            Word {
                generation: 0,
                time: 0,
            }
            .pack(),
        );
        let rest = Rest {
            hint: UnmodelledU64::new(0),
            anchors,
            configs,
            writer: Mutex::new(()),
        };
        Self {
            word: CachePadded::new(word),
            rest: CachePadded::new(rest),
        }
    }

    /// Replaces the virtual time by what `decide` makes of it, unless it denies.
    #[inline]
    pub(super) fn update<T, E>(
        &self,
        now: u64,
        decide: impl Fn(&View) -> Result<(u64, T), E>,
    ) -> Result<T, E> {
        loop {
            let view = self.view(now);
            match decide(&view) {
                Ok((time, output)) => {
                    let next = Word { time, ..view.word }.pack();
                    // Relaxed: taking publishes nothing but the word itself. A replacement of the
                    // word continues the release sequence of the store that began the generation,
                    // so the Acquire of the next reader still pairs with that.
                    let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
                    if self
                        .word
                        .compare_exchange_weak(view.word.pack(), next, success, failure)
                        .is_ok()
                    {
                        return Ok(output);
                    }
                }
                Err(denied) if self.is_current(&view) => return Err(denied),
                Err(_) => {}
            }
        }
    }

    /// The bucket at `now`. Moves the base on first, if `now` is too far from it.
    #[inline]
    fn view(&self, now: u64) -> View {
        // Relaxed: a hint.
        let slot = self.rest.hint.load_relaxed();
        let anchor = self.anchor(slot);
        let scale = self.rest.configs[usize::from(anchor.config)].scale();
        // Beyond the horizon too if `now` lies before the base.
        let elapsed = now.wrapping_sub(anchor.base);
        let word = self.load();
        let mutant = cfg!(tollgate_mutant = "reanchor-unchecked");
        if (mutant || anchor.is_for(word)) && elapsed <= scale.horizon {
            return View::new(word, anchor, scale, elapsed);
        }
        self.view_by_word(now, word)
    }

    /// What `read` makes of the bucket at `now`, however far ahead that is. Writes nothing.
    pub(super) fn peek<T>(&self, now: u64, read: impl Fn(&View) -> T) -> T {
        loop {
            let word = self.load();
            let anchor = self.anchor(word.generation.into());
            let scale = self.rest.configs[usize::from(anchor.config)].scale();
            let view = View::at_any_time(word, anchor, scale, now);
            let output = read(&view);
            if anchor.is_for(word) && self.is_current(&view) {
                return output;
            }
        }
    }

    #[cold]
    fn view_by_word(&self, now: u64, mut word: Word) -> View {
        loop {
            let anchor = self.anchor(word.generation.into());
            let scale = self.rest.configs[usize::from(anchor.config)].scale();
            let elapsed = now.saturating_sub(anchor.base);
            if !anchor.is_for(word) {
                word = self.load();
            } else if elapsed <= scale.horizon {
                self.rest.hint.store_relaxed(anchor.generation.into());
                return View::at_any_time(word, anchor, scale, now);
            } else {
                word = self.reanchor(word, anchor, &scale, now);
            }
        }
    }

    /// Whether what was read belonged together. If the configuration was read while it changed, its
    /// generation had ended before.
    #[inline]
    fn is_current(&self, view: &View) -> bool {
        // Pairs with the fence in `configure`: whoever read a word of a configuration that was
        // written after it sees that the generation has ended.
        fence(Ordering::Acquire);
        Word::unpack(self.word.load(Ordering::Relaxed)).generation == view.word.generation
    }

    #[inline]
    fn load(&self) -> Word {
        // Acquire pairs with the Release that began the generation: its anchor is visible.
        Word::unpack(self.word.load(Ordering::Acquire))
    }

    #[inline]
    fn anchor(&self, slot: u64) -> Anchor {
        // Acquire pairs with the Release of the proposal: the configuration that the anchor names
        // is visible.
        Anchor::unpack(self.rest.anchors[slot_of(slot)].load(Ordering::Acquire))
    }

    /// Begins the next generation with a base that is nearer to `now`; returns the word in force
    /// afterwards.
    fn reanchor(&self, word: Word, anchor: Anchor, scale: &Scale, now: u64) -> Word {
        let base = scale.base_at(now).max(anchor.base);
        match self.propose(anchor, anchor.config, base) {
            Some(next) => self.advance(word, anchor, next),
            None => self.load(),
        }
    }

    /// Proposes what follows `anchor`; returns what will, by this proposal or another. `None`:
    /// something else follows already.
    fn propose(&self, anchor: Anchor, config: u8, base: u64) -> Option<Anchor> {
        let generation = anchor.generation.wrapping_add(1);
        let slot = &self.rest.anchors[slot_of(generation.into())];
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
        if cfg!(tollgate_mutant = "proposal-overwritten") {
            slot.store(mine.pack(), Ordering::Release);
        }
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

    /// Moves the word from the generation of `anchor` to that of `next`; returns the word in force
    /// afterwards.
    fn advance(&self, word: Word, anchor: Anchor, next: Anchor) -> Word {
        let time = if next.config == anchor.config {
            let scale = self.rest.configs[usize::from(anchor.config)].scale();
            scale.rebase(word.time, anchor.base, next.base)
        } else {
            self.carried_over(word.time, anchor, next)
        };
        let moved = Word {
            generation: next.short_generation(),
            time,
        };
        // Release publishes the anchor with the generation; Acquire on failure sees the one that
        // somebody else began.
        match self.word.compare_exchange(
            word.pack(),
            moved.pack(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => {
                // Relaxed: a hint.
                self.rest.hint.store_relaxed(next.generation.into());
                moved
            }
            Err(actual) => Word::unpack(actual),
        }
    }

    /// A virtual time of the generation of `anchor`, as one of that of `next`, which has another
    /// quota.
    fn carried_over(&self, time: u64, anchor: Anchor, next: Anchor) -> u64 {
        let (old, new) = (
            &self.rest.configs[usize::from(anchor.config)],
            &self.rest.configs[usize::from(next.config)],
        );
        let (old, rule) = (old.scale().units, new);
        let carry = CarryOver::from_code(rule.carry.load_relaxed());
        let since = rule.since.load_relaxed();
        let new = rule.scale().units;
        let elapsed = |base: u64, units: Units| {
            u128::from(since.saturating_sub(base)).wrapping_mul(u128::from(units.per_nano))
        };
        let missing = u128::from(time).saturating_sub(elapsed(anchor.base, old));
        let missing = carry.missing(old, new, missing);
        // Debt that the word cannot hold is held as far as it can.
        let time = elapsed(next.base, new)
            .saturating_add(missing)
            .min(TIME_MAX.into());
        u64::try_from(time).unwrap_or(TIME_MAX)
    }

    /// Begins a generation with another configuration, made from the one in force, at `now`.
    pub(super) fn configure<E>(
        &self,
        carry: CarryOver,
        now: u64,
        make: impl FnOnce(&Scale) -> Result<Scale, E>,
    ) -> Result<(), E> {
        let _writer = self.rest.writer.lock();
        // Only a writer changes which configuration is in force, and there is only one.
        let before = self.view(now);
        let scale = make(&before.scale)?;
        let config = (before.anchor.config + 1) % CONFIGS;
        // Pairs with the fence in `is_current`: the generations that this configuration was in
        // force for have ended.
        fence(Ordering::Release);
        self.rest.configs[usize::from(config)].set(&scale, carry, now);
        loop {
            let word = self.load();
            let anchor = self.anchor(word.generation.into());
            if !anchor.is_for(word) {
                continue;
            }
            if anchor.config == config {
                return Ok(());
            }
            if let Some(next) = self.propose(anchor, config, scale.base_at(now)) {
                self.advance(word, anchor, next);
            }
        }
    }
}
