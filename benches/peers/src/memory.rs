//! Counts the bytes that a piece of work leaves allocated.
//!
//! Why no counting crate: `allocation-counter` turns every growth of a vector into a copy, and
//! `stats_alloc` and `cap` make all threads share a counter. Either would distort the times that
//! are measured in the same process. This allocator forwards every call, and counts only on
//! request.

#![allow(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; each call goes to the system's unchanged"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ON: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicI64 = AtomicI64::new(0);

/// Returns the result of `work`, still alive, and the bytes allocated less those freed meanwhile,
/// on all threads.
pub fn left_by<T>(work: impl FnOnce() -> T) -> (T, i64) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    BYTES.store(0, Ordering::SeqCst);
    ON.store(true, Ordering::SeqCst);
    let result = work();
    ON.store(false, Ordering::SeqCst);
    (result, BYTES.load(Ordering::SeqCst))
}

struct Counting;

fn count(bytes: usize, sign: i64) {
    if ON.load(Ordering::Relaxed) {
        BYTES.fetch_add(sign * bytes as i64, Ordering::Relaxed);
    }
}

// SAFETY: every method forwards its arguments to `System` and returns its result unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_left() {
        // Other tests run in parallel, and their few allocations are counted too.
        let (kept, bytes) = left_by(|| {
            drop(vec![0_u8; 50_000_000]);
            vec![0_u8; 100_000_000]
        });
        assert_eq!(kept.len(), 100_000_000);
        assert!((99_000_000..120_000_000).contains(&bytes), "{bytes}");
    }
}
