use std::error::Error;
use std::fmt;
use std::time::Duration;

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
pub struct Action(pub(super) Next);

/// When a key that was reconciled runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Never,
    After(Duration),
    /// It could not be reconciled now.
    Deferred(Duration),
}

impl Action {
    /// Nothing, until the key is added again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Done;
    /// impl Reconciler<u64> for Done {
    ///     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         Ok(Action::done())
    ///     }
    /// }
    /// # let queue = WorkQueue::new(8)?;
    /// # queue.try_add(7).unwrap();
    /// # let workers = Controller::new(queue.clone(), Done).spawn_threads(1);
    ///
    /// let drained = workers.drain(Duration::from_secs(10)).wait();
    /// assert_eq!((workers.requests(), drained.returned), (1, vec![]));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn done() -> Self {
        Self(Next::Never)
    }

    /// Another run, behind the keys that are ready.
    ///
    /// ```
    /// # use std::sync::atomic::{AtomicU32, Ordering};
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// struct Pages(AtomicU32);
    ///
    /// impl Reconciler<u64> for Pages {
    ///     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         let left = self.0.fetch_sub(1, Ordering::Relaxed) - 1;
    ///         Ok(if left > 0 { Action::requeue() } else { Action::done() })
    ///     }
    /// }
    /// # let queue = WorkQueue::new(8)?;
    /// # queue.try_add(7).unwrap();
    ///
    /// let workers = Controller::new(queue.clone(), Pages(AtomicU32::new(3))).spawn_threads(1);
    /// assert!(workers.drain(Duration::from_secs(10)).wait().complete());
    /// assert_eq!(workers.requests(), 3);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn requeue() -> Self {
        Self(Next::After(Duration::ZERO))
    }

    /// Another run after `delay`, or when the key is added.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Hourly;
    /// impl Reconciler<u64> for Hourly {
    ///     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         Ok(Action::requeue_after(Duration::from_secs(3600)))
    ///     }
    /// }
    /// # let queue = WorkQueue::new(8)?;
    /// # queue.try_add(7).unwrap();
    /// # let workers = Controller::new(queue.clone(), Hourly).spawn_threads(1);
    ///
    /// let drained = workers.drain(Duration::from_secs(10)).wait();
    /// assert_eq!((workers.requests(), drained.returned), (1, vec![7])); // it would have run again
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn requeue_after(delay: Duration) -> Self {
        Self(Next::After(delay))
    }

    /// Not now: something that the key depends on is not there, or its tenant has no token. Another run
    /// after `delay`, or when the key is added, which neither counts as a failure nor clears those that
    /// the key has.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # use tollgate::{Denied, LockedTokenBucket, Quota, RateLimiter};
    /// struct Limited(LockedTokenBucket);
    ///
    /// impl Reconciler<u64> for Limited {
    ///     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         match self.0.try_acquire(1) {
    ///             Ok(()) => Ok(Action::done()),
    ///             Err(Denied::NotYet { retry_after }) => Ok(Action::defer(retry_after)),
    ///             Err(denied) => Err(denied.into()),
    ///         }
    ///     }
    /// }
    /// # let queue = WorkQueue::new(8)?;
    /// # queue.try_add(7).unwrap();
    /// # queue.try_add(8).unwrap();
    /// # let limiter = LockedTokenBucket::new(Quota::per_hour(1)?)?;
    /// # let workers = Controller::new(queue.clone(), Limited(limiter)).spawn_threads(1);
    ///
    /// let drained = workers.drain(Duration::from_secs(10)).wait();
    /// assert_eq!(drained.returned, [8]); // it would run in an hour
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn defer(delay: Duration) -> Self {
        Self(Next::Deferred(delay))
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
    pub(super) then: Then,
}

/// What follows an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Backoff,
    RetryAfter(Duration),
    Nothing,
}

impl ReconcileError {
    /// An error that no retry can mend.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Even;
    /// impl Reconciler<u64> for Even {
    ///     async fn reconcile(&self, request: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         match *request % 2 {
    ///             0 => Err("busy".into()),
    ///             _ => Err(ReconcileError::terminal("odd")),
    ///         }
    ///     }
    /// }
    /// # let queue = WorkQueue::new(8)?;
    /// # queue.try_add(7).unwrap();
    /// # queue.try_add(8).unwrap();
    /// # let workers = Controller::new(queue.clone(), Even).spawn_threads(1);
    ///
    /// let drained = workers.drain(Duration::from_secs(10)).wait();
    /// assert_eq!(drained.returned, [8]); // nobody wants the 7 again
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn terminal(error: impl Into<BoxError>) -> Self {
        Self {
            source: error.into(),
            then: Then::Nothing,
        }
    }

    /// An error that says when to come back, such as a 503 with a `Retry-After`. It counts as a failure,
    /// and the key runs again after `delay` instead of the queue's backoff.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// struct Busy;
    ///
    /// impl Reconciler<u64> for Busy {
    ///     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         let half_a_minute = Duration::from_secs(30);
    ///         Err(ReconcileError::retry_after(half_a_minute, "503 Service Unavailable"))
    ///     }
    /// }
    /// # let queue = WorkQueue::new(8)?;
    /// # queue.try_add(7).unwrap();
    /// # let workers = Controller::new(queue.clone(), Busy).spawn_threads(1);
    /// # while workers.requests() < 1 || queue.stats().delayed < 1 { std::thread::yield_now() }
    /// let due_in = queue.snapshot()[0].due_in.unwrap();
    /// assert!(due_in > Duration::from_secs(20));
    /// # drop(queue.close());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn retry_after(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self {
            source: error.into(),
            then: Then::RetryAfter(delay),
        }
    }

    /// Whether it is not retried.
    ///
    /// ```
    /// use tollgate::ReconcileError;
    ///
    /// let error = "seven".parse::<u32>().unwrap_err();
    /// assert!(!ReconcileError::from(error.clone()).is_terminal());
    /// assert!(ReconcileError::terminal(error).is_terminal());
    /// ```
    pub const fn is_terminal(&self) -> bool {
        matches!(self.then, Then::Nothing)
    }

    /// The error itself.
    ///
    /// ```
    /// use std::num::ParseIntError;
    /// use tollgate::ReconcileError;
    ///
    /// let error = ReconcileError::from("seven".parse::<u32>().unwrap_err());
    /// assert!(error.source().is::<ParseIntError>());
    /// ```
    pub fn source(&self) -> &(dyn Error + 'static) {
        &*self.source
    }

    /// As [`source`](Self::source), by value.
    ///
    /// ```
    /// use tollgate::ReconcileError;
    ///
    /// let error = ReconcileError::terminal("no such zone").into_source();
    /// assert_eq!(error.to_string(), "no such zone");
    /// ```
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

/// So that `?` takes it where any error is returned.
///
/// ```
/// use tollgate::ReconcileError;
///
/// fn main_of_a_tool() -> Result<(), Box<dyn std::error::Error>> {
///     Err(ReconcileError::from("the server is busy"))?
/// }
/// assert_eq!(main_of_a_tool().unwrap_err().to_string(), "the server is busy");
/// ```
impl From<ReconcileError> for Box<dyn Error> {
    fn from(error: ReconcileError) -> Self {
        error.source
    }
}

// As `anyhow`'s, this type is no `std::error::Error` itself, so that it can be made from every type
// that is.
impl<E: Into<BoxError>> From<E> for ReconcileError {
    fn from(error: E) -> Self {
        Self {
            source: error.into(),
            then: Then::Backoff,
        }
    }
}

impl fmt::Display for ReconcileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
