//! The `Database` resource.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions_schema;

/// The finalizer that holds a deleted Database until its snapshot is taken.
pub const FINALIZER: &str = "example.com/snapshot";

/// The desired state of a Database.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, PartialEq, JsonSchema)]
#[kube(
    group = "example.com",
    version = "v1",
    kind = "Database",
    doc = "A database: instances of one engine, with their configuration and their Service.",
    namespaced,
    status = "DatabaseStatus",
    derive = "PartialEq",
    // The names of its children, and the labels of their pods, allow no more.
    validation = Rule::new("self.metadata.name.size() <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name must be a DNS label of at most 52 characters"),
    shortname = "db",
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engine"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason")
)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSpec {
    /// The database engine.
    #[schemars(length(min = 1))]
    pub engine: String,
    /// The number of instances.
    #[schemars(range(min = 1, max = 5))]
    pub replicas: i32,
    /// The size of each instance's volume.
    #[schemars(length(min = 1))]
    pub storage: String,
}

/// The observed state of a Database.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// The generation of the spec that this status describes.
    pub observed_generation: Option<i64>,
    /// Instances that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// `Ready`, with its reason and the time of its last change.
    #[serde(default)]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

impl Database {
    /// Whether it is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether the snapshot is still pending.
    pub fn has_finalizer(&self) -> bool {
        self.metadata
            .finalizers
            .iter()
            .flatten()
            .any(|finalizer| finalizer == FINALIZER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt;

    #[test]
    fn the_schema_bounds_the_replicas() {
        let crd = serde_json::to_value(Database::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let replicas = &schema["properties"]["replicas"];
        assert_eq!(
            (replicas["minimum"].as_f64(), replicas["maximum"].as_f64()),
            (Some(1.0), Some(5.0))
        );
        assert_eq!(
            schema["required"],
            serde_json::json!(["engine", "replicas", "storage"])
        );
    }
}
