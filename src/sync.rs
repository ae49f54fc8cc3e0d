//! The primitives every other module uses: the real ones, or loom's.
//!
//! `--cfg tollgate_loom` swaps them for the model checker's, so that the models drive the very code
//! that ships. It is a private cfg rather than `cfg(loom)`, because some dependencies react to the
//! latter. `Arc` is std's in both: nothing here depends on more than its count.
//!
//! They are wrapped rather than re-exported, so that clippy's disallowed lists can tell them from
//! std's.

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

/// A cell of which the model checker knows who looks at it: it fails where that may happen while
/// somebody changes it.
pub(crate) struct UnsafeCell<T>(cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    #[inline]
    pub(crate) fn new(value: T) -> Self {
        Self(cell::UnsafeCell::new(value))
    }

    /// To look at it.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
        #[cfg(not(tollgate_loom))]
        return look(self.0.get());
        #[cfg(tollgate_loom)]
        self.0.with(look)
    }

    /// To change it.
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
    pub(crate) use parking_lot::{MutexGuard, RwLock, RwLockWriteGuard};

    /// `parking_lot`'s mutex, waited for longer before a thread goes to sleep. What is done under
    /// one here takes less than a microsecond, and to put a thread to sleep and wake it takes many.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    /// So often a thread looks at a lock that another has, and pauses between: once, then twice as
    /// often each time, up to so often. A tenth of a millisecond in all.
    const LOOKS: u32 = 20;
    const MOST_PAUSES: u32 = 256;

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
            for _ in 0..LOOKS {
                super::pause(pauses);
                pauses = (2 * pauses).min(MOST_PAUSES);
                // Looked at first: to fail to lock it would take it from its owner's cache.
                if !self.0.is_locked()
                    && let Some(guard) = self.0.try_lock()
                {
                    return guard;
                }
            }
            self.0.lock()
        }
    }
}

/// loom's locks with the signatures of `parking_lot`'s: a model never poisons a lock and lives on.
#[cfg(tollgate_loom)]
mod locks {
    use loom::sync::RwLockReadGuard;
    pub(crate) use loom::sync::{MutexGuard, RwLockWriteGuard};

    #[derive(Debug)]
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

        /// Not known, so that [`try_write`](Self::try_write) finds out.
        pub(crate) const fn is_locked(&self) -> bool {
            false
        }

        pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
            self.0.try_write().ok()
        }
    }
}

/// Functions that are `const`, but in a model, whose words and locks cannot be made so.
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

/// Leaves a cache line, and the other thread of a core, to those who are at work. In a model it is
/// nothing: there the executions in which somebody else goes on are explored anyway.
#[inline]
pub(crate) fn pause(times: u32) {
    #[cfg(not(tollgate_loom))]
    (0..times).for_each(|_| std::hint::spin_loop());
    #[cfg(tollgate_loom)]
    let _ = times;
}

/// Threads, and how they wait.
#[allow(clippy::disallowed_methods, reason = "this is where they come in")]
pub(crate) mod thread {
    #[cfg(tollgate_loom)]
    use loom::thread;
    #[cfg(not(tollgate_loom))]
    use std::thread;

    pub(crate) use std::thread::Builder;
    pub(crate) use thread::{Thread, current};

    pub(crate) fn park() {
        thread::park();
    }

    pub(crate) fn park_timeout(timeout: std::time::Duration) {
        #[cfg(not(tollgate_loom))]
        thread::park_timeout(timeout);
        // Time does not pass in a model, so a timed park is a plain one.
        #[cfg(tollgate_loom)]
        {
            let _ = timeout;
            thread::park();
        }
    }
}
