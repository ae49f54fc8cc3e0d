//! The two controllers of this operator.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tollgate::queue::QueueBuilder;
use tollgate::{ExponentialBackoff, Observer, QueueError};
use tollgate_kube::{Handle, Kind, Operator, Scope, explain};

use crate::MANAGED_BY;
use crate::backup::{self, Backup};
use crate::database::{self, Database};

/// Short enough that a run ends soon after the server has recovered.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// A longer reconcile is cancelled and retried.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Backups reconciled at once.
const BACKUPS_AT_ONCE: usize = 3;

/// How the operator works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Databases reconciled at once.
    pub workers: usize,
    /// The namespaces to watch; the whole cluster if empty.
    pub namespaces: Vec<String>,
}

/// The controllers of the operator.
#[derive(Clone, Debug)]
pub struct Controllers {
    /// Of Databases.
    pub databases: Handle<Database>,
    /// Of Backups.
    pub backups: Handle<Backup>,
}

/// Sets up both controllers. `observer` hears of both queues.
///
/// # Errors
/// Never: the options of the queues do not contradict each other.
pub fn set_up(
    operator: &mut Operator,
    settings: &Settings,
    observer: &Arc<dyn Observer>,
) -> Result<Controllers, QueueError> {
    let client = operator.client();
    let ours = || watcher::Config::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let databases = operator
        .for_kind(scope::<Database>(&client, settings))
        .owns(scope::<StatefulSet>(&client, settings), ours())
        .owns(scope::<Service>(&client, settings), ours())
        .owns(scope::<ConfigMap>(&client, settings), ours())
        .concurrency(settings.workers)
        .timeout(TIMEOUT)
        .observer(Arc::clone(observer))
        .queue(options)
        .reconcile(database::reconcile)?;
    let backups = operator
        .for_kind(scope::<Backup>(&client, settings))
        .owns(scope::<CronJob>(&client, settings), ours())
        .concurrency(BACKUPS_AT_ONCE)
        .timeout(TIMEOUT)
        .observer(Arc::clone(observer))
        .queue(options)
        .reconcile(backup::reconcile)?;
    Ok(Controllers { databases, backups })
}

/// Each namespace has a fair share of the reconciles, so that ten thousand objects of one tenant do not hold up
/// the one of another.
fn options<K: Kind>(queue: QueueBuilder<ObjectRef<K>>) -> QueueBuilder<ObjectRef<K>> {
    queue
        .backoff(ExponentialBackoff::new(BACKOFF.0, BACKOFF.1))
        .group_by(|key: &ObjectRef<K>| key.namespace.clone())
}

fn scope<T>(client: &Client, settings: &Settings) -> Scope<T>
where
    T: Kind + Resource<Scope = NamespaceResourceScope>,
{
    if settings.namespaces.is_empty() {
        return Api::all(client.clone()).into();
    }
    let namespaces = settings.namespaces.iter();
    let apis = namespaces.map(|namespace| Api::namespaced(client.clone(), namespace));
    apis.collect::<Vec<_>>().into()
}

/// Applies the CustomResourceDefinitions and waits until the server serves them.
///
/// # Errors
/// A one-line message of what is wrong.
pub async fn install_crds(client: &Client) -> Result<(), String> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply(MANAGED_BY.1).force();
    for crd in crate::crds::all() {
        let name = crd.name_any();
        let applied = crds.patch(&name, &params, &Patch::Apply(crd)).await;
        applied.map_err(|error| explain(&error))?;
        let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
        match tokio::time::timeout(Duration::from_secs(30), established).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("{name} cannot be watched: {error}")),
            Err(_) => return Err(format!("{name} was not established within 30 s")),
        }
    }
    Ok(())
}
