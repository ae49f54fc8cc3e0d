//! The error of an add, which gives the key back.

use std::fmt;

/// Why a key was not added; it holds the key.
///
/// ```
/// use tollgate::{AddError, WorkQueue};
///
/// let queue = WorkQueue::new(1)?;
/// queue.try_add("first").unwrap();
/// let kept = match queue.try_add("second") {
///     Err(AddError::Full(key)) => key, // to be added later
///     other => panic!("{other:?}"),
/// };
/// assert_eq!(kept, "second");
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddError<K> {
    /// The queue is full, and the key is not live.
    Full(K),
    /// The queue is closed.
    Closed(K),
}

impl<K> AddError<K> {
    /// Returns the key.
    pub fn into_key(self) -> K {
        match self {
            Self::Full(key) | Self::Closed(key) => key,
        }
    }
}

impl<K> fmt::Display for AddError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the queue is closed",
        })
    }
}

impl<K: fmt::Debug> std::error::Error for AddError<K> {}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_why_and_returns_the_key() {
        for (error, text) in [
            (AddError::Full(7), "the queue is full"),
            (AddError::Closed(7), "the queue is closed"),
        ] {
            assert_eq!((error.to_string().as_str(), error.into_key()), (text, 7));
        }
    }
}
