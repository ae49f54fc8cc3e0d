//! Lower bounds: what any limiter on such a clock, word or lock pays.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::{Limiter, Shared};
use crate::clock::{Clock, Tsc};
use crate::quota::Quota;

/// A shared word that every caller increments.
#[derive(Default)]
pub struct Cas(CachePadded<AtomicU64>);

/// A clock read.
#[derive(Default)]
pub struct ClockRead(Tsc);

/// A clock read and a compare-and-swap.
#[derive(Default)]
pub struct ClockReadAndCas(Tsc, Cas);

/// A clock read, and a lock acquired and released.
#[derive(Default)]
pub struct ClockReadAndLock(Tsc, CachePadded<Mutex<u64>>);

impl Shared for Cas {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        while let Err(actual) = self.0.compare_exchange_weak(
            seen,
            seen + u64::from(n),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            seen = actual;
        }
        true
    }
}

impl Shared for ClockRead {
    #[inline(always)]
    fn try_acquire(&self, _n: u32) -> bool {
        black_box(self.0.nanos());
        true
    }
}

impl Shared for ClockReadAndCas {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        black_box(self.0.nanos());
        self.1.try_acquire(n)
    }
}

impl Shared for ClockReadAndLock {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        black_box(self.0.nanos());
        *self.1.lock() += u64::from(n);
        true
    }
}

macro_rules! bound {
    ($($name:ty),*) => {$(
        impl Limiter for $name {
            type Handle<'a> = &'a Self;

            fn new(_quota: Quota) -> Self {
                Self::default()
            }

            fn handle(&self, _callers: usize) -> &Self {
                self
            }

            fn nanos(&self) -> u64 {
                Tsc::default().nanos()
            }
        }
    )*};
}

bound!(Cas, ClockRead, ClockReadAndCas, ClockReadAndLock);
