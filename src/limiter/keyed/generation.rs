//! The quotas that all keys of a limiter have had, one after the other, and the packing of a
//! bucket into eight bytes under one of them.
//!
//! A change of the quota must not touch every key. So it begins a generation, and each bucket says
//! in its word of which generation it is; whoever touches it next carries it over, one change
//! after the other. The base of the words moves on in the same way: a generation with the same
//! quota.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::limiter::CarryOver;
use crate::limiter::carry::Change;
use crate::limiter::rate::{Instant, Rate, View};
use crate::limiter::word::{Base, Scale, Word, Words};
use crate::quota::{Quota, QuotaError};

/// Generations that a word of 8 bits tells apart.
const DISTINCT: u64 = 256;
/// From this generation on each change brings a part of the shards up to date, so that none ever
/// holds a word from [`DISTINCT`] generations ago.
const LAZY: u64 = 128;
/// In so many changes every shard has had its turn.
pub(super) const TURN: u64 = 64;

/// A quota in force, with the base that words count from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) rate: Rate,
    base: Base,
    /// Beyond this many nanoseconds after the base, the base has to move.
    horizon: u64,
    pub(super) words: Words,
    /// How many changes of the quota there were: a move of the base is none.
    pub(super) changes: u64,
    /// How the generation before carries over, and since when; `None` if only the base has moved.
    carry: Option<(CarryOver, Timestamp)>,
    pub(super) quota: Quota,
}

/// Reads a word of an older generation, as of the generation of that number: when the bucket is
/// full.
pub(super) trait Carry: Fn(u64, u64) -> Instant {}

impl<F: Fn(u64, u64) -> Instant> Carry for F {}

impl Generation {
    pub(super) fn first(quota: Quota) -> Result<Self, QuotaError> {
        let scale = Scale::new(quota.units()?)?;
        let rate = Rate::new(scale.units);
        Ok(Self {
            number: 0,
            rate,
            base: Base::new(&rate, 0),
            horizon: scale.horizon,
            words: Words::new(0, 0, scale.pace()),
            changes: 0,
            carry: None,
            quota,
        })
    }

    fn with_base(self, scale: Scale, base: u64) -> Self {
        Self {
            base: Base::new(&self.rate, base),
            words: Words::new(self.short_number(), base, scale.pace()),
            ..self
        }
    }

    /// The next, with another quota, in force since `since`.
    pub(super) fn changed(
        &self,
        quota: Quota,
        carry: CarryOver,
        since: Timestamp,
    ) -> Result<Self, QuotaError> {
        let scale = Scale::new(quota.units()?)?;
        Ok(Self {
            number: self.number + 1,
            changes: self.changes + 1,
            carry: Some((carry, since)),
            ..Self::first(quota)?
        }
        // Not before the base in force: words reach no further back.
        .with_base(
            scale,
            scale.base_at(since.as_nanos()).max(self.base.as_nanos()),
        ))
    }

    /// The next, with a base that is nearer to `now`.
    pub(super) fn moved(&self, now: Timestamp) -> Result<Self, QuotaError> {
        let scale = Scale::new(self.rate.units)?;
        Ok(Self {
            number: self.number + 1,
            carry: None,
            ..*self
        }
        .with_base(scale, scale.base_at(now.as_nanos())))
    }

    /// Whether the words of this generation reach as far as `now`.
    #[inline]
    pub(super) fn covers(&self, now: Timestamp) -> bool {
        now.as_nanos().saturating_sub(self.base.as_nanos()) <= self.horizon
    }

    /// The latest instant that a word can hold.
    #[inline]
    pub(super) fn most(&self) -> Instant {
        self.view(0).most
    }

    /// A bucket that is full at `full_at`, as a word.
    #[inline]
    pub(super) fn pack(&self, full_at: Instant) -> u64 {
        Word {
            generation: self.short_number(),
            time: self.base.time_of(full_at),
        }
        .pack()
    }

    #[inline]
    fn full_at(&self, word: Word) -> Instant {
        self.base.view(self.rate, word.time).full_at
    }

    /// When a bucket is full, by its word; `None` if the word is of another generation.
    #[inline]
    fn unpack(&self, word: u64) -> Option<Instant> {
        let word = Word::unpack(word);
        (word.generation == self.short_number()).then(|| self.full_at(word))
    }

    /// When a bucket is full, by its word of this generation or an older one.
    #[inline]
    pub(super) fn read(&self, word: u64, carry: impl Carry) -> Instant {
        match self.unpack(word) {
            Some(full_at) => full_at,
            None => carry(word, self.number),
        }
    }

    /// A bucket of this generation, as a decision sees it.
    #[inline]
    pub(super) fn view(&self, full_at: Instant) -> View {
        self.base.view_of(self.rate, full_at)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    const fn short_number(&self) -> u8 {
        self.number as u8
    }

    /// When a bucket of the generation `before` this one is full, in units of this one.
    pub(super) fn carried_over(&self, before: &Self, full_at: Instant) -> Instant {
        let Some((carry, since)) = self.carry else {
            return full_at;
        };
        let change = Change::new(carry);
        let full_at = change.full_at(&before.view(full_at), &self.rate, since);
        full_at.min(self.most())
    }
}

/// The generations that some word may still be of.
#[derive(Debug)]
pub(super) struct Generations(VecDeque<Generation>);

impl Generations {
    pub(super) fn new(first: Generation) -> Self {
        Self(VecDeque::from([first]))
    }

    pub(super) fn current(&self) -> &Generation {
        self.0.back().expect("there is always one in force")
    }

    /// Begins a generation. The oldest is forgotten once no word can be of it.
    pub(super) fn begin(&mut self, next: Generation) {
        if self.0.len() as u64 >= DISTINCT {
            self.0.pop_front();
        }
        self.0.push_back(next);
    }

    /// Whether beginning the generation `number` needs shards to be brought up to date.
    pub(super) const fn is_due(number: u64) -> bool {
        number >= LAZY
    }

    /// When a bucket of the generation `from` is full, in units of the generation `to`.
    pub(super) fn carry_over(&self, from: u64, to: u64, full_at: Instant) -> Instant {
        let (from, to) = (self.place(from), self.place(to));
        (from..to).fold(full_at, |full_at, before| {
            self.0[before + 1].carried_over(&self.0[before], full_at)
        })
    }

    /// When the bucket of a word is full, in units of the generation `to`.
    pub(super) fn unpack(&self, word: u64, to: u64) -> Instant {
        let word = Word::unpack(word);
        let back = self.0[self.place(to)]
            .short_number()
            .wrapping_sub(word.generation);
        let from = &self.0[self.place(to - u64::from(back))];
        self.carry_over(from.number, to, from.full_at(word))
    }

    fn place(&self, number: u64) -> usize {
        usize::try_from(number - self.0[0].number).expect("at most 256 generations are kept")
    }
}
