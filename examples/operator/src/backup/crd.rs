//! The `Backup` resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions_schema;

/// The finalizer that holds a deleted Backup until its Jobs are gone.
pub const FINALIZER: &str = "example.com/jobs";

/// When to back up which Database, and how many backups to keep.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[kube(
    group = "example.com",
    version = "v1",
    kind = "Backup",
    doc = "A schedule of backups of a Database.",
    namespaced,
    status = "BackupStatus",
    derive = "PartialEq",
    printcolumn(name = "Database", type_ = "string", json_path = ".spec.database"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Last", type_ = "string", json_path = ".status.lastBackup"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    // CronJobs append eleven characters to their names for the names of their Jobs.
    validation = Rule::new("self.metadata.name.size() <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name must be a DNS label of at most 52 characters")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupSpec {
    /// The name of the Database, in the same namespace.
    #[schemars(length(min = 1, max = 52))]
    pub database: String,
    /// When to back up, in the format of cron.
    #[schemars(length(min = 9, max = 100))]
    pub schedule: String,
    /// The number of finished Jobs to keep.
    #[schemars(range(min = 1, max = 100))]
    pub retention: i32,
}

/// The observed state of a Backup.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// The generation of the spec that this status describes.
    pub observed_generation: Option<i64>,
    /// When the last backup succeeded, in RFC 3339.
    pub last_backup: Option<String>,
    /// `Ready`, with its reason and the time of its last change.
    #[serde(default)]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}
