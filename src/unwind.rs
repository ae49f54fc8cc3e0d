//! Panics of the caller's code in the midst of what must be finished all the same.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Holds the first panic back until this is dropped: declare it before the locks that are to be
/// released by then.
#[derive(Debug, Default)]
pub(crate) struct Panics(Option<Box<dyn Any + Send>>);

impl Panics {
    /// The output of `run`; `None` if it panicked.
    pub(crate) fn catch<T>(&mut self, run: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(output) => Some(output),
            Err(panic) => {
                self.0.get_or_insert(panic);
                None
            }
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for Panics {
    #[inline]
    fn drop(&mut self) {
        // A second panic while the first unwinds would end the program.
        if let Some(panic) = self.0.take()
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
