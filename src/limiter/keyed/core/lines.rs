//! The keys of a shard that have a [`Line`] of their own: those that callers wait for or have
//! reservations of, those whose debt a word cannot hold, and those with a quota of their own.

use std::borrow::Borrow;

use hashbrown::HashTable;

use crate::clock::Timestamp;
use crate::limiter::core::account::Account;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::ledger::Ledger;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::Instant;
use crate::limiter::keyed::core::generation::{Generation, Generations};
use crate::limiter::keyed::core::hashed::Hashed;
use crate::quota::{Quota, Units};

#[derive(Debug)]
pub(crate) struct Lines<K> {
    table: HashTable<KeyLine<K>>,
    /// Where the clock hand stands that looks for lines which need not be kept.
    hand: usize,
}

/// Places that one sweep looks at.
const LOOKS: usize = 16;

#[derive(Debug)]
pub(crate) struct KeyLine<K> {
    pub(crate) key: K,
    pub(crate) hash: u64,
    /// A quota of its own.
    pub(crate) own: Option<Quota>,
    /// Whether it takes the seat of a key; a key with its own quota takes none.
    pub(crate) has_seat: bool,
    pub(crate) line: Line,
}

/// Where a line was found, so that the caller's `Eq` is not asked again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineAt(usize);

const FOUND: &str = "it was found, or made";

impl<K> KeyLine<K> {
    /// Of a key of the quota of all, whose bucket is full at `full_at`.
    pub(crate) fn new(
        key: K,
        hash: u64,
        generation: &Generation,
        full_at: Instant,
        bounds: Bounds,
    ) -> Self {
        let mut line = Line::new(generation.rate.units);
        line.tokens.fill = generation.locked_fill(full_at);
        line.tokens.account = Account::new(Ledger::of_another_epoch());
        line.bounds = bounds;
        if generation.is_closed {
            line.close(generation.since);
        }
        Self {
            key,
            hash,
            own: None,
            has_seat: true,
            line,
        }
    }

    /// Whether nobody waits, nothing can be given back, and its quota is that of all.
    pub(crate) fn is_idle(&self) -> bool {
        self.own.is_none() && self.line.is_unused() && self.line.tokens.account.ledger.is_settled()
    }

    /// Puts another quota in force.
    pub(crate) fn configure(&mut self, units: Units, carry: CarryOver, now: Timestamp) {
        self.line.debit_all_reserved(now);
        self.line
            .on_fill(|account, fill| account.configure(fill, units, (carry, 0), || now));
    }

    /// Forgets all but its waiters: a full bucket, of the quota of all.
    pub(crate) fn forget(&mut self, generation: &Generation, full_at: Instant) {
        self.own = None;
        self.line.tokens.fill = generation.locked_fill(full_at);
        self.line.tokens.account = Account::new(Ledger::of_another_epoch());
    }

    /// Carries over to the quotas of all that came after the generation `from`.
    fn catch_up(&mut self, generations: &Generations, from: u64) {
        if self.own.is_some() {
            return;
        }
        for next in generations.after(from) {
            if let Some((carry, since)) = next.carry {
                self.configure(next.rate.units, carry, since);
            }
            if next.is_closed {
                self.line.close(next.since);
            }
        }
    }
}

impl<K> Lines<K> {
    pub(crate) const fn new() -> Self {
        Self {
            table: HashTable::new(),
            hand: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(crate) fn get<Q>(&self, key: Hashed<'_, Q>) -> Option<&KeyLine<K>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if self.is_empty() {
            return None;
        }
        self.table.find(key.hash, |line| key.is(&line.key))
    }

    #[inline]
    pub(crate) fn get_mut<Q>(&mut self, key: Hashed<'_, Q>) -> Option<&mut KeyLine<K>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        // Of most limiters no key has one.
        if self.is_empty() {
            return None;
        }
        self.table.find_mut(key.hash, |line| key.is(&line.key))
    }

    /// Where the line of a key is: until one is added or taken out.
    pub(crate) fn find<Q>(&self, key: Hashed<'_, Q>) -> Option<LineAt>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if self.is_empty() {
            return None;
        }
        let at = self
            .table
            .find_bucket_index(key.hash, |line| key.is(&line.key));
        at.map(LineAt)
    }

    /// Where the line of that hash is, if there is but one. It runs no code of the caller's.
    pub(crate) fn find_by_hash(&self, hash: u64) -> Option<LineAt> {
        let mut same = self.table.iter_hash(hash).filter(|line| line.hash == hash);
        if same.next().is_none() || same.next().is_some() {
            return None;
        }
        let at = self.table.find_bucket_index(hash, |line| line.hash == hash);
        at.map(LineAt)
    }

    pub(crate) fn at(&self, at: LineAt) -> &KeyLine<K> {
        self.table.get_bucket(at.0).expect(FOUND)
    }

    pub(crate) fn at_mut(&mut self, at: LineAt) -> &mut KeyLine<K> {
        self.table.get_bucket_mut(at.0).expect(FOUND)
    }

    /// Adds a key that is not here. It runs no code of the caller's.
    pub(crate) fn insert(&mut self, line: KeyLine<K>) -> LineAt {
        let entry = self.table.insert_unique(line.hash, line, |line| line.hash);
        LineAt(entry.bucket_index())
    }

    /// Moves the clock hand over a few places, and takes the first line out that `may_go` says.
    pub(crate) fn sweep(
        &mut self,
        mut may_go: impl FnMut(&KeyLine<K>) -> bool,
    ) -> Option<KeyLine<K>> {
        let places = self.table.num_buckets();
        for _ in 0..LOOKS.min(places) {
            self.hand = (self.hand + 1) % places;
            if self.table.get_bucket(self.hand).is_some_and(&mut may_go) {
                return Some(self.take(LineAt(self.hand)));
            }
        }
        None
    }

    pub(crate) fn take(&mut self, at: LineAt) -> KeyLine<K> {
        let Ok(line) = self.table.get_bucket_entry(at.0) else {
            unreachable!("{FOUND}")
        };
        line.remove().0
    }

    pub(crate) fn catch_up(&mut self, generations: &Generations, from: u64) {
        for line in &mut self.table {
            line.catch_up(generations, from);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &KeyLine<K>> {
        self.table.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut KeyLine<K>> {
        self.table.iter_mut()
    }

    /// Takes out those that `goes` says.
    pub(crate) fn extract(
        &mut self,
        goes: impl FnMut(&mut KeyLine<K>) -> bool,
    ) -> impl Iterator<Item = KeyLine<K>> {
        self.table.extract_if(goes)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Heap memory, in bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.table.allocation_size()
    }
}
