//! A part of the keys, as a sequential machine: `now` comes in, nothing is locked.
//!
//! Every possible key has a bucket, from the beginning. Those that nobody has taken from are all
//! alike, and one number, `absent`, stands for them. A bucket that is from now on the same as that
//! one need not be kept, and this is all that eviction is.

mod evict;

use std::borrow::Borrow;

use super::debts::Debts;
use super::generation::{Carry, Generation, Generations};
use super::own::{Own, OwnQuotas};
use super::table::{Bucket, Table};
use crate::clock::Timestamp;
use crate::limiter::ledger::DebtId;
use crate::limiter::rate::{Decided, Instant, Rate, View};
use crate::limiter::word::TooEarly;
use crate::limiter::{CarryOver, Denied, carry};
use crate::quota::{Quota, QuotaError};
use crate::whereabouts::Whereabouts;

#[derive(Debug)]
pub(super) struct Shard<K> {
    /// The generation in force when somebody last looked.
    generation: Generation,
    /// When the bucket of a key that is not here is full. A bucket that is evicted leaves its own
    /// instant here, if it is later: a thread with a time from before it finds no more than there
    /// was then.
    absent: Instant,
    table: Table<K>,
    /// The keys with a quota of their own.
    own: OwnQuotas<K>,
    pub(super) debts: Debts<K>,
    pub(super) evicted: u64,
}

/// A key with its hash.
#[derive(Debug)]
pub(super) struct Hashed<'a, Q: ?Sized> {
    pub(super) hash: u64,
    pub(super) key: &'a Q,
}

impl<Q: ?Sized> Clone for Hashed<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for Hashed<'_, Q> {}

impl<Q: Eq + ?Sized> Hashed<'_, Q> {
    #[inline]
    pub(super) fn is<K: Borrow<Q>>(self, key: &K) -> bool {
        key.borrow() == self.key
    }
}

/// What has become of a bucket.
#[derive(Debug)]
pub(super) struct Change<T> {
    /// When it is full now.
    pub(super) full_at: Instant,
    pub(super) value: T,
    pub(super) kept: Kept,
}

/// Whether a change was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    /// The key is not here, and needs a place.
    Unplaced,
    /// It does not fit the word: the base has to move first.
    Beyond,
}

/// Why a take cannot be decided by a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecided {
    /// The key is not here.
    Absent,
    NeedsMore,
}

impl<K> Shard<K> {
    pub(super) fn new(generation: Generation, limit: usize, first_epoch: u64) -> Self {
        Self {
            generation,
            absent: 0,
            table: Table::new(limit),
            own: OwnQuotas::new(),
            debts: Debts::new(first_epoch),
            evicted: 0,
        }
    }

    #[inline]
    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Comes to the generation in force.
    pub(super) fn catch_up(&mut self, generations: &Generations) {
        let current = *generations.current();
        self.absent = generations.carry_over(self.generation.number, current.number, self.absent);
        self.generation = current;
    }

    /// Takes from a bucket, if all that this needs is its word. `replace` writes the next one, or
    /// says that it is another by now.
    #[inline]
    pub(super) fn take<Q>(
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
            // A key with a quota of its own has no place in the table.
            return Err(if self.own.is_empty() {
                Undecided::Absent
            } else {
                Undecided::NeedsMore
            });
        };
        loop {
            let (word, words) = (bucket.get(), &self.generation.words);
            let taken = words.take(word, n, floor, now.as_nanos());
            let taken = taken.ok_or(Undecided::NeedsMore)?;
            if let Ok(Some(next)) = taken
                && !replace(bucket, word, next)
            {
                continue;
            }
            return Ok(taken.map(|_| ()));
        }
    }

    /// Changes a bucket to what `decide` makes of it, unless it denies.
    pub(super) fn update<Q, T>(
        &mut self,
        key: Hashed<'_, Q>,
        carry: impl Carry,
        decide: impl FnOnce(&View) -> Decided<T>,
    ) -> Result<Change<T>, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Some(own) = self.own.get_mut(key) {
            return own.update(decide);
        }
        let generation = &self.generation;
        let Some(bucket) = self.table.find(key.hash, |k| key.is(k)) else {
            return self.update_absent(decide);
        };
        let before = generation.read(bucket.get(), carry);
        let (full_at, value) = decide(&generation.view(before))?;
        let kept = if full_at > generation.most() {
            Kept::Beyond
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

    /// As [`update`](Self::update), of a key that is known not to be here.
    pub(super) fn update_absent<T>(
        &self,
        decide: impl FnOnce(&View) -> Decided<T>,
    ) -> Result<Change<T>, Denied> {
        let (full_at, value) = decide(&self.generation.view(self.absent))?;
        let kept = match full_at {
            same if same == self.absent => Kept::Yes,
            far if far > self.generation.most() => Kept::Beyond,
            _ => Kept::Unplaced,
        };
        Ok(Change {
            full_at,
            value,
            kept,
        })
    }

    /// Tells `note` what came of a change, and how to open a debt for what it cost.
    #[inline]
    pub(super) fn noted<Q, T, U>(
        &mut self,
        key: Hashed<'_, Q>,
        change: Change<T>,
        note: impl FnOnce(T, &mut dyn FnMut(u128) -> DebtId) -> U,
    ) -> U
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        note(change.value, &mut |cost| {
            let changes = self.changes(key);
            self.debts
                .open(key.hash, key.key, changes, cost, change.full_at)
        })
    }

    /// The bucket of a key that is here.
    fn view<Q>(&mut self, key: Hashed<'_, Q>, carry: impl Carry) -> Option<View>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Some(own) = self.own.get_mut(key) {
            return Some(own.view());
        }
        let bucket = self.table.find(key.hash, |k| key.is(k))?;
        let full_at = self.generation.read(bucket.get(), carry);
        Some(self.generation.view(full_at))
    }

    fn set<Q>(&mut self, key: Hashed<'_, Q>, full_at: Instant)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if let Some(own) = self.own.get_mut(key) {
            own.full_at = full_at;
        } else if let Some(bucket) = self.table.find(key.hash, |k| key.is(k)) {
            bucket.set(self.generation.pack(full_at));
        }
    }

    /// Returns `n` tokens to a key that is here. Those of others are all there already.
    pub(super) fn refund<Q>(
        &mut self,
        key: Hashed<'_, Q>,
        n: u64,
        now: Timestamp,
        carry: impl Carry,
    ) where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(view) = self.view(key, carry) else {
            return;
        };
        let (full_at, back) = view.refund(n, Timestamp::ZERO, now);
        self.set(key, full_at);
        let changes = self.changes(key);
        if let Some(ledger) = self.debts.of(key.hash, key.key, changes) {
            ledger.returned(back);
        }
    }

    /// Gives back what no later taker has built on; whether the debt is one of this key's here.
    pub(super) fn give_back<Q>(
        &mut self,
        key: Hashed<'_, Q>,
        debt: DebtId,
        now: Timestamp,
        carry: impl Carry,
    ) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (view, changes) = (self.view(key, carry), self.changes(key));
        let ledger = self.debts.of(key.hash, key.key, changes);
        let Some(ledger) = ledger.filter(|ledger| ledger.is_of(debt)) else {
            return false;
        };
        // If its bucket has gone it was full: there is nothing to give back.
        let given = view.and_then(|view| view.give_back(ledger, debt, Timestamp::ZERO, now));
        match given {
            Some((full_at, refund)) => {
                ledger.commit(debt, refund);
                self.set(key, full_at);
            }
            None => ledger.close(debt),
        }
        true
    }

    /// The tokens will be used; whether the debt is one of this key's here.
    pub(super) fn keep<Q>(&mut self, key: Hashed<'_, Q>, debt: DebtId) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let changes = self.changes(key);
        let ledger = self.debts.of(key.hash, key.key, changes);
        let Some(ledger) = ledger.filter(|ledger| ledger.is_of(debt)) else {
            return false;
        };
        ledger.close(debt);
        // Looked up again, one that is settled goes.
        self.debts.of(key.hash, key.key, changes);
        true
    }

    /// Whether no further key fits, however few there are elsewhere.
    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    /// Places a key that is not here.
    pub(super) fn place<Q>(
        &mut self,
        key: Hashed<'_, Q>,
        full_at: Instant,
        hasher: impl Fn(&K) -> u64,
    ) -> Whereabouts
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let word = self.generation.pack(full_at);
        self.table
            .insert(key.hash, key.key.to_owned(), word, hasher)
    }

    /// The quota of a key.
    pub(super) fn quota<Q>(&self, key: Hashed<'_, Q>) -> Quota
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let own = self.own.get(key);
        own.map_or(self.generation.quota, |own| own.quota)
    }

    /// For the ledger of a key: what it was opened under.
    pub(super) fn changes<Q>(&self, key: Hashed<'_, Q>) -> u64
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match self.own.get(key) {
            Some(_) => u64::MAX,
            None => self.generation.changes,
        }
    }

    /// Gives a key a quota of its own; whether it had a place among those that have none.
    pub(super) fn set_quota<Q>(
        &mut self,
        key: Hashed<'_, Q>,
        (quota, carry_over, now): (Quota, CarryOver, Timestamp),
        carry: impl Carry,
    ) -> Result<bool, QuotaError>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let rate = Rate::new(quota.units()?);
        let change = carry::Change::new(carry_over);
        let carried = |view: &View| change.full_at(view, &rate, now);
        self.debts.forget(key.hash, key.key);
        if let Some(own) = self.own.get_mut(key) {
            own.full_at = carried(&own.view());
            (own.quota, own.rate) = (quota, rate);
            return Ok(false);
        }
        let placed = self.table.remove(key.hash, |k| key.is(k));
        let was_placed = placed.is_some();
        let (owned, before) = match placed {
            Some((owned, word)) => (owned, self.generation.read(word, carry)),
            None => (key.key.to_owned(), self.absent),
        };
        let own = Own {
            key: owned,
            hash: key.hash,
            quota,
            rate,
            full_at: carried(&self.generation.view(before)),
        };
        self.own.insert(own);
        Ok(was_placed)
    }

    /// Forgets a key and its own quota: whether it had a place, and whether there was anything.
    pub(super) fn remove<Q>(&mut self, key: Hashed<'_, Q>) -> (bool, bool)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.debts.forget(key.hash, key.key);
        if self.own.remove(key) {
            return (false, true);
        }
        let placed = self.table.remove(key.hash, |k| key.is(k)).is_some();
        (placed, placed)
    }

    /// Keeps only the keys that `keep` says, given what is there: how many places were freed.
    pub(super) fn retain(
        &mut self,
        now: Timestamp,
        carry: impl Carry,
        mut keep: impl FnMut(&K, u64) -> bool,
    ) -> u64
    where
        K: Eq,
    {
        let (before, generation) = (self.table.len(), &self.generation);
        self.table.retain(|key, word| {
            let full_at = generation.read(*word, &carry);
            *word = generation.pack(full_at);
            keep(key, generation.view(full_at).available(now))
        });
        self.own
            .retain(|own| keep(&own.key, own.view().available(now)));
        // What a key owes that is not there any more does not come back: it begins anew.
        let (table, own) = (&self.table, &self.own);
        self.debts.retain(|hash, key| {
            table.find(hash, |k| k == key).is_some() || own.get(Hashed { hash, key }).is_some()
        });
        (before - self.table.len()) as u64
    }

    /// Every key with what is there.
    pub(super) fn snapshot(&self, now: Timestamp, carry: impl Carry) -> Vec<(K, u64)>
    where
        K: Clone,
    {
        let generation = &self.generation;
        let placed = self.table.iter().map(|(key, word)| {
            let view = generation.view(generation.read(word, &carry));
            (key.clone(), view.available(now))
        });
        let own = self
            .own
            .iter()
            .map(|own| (own.key.clone(), own.view().available(now)));
        placed.chain(own).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len() + self.own.len()
    }

    pub(super) fn allocated(&self) -> usize {
        self.table.allocated() + self.own.allocated()
    }
}
