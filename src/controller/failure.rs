//! [`Failure`]: what the failure hook of a controller learns of a failed reconcile.

use std::fmt;
use std::time::Duration;

use super::ReconcileError;

/// A reconcile that failed, as [`Controller::on_failure`](super::Controller::on_failure) reports
/// it.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
///
/// async fn reconcile(_: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
///     Err("the server is busy".into())
/// }
///
/// let queue = WorkQueue::builder(8).max_attempts(3).build()?;
/// let workers = Controller::new(queue.clone(), reconcile)
///     .on_failure(|failure| match failure.retry_after() {
///         Some(delay) => println!("{}: {}; again in {delay:?}", failure.key(), failure.cause()),
///         None => println!("{}: {}; given up", failure.key(), failure.cause()),
///     })
///     .dead_letters(|key| println!("dead letter: {key}"))
///     .spawn_threads(1);
/// queue.try_add("ada").unwrap();
/// assert!(workers.drain(Duration::from_secs(10)).wait().complete());
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
    /// Returns the key.
    pub const fn key(&self) -> &'a K {
        self.key
    }

    /// Returns why the reconcile failed.
    pub const fn cause(&self) -> Cause<'a> {
        self.cause
    }

    /// Returns the key's failures in a row, this one included, as
    /// [`Work::failures`](crate::Work::failures) counts them.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns how long the key waits for its next run.
    ///
    /// `None` after the last attempt or a [terminal](ReconcileError::terminal) error: the key runs
    /// again only if it was added meanwhile, and is a [dead
    /// letter](super::Controller::dead_letters) otherwise.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns the number of the request: [`Request::id`](super::Request::id).
    pub const fn request_id(&self) -> u64 {
        self.id
    }
}

/// Why a reconcile failed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// The reconciler returned an error.
    Error(&'a ReconcileError),
    /// The reconciler panicked with this message.
    Panic(&'a str),
    /// The reconcile took longer than the controller's [time limit](super::Controller::timeout).
    TimedOut,
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Panic(message) => write!(f, "panicked: {message}"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}
