//! What a file of the library imports that benches compile in.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A word whose accesses order nothing.
#[derive(Debug)]
pub struct UnmodelledU64(AtomicU64);

impl UnmodelledU64 {
    /// Makes a word.
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Reads it.
    pub fn load_relaxed(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Writes it.
    pub fn store_relaxed(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}

/// Threads and their numbers.
pub mod thread {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Returns the number of the calling thread.
    pub fn number() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = NEXT.fetch_add(1, Relaxed);
        }
        NUMBER.with(|number| *number)
    }
}
