//! The `Database` kind: its resource, its child objects and its reconcile.

mod children;
mod crd;
mod status;

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams, Preconditions, PropagationPolicy};
use kube::runtime::reflector::ObjectRef;
use tollgate::{Action, ReconcileError};
use tollgate_kube::{Context, Object, is_controlled};

pub use children::snapshot_name;
pub use crd::{Database, DatabaseSpec, DatabaseStatus, FINALIZER};

use crate::failure::Failure;
use crate::quantity::Quantity;

/// How often an object is reconciled without an event.
pub const DRIFT_INTERVAL: Duration = Duration::from_secs(30);

/// Brings one Database to its desired state. Idempotent: a second reconcile sends no request.
///
/// # Errors
/// Whatever the API server refuses. What a retry alone does not mend is shown in the status too.
pub async fn reconcile(
    object: Object<Database>,
    context: Context,
) -> Result<Action, ReconcileError> {
    // The children of an object that is gone are collected by their owner references.
    let Object::Found(database) = object else {
        return Ok(Action::done());
    };
    let done = if database.is_deleting() {
        finalize(&database, &context).await
    } else {
        ensure(&database, &context).await
    };
    if let Err(error) = &done
        && error.is_shown(context.failures())
    {
        context.warn(&*database, "Refused", error.to_string()).await;
        let status = status::refused(&database, error);
        if let Err(unwritten) = context.set_status(&*database, &status).await {
            tracing::warn!(error = %unwritten, "the refusal is not in the status");
        }
    }
    Ok(done?)
}

/// The child of the same name.
fn child_of(database: &Database) -> ObjectRef<StatefulSet> {
    ObjectRef::new(&database.name_any()).within(&database.namespace().unwrap_or_default())
}

async fn ensure(database: &Database, context: &Context) -> Result<Action, Failure> {
    if context.add_finalizer(database, FINALIZER).await? {
        // The change of the object is the next event.
        return Ok(Action::done());
    }
    // Before anything is changed: the StatefulSet would be refused, after the rest was written.
    let storage = database.spec.storage.parse::<Quantity>();
    if !storage.is_ok_and(|storage| storage.is_size()) {
        return Err(Failure::Storage(database.spec.storage.clone()));
    }
    context
        .apply::<_, ConfigMap>(database, children::config_map(database))
        .await?;
    context
        .apply::<_, Service>(database, children::service(database))
        .await?;
    let live = context.get::<StatefulSet>(&child_of(database));
    let ours = live.as_deref().filter(|set| is_controlled(*set, database));
    if let Some(set) = ours.filter(|set| children::claims_differ(set, database)) {
        // The garbage collector may take a while; the end of the deletion is an event.
        if set.metadata.deletion_timestamp.is_none() {
            replace(set, database, context).await?;
        }
        context
            .set_status(database, &status::replacing(database))
            .await?;
        return Ok(Action::requeue_after(context.jittered(DRIFT_INTERVAL)));
    }
    let desired = children::stateful_set(database, live.as_deref());
    let instances = context.apply(database, desired).await?;
    let status = status::observed(database, &instances);
    context.set_status(database, &status).await?;
    Ok(Action::requeue_after(context.jittered(DRIFT_INTERVAL)))
}

/// Deletes the StatefulSet and leaves its pods: the claims of one that exists cannot change, so the next apply
/// creates it anew.
async fn replace(set: &StatefulSet, database: &Database, context: &Context) -> Result<(), Failure> {
    let sets: Api<StatefulSet> = Api::namespaced(
        context.client().clone(),
        &database.namespace().unwrap_or_default(),
    );
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        preconditions: Some(Preconditions {
            uid: set.uid(),
            resource_version: set.resource_version(),
        }),
        ..DeleteParams::default()
    };
    match sets.delete(&set.name_any(), &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// Takes the snapshot, and then lets the object go.
async fn finalize(database: &Database, context: &Context) -> Result<Action, Failure> {
    if database.has_finalizer() {
        take_snapshot(database, context).await?;
        context.remove_finalizer(database, FINALIZER).await?;
    }
    Ok(Action::done())
}

/// Creates the snapshot, which has no owner and stays. Its name holds the uid, so neither a Database of that
/// name nor one that had the same name before can have it.
async fn take_snapshot(database: &Database, context: &Context) -> Result<(), Failure> {
    let namespace = database.namespace().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(context.client().clone(), &namespace);
    let params = PostParams {
        field_manager: Some(context.controller().to_owned()),
        ..PostParams::default()
    };
    match maps.create(&params, &children::snapshot(database)).await {
        // Taken by a reconcile that did not get as far as the finalizer.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => Ok(other.map(drop)?),
    }
}
