//! The log of a limiter that keeps admissions by their instants, in the order of these, with running
//! totals.
//!
//! The tokens between two instants are the difference of two totals, so a binary search counts a
//! window of any length.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::limiter::core::tokens::dated::MAX_AHEAD;

/// What the log stores of the admissions at one instant.
#[derive(Clone, Copy, Debug)]
struct RunningTotal {
    at: Timestamp,
    /// The tokens up to here, this instant's included. It wraps: only differences count.
    through: u64,
    /// The part of this instant that was reserved, and can still be cancelled.
    reserved: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// In the order of their instants, which differ. Each has a token.
    entries: VecDeque<RunningTotal>,
    /// The total before the first entry.
    base: u64,
}

/// The admissions at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) at: Timestamp,
    pub(crate) tokens: u64,
    pub(crate) reserved: u64,
}

impl Log {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether an entry at `at` is none after `start`, or one that is allowed.
    pub(crate) fn has_place_at(&self, at: Timestamp, start: Timestamp) -> bool {
        let ahead = self.entries.len() - self.position(start);
        at == start || ahead < MAX_AHEAD || self.find(at).is_some()
    }

    /// Returns how many entries lie at `at` or before.
    fn position(&self, at: Timestamp) -> usize {
        match self.entries.back() {
            // Mostly nothing lies ahead, and no search is needed.
            Some(last) if last.at > at => self.entries.partition_point(|entry| entry.at <= at),
            _ => self.entries.len(),
        }
    }

    /// Returns the total before the entry at `index`.
    fn before(&self, index: usize) -> u64 {
        match index.checked_sub(1) {
            Some(previous) => self.entries[previous].through,
            None => self.base,
        }
    }

    /// Returns the tokens in the log up to `at`.
    #[inline]
    pub(crate) fn through(&self, at: Timestamp) -> u64 {
        self.before(self.position(at)).wrapping_sub(self.base)
    }

    /// Returns the instant of the first entry after `at`.
    #[inline]
    pub(crate) fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        Some(self.entries.get(self.position(at))?.at)
    }

    /// Returns the instant by which this log and `other` together hold `target` tokens, if that is the
    /// instant of an entry of this log.
    pub(crate) fn reached(&self, target: u64, other: &Self) -> Option<Timestamp> {
        let index = self.entries.partition_point(|entry| {
            entry.through.wrapping_sub(self.base) + other.through(entry.at) < target
        });
        Some(self.entries.get(index)?.at)
    }

    pub(crate) fn get(&self, index: usize) -> Option<Admission> {
        let entry = self.entries.get(index)?;
        Some(Admission {
            at: entry.at,
            tokens: entry.through.wrapping_sub(self.before(index)),
            reserved: entry.reserved,
        })
    }

    /// Returns the entry at `at`, and its index.
    pub(crate) fn find(&self, at: Timestamp) -> Option<(usize, Admission)> {
        let index = self.entries.binary_search_by_key(&at, |entry| entry.at);
        let index = index.ok()?;
        Some((index, self.get(index)?))
    }

    /// Adds `tokens` at `at`, of which `reserved` can be cancelled.
    pub(crate) fn add(&mut self, at: Timestamp, tokens: u64, reserved: u64) {
        if tokens == 0 {
            return;
        }
        let mut index = self.position(at);
        match index.checked_sub(1) {
            Some(previous) if self.entries[previous].at == at => {
                self.entries[previous].reserved += reserved;
                index = previous;
            }
            _ => {
                let through = self.before(index);
                let entry = RunningTotal {
                    at,
                    through,
                    reserved,
                };
                self.entries.insert(index, entry);
            }
        }
        for entry in self.entries.range_mut(index..) {
            entry.through = entry.through.wrapping_add(tokens);
        }
    }

    /// Removes `plain` tokens that were not reserved, and `reserved` that were, from the entry at
    /// `index`, which has them.
    pub(crate) fn remove(&mut self, index: usize, plain: u64, reserved: u64) {
        if index == 0 {
            self.base = self.base.wrapping_add(plain + reserved);
        } else {
            for entry in self.entries.range_mut(index..) {
                entry.through = entry.through.wrapping_sub(plain + reserved);
            }
        }
        self.commit(index, reserved);
        if self.entries[index].through == self.before(index) {
            self.entries.remove(index);
        }
    }

    /// Makes plain tokens of `reserved` that were reserved.
    pub(crate) fn commit(&mut self, index: usize, reserved: u64) {
        self.entries[index].reserved -= reserved;
    }

    /// Takes the first entry out, if it lies at `to` or before.
    pub(crate) fn pop_until(&mut self, to: Timestamp) -> Option<Admission> {
        let first = self.get(0).filter(|first| first.at <= to)?;
        self.base = self.base.wrapping_add(first.tokens);
        self.entries.pop_front();
        Some(first)
    }

    /// Drops entries from the front, as long as those behind them up to `latest`, and `more` tokens, are
    /// at least `enough`: a window that reaches further back is full without them.
    pub(crate) fn forget(&mut self, latest: Timestamp, more: u64, enough: u64) {
        while let Some(first) = self.get(0)
            && self.through(latest) + more >= enough.saturating_add(first.tokens)
            && self.pop_until(latest).is_some()
        {}
    }

    /// Returns the entries after `after`, if that is an instant, up to `to`.
    pub(crate) fn between(
        &self,
        after: Option<Timestamp>,
        to: Timestamp,
    ) -> impl DoubleEndedIterator<Item = Admission> {
        let first = after.map_or(0, |after| self.position(after));
        (first..self.position(to)).filter_map(|index| self.get(index))
    }
}
