//! Who may still give tokens back, by key: beside the buckets, so that a key that nobody reserves
//! for costs eight bytes.

use std::borrow::Borrow;

use hashbrown::HashTable;

use crate::limiter::ledger::{DebtId, Ledger};

/// The ledgers of the keys with open reservations.
#[derive(Debug)]
pub(super) struct Debts<K> {
    ledgers: HashTable<Entry<K>>,
    /// Of the next ledger, so that a debt is never looked up in another ledger than its own.
    epoch: u64,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    hash: u64,
    /// The changes of the quota when it was opened: after another, its debts have no position.
    changes: u64,
    ledger: Ledger,
}

/// Steps between epochs, so that those of the shared bucket are never those of a key.
const STEP: u64 = 2;

impl<K> Debts<K> {
    pub(super) fn new(first_epoch: u64) -> Self {
        Self {
            ledgers: HashTable::new(),
            epoch: first_epoch,
        }
    }

    /// Notes what was taken for a key that may come back.
    pub(super) fn open<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        changes: u64,
        cost: u128,
        full_at: u128,
    ) -> DebtId
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(ledger) = self.of(hash, key, changes) {
            return ledger.open(cost, full_at);
        }
        let mut ledger = Ledger::of_epoch(self.epoch);
        self.epoch += STEP;
        let id = ledger.open(cost, full_at);
        let entry = Entry {
            key: key.to_owned(),
            hash,
            changes,
            ledger,
        };
        self.ledgers.insert_unique(hash, entry, |entry| entry.hash);
        id
    }

    /// The ledger of a key, if something may come back.
    pub(super) fn of<Q>(&mut self, hash: u64, key: &Q, changes: u64) -> Option<&mut Ledger>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let found = self.ledgers.find_entry(hash, |e| e.key.borrow() == key);
        let entry = found.ok()?;
        if entry.get().changes != changes || entry.get().ledger.is_settled() {
            entry.remove();
            return None;
        }
        Some(&mut entry.into_mut().ledger)
    }

    /// Keeps only what these keys owe.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u64, &K) -> bool) {
        self.ledgers.retain(|entry| keep(entry.hash, &entry.key));
    }

    /// Forgets a key: what it owes does not come back.
    pub(super) fn forget<Q>(&mut self, hash: u64, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Ok(entry) = self.ledgers.find_entry(hash, |e| e.key.borrow() == key) {
            entry.remove();
        }
    }
}
