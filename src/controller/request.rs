use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use crate::queue::{AddError, AddOptions, InHand, Priority};

/// What is to be reconciled; it dereferences to the key.
///
/// ```
/// use std::sync::mpsc::{Sender, channel};
/// use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
///
/// struct Flaky(Sender<(String, u32)>);
///
/// impl Reconciler<String> for Flaky {
///     async fn reconcile(&self, request: Request<'_, String>) -> Result<Action, ReconcileError> {
///         self.0.send((request.to_uppercase(), request.failures()))?; // `to_uppercase` of the key
///         if request.failures() == 0 { Err("not yet".into()) } else { Ok(Action::done()) }
///     }
/// }
///
/// let (sender, runs) = channel();
/// let queue = WorkQueue::new(8)?;
/// let _workers = Controller::new(queue.clone(), Flaky(sender)).spawn_threads(1);
/// queue.try_add("ada".to_owned()).unwrap();
/// let runs: Vec<_> = runs.iter().take(2).collect();
/// assert_eq!(runs, [("ADA".to_owned(), 0), ("ADA".to_owned(), 1)]);
/// # drop(queue.close());
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Request<'a, K> {
    pub(super) work: &'a dyn InHand<K>,
    pub(super) id: u64,
}

impl<K> Clone for Request<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Request<'_, K> {}

impl<'a, K> Request<'a, K> {
    /// The key.
    ///
    /// ```
    /// use tollgate::{Action, ReconcileError, Reconciler, Request};
    ///
    /// /// It borrows from the key, not from the request.
    /// fn namespace<'a>(request: Request<'a, String>) -> Option<&'a str> {
    ///     request.key().split_once('/').map(|(namespace, _)| namespace)
    /// }
    /// # struct Check;
    /// # impl Reconciler<String> for Check {
    /// #     async fn reconcile(&self, request: Request<'_, String>) -> Result<Action, ReconcileError> {
    /// assert_eq!(namespace(request), Some("default"));
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// # let queue = tollgate::WorkQueue::new(8)?;
    /// # queue.try_add("default/ada".to_owned()).unwrap();
    /// # let workers = tollgate::Controller::new(queue, Check).spawn_threads(1);
    /// # let drained = workers.drain(std::time::Duration::from_secs(10)).wait();
    /// # assert!(drained.complete() && drained.returned.is_empty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn key(&self) -> &'a K {
        self.work.key()
    }

    /// How often in a row it has failed before.
    ///
    /// ```
    /// use tollgate::{Action, ReconcileError, Reconciler, Request};
    ///
    /// struct Impatient;
    ///
    /// impl Reconciler<u64> for Impatient {
    ///     async fn reconcile(&self, request: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///         match request.failures() {
    ///             0..3 => Err("perhaps the next time".into()),
    ///             _ => Err(ReconcileError::terminal("never")),
    ///         }
    ///     }
    /// }
    /// # let backoff = tollgate::FixedBackoff::new(std::time::Duration::ZERO);
    /// # let queue = tollgate::WorkQueue::builder(8).backoff(backoff).build()?;
    /// # queue.try_add(7).unwrap();
    /// # let workers = tollgate::Controller::new(queue.clone(), Impatient).spawn_threads(1);
    /// # while !queue.snapshot().is_empty() { std::thread::yield_now() }
    /// assert_eq!(workers.requests(), 4);
    /// # drop(queue.close());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn failures(&self) -> u32 {
        self.work.failures()
    }

    /// For how long the key was ready before: [`Work::queued`](crate::Work::queued).
    pub fn queued(&self) -> Duration {
        self.work.queued()
    }

    /// The priority with which the key was handed out.
    pub fn priority(&self) -> Priority {
        self.work.priority()
    }

    /// Whether the key was added while this runs: [`Work::is_dirty`](crate::Work::is_dirty).
    ///
    /// ```
    /// use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
    ///
    /// async fn build(request: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///     # assert!(!request.is_dirty());
    ///     # let pages = [1];
    ///     for page in pages {
    ///         if request.is_dirty() {
    ///             break; // what it builds is out of date, and the key runs once more
    ///         }
    ///         # let _ = page;
    ///     }
    ///     Ok(Action::done())
    /// }
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add(7).unwrap();
    /// let workers = Controller::new(queue.clone(), build).spawn_threads(1);
    /// let drained = workers.drain(std::time::Duration::from_secs(10)).wait();
    /// assert!(drained.complete() && drained.returned.is_empty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn is_dirty(&self) -> bool {
        self.work.is_dirty()
    }

    /// Waits until the key [is dirty](Self::is_dirty), to stop what is out of date:
    /// [`Work::dirtied`](crate::Work::dirtied). It does not end if nobody adds the key, so it stands
    /// beside the work itself in a `select!`.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub fn dirtied(&self) -> impl Future<Output = ()> + Send + use<'a, K> {
        self.work.dirtied()
    }

    /// Adds another key that this run has found to need work: [`Work::add_related`](crate::Work::add_related).
    /// It never waits, and may use the queue's [reserve](crate::queue::QueueBuilder::reserve).
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
    ///
    /// async fn reconcile(request: Request<'_, String>) -> Result<Action, ReconcileError> {
    ///     if !request.contains('/') {
    ///         request.add_related(format!("{}/child", *request))?;
    ///     }
    ///     Ok(Action::done())
    /// }
    ///
    /// let queue = WorkQueue::new(8)?;
    /// let workers = Controller::new(queue.clone(), reconcile).spawn_threads(1);
    /// queue.try_add("parent".to_owned()).unwrap();
    /// # while workers.requests() < 2 { std::thread::yield_now() }
    /// assert!(workers.drain(std::time::Duration::from_secs(10)).wait().complete());
    /// assert_eq!(workers.requests(), 2);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn add_related(&self, key: K) -> Result<(), AddError<K>> {
        self.add_related_with(key, AddOptions::new())
    }

    /// As [`add_related`](Self::add_related), with options.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    pub fn add_related_with(
        &self,
        key: K,
        options: impl Into<AddOptions>,
    ) -> Result<(), AddError<K>> {
        self.work.add_related(key, options.into())
    }

    /// A number that no other request of this controller has.
    ///
    /// ```
    /// use std::sync::mpsc::{Sender, channel};
    /// use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    ///
    /// struct Log(Sender<u64>);
    ///
    /// impl Reconciler<&'static str> for Log {
    ///     async fn reconcile(&self, request: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
    ///         self.0.send(request.id())?;
    ///         Ok(Action::requeue())
    ///     }
    /// }
    ///
    /// let (sender, ids) = channel();
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let workers = Controller::new(queue.clone(), Log(sender)).spawn_threads(1);
    /// assert_ne!(ids.recv(), ids.recv()); // of one key, and yet
    /// # workers.resize(0);
    /// # workers.stopped().wait();
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl<K> Deref for Request<'_, K> {
    type Target = K;

    fn deref(&self) -> &K {
        self.work.key()
    }
}

impl<K: fmt::Debug> fmt::Debug for Request<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key", self.key())
            .field("failures", &self.failures())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
