use std::fmt;

/// A key that was not taken, given back.
///
/// ```
/// use tollgate::{AddError, WorkQueue};
///
/// let queue = WorkQueue::new(1)?;
/// queue.try_add("first").unwrap();
/// let kept = match queue.try_add("second") {
///     Err(AddError::Full(key)) => key, // for later
///     other => panic!("{other:?}"),
/// };
/// assert_eq!(kept, "second");
/// drop(queue.close());
/// let error = queue.try_add(kept).unwrap_err();
/// assert_eq!((error.to_string().as_str(), error.into_key()), ("the queue is closed", "second"));
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddError<K> {
    /// The queue is full and the key is not live.
    Full(K),
    /// The queue is closed.
    Closed(K),
}

impl<K> AddError<K> {
    /// The key.
    ///
    /// ```
    /// assert_eq!(tollgate::AddError::Full("key").into_key(), "key");
    /// ```
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
