//! The `Backup` kind: a schedule by which a Database is backed up, as a CronJob.

mod children;
mod crd;

use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PropagationPolicy};
use kube::runtime::reflector::ObjectRef;
use tollgate::{Action, ReconcileError};
use tollgate_kube::{Context, Object, conditions};

pub use crd::{Backup, BackupSpec, BackupStatus, FINALIZER};

use crate::database::{DRIFT_INTERVAL, Database};
use crate::failure::Failure;

/// How soon a missing Database, and the Jobs of a Backup that is being deleted, are looked at again.
const RECHECK: Duration = Duration::from_secs(2);

/// Brings one Backup to its desired state. Idempotent: a second reconcile sends no request.
///
/// # Errors
/// Whatever the API server refuses. What a retry alone does not mend is shown in the status too.
pub async fn reconcile(object: Object<Backup>, context: Context) -> Result<Action, ReconcileError> {
    let Object::Found(backup) = object else {
        return Ok(Action::done());
    };
    let done = if backup.metadata.deletion_timestamp.is_some() {
        finalize(&backup, &context).await
    } else {
        ensure(&backup, &context).await
    };
    if let Err(error) = &done
        && error.is_shown(context.failures())
    {
        context.warn(&*backup, "Refused", error.to_string()).await;
        let status = status_of(&backup, None, "Refused", error.to_string());
        if let Err(unwritten) = context.set_status(&*backup, &status).await {
            tracing::warn!(error = %unwritten, "the refusal is not in the status");
        }
    }
    Ok(done?)
}

async fn ensure(backup: &Backup, context: &Context) -> Result<Action, Failure> {
    if context.add_finalizer(backup, FINALIZER).await? {
        return Ok(Action::done());
    }
    let namespace = backup.namespace().unwrap_or_default();
    let database = ObjectRef::<Database>::new(&backup.spec.database).within(&namespace);
    if context.get(&database).is_none() {
        let message = format!("there is no Database {}", backup.spec.database);
        let status = status_of(backup, None, "DatabaseMissing", message);
        context.set_status(backup, &status).await?;
        return Ok(Action::requeue_after(context.jittered(RECHECK)));
    }
    let cron = context
        .apply::<_, CronJob>(backup, children::cron_job(backup))
        .await?;
    let message = format!(
        "backs up {} at {}",
        backup.spec.database, backup.spec.schedule
    );
    let status = status_of(backup, Some(&cron), "Scheduled", message);
    context.set_status(backup, &status).await?;
    Ok(Action::requeue_after(context.jittered(DRIFT_INTERVAL)))
}

/// Deletes the Jobs that were made by the schedule or by hand, and lets the object go once they are gone. The
/// CronJob has the Backup as its owner, and is collected.
async fn finalize(backup: &Backup, context: &Context) -> Result<Action, Failure> {
    let namespace = backup.namespace().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(context.client().clone(), &namespace);
    let params = ListParams::default().labels(&children::selector(backup));
    let left = jobs.list(&params).await?.items;
    if left.is_empty() {
        context.remove_finalizer(backup, FINALIZER).await?;
        return Ok(Action::done());
    }
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    for job in left {
        match jobs.delete(&job.name_any(), &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => drop(other?),
        }
    }
    Ok(Action::requeue_after(RECHECK))
}

fn status_of(
    backup: &Backup,
    cron: Option<&CronJob>,
    reason: &str,
    message: String,
) -> BackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    let generation = backup.metadata.generation;
    let condition = conditions::new("Ready", cron.is_some(), reason, message, generation);
    conditions::set(&mut status.conditions, condition);
    let last = cron.and_then(|cron| cron.status.as_ref()?.last_successful_time.as_ref());
    BackupStatus {
        observed_generation: generation,
        last_backup: last.map(|time| time.0.to_string()).or(status.last_backup),
        conditions: status.conditions,
    }
}
