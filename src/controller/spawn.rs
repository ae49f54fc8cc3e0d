//! How the workers of a [`Controller`] are started.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use super::pool::{self, Spawn, spawn_thread};
use super::{Controller, Reconciler, WorkerFuture, Workers};
use crate::clock::Clock;

impl<K, R, C, S> Controller<K, R, C, S>
where
    K: fmt::Debug + Hash + Eq + Send + Sync + 'static,
    R: Reconciler<K> + 'static,
    C: Clock + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Starts `n` workers as threads, which run the reconciler's futures without a runtime.
    ///
    /// # Panics
    /// If the operating system does not start a thread, as [`Workers::resize`].
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
    /// # Panics
    /// If `spawn` panics, as [`Workers::resize`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
    ///
    /// async fn reconcile(_: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///     Ok(Action::done())
    /// }
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() {
    ///     let queue = WorkQueue::<u64>::new(100).unwrap();
    ///     queue.try_add(7).unwrap();
    ///     let workers = Controller::new(queue, reconcile).spawn_tasks(4, |worker| {
    ///         tokio::spawn(worker);
    ///     });
    ///     assert!(workers.drain(Duration::from_secs(10)).await.complete());
    /// }
    /// ```
    pub fn spawn_tasks(
        self,
        n: usize,
        spawn: impl Fn(WorkerFuture) + Send + Sync + 'static,
    ) -> Workers<K, C, S> {
        pool::start(self, n, Spawn::Tasks(Box::new(spawn)))
    }
}
