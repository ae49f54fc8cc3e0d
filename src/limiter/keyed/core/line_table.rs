//! The keys of a shard whose bucket is a [`Line`] and not a word: keys that callers wait for or have
//! reservations of, keys whose debt a word cannot hold, and keys with a quota of their own.

use hashbrown::HashTable;

use crate::clock::Timestamp;
use crate::limiter::core::account::Account;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::fill::LockedFill;
use crate::limiter::core::ledger::Ledger;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::Instant;
use crate::limiter::keyed::core::config::Config;
use crate::limiter::keyed::core::config_history::ConfigHistory;
use crate::limiter::keyed::core::hashed_key::{FormOf, HashedKey};
use crate::quota::{Quota, Units};

#[derive(Debug)]
pub(crate) struct LineTable<K> {
    pub(crate) entries: HashTable<LineEntry<K>>,
    /// The bucket that the clock hand has come to, which looks for lines to evict.
    hand: usize,
}

/// Buckets that one sweep probes.
const PROBES: usize = 16;

/// A key with its line.
#[derive(Debug)]
pub(crate) struct LineEntry<K> {
    pub(crate) key: K,
    pub(crate) hash: u64,
    /// The key's own quota, if it has one.
    pub(crate) own_quota: Option<Quota>,
    /// Whether it counts towards the capacity; a key with its own quota does not.
    pub(crate) is_counted: bool,
    pub(crate) line: Line,
}

/// Where the entry of a key is, until an entry is inserted or removed. With it, the caller's `Eq` runs
/// only once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineIndex(usize);

const PRESENT: &str = "an index is used before the table changes";

impl<K> LineEntry<K> {
    /// Creates a key under the quota of all keys, whose bucket is full at `full_at`.
    pub(crate) fn new(
        key: K,
        hash: u64,
        config: &Config,
        full_at: Instant,
        bounds: Bounds,
    ) -> Self {
        let mut entry = Self {
            key,
            hash,
            own_quota: None,
            is_counted: true,
            line: Line::new(config.rate.units),
        };
        entry.reset(config, full_at);
        entry.line.bounds = bounds;
        if config.is_closed {
            entry.line.close(config.since);
        }
        entry
    }

    /// Returns whether a word would do: no caller waits, no token can be given back, and the quota is
    /// that of all keys.
    pub(crate) fn is_idle(&self) -> bool {
        self.own_quota.is_none()
            && self.line.is_unused()
            && self.line.tokens.account.ledger.is_settled()
    }

    /// Puts another quota in force.
    pub(crate) fn configure(&mut self, units: Units, carry: CarryOver, now: Timestamp) {
        self.line.debit_all_reserved(now);
        self.line
            .on_fill(|account, fill| account.configure(fill, units, (carry, 0), || now));
    }

    /// Forgets all but the waiters: the bucket is full at `full_at`, under the quota of all keys.
    pub(crate) fn reset(&mut self, config: &Config, full_at: Instant) {
        self.own_quota = None;
        self.line.tokens.fill = LockedFill::of(&config.view(full_at));
        // A key may get a line again while reservations of an earlier one are still held: their debts
        // must not be taken for debts of this one.
        self.line.tokens.account = Account::new(Ledger::of_another_epoch());
    }

    /// Carries the bucket over to the quotas of all keys that came after `generation`.
    fn catch_up(&mut self, history: &ConfigHistory, generation: u64) {
        if self.own_quota.is_some() {
            return;
        }
        for next in history.after(generation) {
            if let Some((carry, since)) = next.carry {
                self.configure(next.rate.units, carry, since);
            }
            if next.is_closed {
                self.line.close(next.since);
            }
        }
    }
}

impl<K> LineTable<K> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: HashTable::new(),
            hand: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Finds a key: by its `Eq`.
    #[inline]
    pub(crate) fn find<Q: FormOf<K> + ?Sized>(&self, key: HashedKey<'_, Q>) -> Option<LineIndex> {
        // Most limiters have no key with a line.
        if self.is_empty() {
            return None;
        }
        let index = self
            .entries
            .find_bucket_index(key.hash, |entry| key.is(&entry.key));
        index.map(LineIndex)
    }

    /// Finds the one key with that hash, without the caller's `Eq`; `None` if several keys have it.
    pub(crate) fn find_by_hash(&self, hash: u64) -> Option<LineIndex> {
        let mut same = self
            .entries
            .iter_hash(hash)
            .filter(|entry| entry.hash == hash);
        if same.next().is_none() || same.next().is_some() {
            return None;
        }
        let index = self
            .entries
            .find_bucket_index(hash, |entry| entry.hash == hash);
        index.map(LineIndex)
    }

    pub(crate) fn at(&self, at: LineIndex) -> &LineEntry<K> {
        self.entries.get_bucket(at.0).expect(PRESENT)
    }

    pub(crate) fn at_mut(&mut self, at: LineIndex) -> &mut LineEntry<K> {
        self.entries.get_bucket_mut(at.0).expect(PRESENT)
    }

    /// Inserts a key that is not in the table. It runs no code of the caller's.
    pub(crate) fn insert(&mut self, entry: LineEntry<K>) -> LineIndex {
        let inserted = self
            .entries
            .insert_unique(entry.hash, entry, |entry| entry.hash);
        LineIndex(inserted.bucket_index())
    }

    pub(crate) fn remove(&mut self, at: LineIndex) -> LineEntry<K> {
        let Ok(entry) = self.entries.get_bucket_entry(at.0) else {
            unreachable!("{PRESENT}")
        };
        entry.remove().0
    }

    /// Moves the clock hand over a few buckets, and removes the first entry there that `is_evictable`
    /// accepts.
    pub(crate) fn sweep(
        &mut self,
        mut is_evictable: impl FnMut(&LineEntry<K>) -> bool,
    ) -> Option<LineEntry<K>> {
        let buckets = self.entries.num_buckets();
        for _ in 0..PROBES.min(buckets) {
            self.hand = (self.hand + 1) % buckets;
            let entry = self.entries.get_bucket(self.hand);
            if entry.is_some_and(&mut is_evictable) {
                return Some(self.remove(LineIndex(self.hand)));
            }
        }
        None
    }

    /// Carries all lines over to the configurations that came after `generation`.
    pub(crate) fn catch_up(&mut self, history: &ConfigHistory, generation: u64) {
        for entry in &mut self.entries {
            entry.catch_up(history, generation);
        }
    }
}
