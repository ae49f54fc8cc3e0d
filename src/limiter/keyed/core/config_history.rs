//! The configurations that words of older generations are still read by.

use std::collections::VecDeque;

use crate::limiter::core::rate::Instant;
use crate::limiter::core::word::{DISTINCT, Word};
use crate::limiter::keyed::core::config::Config;

/// From this generation on, each change also brings some shards up to date, so that no word is ever
/// [`DISTINCT`] generations old: its seven bits would name another generation.
pub(crate) const REFRESH_FROM: u64 = DISTINCT / 2;
/// Within so many changes every shard is brought up to date once.
pub(crate) const REFRESH_ROUND: u64 = DISTINCT / 4;

/// The configurations of all generations that a word may still be of, oldest first.
#[derive(Debug)]
pub(crate) struct ConfigHistory(VecDeque<Config>);

impl ConfigHistory {
    pub(crate) fn new(first: Config) -> Self {
        Self(VecDeque::from([first]))
    }

    /// Returns the configuration in force.
    pub(crate) fn current(&self) -> &Config {
        self.0.back().expect("one is always in force")
    }

    /// Puts a configuration in force, and forgets one that no word can be of any more.
    pub(crate) fn push(&mut self, next: Config) {
        if self.0.len() as u64 >= DISTINCT {
            self.0.pop_front();
        }
        self.0.push_back(next);
    }

    /// Returns when a bucket of the generation `from` is full, in units of the generation `to`.
    pub(crate) fn carry_over(&self, from: u64, to: u64, full_at: Instant) -> Instant {
        let (from, to) = (self.index(from), self.index(to));
        (from..to).fold(full_at, |full_at, before| {
            self.0[before + 1].carry_over(&self.0[before], full_at)
        })
    }

    /// Returns when the bucket of a word is full, in units of the generation `to`.
    pub(crate) fn read(&self, word: u64, to: u64) -> Instant {
        let word = Word::unpack(word);
        // Unambiguous, since no word is `DISTINCT` generations old.
        let age = to.wrapping_sub(word.generation) % DISTINCT;
        let from = &self.0[self.index(to - age)];
        self.carry_over(from.generation, to, from.full_at(word))
    }

    /// Returns the configurations after that of a generation.
    pub(crate) fn after(&self, generation: u64) -> impl Iterator<Item = &Config> {
        self.0.range(self.index(generation) + 1..)
    }

    fn index(&self, generation: u64) -> usize {
        usize::try_from(generation - self.0[0].generation)
            .expect("at most 128 configurations are kept")
    }
}
