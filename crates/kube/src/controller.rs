//! One controller of an operator: what it watches, and how it reconciles.

mod feed;
mod running;

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ClusterResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use tollgate::queue::QueueBuilder;
use tollgate::{ExponentialBackoff, Observer, QueueError, WorkQueue};

pub use running::Left;
pub(crate) use running::{AnyController, AnyRunning};

use crate::context::Reconciler;
use crate::kinds::{Kind, Queue, Scope};
use crate::observers::Observers;
use crate::operator::Operator;
use crate::source::Change;
use feed::{Feed, Predicate, add, parts, primary};
use running::Ready;

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
