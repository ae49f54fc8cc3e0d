use std::borrow::Borrow;

/// A key with its hash.
#[derive(Debug)]
pub(crate) struct Hashed<'a, Q: ?Sized> {
    pub(crate) hash: u64,
    pub(crate) key: &'a Q,
}

impl<Q: ?Sized> Clone for Hashed<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for Hashed<'_, Q> {}

impl<Q: Eq + ?Sized> Hashed<'_, Q> {
    #[inline]
    pub(crate) fn is<K: Borrow<Q>>(self, key: &K) -> bool {
        key.borrow() == self.key
    }
}
