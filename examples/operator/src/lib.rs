//! A Kubernetes operator for two kinds, on `tollgate-kube`, and an embedded API server to run it against.
//!
//! `database` and `backup` bring one object to its desired state; `operator` sets up their controllers; `webhook`
//! refuses what cannot work. `demo` runs it all against the embedded server, with the users of `load`, and checks
//! convergence and budget; `cluster` runs it on a real one.

pub mod backup;
pub mod cli;
pub mod cluster;
pub mod crds;
pub mod database;
pub mod demo;
mod failure;
pub mod load;
pub mod measure;
pub mod operator;
pub mod progress;
pub mod quantity;
pub mod report;
pub mod webhook;

use schemars::{Schema, SchemaGenerator, json_schema};

/// The label of every object that this operator creates.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "tollgate-operator");

/// The schema of `metav1.Condition`, by hand: `k8s-openapi` with derived schemas doubles the build time.
fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string" },
                "status": { "type": "string" },
                "observedGeneration": { "type": "integer", "format": "int64" },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "reason": { "type": "string" },
                "message": { "type": "string" },
            },
        },
    })
}
