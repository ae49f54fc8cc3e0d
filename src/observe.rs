//! What happens in a queue and a controller, for metrics.

use std::time::Duration;

/// Called on events of a [`WorkQueue`](crate::WorkQueue) and its [`Controller`](crate::Controller),
/// outside any lock.
///
/// Every method does nothing by default. Gauges are not here: read
/// [`WorkQueue::stats`](crate::WorkQueue::stats) when they are scraped, and they are never stale.
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
pub trait Observer: Send + Sync {
    /// A key was added and was not waiting already.
    fn added(&self) {}

    /// A key was added that was waiting already: one run will serve both.
    fn coalesced(&self) {}

    /// A key was refused: the queue was full or closed.
    fn rejected(&self) {}

    /// A key was handed to a worker after it had been ready for `queued`.
    fn started(&self, queued: Duration) {
        let _ = queued;
    }

    /// A worker ended with a key after `worked`.
    fn finished(&self, worked: Duration) {
        let _ = worked;
    }

    /// A key will be run again by the word of its worker.
    fn retried(&self) {}

    /// A reconcile ended.
    fn reconciled(&self, result: ReconcileResult, took: Duration) {
        let _ = (result, took);
    }
}

/// How a reconcile ended.
///
/// ```
/// assert_eq!(tollgate::ReconcileResult::RequeueAfter.label(), "requeue_after");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReconcileResult {
    /// Done.
    Success,
    /// It asked to be run again at once.
    Requeue,
    /// It asked to be run again after a time.
    RequeueAfter,
    /// It failed and will be retried.
    Error,
    /// It failed for good.
    TerminalError,
    /// It panicked and will be retried.
    Panic,
    /// It took longer than allowed and will be retried.
    Timeout,
}

impl ReconcileResult {
    /// The value of the label `result` that dashboards read: `success`, `requeue`, `requeue_after`
    /// or `error`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Requeue => "requeue",
            Self::RequeueAfter => "requeue_after",
            Self::Error | Self::TerminalError | Self::Panic | Self::Timeout => "error",
        }
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silent;

impl Observer for Silent {}
