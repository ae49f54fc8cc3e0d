//! A quota of all keys, and how a bucket under it is packed into eight bytes.
//!
//! A change of the quota must not visit every key. It begins a new *generation* instead: each word
//! says in seven bits which generation it is of, and the next caller that uses the key carries it over,
//! one change after the other. When the base of the words moves forward, a generation begins too, with
//! the same quota.

use crate::clock::Timestamp;
use crate::limiter::core::carry::{CarryOver, QuotaChange};
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::limiter::core::word::{Base, HotGeneration, Word, WordQuota};
use crate::quota::{Quota, QuotaError, Units};

/// The configuration of one generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// The number of the generation; a word holds its low seven bits.
    pub(crate) generation: u64,
    pub(crate) rate: Rate,
    base: Base,
    fitted: WordQuota,
    /// What the hot path decides by.
    pub(crate) hot: HotGeneration,
    /// How the generation before carries over, and since when; `None` if only the base has moved.
    pub(crate) carry: Option<(CarryOver, Timestamp)>,
    /// When the quota came into force, or the limiter was closed.
    pub(crate) since: Timestamp,
    pub(crate) is_closed: bool,
    pub(crate) quota: Quota,
}

/// Reads a word of an older generation, as of the generation of the given number; returns when the
/// bucket is full.
pub(crate) trait ReadOld: Fn(u64, u64) -> Instant {}

impl<F: Fn(u64, u64) -> Instant> ReadOld for F {}

impl Config {
    /// Returns the configuration that a limiter begins with.
    pub(crate) fn first(quota: Quota) -> Result<Self, QuotaError> {
        let fitted = WordQuota::new(quota.units()?)?;
        let rate = Rate::new(fitted.units);
        Ok(Self {
            generation: 0,
            rate,
            base: Base::new(&rate, 0),
            fitted,
            hot: HotGeneration::new(0, 0, fitted),
            carry: None,
            since: Timestamp::ZERO,
            is_closed: false,
            quota,
        })
    }

    /// Returns the same generation with another base; a closed limiter stays closed.
    fn with_base(self, base: u64) -> Self {
        let next = Self {
            base: Base::new(&self.rate, base),
            hot: HotGeneration::new(self.generation, base, self.fitted),
            ..self
        };
        if next.is_closed { next.closed() } else { next }
    }

    /// Returns the next generation, with another quota, in force since `since`.
    pub(crate) fn with_quota(
        &self,
        quota: Quota,
        carry: CarryOver,
        since: Timestamp,
    ) -> Result<Self, QuotaError> {
        let next = Self {
            generation: self.generation + 1,
            carry: Some((carry, since)),
            since,
            is_closed: self.is_closed,
            ..Self::first(quota)?
        };
        // Never before the base in force: a word cannot say what happened before its base.
        let base = next.fitted.base_at(since.as_nanos());
        Ok(next.with_base(base.max(self.base.as_nanos())))
    }

    /// Returns the next generation, with the same quota and a base nearer to `now`.
    pub(crate) fn with_base_near(&self, now: Timestamp) -> Self {
        let next = Self {
            generation: self.generation + 1,
            carry: None,
            ..*self
        };
        next.with_base(self.fitted.base_at(now.as_nanos()))
    }

    /// Returns the next generation, with the same quota and base, of a limiter that was closed at
    /// `since`.
    pub(crate) fn next_closed(&self, since: Timestamp) -> Self {
        let next = Self {
            generation: self.generation + 1,
            carry: None,
            since,
            ..*self
        };
        next.closed()
    }

    /// Returns the same generation, of a closed limiter.
    fn closed(self) -> Self {
        // By this quota the hot path decides nothing, so each take comes to `Shard::check_open`.
        let undecided = WordQuota {
            units: Units {
                per_token: 1,
                ..self.fitted.units
            },
            depth: 0,
            ..self.fitted
        };
        Self {
            is_closed: true,
            hot: HotGeneration::new(self.generation, self.base.as_nanos(), undecided),
            ..self
        }
    }

    /// Returns whether words can be computed at `now`.
    #[inline]
    pub(crate) fn covers(&self, now: Timestamp) -> bool {
        now.as_nanos().saturating_sub(self.base.as_nanos()) <= self.fitted.horizon
    }

    /// Returns the latest instant that a word can hold.
    #[inline]
    pub(crate) fn max_full_at(&self) -> Instant {
        self.view(0).max_full_at
    }

    /// Packs a bucket that is full at `full_at`. A later instant than a word can hold is cut.
    #[inline]
    pub(crate) fn pack(&self, full_at: Instant) -> u64 {
        Word {
            generation: self.generation,
            time: self.base.time_of(full_at),
        }
        .pack()
    }

    /// Returns when the bucket of a word of this generation is full.
    #[inline]
    pub(crate) fn full_at(&self, word: Word) -> Instant {
        self.base.view(self.rate, word.time).full_at
    }

    /// Returns when the bucket of a word is full, of this generation or an older one.
    #[inline]
    pub(crate) fn read(&self, word: u64, read_old: impl ReadOld) -> Instant {
        let unpacked = Word::unpack(word);
        if unpacked.is_of(self.generation) {
            self.full_at(unpacked)
        } else {
            read_old(word, self.generation)
        }
    }

    /// Returns a bucket under this quota, as a decision sees it.
    #[inline]
    pub(crate) fn view(&self, full_at: Instant) -> View {
        self.base.view_of(self.rate, full_at)
    }

    /// Packs a bucket anew in this generation, unless its debt does not fit a word.
    pub(crate) fn repack(&self, word: &mut u64, full_at: Instant) {
        if full_at <= self.max_full_at() {
            *word = self.pack(full_at);
        }
    }

    /// Returns when a bucket of the generation `before` this one is full, in units of this one.
    pub(crate) fn carry_over(&self, before: &Self, full_at: Instant) -> Instant {
        let Some((carry, since)) = self.carry else {
            return full_at;
        };
        QuotaChange::new(carry).full_at(&before.view(full_at), &self.rate, since)
    }
}
