//! The keys of a shard that have a quota of their own.

use std::borrow::Borrow;

use hashbrown::HashTable;

use super::shard::{Change, Hashed, Kept};
use crate::clock::Timestamp;
use crate::limiter::Denied;
use crate::limiter::rate::{Decided, Instant, Rate, View};
use crate::quota::Quota;

#[derive(Debug)]
pub(super) struct OwnQuotas<K>(HashTable<Own<K>>);

#[derive(Debug)]
pub(super) struct Own<K> {
    pub(super) key: K,
    pub(super) hash: u64,
    pub(super) quota: Quota,
    pub(super) rate: Rate,
    pub(super) full_at: Instant,
}

impl<K> OwnQuotas<K> {
    pub(super) const fn new() -> Self {
        Self(HashTable::new())
    }

    pub(super) fn get<Q>(&self, key: Hashed<'_, Q>) -> Option<&Own<K>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.0.find(key.hash, |own| key.is(&own.key))
    }

    #[inline]
    pub(super) fn get_mut<Q>(&mut self, key: Hashed<'_, Q>) -> Option<&mut Own<K>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        // Of most limiters no key has one.
        if self.is_empty() {
            return None;
        }
        self.0.find_mut(key.hash, |own| key.is(&own.key))
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a key that is not here.
    pub(super) fn insert(&mut self, own: Own<K>) {
        self.0.insert_unique(own.hash, own, |own| own.hash);
    }

    /// Whether the key was here.
    pub(super) fn remove<Q>(&mut self, key: Hashed<'_, Q>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let found = self.0.find_entry(key.hash, |own| key.is(&own.key));
        let was_here = found.is_ok();
        if let Ok(own) = found {
            own.remove();
        }
        was_here
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Own<K>) -> bool) {
        self.0.retain(|own| keep(own));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Own<K>> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Heap memory, in bytes.
    pub(super) fn allocated(&self) -> usize {
        self.0.allocation_size()
    }
}

impl<K> Own<K> {
    pub(super) fn view(&self) -> View {
        View {
            rate: self.rate,
            full_at: self.full_at,
            known: Timestamp::ZERO,
            most: Instant::MAX,
        }
    }

    /// Changes the bucket to what `decide` makes of it, unless it denies.
    #[cold]
    pub(super) fn update<T>(
        &mut self,
        decide: impl FnOnce(&View) -> Decided<T>,
    ) -> Result<Change<T>, Denied> {
        let (full_at, value) = decide(&self.view())?;
        self.full_at = full_at;
        Ok(Change {
            full_at,
            value,
            kept: Kept::Yes,
        })
    }
}
