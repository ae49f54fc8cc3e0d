//! Removal and listing of keys.

use crate::clock::Timestamp;
use crate::limiter::keyed::core::config::ReadOld;
use crate::limiter::keyed::core::hashed_key::{FormOf, HashedKey};
use crate::limiter::keyed::core::line_table::LineEntry;
use crate::limiter::keyed::core::removed_keys::RemovedKeys;
use crate::limiter::keyed::core::shard::Shard;
use crate::quota::Quota;
use crate::wake::Wakers;

impl<K> Shard<K> {
    /// Returns the number of keys that are kept.
    pub(crate) fn len(&self) -> usize {
        self.words.len() + self.lines.entries.len()
    }

    /// Heap memory, in bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.words.allocated() + self.lines.entries.allocation_size()
    }

    /// Returns the quota of a key.
    pub(crate) fn quota<Q: FormOf<K> + ?Sized>(&self, key: HashedKey<'_, Q>) -> Quota {
        let own = self
            .lines
            .find(key)
            .and_then(|at| self.lines.at(at).own_quota);
        own.unwrap_or(self.config.quota)
    }

    /// Forgets a key and its own quota; returns whether it was kept. A key with waiters stays, with a
    /// full bucket, from which they are served.
    pub(crate) fn remove<Q: FormOf<K> + ?Sized>(
        &mut self,
        key: HashedKey<'_, Q>,
        now: impl FnOnce() -> Timestamp,
        wakers: &mut Wakers,
        removed: &mut RemovedKeys<'_, K>,
    ) -> bool {
        if let Some((key, _)) = self.words.remove(key.hash, |k| key.is(k)) {
            removed.counted.push(key);
            return true;
        }
        let Some(at) = self.lines.find(key) else {
            return false;
        };
        // The caller's clock runs before anything changes: it may panic.
        let (now, entry) = (now(), self.lines.at_mut(at));
        entry.reset(&self.config, self.absent);
        entry.line.serve(now, wakers);
        if entry.is_idle() {
            removed.push(self.lines.remove(at));
        }
        true
    }

    /// Removes the keys without a line that `keep` refuses, given the key and its whole tokens.
    pub(crate) fn retain_words(
        &mut self,
        now: Timestamp,
        read_old: impl ReadOld,
        mut keep: impl FnMut(&K, u64) -> bool,
        removed: &mut Vec<K>,
    ) {
        let config = &self.config;
        self.words.retain(
            |key, word| {
                let full_at = config.read(*word, &read_old);
                config.repack(word, full_at);
                keep(key, config.view(full_at).available(now))
            },
            removed,
        );
    }

    /// Same as [`retain_words`](Self::retain_words), of the keys with a line. A key with waiters stays,
    /// as in [`remove`](Self::remove).
    pub(crate) fn retain_lines(
        &mut self,
        now: Timestamp,
        mut keep: impl FnMut(&K, u64) -> bool,
        wakers: &mut Wakers,
        removed: &mut RemovedKeys<'_, K>,
    ) {
        let (config, absent) = (&self.config, self.absent);
        let goes = |entry: &mut LineEntry<K>| {
            if keep(&entry.key, entry.line.tokens.fill.view().available(now)) {
                return false;
            }
            entry.reset(config, absent);
            entry.line.serve(now, wakers);
            entry.is_idle()
        };
        for entry in self.lines.entries.extract_if(goes) {
            removed.push(entry);
        }
    }

    /// Appends every key with its whole tokens. If a `Clone` panics, the keys before it are in `all`.
    pub(crate) fn snapshot(&self, now: Timestamp, read_old: impl ReadOld, all: &mut Vec<(K, u64)>)
    where
        K: Clone,
    {
        let config = &self.config;
        let words = self.words.iter().map(|(key, word)| {
            let view = config.view(config.read(word, &read_old));
            (key.clone(), view.available(now))
        });
        let lines = self.lines.entries.iter().map(|entry| {
            let available = entry.line.tokens.fill.view().available(now);
            (entry.key.clone(), available)
        });
        all.extend(words.chain(lines));
    }
}
