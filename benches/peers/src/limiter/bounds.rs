//! Lower bounds: what any limiter on such a clock, word or lock pays.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use tollgate::{Clock as _, MonotonicClock};
use turn::{TURN, Turn};

use super::{Handle, Limiter, Shared};
use crate::clock::{Clock, Tsc};
use crate::quota::Quota;

/// The library's own file: what follows a contended take.
#[path = "../../../../src/limiter/shell/turn.rs"]
mod turn;

/// A shared word that every caller increments.
#[derive(Default)]
pub struct Cas(CachePadded<AtomicU64>);

/// A clock read.
#[derive(Default)]
pub struct ClockRead(Tsc);

/// A clock read and a compare-and-swap.
#[derive(Default)]
pub struct ClockReadAndCas(Tsc, Cas);

/// A clock read and a compare-and-swap, and after a contended swap what the library does then.
pub struct ClockReadAndPausedCas {
    clock: Tsc,
    word: CachePadded<AtomicU64>,
    turn: Turn,
}

impl Default for ClockReadAndPausedCas {
    fn default() -> Self {
        Self {
            clock: Tsc::default(),
            word: CachePadded::default(),
            turn: Turn::new(),
        }
    }
}

/// A clock read, and a lock acquired and released.
#[derive(Default)]
pub struct ClockReadAndLock(Tsc, CachePadded<Mutex<u64>>);

/// A word on a line of its own for each caller.
pub struct OwnLine;

impl Limiter for OwnLine {
    type Handle<'a> = CachePadded<AtomicU64>;

    fn new(_quota: Quota) -> Self {
        Self
    }

    fn handle(&self, _callers: usize) -> CachePadded<AtomicU64> {
        CachePadded::new(AtomicU64::new(u64::MAX))
    }

    fn nanos(&self) -> u64 {
        Tsc::default().nanos()
    }
}

impl Handle for CachePadded<AtomicU64> {
    #[inline(always)]
    fn try_acquire(&mut self, n: u32) -> bool {
        self.fetch_sub(n.into(), Ordering::Relaxed) > 0
    }
}

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

impl ClockReadAndPausedCas {
    #[inline(always)]
    fn swap(&self, n: u32) -> bool {
        let seen = self.word.load(Ordering::Relaxed);
        let swapped = self.word.compare_exchange_weak(
            seen,
            seen + u64::from(n),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        swapped.is_ok()
    }

    #[cold]
    fn swap_contended(&self, n: u32) {
        while !self.swap(n) {}
        let nanos = || MonotonicClock::new().now().as_nanos();
        self.turn.contended(TURN, nanos);
    }
}

impl Shared for ClockReadAndPausedCas {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        black_box(self.clock.nanos());
        if !self.swap(n) {
            self.swap_contended(n);
        }
        true
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

bound!(
    Cas,
    ClockRead,
    ClockReadAndCas,
    ClockReadAndPausedCas,
    ClockReadAndLock
);
