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
///
/// All that a queue tells; of what a controller tells, see [`reconciled`](Self::reconciled):
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
/// use tollgate::{AddOptions, Observer, WorkQueue};
///
/// #[derive(Default)]
/// struct Log(Mutex<Vec<&'static str>>);
/// # impl Log {
/// #     fn log(&self, event: &'static str) { self.0.lock().unwrap().push(event) }
/// #     fn take(&self) -> Vec<&'static str> { std::mem::take(&mut self.0.lock().unwrap()) }
/// # }
///
/// impl Observer for Log {
///     fn added(&self) { self.log("added") }
///     fn coalesced(&self) { self.log("coalesced") }
///     fn rejected(&self) { self.log("rejected") }
///     fn started(&self, _queued: Duration) { self.log("started") }
///     fn finished(&self, _worked: Duration) { self.log("finished") }
///     fn retried(&self) { self.log("retried") }
///     fn deferred(&self) { self.log("deferred") }
///     fn gave_up(&self) { self.log("gave up") }
///     fn failed(&self) { self.log("failed") }
/// }
///
/// let log = Arc::new(Log::default());
/// let queue = WorkQueue::builder(1).max_attempts(1).observer(log.clone()).build()?;
/// let refused = queue.try_add_batch(["a", "a", "b"], AddOptions::new());
/// assert_eq!((log.take(), refused.len()), (vec!["added", "coalesced", "rejected"], 1));
/// queue.try_get().unwrap().requeue();
/// assert_eq!(log.take(), ["started", "finished", "retried"]);
/// queue.try_get().unwrap().defer(Duration::ZERO);
/// assert_eq!(log.take(), ["started", "finished", "deferred"]);
/// assert_eq!(queue.try_get().unwrap().retry(), Some("a"));
/// assert_eq!(log.take(), ["started", "finished", "gave up"]);
/// queue.try_add("a").unwrap();
/// assert_eq!(queue.try_get().unwrap().fail(), Some("a"));
/// assert_eq!(log.take(), ["added", "started", "finished", "failed"]);
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

    /// A key could not be worked on now: it will be run again, and its failures are what they were.
    fn deferred(&self) {}

    /// The limiter of a queue, or of one of its groups, was found closed: no key behind it starts any more.
    /// Told once of each.
    fn limiter_closed(&self) {}

    /// A key failed for the last time that it may: it will not be run again by itself.
    fn gave_up(&self) {}

    /// A worker says that a key has failed for good.
    fn failed(&self) {}

    /// A reconcile ended.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// use tollgate::{Observer, ReconcileResult};
    ///
    /// #[derive(Default)]
    /// struct Results(Mutex<Vec<ReconcileResult>>);
    ///
    /// impl Observer for Results {
    ///     fn reconciled(&self, result: ReconcileResult, _took: Duration) {
    ///         self.0.lock().unwrap().push(result);
    ///     }
    /// }
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// # let queue = WorkQueue::new(100)?;
    /// # queue.try_add(7).unwrap();
    ///
    /// let results = Arc::new(Results::default());
    /// let workers = Controller::new(queue.clone(), Nothing).observer(results.clone()).spawn_threads(1);
    /// drop(queue.close());
    /// workers.stopped().wait();
    /// assert_eq!(*results.0.lock().unwrap(), [ReconcileResult::Success]);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
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
    /// It could not be done now, and will be run again after a time.
    Deferred,
    /// It failed and will be retried, unless it was the last attempt.
    Error,
    /// It failed for good.
    TerminalError,
    /// It panicked and will be retried, unless it was the last attempt.
    Panic,
    /// It took longer than allowed and will be retried, unless it was the last attempt.
    Timeout,
}

impl ReconcileResult {
    /// The value of the label `result` that dashboards read: `success`, `requeue`, `requeue_after`
    /// or `error`.
    ///
    /// ```
    /// use tollgate::ReconcileResult::{Panic, Requeue, Success, TerminalError};
    ///
    /// assert_eq!([Success, Requeue].map(|result| result.label()), ["success", "requeue"]);
    /// assert_eq!([Panic, TerminalError].map(|result| result.label()), ["error", "error"]);
    /// ```
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Requeue => "requeue",
            Self::RequeueAfter | Self::Deferred => "requeue_after",
            Self::Error | Self::TerminalError | Self::Panic | Self::Timeout => "error",
        }
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silent;

impl Observer for Silent {}
