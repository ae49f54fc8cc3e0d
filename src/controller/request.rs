use std::ops::Deref;

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
/// # queue.close();
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, K> {
    pub(super) key: &'a K,
    pub(super) failures: u32,
    pub(super) id: u64,
}

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
    pub const fn key(&self) -> &'a K {
        self.key
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
    /// # queue.close();
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn failures(&self) -> u32 {
        self.failures
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
        self.key
    }
}
