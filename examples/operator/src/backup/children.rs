//! The child object of a Backup.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::crd::Backup;
use crate::MANAGED_BY;

/// The label by which a Backup finds its Jobs.
const OF_BACKUP: &str = "example.com/backup";

/// The schedule.
pub fn cron_job(backup: &Backup) -> Value {
    let spec = &backup.spec;
    let labels = json!({ (MANAGED_BY.0): MANAGED_BY.1, (OF_BACKUP): backup.name_any() });
    json!({
        "metadata": { "name": backup.name_any(), "labels": labels },
        "spec": {
            "schedule": spec.schedule,
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": spec.retention,
            "failedJobsHistoryLimit": spec.retention,
            "jobTemplate": {
                "metadata": { "labels": labels },
                "spec": { "template": { "spec": {
                    "restartPolicy": "OnFailure",
                    "containers": [{
                        "name": "backup",
                        "image": "backup:latest",
                        "args": [spec.database],
                    }],
                } } },
            },
        },
    })
}

/// Selects the Jobs of a Backup.
pub fn selector(backup: &Backup) -> String {
    format!("{OF_BACKUP}={}", backup.name_any())
}
