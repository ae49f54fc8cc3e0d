//! What a file of the library imports that a bound compiles in.

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
