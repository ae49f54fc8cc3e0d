//! The primitives every other module uses: the real ones, or loom's.
//!
//! `--cfg tollgate_loom` swaps them for the model checker's, so that the models drive the very code that ships.
//! `Arc` is std's in both: nothing here depends on more than its count.
//! It is a private cfg rather than `cfg(loom)`, because some dependencies react to the latter.

#[cfg(not(tollgate_loom))]
mod imp {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

    pub(crate) mod thread {
        pub(crate) use std::thread::{Builder, Thread, current, park, park_timeout};
    }
}

#[cfg(tollgate_loom)]
mod imp {
    use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

    /// loom's mutex with the signature of `parking_lot`'s: a model never poisons a lock and lives on.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model does not poison a lock")
        }
    }

    pub(crate) mod thread {
        pub(crate) use loom::thread::{Thread, current, park};
        pub(crate) use std::thread::Builder;

        /// Time does not pass in a model, so a timed park is a plain one.
        pub(crate) fn park_timeout(_: std::time::Duration) {
            park();
        }
    }
}

pub(crate) use imp::*;
