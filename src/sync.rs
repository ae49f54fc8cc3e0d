//! The facade over atomics, cells, locks and threads: std's and `parking_lot`'s, or loom's.
//!
//! `--cfg tollgate_loom` swaps in the model checker's, so that the models drive the code that
//! ships. It is a private cfg rather than `cfg(loom)`, to which some dependencies react. `Arc` is
//! std's in both: nothing here depends on more than its count.
//!
//! The primitives are wrapped rather than re-exported, so that clippy's disallowed lists can tell
//! them from std's.

mod intrinsics;
mod words;

#[cfg(not(tollgate_loom))]
use std::{cell, sync::atomic};

#[cfg(tollgate_loom)]
use loom::{cell, sync::atomic};

pub(crate) use atomic::{Ordering, fence};
pub(crate) use intrinsics::prefetch;
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
pub(crate) use intrinsics::read_time_stamp_counter;
pub(crate) use locks::{Mutex, MutexGuard, RwLock, RwLockWriteGuard};
pub(crate) use words::{AtomicU64, UnmodelledU64};

/// A cell that loom checks: a model fails if an access may overlap with a mutable one.
pub(crate) struct UnsafeCell<T>(cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    #[inline]
    pub(crate) fn new(value: T) -> Self {
        Self(cell::UnsafeCell::new(value))
    }

    /// Calls `look` with a pointer that is only read.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
        #[cfg(not(tollgate_loom))]
        return look(self.0.get());
        #[cfg(tollgate_loom)]
        self.0.with(look)
    }

    /// Calls `change` with a pointer that is written; no other access may overlap.
    #[inline]
    pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(not(tollgate_loom))]
        return change(self.0.get());
        #[cfg(tollgate_loom)]
        self.0.with_mut(change)
    }
}

#[cfg(not(tollgate_loom))]
mod locks {
    #[allow(clippy::disallowed_types, reason = "below the crate's clocks")]
    use std::time::{Duration, Instant};

    pub(crate) use parking_lot::{MutexGuard, RwLock, RwLockWriteGuard};

    /// `parking_lot`'s mutex with a longer spin before the thread parks: a critical section of this
    /// crate is far shorter than parking a thread and unparking it.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    /// The number of times that a thread looks at a held lock, and the cap on the pauses between
    /// two looks, which double from one (exponential back-off).
    const LOOKS: u32 = 20;
    const MAX_PAUSES: u32 = 256;

    /// How long a thread that has met the lock held sees it free before it takes it. A thread that
    /// uses the lock over and over is back by then. Its next critical sections find what the lock
    /// guards in its own cache; to take the lock in between would move all of that to another core
    /// and back, which takes longer than the critical section.
    const LEFT_FREE: Duration = Duration::from_nanos(200);

    /// After this many looks a thread takes the lock as soon as it is free: an owner that never
    /// stops must not hold up the others for longer.
    const PATIENT_LOOKS: u32 = 8;

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            match self.0.try_lock() {
                Some(guard) => guard,
                None => self.lock_contended(),
            }
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut()
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock()
        }

        #[cold]
        fn lock_contended(&self) -> MutexGuard<'_, T> {
            let mut pauses = 1;
            for look in 0..LOOKS {
                super::pause(pauses);
                pauses = (2 * pauses).min(MAX_PAUSES);
                // A load first: a failed `try_lock` would take the cache line from the owner's core.
                if !self.0.is_locked()
                    && (look >= PATIENT_LOOKS || self.stays_free())
                    && let Some(guard) = self.0.try_lock()
                {
                    return guard;
                }
            }
            self.0.lock()
        }

        /// Returns false as soon as the lock is held.
        #[allow(
            clippy::disallowed_types,
            clippy::disallowed_methods,
            reason = "below the crate's clocks"
        )]
        fn stays_free(&self) -> bool {
            let start = Instant::now();
            while !self.0.is_locked() {
                if start.elapsed() >= LEFT_FREE {
                    return true;
                }
                super::pause(1);
            }
            false
        }
    }
}

/// loom's locks with `parking_lot`'s signatures. A model that panics ends, so no lock stays
/// poisoned.
#[cfg(tollgate_loom)]
mod locks {
    use loom::sync::RwLockReadGuard;
    pub(crate) use loom::sync::{MutexGuard, RwLockWriteGuard};

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a model does not poison a lock")
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("a model does not poison a lock")
        }

        pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    #[derive(Debug)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect("a model does not poison a lock")
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect("a model does not poison a lock")
        }

        /// Unknown in a model: [`try_write`](Self::try_write) finds out.
        pub(crate) const fn is_locked(&self) -> bool {
            false
        }

        pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
            self.0.try_write().ok()
        }
    }
}

/// Defines functions that are `const` except in a model, whose atomics and locks cannot be created
/// in a constant.
macro_rules! const_unless_modelled {
    ($($(#[$attribute:meta])* $vis:vis fn $name:ident($($args:tt)*) -> $output:ty $body:block)+) => {$(
        #[cfg(not(tollgate_loom))]
        $(#[$attribute])*
        $vis const fn $name($($args)*) -> $output $body

        #[cfg(tollgate_loom)]
        $(#[$attribute])*
        $vis fn $name($($args)*) -> $output $body
    )+};
}

pub(crate) use const_unless_modelled;

/// Hints the processor `times` times that the thread spins, which leaves the cache line and the
/// core's other hardware thread to the threads that make progress. Does nothing in a model: loom
/// explores the executions in which another thread goes on anyway.
#[cfg_attr(tollgate_loom, allow(dead_code, reason = "one model uses it"))]
#[inline]
pub(crate) fn pause(times: u32) {
    #[cfg(not(tollgate_loom))]
    (0..times).for_each(|_| std::hint::spin_loop());
    #[cfg(tollgate_loom)]
    let _ = times;
}

/// Threads, their numbers, and parking.
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "threads enter the crate here"
)]
pub(crate) mod thread {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[cfg(tollgate_loom)]
    use loom::thread;
    #[cfg(not(tollgate_loom))]
    use std::thread;

    pub(crate) use std::thread::Builder;
    pub(crate) use thread::{Thread, current};

    pub(crate) fn park() {
        thread::park();
    }

    /// Returns the number of the calling thread, counted in the order in which threads ask.
    #[inline]
    pub(crate) fn number() -> usize {
        NUMBER.with(|number| match number.get() {
            UNNUMBERED => assign(number),
            number => number,
        })
    }

    const UNNUMBERED: usize = usize::MAX;

    #[cfg(not(tollgate_loom))]
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(UNNUMBERED) };
    }
    #[cfg(tollgate_loom)]
    loom::thread_local! {
        static NUMBER: Cell<usize> = Cell::new(UNNUMBERED);
    }

    #[cold]
    fn assign(number: &Cell<usize>) -> usize {
        #[cfg(not(tollgate_loom))]
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Counts from zero in each execution of a model.
        #[cfg(tollgate_loom)]
        loom::lazy_static! {
            static ref NEXT: AtomicUsize = AtomicUsize::new(0);
        }
        // Relaxed: it publishes nothing. A number is only where to look first, so it may wrap around.
        let next = NEXT.fetch_add(1, Ordering::Relaxed) & (UNNUMBERED >> 1);
        number.set(next);
        next
    }

    pub(crate) fn park_timeout(timeout: std::time::Duration) {
        #[cfg(not(tollgate_loom))]
        thread::park_timeout(timeout);
        // Time does not pass in a model, so a timed park has no timeout there.
        #[cfg(tollgate_loom)]
        {
            let _ = timeout;
            thread::park();
        }
    }
}
