//! A controller that is set up, and one that runs, with their kinds erased.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use kube::runtime::reflector::{ObjectRef, Store};
use serde::Serialize;
use tokio::task::JoinSet;
use tollgate::controller::Failure;
use tollgate::integrations::metrics::Gauges;
use tollgate::queue::AddError;
use tollgate::{AddOptions, Controller, Observer, Priority, SystemClock, Workers};

use super::feed::{Feed, lock};
use crate::context::{Reconciler, Shared};
use crate::debug::{LastErrors, QueueState};
use crate::drive::{Drive, key_of, path_of};
use crate::kinds::Kind;
use crate::leading::Leading;

/// A controller before it starts.
pub(super) struct Ready<K: Kind, R> {
    pub(super) name: String,
    pub(super) concurrency: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) feed: Feed<K>,
    pub(super) stores: Vec<Store<K>>,
    pub(super) reconciler: R,
}

/// A controller whose kind is erased, before it starts.
pub(crate) trait AnyController: Send {
    fn name(&self) -> &str;
    fn concurrency(&self) -> usize;
    fn start(self: Box<Self>, shared: Arc<Shared>, leading: Leading) -> Box<dyn AnyRunning>;
}

impl<K: Kind, R: Reconciler<K>> AnyController for Ready<K, R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn start(self: Box<Self>, shared: Arc<Shared>, leading: Leading) -> Box<dyn AnyRunning> {
        let errors = Arc::new(LastErrors::new());
        let drive = Drive {
            reconciler: self.reconciler,
            stores: self.stores.clone(),
            shared,
            leading: leading.clone(),
            errors: Arc::clone(&errors),
        };
        let failures = on_failure(self.name.clone(), Arc::clone(&errors));
        let mut controller = Controller::new(self.feed.queue.clone(), drive)
            .name(self.name.clone())
            .on_failure(failures)
            .observer(self.observer);
        if let Some(timeout) = self.timeout {
            controller = controller.timeout(timeout);
        }
        // Until every source has its first list, and until the lease is won if there is one.
        self.feed.queue.pause();
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let spawner = Arc::clone(&tasks);
        let workers = controller.spawn_tasks(self.concurrency, move |worker| {
            lock(&spawner).spawn(worker);
        });
        Box::new(Running {
            gauges: Gauges::new(&self.name),
            name: self.name,
            feed: self.feed,
            stores: self.stores,
            workers,
            tasks,
            errors,
        })
    }
}

/// Logs a failure, a panic or a timeout, and keeps it for the debug page.
fn on_failure<K: Kind>(
    controller: String,
    errors: Arc<LastErrors<K>>,
) -> impl Fn(&Failure<'_, ObjectRef<K>>) + Send + Sync {
    move |failure| {
        let error = failure.cause().to_string();
        tracing::warn!(
            controller,
            request_id = failure.request_id(),
            resource_key = path_of(failure.key()),
            attempt = failure.attempt(),
            retry_after_s = failure.retry_after().map(|delay| delay.as_secs_f64()),
            error,
            "a reconcile failed"
        );
        errors.set(failure.key(), error);
    }
}

struct Running<K: Kind> {
    name: String,
    feed: Feed<K>,
    stores: Vec<Store<K>>,
    workers: Workers<ObjectRef<K>, SystemClock>,
    /// The workers: dropping them drops their reconciles.
    tasks: Arc<Mutex<JoinSet<()>>>,
    errors: Arc<LastErrors<K>>,
    gauges: Gauges,
}

/// What a stopped controller left undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The name of the controller.
    pub controller: String,
    /// Objects that waited for a worker.
    pub ready: usize,
    /// Objects that waited for a retry or a requeue.
    pub delayed: usize,
    /// Reconciles that did not end in time.
    pub in_flight: usize,
}

/// A running controller whose kind is erased.
pub(crate) trait AnyRunning: Send + Sync {
    /// Hands out nothing from now on.
    fn pause(&self);
    /// Hands out, and reconciles every object in the store.
    fn resume(&self);
    /// Adds the store again each time that the full queue has room.
    fn resync(&self) -> BoxFuture<'_, ()>;
    fn record(&self);
    fn state(&self) -> QueueState;
    fn drain(&self, timeout: Duration) -> BoxFuture<'_, Left>;
}

impl<K: Kind> Running<K> {
    /// Adds the keys that were refused and, if the pass begins anew, every object of the stores, until the queue is
    /// full. The rest is kept as keys, since a position in a store means nothing after a change of it. A pass that
    /// begins anew goes on with that rest first, or it would add the same objects each time.
    ///
    /// It begins anew if more keys were refused than the one at which the last pass stopped.
    fn sweep(&self, begins: bool) {
        let mut refused = lock(&self.feed.refused);
        let objects: Vec<_> = if begins || refused.is_empty() {
            self.stores.iter().flat_map(Store::state).collect()
        } else {
            Vec::new()
        };
        let rest = std::mem::take(&mut *refused);
        let known: HashSet<_> = rest.iter().cloned().collect();
        let objects = objects.iter().map(|object| key_of(&**object));
        let mut keys = rest
            .into_iter()
            .chain(objects.filter(|key| !known.contains(key)));
        while let Some(key) = keys.next() {
            let options = AddOptions::new().priority(Priority::LOW);
            if let Err(AddError::Full(key)) = self.feed.queue.try_add_or_resync(key, options) {
                *refused = std::iter::once(key).chain(keys).collect();
                return;
            }
        }
    }
}

impl<K: Kind> AnyRunning for Running<K> {
    fn pause(&self) {
        self.feed.queue.pause();
    }

    fn resume(&self) {
        self.sweep(true);
        self.feed.queue.resume();
    }

    fn resync(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            while let Some(refused) = self.feed.queue.resync().await {
                self.sweep(refused > 1);
            }
        })
    }

    fn record(&self) {
        self.gauges.record(&self.feed.queue, &self.workers);
    }

    fn state(&self) -> QueueState {
        QueueState::of(&self.name, &self.feed.queue, &self.errors)
    }

    fn drain(&self, timeout: Duration) -> BoxFuture<'_, Left> {
        Box::pin(async move {
            let ready = self.feed.queue.stats().ready;
            let waiting = self.feed.queue.shutdown_now().returned.len();
            let drained = self.workers.drain(timeout).await;
            // Those that have not ended in time.
            lock(&self.tasks).abort_all();
            Left {
                controller: self.name.clone(),
                ready,
                delayed: waiting.saturating_sub(ready) + drained.returned.len(),
                in_flight: drained.processing,
            }
        })
    }
}
