//! The quotas that all keys of a limiter have had, one after the other, and the packing of a
//! bucket into eight bytes under one of them.
//!
//! A change of the quota must not touch every key. So it begins a generation, and each bucket says
//! in its word of which generation it is; whoever touches it next carries it over, one change
//! after the other. The base of the words moves on in the same way: a generation with the same
//! quota.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::carry::QuotaChange;
use crate::limiter::core::fill::LockedFill;
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::limiter::core::word::{Base, DISTINCT, HotGeneration, HotQuota, Word, WordQuota};
use crate::quota::{Quota, QuotaError};

/// From this generation on each change brings a part of the shards up to date, so that none ever
/// holds a word from [`DISTINCT`] generations ago.
const LAZY: u64 = DISTINCT / 2;
/// In so many changes every shard has had its turn.
pub(crate) const TURN: u64 = DISTINCT / 4;

/// A quota in force, with the base that words count from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) rate: Rate,
    base: Base,
    /// Beyond this many nanoseconds after the base, the base has to move.
    horizon: u64,
    pub(crate) hot: HotGeneration,
    /// How the generation before carries over, and since when; `None` if only the base has moved.
    pub(crate) carry: Option<(CarryOver, Timestamp)>,
    /// When it began.
    pub(crate) since: Timestamp,
    /// Whether every take is refused.
    pub(crate) is_closed: bool,
    pub(crate) quota: Quota,
}

/// Reads a word of an older generation, as of the generation of that number: when the bucket is
/// full.
pub(crate) trait Carry: Fn(u64, u64) -> Instant {}

impl<F: Fn(u64, u64) -> Instant> Carry for F {}

impl Generation {
    pub(crate) fn first(quota: Quota) -> Result<Self, QuotaError> {
        let word_quota = WordQuota::new(quota.units()?)?;
        let rate = Rate::new(word_quota.units);
        Ok(Self {
            number: 0,
            rate,
            base: Base::new(&rate, 0),
            horizon: word_quota.horizon,
            hot: HotGeneration::new(0, 0, word_quota.hot()),
            carry: None,
            since: Timestamp::ZERO,
            is_closed: false,
            quota,
        })
    }

    fn with_base(self, word_quota: WordQuota, base: u64) -> Self {
        Self {
            base: Base::new(&self.rate, base),
            hot: HotGeneration::new(self.number, base, word_quota.hot()),
            ..self
        }
    }

    /// The next, with another quota, in force since `since`.
    pub(crate) fn changed(
        &self,
        quota: Quota,
        carry: CarryOver,
        since: Timestamp,
    ) -> Result<Self, QuotaError> {
        let word_quota = WordQuota::new(quota.units()?)?;
        Ok(Self {
            number: self.number + 1,
            carry: Some((carry, since)),
            since,
            ..Self::first(quota)?
        }
        // Not before the base in force: words reach no further back.
        .with_base(
            word_quota,
            word_quota
                .base_at(since.as_nanos())
                .max(self.base.as_nanos()),
        ))
    }

    /// The next, with a base that is nearer to `now`.
    pub(crate) fn moved(&self, now: Timestamp) -> Result<Self, QuotaError> {
        let word_quota = WordQuota::new(self.rate.units)?;
        Ok(Self {
            number: self.number + 1,
            carry: None,
            ..*self
        }
        .with_base(word_quota, word_quota.base_at(now.as_nanos())))
    }

    /// The next, with the same quota and base.
    pub(crate) fn next(&self, since: Timestamp) -> Self {
        Self {
            number: self.number + 1,
            carry: None,
            since,
            hot: HotGeneration::new(self.number + 1, self.base.as_nanos(), self.hot.quota),
            ..*self
        }
    }

    /// The same, but that it refuses every take: its words answer nothing.
    pub(crate) fn closed(self) -> Self {
        let quota = HotQuota {
            per_nano: 0,
            per_token: 1,
            depth: 0,
            horizon: 0,
        };
        Self {
            is_closed: true,
            hot: HotGeneration::new(self.number, self.base.as_nanos(), quota),
            ..self
        }
    }

    /// Whether the words of this generation reach as far as `now`.
    #[inline]
    pub(crate) fn covers(&self, now: Timestamp) -> bool {
        now.as_nanos().saturating_sub(self.base.as_nanos()) <= self.horizon
    }

    /// The latest instant that a word can hold.
    #[inline]
    pub(crate) fn max_full_at(&self) -> Instant {
        self.view(0).max_full_at
    }

    /// A bucket that is full at `full_at`, as a word.
    #[inline]
    pub(crate) fn pack(&self, full_at: Instant) -> u64 {
        Word {
            generation: self.number,
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
        word.is_of(self.number).then(|| self.full_at(word))
    }

    /// When a bucket is full, by its word of this generation or an older one.
    #[inline]
    pub(crate) fn read(&self, word: u64, carry: impl Carry) -> Instant {
        match self.unpack(word) {
            Some(full_at) => full_at,
            None => carry(word, self.number),
        }
    }

    /// A bucket of this generation, as a decision sees it.
    #[inline]
    pub(crate) fn view(&self, full_at: Instant) -> View {
        self.base.view_of(self.rate, full_at)
    }

    /// Brings a word to this generation, if one can hold what it owes.
    pub(crate) fn renew(&self, word: &mut u64, full_at: Instant) {
        if full_at <= self.max_full_at() {
            *word = self.pack(full_at);
        }
    }

    /// A bucket of this generation behind a lock.
    pub(crate) fn locked_fill(&self, full_at: Instant) -> LockedFill {
        LockedFill {
            rate: self.rate,
            full_at,
            known_since: Timestamp::from_nanos(self.base.as_nanos()),
        }
    }

    /// When a bucket of the generation `before` this one is full, in units of this one.
    pub(crate) fn carried_over(&self, before: &Self, full_at: Instant) -> Instant {
        let Some((carry, since)) = self.carry else {
            return full_at;
        };
        let change = QuotaChange::new(carry);
        change.full_at(&before.view(full_at), &self.rate, since)
    }
}

/// The generations that some word may still be of.
#[derive(Debug)]
pub(crate) struct Generations(VecDeque<Generation>);

impl Generations {
    pub(crate) fn new(first: Generation) -> Self {
        Self(VecDeque::from([first]))
    }

    pub(crate) fn current(&self) -> &Generation {
        self.0.back().expect("there is always one in force")
    }

    /// Begins a generation. The oldest is forgotten once no word can be of it.
    pub(crate) fn begin(&mut self, next: Generation) {
        if self.0.len() as u64 >= DISTINCT {
            self.0.pop_front();
        }
        self.0.push_back(next);
    }

    /// Whether beginning the generation `number` needs shards to be brought up to date.
    pub(crate) const fn is_due(number: u64) -> bool {
        number >= LAZY
    }

    /// When a bucket of the generation `from` is full, in units of the generation `to`.
    pub(crate) fn carry_over(&self, from: u64, to: u64, full_at: Instant) -> Instant {
        let (from, to) = (self.place(from), self.place(to));
        (from..to).fold(full_at, |full_at, before| {
            self.0[before + 1].carried_over(&self.0[before], full_at)
        })
    }

    /// When the bucket of a word is full, in units of the generation `to`.
    pub(crate) fn unpack(&self, word: u64, to: u64) -> Instant {
        let word = Word::unpack(word);
        let back = to.wrapping_sub(word.generation) % DISTINCT;
        let from = &self.0[self.place(to - back)];
        self.carry_over(from.number, to, from.full_at(word))
    }

    /// Those that came after a generation.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = &Generation> {
        self.0.range(self.place(number) + 1..)
    }

    fn place(&self, number: u64) -> usize {
        usize::try_from(number - self.0[0].number).expect("at most 128 generations are kept")
    }
}
