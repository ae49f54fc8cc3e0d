//! The reconcile: brings one Database to its desired state.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tollgate::{Action, ReconcileError, Reconciler, Request};

use crate::children;
use crate::client::explain;
use crate::crd::{Database, DatabaseStatus, FINALIZER};

/// How often an object is reconciled without an event.
pub const DRIFT_INTERVAL: Duration = Duration::from_secs(30);

/// Namespace and name of a Database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of an object.
    pub fn of(object: &impl Resource) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Reconciles Databases. Idempotent: a second reconcile changes nothing.
pub struct DatabaseReconciler {
    /// A client within the API budget.
    pub client: Client,
    /// The objects that the watch has seen.
    pub databases: Store<Database>,
    /// Takes the message of a fatal error, which no retry can fix.
    pub fatal: watch::Sender<Option<String>>,
}

impl Reconciler<Key> for DatabaseReconciler {
    async fn reconcile(&self, request: Request<'_, Key>) -> Result<Action, ReconcileError> {
        let key = request.key();
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        let Some(database) = self.databases.get(&reference) else {
            return Ok(Action::done());
        };
        let done = if database.is_deleting() {
            self.finalize(key, &database).await
        } else {
            self.ensure(key, &database).await
        };
        done.or_else(|error| self.failed(error))
    }
}

impl DatabaseReconciler {
    async fn ensure(&self, key: &Key, database: &Database) -> kube::Result<Action> {
        if !database.has_finalizer() {
            self.set_finalizer(key, database, true).await?;
        }
        self.apply::<ConfigMap>(key, children::config_map(database))
            .await?;
        self.apply::<Service>(key, children::service(database))
            .await?;
        let instances: StatefulSet = self.apply(key, children::stateful_set(database)).await?;
        // Write the status even if it looks the same: the watch may have shown an older version than our last
        // write.
        let patch = Patch::Merge(json!({ "status": status_of(database, &instances) }));
        let databases = self.api::<Database>(key);
        databases
            .patch_status(&key.name, &PatchParams::default(), &patch)
            .await?;
        Ok(Action::requeue_after(DRIFT_INTERVAL))
    }

    /// Takes the snapshot, and then removes the finalizer.
    async fn finalize(&self, key: &Key, database: &Database) -> kube::Result<Action> {
        if database.has_finalizer() {
            self.apply::<ConfigMap>(key, children::snapshot(database))
                .await?;
            self.set_finalizer(key, database, false).await?;
        }
        Ok(Action::done())
    }

    /// Adds or removes our finalizer. Fails with a conflict if the object has changed since it was read.
    async fn set_finalizer(&self, key: &Key, database: &Database, on: bool) -> kube::Result<()> {
        let mut finalizers = database.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if on {
            finalizers.push(FINALIZER.to_owned());
        }
        let metadata =
            json!({ "finalizers": finalizers, "resourceVersion": database.resource_version() });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let patched = self
            .api::<Database>(key)
            .patch(&key.name, &PatchParams::default(), &patch)
            .await;
        match patched {
            // The object is deleted already.
            Err(kube::Error::Api(status)) if status.is_not_found() && !on => Ok(()),
            other => other.map(drop),
        }
    }

    async fn apply<T>(&self, key: &Key, object: Value) -> kube::Result<T>
    where
        T: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        T: Clone + fmt::Debug + DeserializeOwned,
    {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or(&key.name)
            .to_owned();
        let params = PatchParams::apply("tollgate-operator").force();
        self.api::<T>(key)
            .patch(&name, &params, &Patch::Apply(object))
            .await
    }

    fn api<T>(&self, key: &Key) -> Api<T>
    where
        T: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn failed(&self, error: kube::Error) -> Result<Action, ReconcileError> {
        match &error {
            // The object was deleted during the reconcile.
            kube::Error::Api(status) if status.is_not_found() => Ok(Action::done()),
            kube::Error::Api(status) if status.is_forbidden() => {
                let line = explain(&error);
                self.fatal
                    .send_if_modified(|fatal| fatal.replace(line).is_none());
                Err(ReconcileError::terminal(error))
            }
            // The server names the delay, so it takes the place of a backoff.
            kube::Error::Api(status) => match retry_after(status) {
                Some(delay) => Ok(Action::requeue_after(delay)),
                None => Err(error.into()),
            },
            _ => Err(error.into()),
        }
    }
}

fn retry_after(status: &kube::core::Status) -> Option<Duration> {
    let seconds = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// The status by the instances. The condition keeps its time unless it changes.
fn status_of(database: &Database, instances: &StatefulSet) -> DatabaseStatus {
    let fresh = instances
        .status
        .as_ref()
        .filter(|status| status.observed_generation == instances.metadata.generation);
    let ready = fresh.and_then(|status| status.ready_replicas).unwrap_or(0);
    let wanted = database.spec.replicas;
    let (status, reason) = if ready == wanted {
        ("True", "AllReplicasReady")
    } else {
        ("False", "ReplicasNotReady")
    };
    let before = database
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .find(|c| c.type_ == "Ready");
    let since = before
        .filter(|c| c.status == status)
        .map(|c| c.last_transition_time.clone());
    let condition = Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: format!("{ready} of {wanted} replicas are ready"),
        last_transition_time: since.unwrap_or_else(now),
        observed_generation: database.metadata.generation,
    };
    DatabaseStatus {
        observed_generation: database.metadata.generation,
        ready_replicas: ready,
        conditions: vec![condition],
    }
}

/// In whole seconds, as the API server stores it.
fn now() -> Time {
    let now = jiff::Timestamp::now();
    Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::StatefulSetStatus;

    fn database(replicas: i32) -> Database {
        let spec = crate::crd::DatabaseSpec {
            engine: "postgres".into(),
            replicas,
            storage: "1Gi".into(),
        };
        let mut database = Database::new("db", spec);
        database.metadata.generation = Some(4);
        database
    }

    fn instances(ready: i32, observed: i64) -> StatefulSet {
        let status = StatefulSetStatus {
            ready_replicas: Some(ready),
            observed_generation: Some(observed),
            ..StatefulSetStatus::default()
        };
        let mut set = StatefulSet {
            status: Some(status),
            ..StatefulSet::default()
        };
        set.metadata.generation = Some(2);
        set
    }

    #[test]
    fn a_database_is_ready_once_all_replicas_of_its_generation_are() {
        let status = status_of(&database(3), &instances(3, 2));
        assert_eq!(
            (status.ready_replicas, status.observed_generation),
            (3, Some(4))
        );
        assert_eq!(status.conditions[0].status, "True");
        let stale = status_of(&database(3), &instances(3, 1));
        assert_eq!(
            (stale.ready_replicas, stale.conditions[0].status.as_str()),
            (0, "False")
        );
    }

    #[test]
    fn a_condition_keeps_its_transition_time_until_it_changes() {
        let mut database = database(3);
        let long_ago = Time(jiff::Timestamp::from_second(1).unwrap());
        let mut status = status_of(&database, &instances(3, 2));
        status.conditions[0].last_transition_time = long_ago.clone();
        database.status = Some(status);
        let same = status_of(&database, &instances(3, 2));
        assert_eq!(same.conditions[0].last_transition_time, long_ago);
        let changed = status_of(&database, &instances(2, 2));
        assert_ne!(changed.conditions[0].last_transition_time, long_ago);
    }
}
