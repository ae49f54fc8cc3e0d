//! Atomic words of 64 bits: one that loom models, and one that it does not.

#![allow(clippy::disallowed_types, reason = "atomics enter the crate here")]

// The processor's atomic, or one that takes a lock on targets without 64-bit atomics.
#[cfg(any(not(target_has_atomic = "64"), tollgate_portable))]
use portable_atomic::AtomicU64 as Native;
#[cfg(all(target_has_atomic = "64", not(tollgate_portable)))]
use std::sync::atomic::AtomicU64 as Native;

#[cfg(not(tollgate_loom))]
use Native as Modelled;
#[cfg(tollgate_loom)]
use loom::sync::atomic::AtomicU64 as Modelled;

use super::{Ordering, const_unless_modelled};

/// An atomic word, modelled by loom.
#[derive(Debug, Default)]
pub(crate) struct AtomicU64(Modelled);

impl AtomicU64 {
    const_unless_modelled! {
        pub(crate) fn new(value: u64) -> Self {
            Self(Modelled::new(value))
        }
    }

    #[inline]
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    #[inline]
    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    #[inline]
    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, order)
    }

    #[inline]
    pub(crate) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_sub(value, order)
    }

    #[inline]
    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }

    #[inline]
    pub(crate) fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_or(value, order)
    }

    #[inline]
    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, success, failure)
    }

    #[inline]
    pub(crate) fn compare_exchange_weak(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange_weak(current, new, success, failure)
    }
}

/// An atomic word that loom does not model, for hints that may hold any value, and to keep models
/// small enough to finish. All accesses are Relaxed: it orders nothing.
#[derive(Debug)]
pub(crate) struct UnmodelledU64(Native);

impl UnmodelledU64 {
    pub(crate) const fn new(value: u64) -> Self {
        Self(Native::new(value))
    }

    #[inline]
    pub(crate) fn load_relaxed(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn store_relaxed(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Sets the word if it is 0; returns the value that it has then.
    #[inline]
    pub(crate) fn set_once_relaxed(&self, value: u64) -> u64 {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let set = self.0.compare_exchange(0, value, success, failure);
        set.map_or_else(|other| other, |_| value)
    }

    #[inline]
    pub(crate) fn fetch_add_relaxed(&self, value: u64) -> u64 {
        self.0.fetch_add(value, Ordering::Relaxed)
    }
}
