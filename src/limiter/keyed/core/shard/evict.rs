//! Eviction of the buckets that need not be kept.

use crate::clock::Timestamp;
use crate::limiter::core::rate::Instant;
use crate::limiter::keyed::core::config::{Config, ReadOld};
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::core::word_table::Evicted;

impl<K> Shard<K> {
    /// Probes a few buckets, those near a hash first, and evicts keys that answer as absent ones do from
    /// `now` on.
    pub(crate) fn sweep(
        &mut self,
        near: Option<u64>,
        now: Timestamp,
        read_old: impl ReadOld,
        evicted: &mut Evicted<K>,
    ) {
        let before = evicted.len();
        let (config, absent) = (&self.config, &mut self.absent);
        let mut is_evictable = evictable(config, absent, now, read_old, Config::repack);
        if let Some(hash) = near {
            let words = &mut self.words;
            words.sweep_near(hash, |word| is_evictable(word), evicted);
        }
        if evicted.len() == before {
            self.words.sweep(|word| is_evictable(word), evicted);
        }
        drop(is_evictable);
        if evicted.len() == before {
            evicted.extend(self.sweep_lines(now));
        }
        self.evicted += (evicted.len() - before) as u64;
    }

    /// Same as [`sweep`](Self::sweep), of the keys with a line. An idle line is still there if the word
    /// table had no room for its key.
    fn sweep_lines(&mut self, now: Timestamp) -> Option<K> {
        let (at, absent) = (self.config.rate.at(now), self.absent);
        let entry = self.lines.sweep(|entry| {
            let full_at = entry.line.tokens.fill.full_at;
            entry.is_counted && entry.is_idle() && full_at.max(at) == absent.max(at)
        })?;
        self.absent = absent.max(entry.line.tokens.fill.full_at);
        Some(entry.key)
    }

    /// Packs every word anew in the generation in force, or evicts its key.
    pub(crate) fn refresh(&mut self, now: Timestamp, read_old: impl ReadOld, evicted: &mut Vec<K>) {
        let before = evicted.len();
        // A debt of more than a word can hold, which is years, is cut: no word may stay behind until its
        // seven bits name another generation.
        let repack = |config: &Config, word: &mut u64, full_at: Instant| {
            *word = config.pack(full_at);
        };
        let mut is_evictable = evictable(&self.config, &mut self.absent, now, read_old, repack);
        self.words.retain(|_, word| !is_evictable(word), evicted);
        drop(is_evictable);
        self.evicted += (evicted.len() - before) as u64;
    }

    /// Returns whether a bucket answers as an absent one does from `now` on. If so, `absent` takes over
    /// its instant, and the caller removes the key.
    pub(crate) fn becomes_absent(&mut self, full_at: Instant, now: Timestamp) -> bool {
        becomes_absent(&mut self.absent, full_at, self.config.rate.at(now))
    }
}

/// Returns whether both buckets are full at `at`, or become full at the same instant: no later decision
/// differs.
fn becomes_absent(absent: &mut Instant, full_at: Instant, at: Instant) -> bool {
    let is_same = full_at.max(at) == (*absent).max(at);
    if is_same {
        // A thread with a time before `now` must not find more tokens than the bucket had then.
        *absent = full_at.max(*absent);
    }
    is_same
}

/// Tells whether the key of a word can be evicted; if not, packs the word anew by `repack`.
fn evictable(
    config: &Config,
    absent: &mut Instant,
    now: Timestamp,
    read_old: impl ReadOld,
    repack: impl Fn(&Config, &mut u64, Instant),
) -> impl FnMut(&mut u64) -> bool {
    let at = config.rate.at(now);
    move |word| {
        let full_at = config.read(*word, &read_old);
        let is_evictable = becomes_absent(absent, full_at, at);
        if !is_evictable {
            repack(config, word, full_at);
        }
        is_evictable
    }
}
