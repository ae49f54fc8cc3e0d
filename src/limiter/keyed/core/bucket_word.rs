//! The bucket of a key as one atomic word.

use crate::sync::{AtomicU64, Ordering};

/// A bucket in eight bytes, packed by a [`Config`](crate::limiter::keyed::core::config::Config).
///
/// Relaxed throughout: a word publishes nothing, and the table around it is behind a lock.
#[derive(Debug)]
pub(crate) struct BucketWord(AtomicU64);

impl BucketWord {
    pub(crate) fn new(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Stores a word. Only the holder of the write lock may: under the read lock another taker's change
    /// would be lost.
    #[inline]
    pub(crate) fn set(&self, word: u64) {
        self.0.store(word, Ordering::Relaxed);
    }

    /// Stores `next` if the word is still `word`; returns whether it did. For holders of the read lock.
    #[inline]
    pub(crate) fn replace(&self, word: u64, next: u64) -> bool {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0
            .compare_exchange_weak(word, next, success, failure)
            .is_ok()
    }
}
