//! A borrowed key with its hash, so that each call hashes the key once.

use std::borrow::Borrow;

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

impl<Q: Eq + ?Sized> HashedKey<'_, Q> {
    /// Compares it with a key of a table.
    #[inline]
    pub(crate) fn is<K: Borrow<Q>>(self, key: &K) -> bool {
        key.borrow() == self.key
    }
}
