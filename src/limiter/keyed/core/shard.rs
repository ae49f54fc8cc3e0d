//! A part of the keys, as a sequential machine: `now` comes in, nothing is locked.
//!
//! Every possible key has a bucket, from the beginning. Those that no caller has taken from are all
//! alike, and one number, `absent`, stands for them. A bucket that is from now on the same as that
//! one need not be kept, and this is all that eviction is.

mod evict;

use std::borrow::Borrow;

use crate::clock::Timestamp;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::rate::{Decided, Instant, View};
use crate::limiter::core::word::TooEarly;
use crate::limiter::keyed::core::generation::{Carry, Generation, Generations};
use crate::limiter::keyed::core::hashed::Hashed;
use crate::limiter::keyed::core::leaving::Leaving;
use crate::limiter::keyed::core::lines::{KeyLine, LineAt, Lines};
use crate::limiter::keyed::core::table::{Bucket, Table};
use crate::quota::Quota;
use crate::wake::Wakers;
use crate::whereabouts::Whereabouts;

#[derive(Debug)]
pub(crate) struct Shard<K> {
    /// The generation in force when a caller last looked.
    generation: Generation,
    /// When the bucket of a key that is not here is full. A bucket that is evicted leaves its own
    /// instant here, if it is later: a thread with a time from before it finds no more than there
    /// was then.
    absent: Instant,
    table: Table<K>,
    pub(crate) lines: Lines<K>,
    /// Of those who wait for a key.
    bounds: Bounds,
    pub(crate) evicted: u64,
}

/// What has become of a bucket.
#[derive(Debug)]
pub(crate) struct Change<T> {
    /// When it is full now.
    pub(crate) full_at: Instant,
    pub(crate) value: T,
    pub(crate) kept: Kept,
}

/// Whether a change was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    /// The key is not here, and needs a place.
    Unplaced,
    /// It does not fit the word: the base has to move first, or the key needs a line.
    WordOverflow,
}

/// Why a take cannot be decided by a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecided {
    /// The key is not here.
    Absent,
    NeedsMore,
}

impl<K> Shard<K> {
    pub(crate) fn new(generation: Generation, limit: usize, bounds: Bounds) -> Self {
        Self {
            generation,
            absent: 0,
            table: Table::new(limit),
            lines: Lines::new(),
            bounds,
            evicted: 0,
        }
    }

    #[inline]
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Comes to the generation in force.
    pub(crate) fn catch_up(&mut self, generations: &Generations) {
        let (before, current) = (self.generation.number, *generations.current());
        self.absent = generations.carry_over(before, current.number, self.absent);
        self.lines.catch_up(generations, before);
        self.generation = current;
    }

    /// Takes from a bucket, if all that this needs is its word. `replace` writes the next one, or
    /// says that it is another by now.
    #[inline]
    pub(crate) fn take<Q>(
        &self,
        key: Hashed<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
        replace: impl Fn(&Bucket, u64, u64) -> bool,
    ) -> Result<Result<(), TooEarly>, Undecided>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(bucket) = self.table.find(key.hash, |k| key.is(k)) else {
            // A key with a line has no place in the table.
            return Err(if self.lines.is_empty() {
                Undecided::Absent
            } else {
                Undecided::NeedsMore
            });
        };
        loop {
            let (word, hot) = (bucket.get(), &self.generation.hot);
            let taken = hot.take(word, n, floor, now.as_nanos());
            let taken = taken.ok_or(Undecided::NeedsMore)?;
            if let Ok(Some(next)) = taken
                && !replace(bucket, word, next)
            {
                continue;
            }
            return Ok(taken.map(|_| ()));
        }
    }

    pub(crate) fn check_open(&self) -> Result<(), Denied> {
        if self.generation.is_closed {
            Err(Denied::Closed)
        } else {
            Ok(())
        }
    }

    /// Changes the bucket of a key that has no line to what `decide` makes of it, unless it denies.
    pub(crate) fn update<Q, T>(
        &mut self,
        key: Hashed<'_, Q>,
        carry: impl Carry,
        decide: impl FnOnce(&View) -> Decided<T>,
    ) -> Result<Change<T>, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let generation = &self.generation;
        let Some(bucket) = self.table.find(key.hash, |k| key.is(k)) else {
            return self.update_absent(decide);
        };
        let before = generation.read(bucket.get(), carry);
        let (full_at, value) = decide(&generation.view(before))?;
        let kept = if full_at > generation.max_full_at() {
            Kept::WordOverflow
        } else {
            bucket.set(generation.pack(full_at));
            Kept::Yes
        };
        Ok(Change {
            full_at,
            value,
            kept,
        })
    }

    /// As [`update`](Self::update), for what a closed limiter refuses.
    pub(crate) fn update_open<Q, T>(
        &mut self,
        key: Hashed<'_, Q>,
        carry: impl Carry,
        decide: impl FnOnce(&View) -> Decided<T>,
    ) -> Result<Change<T>, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.check_open()?;
        self.update(key, carry, decide)
    }

    /// As [`update`](Self::update), of a key that is known not to be here.
    pub(crate) fn update_absent<T>(
        &self,
        decide: impl FnOnce(&View) -> Decided<T>,
    ) -> Result<Change<T>, Denied> {
        let (full_at, value) = decide(&self.generation.view(self.absent))?;
        let kept = match full_at {
            same if same == self.absent => Kept::Yes,
            far if far > self.generation.max_full_at() => Kept::WordOverflow,
            _ => Kept::Unplaced,
        };
        Ok(Change {
            full_at,
            value,
            kept,
        })
    }

    /// The bucket of a key that has no line.
    pub(crate) fn view<Q>(&self, key: Hashed<'_, Q>, carry: impl Carry) -> View
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let generation = &self.generation;
        let bucket = self.table.find(key.hash, |k| key.is(k));
        let full_at = bucket.map_or(self.absent, |bucket| generation.read(bucket.get(), carry));
        generation.view(full_at)
    }

    /// Whether no further key fits, however few there are elsewhere.
    pub(crate) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    /// Whether a key is here, with a line or without.
    pub(crate) fn has<Q>(&self, key: Hashed<'_, Q>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.lines.get(key).is_some() || self.table.find(key.hash, |k| key.is(k)).is_some()
    }

    /// Makes room for one more key. `Hash` of the caller runs here, and if it panics nothing has
    /// changed.
    pub(crate) fn make_room(&mut self, hasher: impl Fn(&K) -> u64) {
        self.table.make_room(hasher);
    }

    /// Places a key that is not here, for which room was made. It runs no code of the caller's.
    pub(crate) fn place(&mut self, hash: u64, key: K, full_at: Instant) -> Whereabouts {
        let word = self.generation.pack(full_at);
        self.table.insert(hash, key, word)
    }

    /// Where the line of a key is, which is made if the key is in the table; `None`: it is not here.
    pub(crate) fn find_line<Q>(&mut self, key: Hashed<'_, Q>, carry: impl Carry) -> Option<LineAt>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let found = self.lines.find(key);
        if found.is_some() {
            return found;
        }
        let (owned, word) = self.table.remove(key.hash, |k| key.is(k))?;
        let full_at = self.generation.read(word, carry);
        let (hash, generation) = (key.hash, &self.generation);
        let line = KeyLine::new(owned, hash, generation, full_at, self.bounds);
        Some(self.lines.insert(line))
    }

    /// Gives a key that is not here a line, and a full bucket.
    pub(crate) fn new_line(&mut self, hash: u64, key: K) -> LineAt {
        let line = KeyLine::new(key, hash, &self.generation, self.absent, self.bounds);
        self.lines.insert(line)
    }

    /// Whether one more key fits without making room.
    pub(crate) fn has_room(&self) -> bool {
        !self.table.is_full() && self.table.has_room()
    }

    /// Whether a bucket is from `now` on the same as those of absent keys. If so it leaves its instant
    /// behind.
    pub(crate) fn is_as_absent(&mut self, full_at: Instant, now: Timestamp) -> bool {
        let at = self.generation.rate.at(now);
        let is_same = full_at.max(at) == self.absent.max(at);
        if is_same {
            self.absent = self.absent.max(full_at);
        }
        is_same
    }

    /// The quota of a key.
    pub(crate) fn quota<Q>(&self, key: Hashed<'_, Q>) -> Quota
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let own = self.lines.get(key).and_then(|line| line.own);
        own.unwrap_or(self.generation.quota)
    }

    /// Forgets a key and its own quota, but for those that wait for it, which are served: whether it
    /// was here.
    pub(crate) fn remove<Q>(
        &mut self,
        key: Hashed<'_, Q>,
        now: impl FnOnce() -> Timestamp,
        wakers: &mut Wakers,
        leaving: &mut Leaving<'_, K>,
    ) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Some((key, _)) = self.table.remove(key.hash, |k| key.is(k)) {
            leaving.seated.push(key);
            return true;
        }
        let (generation, absent) = (self.generation, self.absent);
        let Some(at) = self.lines.find(key) else {
            return false;
        };
        // The caller's clock before anything is changed.
        let (now, line) = (now(), self.lines.at_mut(at));
        line.forget(&generation, absent);
        line.line.serve(now, wakers);
        if line.is_idle() {
            leaving.push(self.lines.take(at));
        }
        true
    }

    /// As [`retain`](Self::retain), of the keys with a line; those that are waited for stay, with a
    /// full bucket, of which the waiters are served.
    pub(crate) fn retain_lines(
        &mut self,
        now: Timestamp,
        mut keep: impl FnMut(&K, u64) -> bool,
        wakers: &mut Wakers,
        leaving: &mut Leaving<'_, K>,
    ) {
        let (generation, absent) = (self.generation, self.absent);
        let goes = |line: &mut KeyLine<K>| {
            if keep(&line.key, line.line.tokens.fill.view().available(now)) {
                return false;
            }
            line.forget(&generation, absent);
            line.line.serve(now, wakers);
            line.is_idle()
        };
        for line in self.lines.extract(goes) {
            leaving.push(line);
        }
    }

    /// Takes out the keys of the table that `keep` does not say, given what is there.
    pub(crate) fn retain(
        &mut self,
        now: Timestamp,
        carry: impl Carry,
        mut keep: impl FnMut(&K, u64) -> bool,
        gone: &mut Vec<K>,
    ) {
        let generation = &self.generation;
        self.table.retain(
            |key, word| {
                let full_at = generation.read(*word, &carry);
                generation.renew(word, full_at);
                keep(key, generation.view(full_at).available(now))
            },
            gone,
        );
    }

    /// Every key with what is there. If a `Clone` panics, those before it are in `all`.
    pub(crate) fn snapshot(&self, now: Timestamp, carry: impl Carry, all: &mut Vec<(K, u64)>)
    where
        K: Clone,
    {
        let generation = &self.generation;
        let placed = self.table.iter().map(|(key, word)| {
            let view = generation.view(generation.read(word, &carry));
            (key.clone(), view.available(now))
        });
        let in_line = self.lines.iter().map(|line| {
            let there = line.line.tokens.fill.view().available(now);
            (line.key.clone(), there)
        });
        all.extend(placed.chain(in_line));
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len() + self.lines.len()
    }

    pub(crate) fn allocated(&self) -> usize {
        self.table.allocated() + self.lines.allocated()
    }
}
