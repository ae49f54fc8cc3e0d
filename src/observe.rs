//! [`Observer`]: the events of a queue and its controller, for metrics.

use std::time::Duration;

/// Receives the events of a [`WorkQueue`](crate::WorkQueue) and its
/// [`Controller`](crate::Controller): see
/// [`QueueBuilder::observer`](crate::queue::QueueBuilder::observer) and
/// [`Controller::observer`](crate::Controller::observer).
///
/// The methods do nothing by default. They are called outside any lock, on the thread of the caller
/// or the worker, which waits for them: count, and return. A panic reaches that caller.
///
/// There are no gauges: read [`WorkQueue::stats`](crate::WorkQueue::stats) when they are scraped, so
/// that they are never stale.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tollgate::{Observer, WorkQueue};
///
/// #[derive(Default)]
/// struct Adds(AtomicU64);
///
/// impl Observer for Adds {
///     fn added(&self) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let adds = Arc::new(Adds::default());
/// let queue = WorkQueue::builder(8).observer(adds.clone()).build()?;
/// queue.try_add("key").unwrap();
/// queue.try_add("key").unwrap(); // the same key waits already
/// assert_eq!(adds.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[expect(
    unused_variables,
    reason = "the defaults do nothing, and the names are documentation"
)]
pub trait Observer: Send + Sync {
    /// An add took effect: its key runs because of it, or runs sooner.
    fn added(&self) {}

    /// An add changed nothing: its key was to run already, and one run serves both adds.
    fn coalesced(&self) {}

    /// A key was refused: the queue was full or closed.
    fn rejected(&self) {}

    /// A key was handed to a worker after being ready for `queued`.
    fn started(&self, queued: Duration) {}

    /// A worker ended its run of a key after `worked`.
    fn finished(&self, worked: Duration) {}

    /// A key runs again: its worker requeued it, or its run failed and is retried.
    fn retried(&self) {}

    /// A worker deferred a key: it runs again, and its failure count stays.
    fn deferred(&self) {}

    /// The limiter of a queue, or of one of its groups, was found closed: no key behind it starts
    /// any more. Reported once for each.
    fn limiter_closed(&self) {}

    /// A key failed its last attempt: it is not retried.
    fn gave_up(&self) {}

    /// A worker ended a key with a terminal failure: it is not retried.
    fn failed(&self) {}

    /// A reconcile ended with `result` after `took`.
    fn reconciled(&self, result: ReconcileResult, took: Duration) {}
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReconcileResult {
    /// It is done.
    Success,
    /// It asked to be run again at once.
    Requeue,
    /// It asked to be run again after a delay.
    RequeueAfter,
    /// It could not be done now, and runs again after a delay.
    Deferred,
    /// It failed; the key is retried unless this was the last attempt.
    Error,
    /// It failed with a terminal error.
    TerminalError,
    /// It panicked; the key is retried unless this was the last attempt.
    Panic,
    /// It exceeded the time limit; the key is retried unless this was the last attempt.
    Timeout,
}

impl ReconcileResult {
    /// Returns the value of the label `result` in controller-runtime's metrics: `success`,
    /// `requeue`, `requeue_after` or `error`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Requeue => "requeue",
            Self::RequeueAfter | Self::Deferred => "requeue_after",
            Self::Error | Self::TerminalError | Self::Panic | Self::Timeout => "error",
        }
    }
}

/// The default observer, which does nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silent;

impl Observer for Silent {}
