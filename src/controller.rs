//! Drives a [`Reconciler`] from a [`WorkQueue`].

mod closure;
mod failure;
mod outcome;
mod pool;
mod request;
mod run;

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use failure::{Cause, Failure};
pub use outcome::{Action, ReconcileError};
pub use pool::{Stopped, Workers};
pub use request::Request;

use crate::clock::{Clock, SystemClock};
use crate::observe::{Observer, Silent};
use crate::queue::{FastHash, WorkQueue};
use pool::{Spawn, spawn_thread};

/// Brings the thing that a key names to its desired state.
///
/// It is called with one key at a time, never twice at once for the same key, and as often as it
/// takes. It must be idempotent: what it is told is that something may have changed, not what.
///
/// ```
/// use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
///
/// struct Greeter;
///
/// impl Reconciler<String> for Greeter {
///     async fn reconcile(&self, request: Request<'_, String>) -> Result<Action, ReconcileError> {
///         let name = request.strip_prefix("user/").ok_or("not a user")?;
///         assert_eq!(name, "ada");
///         Ok(Action::done())
///     }
/// }
///
/// let queue = WorkQueue::new(100)?;
/// let workers = Controller::new(queue.clone(), Greeter).spawn_threads(2);
/// queue.try_add("user/ada".to_owned()).unwrap();
/// let drained = workers.drain(std::time::Duration::from_secs(10)).wait();
/// assert!(drained.complete() && drained.returned.is_empty());
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub trait Reconciler<K>: Send + Sync {
    /// One attempt. A thing that is gone is a success.
    ///
    /// # Errors
    /// Any error is retried with the queue's backoff; [`ReconcileError::terminal`] is not.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// struct Squares;
    ///
    /// impl Reconciler<u64> for Squares {
    ///     async fn reconcile(&self, request: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         let square = request.checked_mul(*request).ok_or("too large")?; // retried
    ///         assert_eq!(square, 49); // so is a panic
    ///         Ok(Action::done())
    ///     }
    /// }
    ///
    /// let queue = WorkQueue::new(8)?;
    /// let workers = Controller::new(queue.clone(), Squares).spawn_threads(1);
    /// queue.try_add(7).unwrap();
    /// queue.try_add(u64::MAX).unwrap();
    /// let drained = workers.drain(std::time::Duration::from_secs(10)).wait();
    /// assert_eq!(drained.returned, [u64::MAX]); // it would be retried
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    fn reconcile(
        &self,
        request: Request<'_, K>,
    ) -> impl Future<Output = Result<Action, ReconcileError>> + Send;
}

/// Runs a [`Reconciler`] with n workers over a [`WorkQueue`].
///
/// | the reconcile | the key |
/// |---|---|
/// | fails, panics, or takes too long | runs again after the queue's backoff, or after the error's [own delay](ReconcileError::retry_after); after the last of the queue's [attempts](crate::queue::QueueBuilder::max_attempts) it is a [dead letter](Self::dead_letters) |
/// | fails [for good](ReconcileError::terminal) | is a dead letter |
/// | [cannot be done now](Action::defer) | runs again, then or when it is added; its failures are what they were |
/// | asks to be [requeued](Action::requeue_after) | runs again, then or when it is added; its failures are forgotten |
/// | is done | is let go; its failures are forgotten |
///
/// In every case a key that was added meanwhile runs again at once. A worker outlives panics: those
/// of a reconcile, of what it leaves to be dropped, and of an observer.
///
/// With the feature `tracing` each end is an event: `debug` if it returned an action, `warn` if it
/// failed or took too long, `error` if it panicked or was given up. Its fields are `controller` (the
/// [name](Self::name)), `request_id` and `resource_key`.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
///
/// struct Picky;
///
/// impl Reconciler<&'static str> for Picky {
///     async fn reconcile(&self, request: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
///         match *request {
///             "pear" => Ok(Action::done()),
///             "stone" => Err(ReconcileError::terminal("not a fruit")),
///             unripe => Err(format!("the {unripe} is not ripe").into()),
///         }
///     }
/// }
///
/// let queue = WorkQueue::new(100)?;
/// let workers = Controller::new(queue.clone(), Picky).name("fruit").spawn_threads(2);
/// assert!(queue.try_add_batch(["pear", "stone", "plum"], tollgate::AddOptions::new()).is_empty());
/// let drained = workers.drain(Duration::from_secs(10)).wait();
/// assert_eq!(drained.returned, ["plum"]); // it would be retried
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Controller<K, R, C: Clock = SystemClock, S = FastHash> {
    queue: WorkQueue<K, C, S>,
    reconciler: R,
    name: String,
    timeout: Option<Duration>,
    observer: Arc<dyn Observer>,
    on_failure: Option<OnFailure<K>>,
    dead_letters: Option<DeadLetters<K>>,
}

type OnFailure<K> = Box<dyn Fn(&Failure<'_, K>) + Send + Sync>;
type DeadLetters<K> = Box<dyn Fn(K) + Send + Sync>;

impl<K, R, C: Clock, S> Controller<K, R, C, S> {
    /// A controller without a time limit or an observer.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// let queue = WorkQueue::new(100)?;
    /// let controller = Controller::new(queue.clone(), Nothing);
    /// queue.try_add(7).unwrap();
    /// assert_eq!(queue.stats().ready, 1); // no worker runs before it is spawned
    /// let workers = controller.spawn_threads(1);
    /// assert!(workers.drain(std::time::Duration::from_secs(10)).wait().complete());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn new(queue: WorkQueue<K, C, S>, reconciler: R) -> Self {
        let name = "controller".to_owned();
        Self {
            queue,
            reconciler,
            name,
            timeout: None,
            observer: Arc::new(Silent),
            on_failure: None,
            dead_letters: None,
        }
    }

    /// The name in logs and of threads; `controller` unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Check;
    /// impl Reconciler<u64> for Check {
    ///     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         assert_eq!(std::thread::current().name(), Some("databases"));
    ///         Ok(Action::done())
    ///     }
    /// }
    ///
    /// let queue = WorkQueue::new(100)?;
    /// queue.try_add(7).unwrap();
    /// let workers = Controller::new(queue, Check).name("databases").spawn_threads(1);
    /// let drained = workers.drain(Duration::from_secs(10)).wait();
    /// assert!(drained.complete() && drained.returned.is_empty()); // it did not panic
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Cancels a reconcile that takes longer than this, by dropping its future, and retries it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Stuck;
    /// impl Reconciler<u64> for Stuck {
    ///     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         std::future::pending().await
    ///     }
    /// }
    ///
    /// let queue = WorkQueue::new(100)?;
    /// queue.try_add(7).unwrap();
    /// let workers = Controller::new(queue, Stuck).timeout(Duration::from_millis(1)).spawn_threads(1);
    /// let drained = workers.drain(Duration::from_secs(10)).wait();
    /// assert!(drained.complete() && drained.returned == [7]);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Who is told how each reconcile ended.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// use tollgate::{Observer, ReconcileResult};
    ///
    /// #[derive(Default)]
    /// struct Panics(AtomicU64);
    ///
    /// impl Observer for Panics {
    ///     fn reconciled(&self, result: ReconcileResult, _took: Duration) {
    ///         self.0.fetch_add((result == ReconcileResult::Panic).into(), Ordering::Relaxed);
    ///     }
    /// }
    /// # struct Bomb;
    /// # impl Reconciler<u64> for Bomb {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         std::panic::resume_unwind(Box::new("on purpose"))
    /// #     }
    /// # }
    /// # let queue = WorkQueue::new(100)?;
    /// # queue.try_add(7).unwrap();
    /// # drop(queue.close()); // so that it is not run again
    ///
    /// let panics = Arc::new(Panics::default());
    /// let workers = Controller::new(queue, Bomb).observer(panics.clone()).spawn_threads(1);
    /// workers.stopped().wait();
    /// assert_eq!(panics.0.load(Ordering::Relaxed), 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Is told of each reconcile that fails, panics or takes too long: of which key, why, how often in a
    /// row, and when it runs again. It is called on the worker, before the key is released; see
    /// [`Failure`] for an example. If it panics, the key is retried.
    pub fn on_failure(mut self, told: impl Fn(&Failure<'_, K>) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Box::new(told));
        self
    }

    /// Gets each key that is given up: after the last of the queue's
    /// [attempts](crate::queue::QueueBuilder::max_attempts), or by a
    /// [terminal](ReconcileError::terminal) error. A key that was added meanwhile runs again instead.
    /// [`on_failure`](Self::on_failure) was told why before; see [`Failure`] for an example.
    pub fn dead_letters(mut self, letters: impl Fn(K) + Send + Sync + 'static) -> Self {
        self.dead_letters = Some(Box::new(letters));
        self
    }
}

/// What [`Controller::spawn_tasks`] hands to the runtime: a worker's whole life.
///
/// ```
/// use tollgate::controller::WorkerFuture;
/// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
/// # struct Nothing;
/// # impl Reconciler<u64> for Nothing {
/// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
/// #         Ok(Action::done())
/// #     }
/// # }
///
/// fn spawn(worker: WorkerFuture) {
///     std::thread::spawn(|| futures_executor::block_on(worker)); // or any other executor
/// }
///
/// let queue = WorkQueue::new(100)?;
/// let workers = Controller::new(queue.clone(), Nothing).spawn_tasks(2, spawn);
/// queue.try_add(7).unwrap();
/// assert!(workers.drain(std::time::Duration::from_secs(10)).wait().complete());
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub type WorkerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<K, R, C, S> Controller<K, R, C, S>
where
    K: fmt::Debug + Hash + Eq + Send + Sync + 'static,
    R: Reconciler<K> + 'static,
    C: Clock + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Starts `n` workers as threads. The reconciler's futures run on them without a runtime.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// let queue = WorkQueue::new(100)?;
    /// let workers = Controller::new(queue.clone(), Nothing).spawn_threads(4);
    /// assert_eq!(workers.running(), 4);
    /// queue.try_add(7).unwrap();
    /// assert!(workers.drain(std::time::Duration::from_secs(10)).wait().complete());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn spawn_threads(self, n: usize) -> Workers<K, C, S> {
        let name = self.name.clone();
        pool::start(
            self,
            n,
            Spawn::Threads(Box::new(move |body| spawn_thread(&name, body))),
        )
    }

    /// Starts `n` workers as tasks, each handed to `spawn`.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let queue = WorkQueue::new(100).unwrap();
    /// let workers = Controller::new(queue.clone(), Nothing).spawn_tasks(4, |worker| {
    ///     tokio::spawn(worker);
    /// });
    /// queue.try_add(7).unwrap();
    /// assert!(workers.drain(std::time::Duration::from_secs(10)).await.complete());
    /// # }
    /// ```
    pub fn spawn_tasks(
        self,
        n: usize,
        spawn: impl Fn(WorkerFuture) + Send + Sync + 'static,
    ) -> Workers<K, C, S> {
        pool::start(self, n, Spawn::Tasks(Box::new(spawn)))
    }
}

impl<K, R, C: Clock, S> fmt::Debug for Controller<K, R, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
