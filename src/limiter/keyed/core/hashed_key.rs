//! A borrowed key with its hash, so that each call hashes the key once.

use std::borrow::Borrow;

use crate::limiter::keyed::core::to_key::ToKey;

/// A borrowed form of the keys `K`, by which they are found.
pub(crate) trait FormOf<K> {
    /// Compares it with a key of a table.
    fn is(&self, key: &K) -> bool;
}

impl<K: Borrow<Q>, Q: Eq + ?Sized> FormOf<K> for Q {
    #[inline]
    fn is(&self, key: &K) -> bool {
        key.borrow() == self
    }
}

/// A borrowed form of the keys `K`, from which a new one can be made.
pub(crate) trait SourceOf<K>: FormOf<K> + ToKey<K> {}

impl<K, Q: FormOf<K> + ToKey<K> + ?Sized> SourceOf<K> for Q {}

/// A borrowed key with its hash.
#[derive(Debug)]
pub(crate) struct HashedKey<'a, Q: ?Sized> {
    pub(crate) hash: u64,
    pub(crate) key: &'a Q,
}

impl<Q: ?Sized> Clone for HashedKey<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for HashedKey<'_, Q> {}

impl<Q: ?Sized> HashedKey<'_, Q> {
    /// Compares it with a key of a table.
    #[inline]
    pub(crate) fn is<K>(self, key: &K) -> bool
    where
        Q: FormOf<K>,
    {
        self.key.is(key)
    }
}
