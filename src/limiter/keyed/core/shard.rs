//! A part of the keys, as a sequential machine: it takes `now` as an argument and holds no lock.
//!
//! Every possible key has a bucket, and every bucket starts full. The buckets of keys that are not kept
//! are all equal, and one instant, `absent`, stands for all of them. A bucket that from now on answers
//! as an absent one does need not be kept: eviction is no more than that.

mod evict;
mod keys;

use crate::clock::Timestamp;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::{Decided, Instant};
use crate::limiter::core::word::TooEarly;
use crate::limiter::keyed::core::bucket_word::BucketWord;
use crate::limiter::keyed::core::config::{Config, ReadOld};
use crate::limiter::keyed::core::config_history::ConfigHistory;
use crate::limiter::keyed::core::hashed_key::{FormOf, HashedKey};
use crate::limiter::keyed::core::line_table::{LineEntry, LineIndex, LineTable};
use crate::limiter::keyed::core::word_table::WordTable;
use crate::prefetch::TableLocation;

#[derive(Debug)]
pub(crate) struct Shard<K> {
    /// The configuration that was in force when a caller last held the write lock.
    config: Config,
    /// When the bucket of an absent key is full. An evicted bucket leaves its own instant here if that
    /// is later, so a thread with an older time finds no more tokens than there were then.
    absent: Instant,
    pub(crate) words: WordTable<K>,
    pub(crate) lines: LineTable<K>,
    /// Of the line of each key.
    bounds: Bounds,
    pub(crate) evicted: u64,
}

/// The outcome of a decision.
#[derive(Debug)]
pub(crate) struct Update<T> {
    /// When the bucket is full now.
    pub(crate) full_at: Instant,
    pub(crate) value: T,
    /// Whether a word holds the change.
    pub(crate) stored: Result<(), SlowPath>,
}

/// Why no word can hold a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlowPath {
    /// The key is not here, and needs a place.
    AbsentKey,
    /// The base has to move first, the word is of an older generation, or the key has or needs a line.
    BeyondWord,
}

impl<K> Shard<K> {
    pub(crate) fn new(config: Config, limit: usize, bounds: Bounds) -> Self {
        Self {
            config,
            absent: 0,
            words: WordTable::new(limit),
            lines: LineTable::new(),
            bounds,
            evicted: 0,
        }
    }

    #[inline]
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Carries `absent` and the lines over to the configuration in force. A word
    /// follows when it is read.
    pub(crate) fn catch_up(&mut self, history: &ConfigHistory) {
        let (before, current) = (self.config.generation, *history.current());
        self.absent = history.carry_over(before, current.generation, self.absent);
        self.lines.catch_up(history, before);
        self.config = current;
    }

    /// Takes from a bucket if its word suffices to decide. `replace` stores the next word, or returns
    /// false if another thread has changed the word.
    #[inline]
    pub(crate) fn take<Q: FormOf<K> + ?Sized>(
        &self,
        key: HashedKey<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
        replace: impl Fn(&BucketWord, u64, u64) -> bool,
    ) -> Result<Result<(), TooEarly>, SlowPath> {
        let Some(bucket) = self.words.find(key.hash, |k| key.is(k)) else {
            // A key with a line has no word, so without lines the key is absent.
            return Err(if self.lines.is_empty() {
                SlowPath::AbsentKey
            } else {
                SlowPath::BeyondWord
            });
        };
        loop {
            let word = bucket.get();
            let taken = self.config.hot.take(word, n, floor, now.as_nanos());
            let taken = taken.ok_or(SlowPath::BeyondWord)?;
            // A denial stores nothing.
            if let Ok(Some(next)) = taken
                && !replace(bucket, word, next)
            {
                continue;
            }
            return Ok(taken.map(|_| ()));
        }
    }

    /// Changes the bucket of a key without a line to what `decide` makes of it, unless it denies.
    pub(crate) fn update<Q: FormOf<K> + ?Sized, T>(
        &mut self,
        key: HashedKey<'_, Q>,
        read_old: impl ReadOld,
        op: impl FnOnce(&mut Line) -> Result<T, Denied>,
    ) -> Result<Update<T>, Denied> {
        let config = &self.config;
        let Some(bucket) = self.words.find(key.hash, |k| key.is(k)) else {
            return self.update_absent(op);
        };
        let before = config.read(bucket.get(), read_old);
        let (full_at, value) = self.decide(before, op)?;
        let stored = if full_at > config.max_full_at() {
            Err(SlowPath::BeyondWord)
        } else {
            bucket.set(config.pack(full_at));
            Ok(())
        };
        Ok(Update {
            full_at,
            value,
            stored,
        })
    }

    /// Same as [`update`](Self::update), of a key that is known to be absent.
    pub(crate) fn update_absent<T>(
        &self,
        op: impl FnOnce(&mut Line) -> Result<T, Denied>,
    ) -> Result<Update<T>, Denied> {
        let (full_at, value) = self.decide(self.absent, op)?;
        let stored = match full_at {
            // Nothing has changed, so the key need not be kept.
            same if same == self.absent => Ok(()),
            far if far > self.config.max_full_at() => Err(SlowPath::BeyondWord),
            _ => Err(SlowPath::AbsentKey),
        };
        Ok(Update {
            full_at,
            value,
            stored,
        })
    }

    /// Runs `op` on a line without waiters, of a bucket that is full at `full_at`; returns when the bucket
    /// is full afterwards.
    fn decide<T>(
        &self,
        full_at: Instant,
        op: impl FnOnce(&mut Line) -> Result<T, Denied>,
    ) -> Decided<T> {
        let mut line = Line::of(&self.config.view(full_at), self.config.is_closed);
        let value = op(&mut line)?;
        Ok((line.tokens.fill.full_at, value))
    }

    /// Returns what `read` makes of the bucket of a key without a line.
    pub(crate) fn read<Q: FormOf<K> + ?Sized, T>(
        &self,
        key: HashedKey<'_, Q>,
        read_old: impl ReadOld,
        read: impl FnOnce(&Line) -> T,
    ) -> T {
        let config = &self.config;
        let bucket = self.words.find(key.hash, |k| key.is(k));
        let full_at = bucket.map_or(self.absent, |bucket| config.read(bucket.get(), read_old));
        read(&Line::of(&config.view(full_at), config.is_closed))
    }

    /// Returns whether a key is kept, as a word or with a line.
    pub(crate) fn has<Q: FormOf<K> + ?Sized>(&self, key: HashedKey<'_, Q>) -> bool {
        self.lines.find(key).is_some() || self.words.find(key.hash, |k| key.is(k)).is_some()
    }

    /// Returns whether one more word fits without a call of the caller's `Hash`.
    pub(crate) fn has_room(&self) -> bool {
        !self.words.is_full() && self.words.has_room()
    }

    /// Keeps an absent key as a word, for which there is room. It runs no code of the caller's.
    pub(crate) fn insert_word(&mut self, hash: u64, key: K, full_at: Instant) -> TableLocation {
        let word = self.config.pack(full_at);
        self.words.insert(hash, key, word)
    }

    /// Keeps an absent key with a line. It runs no code of the caller's.
    pub(crate) fn insert_line(&mut self, hash: u64, key: K) -> LineIndex {
        let entry = LineEntry::new(key, hash, &self.config, self.absent, self.bounds);
        self.lines.insert(entry)
    }

    /// Finds the line of a key, and gives a key that is kept as a word a line; `None` if it is absent.
    pub(crate) fn ensure_line<Q: FormOf<K> + ?Sized>(
        &mut self,
        key: HashedKey<'_, Q>,
        read_old: impl ReadOld,
    ) -> Option<LineIndex> {
        let found = self.lines.find(key);
        if found.is_some() {
            return found;
        }
        let (owned, word) = self.words.remove(key.hash, |k| key.is(k))?;
        let full_at = self.config.read(word, read_old);
        let entry = LineEntry::new(owned, key.hash, &self.config, full_at, self.bounds);
        Some(self.lines.insert(entry))
    }
}
