//! One controller of an operator: what it watches, and how it reconciles.

use std::any::TypeId;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::ClusterResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use serde::Serialize;
use tokio::task::JoinSet;
use tollgate::controller::Failure;
use tollgate::integrations::metrics::Gauges;
use tollgate::queue::{AddError, QueueBuilder};
use tollgate::{
    AddOptions, Controller, ExponentialBackoff, Observer, Priority, QueueError, SystemClock,
    WorkQueue, Workers,
};

use crate::context::{Reconciler, Shared};
use crate::debug::{LastErrors, QueueState};
use crate::drive::{Drive, key_of, path_of};
use crate::kinds::{Kind, Scope};
use crate::leading::Leading;
use crate::observers::Observers;
use crate::operator::Operator;
use crate::source::{Change, Handler};

/// A queue of references to objects.
pub type Queue<K> = WorkQueue<ObjectRef<K>>;

/// More objects than one API server holds of a kind. A full queue loses no object: the store is added again once
/// there is room.
const CAPACITY: usize = 1_000_000;
/// The first and the longest delay after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// A controller that is being set up: see [`Operator::for_kind`].
#[must_use = "it watches and reconciles nothing before `reconcile`"]
pub struct ControllerBuilder<'a, K: Kind> {
    operator: &'a mut Operator,
    scope: Scope<K>,
    config: watcher::Config,
    name: String,
    concurrency: usize,
    timeout: Option<Duration>,
    observer: Option<Arc<dyn Observer>>,
    predicate: Option<Predicate<K>>,
    queue: QueueBuilder<ObjectRef<K>>,
    triggers: Vec<Trigger<K>>,
}

type Predicate<K> = Arc<dyn Fn(&K) -> Option<u64> + Send + Sync>;
/// Watches another kind, and adds the objects that it maps to.
type Trigger<K> = Box<dyn FnOnce(&mut Operator, &Queue<K>) + Send>;

impl<'a, K: Kind> ControllerBuilder<'a, K> {
    pub(crate) fn new(operator: &'a mut Operator, scope: Scope<K>) -> Self {
        Self {
            operator,
            scope,
            config: watcher::Config::default(),
            name: K::kind(&()).to_lowercase(),
            concurrency: 1,
            timeout: None,
            observer: None,
            predicate: None,
            queue: WorkQueue::builder(CAPACITY)
                .backoff(ExponentialBackoff::new(BACKOFF.0, BACKOFF.1))
                .hold_backoff(),
            triggers: Vec::new(),
        }
    }

    /// Names it in logs, metrics and events, and as field manager; the kind in lower case otherwise. Each
    /// controller of an operator needs a name of its own.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Watches only the objects that the selectors of `config` match.
    pub fn config(mut self, config: watcher::Config) -> Self {
        self.config = config;
        self
    }

    /// Reconciles an object after an update only if `predicate` then returns another value, or `None`. Without
    /// one each new version counts, so that a controller sees its own status writes. The functions of
    /// [`kube::runtime::predicates`] fit.
    pub fn predicate(
        mut self,
        predicate: impl Fn(&K) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Reconciles up to `n` objects at once, 1 otherwise; each object is in one reconcile at most. Unlike in kube's
    /// `Controller`, 0 does not mean any number: the operator does not run with it.
    pub fn concurrency(mut self, n: usize) -> Self {
        self.concurrency = n;
        self
    }

    /// Drops a reconcile that takes longer, and retries it with its backoff.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Tells `observer` of the events of queue and workers, besides the metrics.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Changes the options of the queue: backoff, debounce, aging, groups, limits. Its observer is set by
    /// [`observer`](Self::observer).
    pub fn queue(
        mut self,
        change: impl FnOnce(QueueBuilder<ObjectRef<K>>) -> QueueBuilder<ObjectRef<K>>,
    ) -> Self {
        self.queue = change(self.queue);
        self
    }

    /// Reconciles an object when one that it owns as controller changes. `config` selects what to watch: a label
    /// that the operator sets on what it creates keeps the rest of the cluster out of memory.
    pub fn owns<C>(self, scope: impl Into<Scope<C>>, config: watcher::Config) -> Self
    where
        C: Kind,
    {
        self.watches(scope, config, |child: &C| {
            let owners = child.meta().owner_references.iter().flatten();
            let mut owners = owners.filter(|owner| owner.controller == Some(true));
            // An owner may be named by another version than the one that is watched.
            let group = |version: &str| {
                version.rsplit_once('/').map_or("", |(group, _)| group) == K::group(&())
            };
            let owner =
                owners.find(|owner| owner.kind == K::kind(&()) && group(&owner.api_version))?;
            let mut key = ObjectRef::new(&owner.name);
            key.namespace = child
                .meta()
                .namespace
                .clone()
                .filter(|_| is_namespaced::<K>());
            Some(key)
        })
    }

    /// Reconciles the objects that `mapper` names when an object of another kind changes or is deleted. After an
    /// update it is asked about both versions, so an object that is no longer named is reconciled too.
    pub fn watches<T, I>(
        mut self,
        scope: impl Into<Scope<T>>,
        config: watcher::Config,
        mapper: impl Fn(&T) -> I + Send + Sync + 'static,
    ) -> Self
    where
        T: Kind,
        I: IntoIterator<Item = ObjectRef<K>>,
    {
        let (scope, mapper) = (scope.into(), Arc::new(mapper));
        self.triggers.push(Box::new(move |operator, queue| {
            for api in &scope.0 {
                let (queue, mapper) = (queue.clone(), Arc::clone(&mapper));
                let handler = move |change: &Change<'_, T>| {
                    let (old, new, priority) = parts(change);
                    for key in [old, new]
                        .into_iter()
                        .flatten()
                        .flat_map(|object| mapper(object))
                    {
                        add(&queue, key, priority);
                    }
                };
                operator.registry.subscribe(api, &config, Box::new(handler));
            }
        }));
        self
    }

    /// Completes the set-up. The controller starts with [`Operator::run`].
    ///
    /// # Errors
    /// [`QueueError`] if the options of the queue contradict each other.
    pub fn reconcile(self, reconciler: impl Reconciler<K>) -> Result<Handle<K>, QueueError> {
        let observer: Arc<dyn Observer> = Arc::new(Observers::new(&self.name, self.observer));
        let queue = self.queue.observer(Arc::clone(&observer)).build()?;
        let refused = Arc::default();
        let feed = Feed { queue, refused };
        let operator = self.operator;
        let mut stores = Vec::new();
        for api in &self.scope.0 {
            let handler = primary(feed.clone(), self.predicate.clone());
            stores.push(operator.registry.subscribe(api, &self.config, handler));
        }
        for trigger in self.triggers {
            trigger(operator, &feed.queue);
        }
        let handle = Handle {
            queue: feed.queue.clone(),
            stores: stores.clone(),
        };
        operator.controllers.push(Box::new(Ready {
            name: self.name,
            concurrency: self.concurrency,
            timeout: self.timeout,
            observer,
            feed,
            stores,
            reconciler,
        }));
        Ok(handle)
    }
}

impl<K: Kind> std::fmt::Debug for ControllerBuilder<'_, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControllerBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The queue and the stores of a controller, for callers that add keys of their own, and for tests.
#[derive(Clone, Debug)]
pub struct Handle<K: Kind> {
    /// Its queue.
    pub queue: Queue<K>,
    /// Its stores: one for each namespace that is watched.
    pub stores: Vec<Store<K>>,
}

/// Whether the objects of a kind live in namespaces. A child in a namespace may have an owner in none.
fn is_namespaced<K: Kind>() -> bool {
    TypeId::of::<K::Scope>() != TypeId::of::<ClusterResourceScope>()
}

/// Adds the objects of the controller's own kind.
fn primary<K: Kind>(feed: Feed<K>, predicate: Option<Predicate<K>>) -> Handler<K> {
    Box::new(move |change| {
        let (old, new, priority) = parts(change);
        if let (Some(old), Some(new), Some(predicate)) = (old, new, &predicate) {
            let value = predicate(new);
            // An object that was made anew while no watch was open is no update of the last one.
            let is_same = old.meta().uid == new.meta().uid;
            if is_same && value.is_some() && value == predicate(old) {
                return;
            }
        }
        match (old, new) {
            (_, Some(object)) => add(&feed.queue, key_of(object), priority),
            (Some(object), None) => add_gone(&feed, key_of(object)),
            (None, None) => {}
        }
    })
}

/// The versions before and after, and the priority: what a list finds waits behind live changes.
fn parts<'a, T>(change: &Change<'a, T>) -> (Option<&'a T>, Option<&'a T>, Priority) {
    match *change {
        Change::Listed { old, new } => (old, Some(new), Priority::LOW),
        Change::Applied { old, new } => (old, Some(new), Priority::DEFAULT),
        Change::Deleted(old) => (Some(old), None, Priority::DEFAULT),
    }
}

/// A queue, and the keys that wait for room in it.
#[derive(Clone)]
struct Feed<K: Kind> {
    queue: Queue<K>,
    /// Keys that a full queue has refused and that no pass over the stores would find: of deleted objects, and those
    /// that the last pass has not reached.
    refused: Arc<Mutex<VecDeque<ObjectRef<K>>>>,
}

fn add<K: Kind>(queue: &Queue<K>, key: ObjectRef<K>, priority: Priority) {
    // A full queue asks for the whole store once there is room; a closed one belongs to an operator that ends.
    let _ = queue.try_add_or_resync(key, AddOptions::new().priority(priority));
}

/// Adds an object that no store has any more.
fn add_gone<K: Kind>(feed: &Feed<K>, key: ObjectRef<K>) {
    // Under the lock: a pass that begins after the refusal finds the key.
    let mut refused = lock(&feed.refused);
    if let Err(AddError::Full(key)) = feed.queue.try_add_or_resync(key, AddOptions::new()) {
        refused.push_back(key);
    }
}

/// A controller before it starts.
struct Ready<K: Kind, R> {
    name: String,
    concurrency: usize,
    timeout: Option<Duration>,
    observer: Arc<dyn Observer>,
    feed: Feed<K>,
    stores: Vec<Store<K>>,
    reconciler: R,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
