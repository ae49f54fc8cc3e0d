//! Drives a [`Reconciler`] from a [`WorkQueue`].

mod pool;
mod run;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use pool::{Stopped, Workers};

use crate::clock::{SystemClock, Timer};
use crate::observe::{Observer, Silent};
use crate::queue::WorkQueue;
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
    fn reconcile(
        &self,
        request: Request<'_, K>,
    ) -> impl Future<Output = Result<Action, ReconcileError>> + Send;
}

/// What is to be reconciled; it dereferences to the key.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, K> {
    key: &'a K,
    failures: u32,
    id: u64,
}

impl<'a, K> Request<'a, K> {
    /// The key.
    pub const fn key(&self) -> &'a K {
        self.key
    }

    /// How often in a row it has failed before.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A number that no other request of this controller has.
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl<K> Deref for Request<'_, K> {
    type Target = K;

    fn deref(&self) -> &K {
        self.key
    }
}

/// What a successful reconcile asks for.
///
/// ```
/// use std::time::Duration;
/// use tollgate::Action;
///
/// assert_eq!(Action::requeue_after(Duration::ZERO), Action::requeue());
/// assert_ne!(Action::requeue(), Action::done());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Action(pub(crate) Option<Duration>);

impl Action {
    /// Nothing, until the key is added again.
    pub const fn done() -> Self {
        Self(None)
    }

    /// Another run, behind the keys that are ready.
    pub const fn requeue() -> Self {
        Self(Some(Duration::ZERO))
    }

    /// Another run after `delay`, or when the key is added.
    pub const fn requeue_after(delay: Duration) -> Self {
        Self(Some(delay))
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// A failed reconcile. Every error converts into one that is retried.
///
/// ```
/// use tollgate::ReconcileError;
///
/// let retried = ReconcileError::from("the server is busy");
/// let given_up = ReconcileError::terminal("the spec makes no sense");
/// assert!(!retried.is_terminal() && given_up.is_terminal());
/// assert_eq!(given_up.to_string(), "the spec makes no sense");
/// ```
#[derive(Debug)]
pub struct ReconcileError {
    source: BoxError,
    terminal: bool,
}

impl ReconcileError {
    /// An error that no retry can mend.
    pub fn terminal(error: impl Into<BoxError>) -> Self {
        Self {
            source: error.into(),
            terminal: true,
        }
    }

    /// Whether it is retried.
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The error itself.
    pub fn source(&self) -> &(dyn Error + 'static) {
        &*self.source
    }
}

// As `anyhow`'s, this type is no `std::error::Error` itself, so that it can be made from every type
// that is.
impl<E: Into<BoxError>> From<E> for ReconcileError {
    fn from(error: E) -> Self {
        Self {
            source: error.into(),
            terminal: false,
        }
    }
}

impl fmt::Display for ReconcileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// Runs a [`Reconciler`] with n workers over a [`WorkQueue`].
///
/// | the reconcile | the key |
/// |---|---|
/// | fails, panics, or takes too long | runs again after the queue's backoff |
/// | fails for good | is let go |
/// | asks to be requeued | runs again, then or when it is added; its failures are forgotten |
/// | is done | is let go; its failures are forgotten |
///
/// In every case a key that was added meanwhile runs again at once.
pub struct Controller<K, R, C: Timer = SystemClock> {
    queue: WorkQueue<K, C>,
    reconciler: R,
    name: String,
    timeout: Option<Duration>,
    observer: Arc<dyn Observer>,
}

impl<K, R, C: Timer> Controller<K, R, C> {
    /// A controller without a time limit or an observer.
    pub fn new(queue: WorkQueue<K, C>, reconciler: R) -> Self {
        let name = "controller".to_owned();
        Self {
            queue,
            reconciler,
            name,
            timeout: None,
            observer: Arc::new(Silent),
        }
    }

    /// The name in logs and of threads; `controller` unless set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Cancels a reconcile that takes longer than this, by dropping its future, and retries it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Who is told how each reconcile ended.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }
}

/// What [`Controller::spawn_tasks`] hands to the runtime: a worker's whole life.
pub type WorkerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<K, R, C> Controller<K, R, C>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static,
    R: Reconciler<K> + 'static,
    C: Timer + Send + Sync + 'static,
{
    /// Starts `n` workers as threads. The reconciler's futures run on them without a runtime.
    pub fn spawn_threads(self, n: usize) -> Workers<K, C> {
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
    ) -> Workers<K, C> {
        pool::start(self, n, Spawn::Tasks(Box::new(spawn)))
    }
}

impl<K, R, C: Timer> fmt::Debug for Controller<K, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
