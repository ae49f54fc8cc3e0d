//! Watches, queue and controller, wired together.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::reflector::store;
use kube::runtime::watcher;
use kube::{Client, CustomResourceExt};
use tokio::sync;
use tokio::task::JoinSet;
use tollgate::{Controller, ExponentialBackoff, Observer, WorkQueue, Workers};

use crate::client::explain;
use crate::crd::Database;
use crate::reconcile::{DatabaseReconciler, Key};
use crate::watches::{changed, feed, owners, watch};

/// The capacity of the queue: more objects than such an API server holds.
const CAPACITY: usize = 1_000_000;
/// Short enough that a run ends soon after the server has recovered.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A longer reconcile is cancelled and retried.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The label selector of the objects that this operator creates.
const OURS: &str = "app.kubernetes.io/managed-by=tollgate-operator";

/// A running operator.
pub struct Operator {
    /// Its queue.
    pub queue: WorkQueue<Key>,
    /// Its workers.
    pub workers: Workers<Key, tollgate::SystemClock>,
    /// A one-line message once there is a fatal error.
    pub fatal: sync::watch::Receiver<Option<String>>,
    watches: JoinSet<()>,
}

/// What a stopped operator left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Objects that waited for a worker.
    pub ready: usize,
    /// Objects that waited for a retry or a requeue.
    pub delayed: usize,
    /// Reconciles that did not end in time.
    pub in_flight: usize,
}

/// Checks that the server answers, serves the resource, and lets us list it.
///
/// # Errors
/// A one-line message of what is wrong.
pub async fn check(client: &Client) -> Result<(), String> {
    let databases: Api<Database> = Api::all(client.clone());
    match databases.list(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Err(
            "the cluster has no resource databases.example.com: install it with --install-crd"
                .to_owned(),
        ),
        Err(error) => Err(explain(&error)),
    }
}

/// Applies the CustomResourceDefinition and waits until the server serves it.
///
/// # Errors
/// A one-line message of what is wrong.
pub async fn install_crd(client: &Client) -> Result<(), String> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::runtime::wait::{await_condition, conditions};

    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("tollgate-operator").force();
    let applied = crds
        .patch(
            Database::crd_name(),
            &params,
            &Patch::Apply(Database::crd()),
        )
        .await;
    applied.map_err(|error| explain(&error))?;
    let established = await_condition(crds, Database::crd_name(), conditions::is_crd_established());
    match tokio::time::timeout(Duration::from_secs(30), established).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!(
            "the CustomResourceDefinition cannot be watched: {error}"
        )),
        Err(_) => Err("the CustomResourceDefinition was not established within 30 s".to_owned()),
    }
}

impl Operator {
    /// Starts watching, and `workers` workers.
    pub fn start(client: &Client, workers: usize, observer: &Arc<dyn Observer>) -> Self {
        let backoff = ExponentialBackoff::new(Duration::from_millis(5), MAX_BACKOFF);
        let queue = WorkQueue::builder(CAPACITY)
            .backoff(backoff)
            .observer(Arc::clone(observer))
            .build();
        let queue = queue.expect("the capacity is not zero");
        let (databases, writer) = store();
        let (fatal, on_fatal) = sync::watch::channel(None);

        let mut watches = JoinSet::new();
        let databases_seen = watch(
            Api::<Database>::all(client.clone()),
            watcher::Config::default(),
            &fatal,
        );
        watches.spawn(feed(changed(writer, databases_seen), queue.clone()));
        let ours = watcher::Config::default().labels(OURS);
        let sets_seen = watch(Api::<StatefulSet>::all(client.clone()), ours, &fatal);
        watches.spawn(feed(owners(sets_seen), queue.clone()));

        let reconciler = DatabaseReconciler {
            client: client.clone(),
            databases,
            fatal,
        };
        let controller = Controller::new(queue.clone(), reconciler)
            .name("database")
            .timeout(TIMEOUT);
        let workers = controller
            .observer(Arc::clone(observer))
            .spawn_tasks(workers, |worker| {
                tokio::spawn(worker);
            });
        Self {
            queue,
            workers,
            fatal: on_fatal,
            watches,
        }
    }

    /// Stops watching and waits for the reconciles in flight, at most for `timeout`. Reports what is left.
    pub async fn drain(mut self, timeout: Duration) -> Stopped {
        self.watches.shutdown().await;
        let ready = self.queue.stats().ready;
        let waiting = self.queue.shutdown_now().returned.len();
        let drained = self.workers.drain(timeout).await;
        let delayed = waiting.saturating_sub(ready) + drained.returned.len();
        Stopped {
            ready,
            delayed,
            in_flight: drained.processing,
        }
    }

    /// Completes with a one-line message at a fatal error.
    pub async fn failed(&self) -> String {
        let mut fatal = self.fatal.clone();
        let line = fatal
            .wait_for(Option::is_some)
            .await
            .map(|line| line.clone());
        match line {
            Ok(line) => line.unwrap_or_default(),
            // All senders are gone, so no fatal error can follow.
            Err(_) => std::future::pending().await,
        }
    }
}
