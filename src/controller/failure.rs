use std::fmt;
use std::time::Duration;

use super::ReconcileError;

/// A reconcile that failed: what [`Controller::on_failure`](super::Controller::on_failure) is told.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
/// use tollgate::{Action, Controller, FixedBackoff, ReconcileError, Request, WorkQueue};
///
/// async fn reconcile(request: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
///     assert!(*request == "ada", "no such user");
///     Err("the server is busy".into())
/// }
///
/// let (log, dead) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
/// let (told, letters) = (log.clone(), dead.clone());
/// let backoff = FixedBackoff::new(Duration::ZERO);
/// let queue = WorkQueue::builder(8).backoff(backoff).max_attempts(2).build()?;
/// let workers = Controller::new(queue.clone(), reconcile)
///     .on_failure(move |failure| {
///         let line = format!("{} {}: {}", failure.key(), failure.attempt(), failure.cause());
///         told.lock().unwrap().push((line, failure.retry_after()));
///     })
///     .dead_letters(move |key| letters.lock().unwrap().push(key))
///     .spawn_threads(1);
/// queue.try_add("ada").unwrap();
/// # while !queue.snapshot().is_empty() { std::thread::yield_now() }
/// queue.try_add("bob").unwrap();
/// assert!(workers.drain(Duration::from_secs(10)).wait().complete());
/// # workers.stopped().wait();
/// assert_eq!(*log.lock().unwrap(), [
///     ("ada 1: the server is busy".to_owned(), Some(Duration::ZERO)),
///     ("ada 2: the server is busy".to_owned(), None),
///     ("bob 1: panicked: no such user".to_owned(), Some(Duration::ZERO)),
///     ("bob 2: panicked: no such user".to_owned(), None),
/// ]);
/// assert_eq!(*dead.lock().unwrap(), ["ada", "bob"]);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a, K> {
    pub(super) key: &'a K,
    pub(super) cause: Cause<'a>,
    pub(super) attempt: u32,
    pub(super) retry_after: Option<Duration>,
    pub(super) id: u64,
}

impl<'a, K> Failure<'a, K> {
    /// The key.
    pub const fn key(&self) -> &'a K {
        self.key
    }

    /// What went wrong.
    pub const fn cause(&self) -> Cause<'a> {
        self.cause
    }

    /// Failures of the key in a row, this one included, as
    /// [`Work::failures`](crate::Work::failures) counts them.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long the key waits for its next run. `None`: it was the last attempt, or a
    /// [terminal](ReconcileError::terminal) error; the key runs again only if it was added meanwhile,
    /// and is a [dead letter](super::Controller::dead_letters) otherwise.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The number of the request: [`Request::id`](super::Request::id).
    pub const fn request_id(&self) -> u64 {
        self.id
    }
}

/// Why a reconcile failed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// It returned an error.
    Error(&'a ReconcileError),
    /// It panicked with this message.
    Panic(&'a str),
    /// It took longer than the controller's [time limit](super::Controller::timeout).
    TimedOut,
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Panic(message) => write!(f, "panicked: {message}"),
            Self::TimedOut => f.write_str("took too long"),
        }
    }
}
