//! What a reconcile returns: an [`Action`] or a [`ReconcileError`].

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a successful reconcile asks for.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Action, ReconcileError, Request};
///
/// async fn reconcile(request: Request<'_, u64>) -> Result<Action, ReconcileError> {
///     match *request {
///         0 => Ok(Action::done()),
///         1 => Ok(Action::requeue_after(Duration::from_secs(3_600))), // a resync every hour
///         _ => Ok(Action::defer(Duration::from_secs(5))), // a dependency is not there yet
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Action(pub(super) NextRun);

/// When a reconciled key runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextRun {
    Never,
    After(Duration),
    /// The reconcile could not be done now.
    Deferred(Duration),
}

impl Action {
    /// Asks for nothing until the key is added again. Clears the key's failure count.
    pub const fn done() -> Self {
        Self(NextRun::Never)
    }

    /// Asks for another run at the tail of the ready keys. Clears the key's failure count.
    pub const fn requeue() -> Self {
        Self(NextRun::After(Duration::ZERO))
    }

    /// Asks for another run after `delay`, or earlier when the key is added. Clears the key's
    /// failure count.
    pub const fn requeue_after(delay: Duration) -> Self {
        Self(NextRun::After(delay))
    }

    /// Asks for another run after `delay`, or earlier when the key is added, and leaves the failure
    /// count as it is.
    ///
    /// Use it when the reconcile could not be tried: an object that the key depends on is missing,
    /// or the key's tenant has no token.
    pub const fn defer(delay: Duration) -> Self {
        Self(NextRun::Deferred(delay))
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// A failed reconcile. Every error converts into one that is retried with the queue's backoff.
///
/// ```
/// use std::time::Duration;
/// use tollgate::ReconcileError;
///
/// let retried = ReconcileError::from("the server is busy");
/// let later = ReconcileError::retry_after(Duration::from_secs(30), "503 Service Unavailable");
/// let given_up = ReconcileError::terminal("the spec makes no sense");
/// assert!(!retried.is_terminal() && !later.is_terminal() && given_up.is_terminal());
/// ```
#[derive(Debug)]
pub struct ReconcileError {
    source: BoxError,
    /// The error's own delay, instead of the queue's backoff.
    pub(super) delay: Option<Duration>,
    is_terminal: bool,
}

impl ReconcileError {
    fn new(source: BoxError, delay: Option<Duration>, is_terminal: bool) -> Self {
        Self {
            source,
            delay,
            is_terminal,
        }
    }

    /// Creates an error that no retry can mend: the key is a [dead
    /// letter](super::Controller::dead_letters).
    pub fn terminal(error: impl Into<BoxError>) -> Self {
        Self::new(error.into(), None, true)
    }

    /// Creates an error with its own delay, such as a 503 with `Retry-After`. It counts as a
    /// failure, and the key runs again after `delay` instead of the queue's backoff.
    pub fn retry_after(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self::new(error.into(), Some(delay), false)
    }

    /// Returns true if the error is not retried.
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Returns the error that was given.
    pub fn source(&self) -> &(dyn Error + 'static) {
        &*self.source
    }

    /// Returns the error that was given, by value.
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

/// Lets `?` convert the error where any error is returned.
impl From<ReconcileError> for Box<dyn Error> {
    fn from(error: ReconcileError) -> Self {
        error.source
    }
}

// Like `anyhow::Error`, this type does not implement `std::error::Error`: that would overlap with
// this conversion from every error type.
impl<E: Into<BoxError>> From<E> for ReconcileError {
    fn from(error: E) -> Self {
        Self::new(error.into(), None, false)
    }
}

impl fmt::Display for ReconcileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
