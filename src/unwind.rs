//! Panics of the caller's code inside an operation that must still be finished.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Catches panics and resumes the first when it is dropped. Declare it before the guards of the
/// locks that must be released by then.
#[derive(Debug, Default)]
pub(crate) struct Panics(Option<Box<dyn Any + Send>>);

impl Panics {
    /// Returns the output of `run`; `None` if it panicked.
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

/// Returns the output of `run`; `None` if it panicked. For a caller that comes to the same panic again,
/// or can do without.
pub(crate) fn unless_panics<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

impl Drop for Panics {
    #[inline]
    fn drop(&mut self) {
        // A panic during unwinding would abort the process.
        if let Some(panic) = self.0.take()
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
