//! [`Controller`]: runs a [`Reconciler`] over a [`WorkQueue`] with a pool of workers.

mod closure;
mod failure;
mod outcome;
mod pool;
mod request;
mod run;

use std::fmt;
use std::future::Future;
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

/// Brings the object that a key names to its desired state.
///
/// A reconciler is level-triggered: a call says that something about the key may have changed, not
/// what. It must be idempotent. The controller calls it with one key at a time, never twice at once
/// for the same key, and as often as needed.
///
/// An `async fn(Request<'_, K>) -> Result<Action, ReconcileError>` is a reconciler too.
///
/// ```
/// use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
///
/// struct Greeter {
///     greeting: &'static str,
/// }
///
/// impl Reconciler<String> for Greeter {
///     async fn reconcile(&self, request: Request<'_, String>) -> Result<Action, ReconcileError> {
///         let name = request.strip_prefix("user/").ok_or("not a user")?;
///         println!("{} {name}", self.greeting);
///         Ok(Action::done())
///     }
/// }
///
/// let queue = WorkQueue::new(100)?;
/// let workers = Controller::new(queue.clone(), Greeter { greeting: "hello" }).spawn_threads(2);
/// queue.try_add("user/ada".to_owned()).unwrap();
/// let drained = workers.drain(std::time::Duration::from_secs(10)).wait();
/// assert!(drained.complete() && drained.returned.is_empty());
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub trait Reconciler<K>: Send + Sync {
    /// Makes one attempt. An object that is gone is a success.
    ///
    /// # Errors
    /// Every error is retried with the queue's backoff, except [`ReconcileError::terminal`].
    ///
    /// # Panics
    /// A panic is caught and retried like an error.
    ///
    /// # Cancel safety
    /// The controller drops the future at the [time limit](Controller::timeout), and with a
    /// worker's task.
    fn reconcile(
        &self,
        request: Request<'_, K>,
    ) -> impl Future<Output = Result<Action, ReconcileError>> + Send;
}

/// Runs a [`Reconciler`] over a [`WorkQueue`] with a pool of workers.
///
/// Not a fit: workers with a loop of their own, such as one that takes batches or selects between
/// queues. They take keys by [`WorkQueue::get`] or [`WorkQueue::get_batch`].
///
/// | the reconcile | the key |
/// |---|---|
/// | fails, panics, or times out | runs again after the queue's backoff, or after the error's [own delay](ReconcileError::retry_after); after the last of the queue's [attempts](crate::queue::QueueBuilder::max_attempts) it is a [dead letter](Self::dead_letters) |
/// | fails with a [terminal error](ReconcileError::terminal) | is a dead letter |
/// | is [deferred](Action::defer) | runs again after the delay or when it is added; its failure count stays |
/// | asks to be [requeued](Action::requeue_after) | runs again after the delay or when it is added; its failure count is cleared |
/// | is [done](Action::done) | is released; its failure count is cleared |
///
/// In every case a key that was added during its run runs again: at once, unless an option of the
/// queue delays or drops that run, as [`Work`](crate::Work) says. A worker survives the panics of
/// a reconcile, of the destructors of what it leaves, and of an observer.
///
/// With the feature `tracing` each end is an event: `debug` if the reconcile returned an action,
/// `warn` if it failed or timed out, `error` if it panicked or the key is given up. Its fields are
/// `controller` (the [name](Self::name)), `request_id` and `resource_key`.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
///
/// async fn reconcile(request: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
///     match *request {
///         "pear" => Ok(Action::done()),
///         "stone" => Err(ReconcileError::terminal("not a fruit")),
///         unripe => Err(format!("the {unripe} is not ripe").into()),
///     }
/// }
///
/// let queue = WorkQueue::new(100)?;
/// let workers = Controller::new(queue.clone(), reconcile).name("fruit").spawn_threads(2);
/// for key in ["pear", "stone", "plum"] {
///     queue.try_add(key).unwrap();
/// }
/// let drained = workers.drain(Duration::from_secs(10)).wait();
/// assert_eq!(drained.returned, ["plum"]); // waits for its retry
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Controller<K, R, C: Clock = SystemClock, S = FastHash> {
    queue: WorkQueue<K, C, S>,
    reconciler: R,
    name: String,
    timeout: Option<Duration>,
    observer: Arc<dyn Observer>,
    on_failure: Option<FailureHook<K>>,
    dead_letters: Option<DeadLetters<K>>,
}

type FailureHook<K> = Box<dyn Fn(&Failure<'_, K>) + Send + Sync>;
type DeadLetters<K> = Box<dyn Fn(K) + Send + Sync>;

impl<K, R, C: Clock, S> Controller<K, R, C, S> {
    /// Creates a controller without a time limit and without an observer. No worker runs yet.
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

    /// Sets the name in events and of threads; `controller` unless set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets a time limit for each reconcile. At the limit the controller drops the future and
    /// retries the key.
    ///
    /// A future that blocks its thread is not interrupted: the limit applies when it is polled.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the observer of each reconcile's end: see [`Observer::reconciled`].
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Sets a function that is called with each reconcile that fails, panics or times out.
    ///
    /// It runs on the worker, before the key is released. If it panics, the key is retried. See
    /// [`Failure`] for an example.
    pub fn on_failure(mut self, hook: impl Fn(&Failure<'_, K>) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Box::new(hook));
        self
    }

    /// Sets a function that receives each key that is given up: a dead letter.
    ///
    /// A key is given up after the last of the queue's
    /// [attempts](crate::queue::QueueBuilder::max_attempts), or by a
    /// [terminal](ReconcileError::terminal) error; [`on_failure`](Self::on_failure) is called
    /// before. A key that was added meanwhile runs again instead. See [`Failure`] for an example.
    pub fn dead_letters(mut self, letters: impl Fn(K) + Send + Sync + 'static) -> Self {
        self.dead_letters = Some(Box::new(letters));
        self
    }
}

/// A worker as a future, which [`Controller::spawn_tasks`] hands to the runtime. It ends when the
/// queue is closed or the pool shrinks.
///
/// ```
/// use tollgate::controller::WorkerFuture;
///
/// /// Runs a worker on a thread of its own; any executor will do.
/// fn spawn(worker: WorkerFuture) {
///     std::thread::spawn(|| futures_executor::block_on(worker));
/// }
/// ```
pub type WorkerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<K, R, C: Clock, S> fmt::Debug for Controller<K, R, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
