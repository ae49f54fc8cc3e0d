//! The child objects of a Database: pure functions from the desired state to the objects to apply.

use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::crd::Database;

/// The configuration of the instances.
pub fn config_map(database: &Database) -> Value {
    let spec = &database.spec;
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(database),
        "data": { "engine": spec.engine, "storage": spec.storage, "max_connections": format!("{}", spec.replicas * 100) },
    })
}

/// The headless service of the instances.
pub fn service(database: &Database) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(database),
        "spec": {
            "clusterIP": "None",
            "selector": labels(database),
            "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }],
        },
    })
}

/// The instances.
pub fn stateful_set(database: &Database) -> Value {
    let (spec, labels) = (&database.spec, labels(database));
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(database),
        "spec": {
            "replicas": spec.replicas,
            "serviceName": database.name_any(),
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{
                    "name": "database",
                    "image": format!("{}:latest", spec.engine),
                    "envFrom": [{ "configMapRef": { "name": database.name_any() } }],
                    "volumeMounts": [{ "name": "data", "mountPath": "/var/lib/data" }],
                }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": spec.storage } },
                },
            }],
        },
    })
}

/// The (simulated) snapshot that is taken before a Database is deleted. It has no owner, so it is kept.
pub fn snapshot(database: &Database) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": snapshot_name(&database.name_any()),
            "namespace": database.namespace(),
            "labels": labels(database),
        },
        "data": { "engine": database.spec.engine, "uid": database.uid() },
    })
}

/// The name of the snapshot of the Database with this name.
pub fn snapshot_name(database: &str) -> String {
    format!("{database}-snapshot")
}

fn metadata(database: &Database) -> Value {
    json!({
        "name": database.name_any(),
        "namespace": database.namespace(),
        "labels": labels(database),
        "ownerReferences": database.controller_owner_ref(&()).into_iter().collect::<Vec<_>>(),
    })
}

fn labels(database: &Database) -> Value {
    json!({
        "app.kubernetes.io/name": "database",
        "app.kubernetes.io/instance": database.name_any(),
        "app.kubernetes.io/managed-by": "tollgate-operator",
    })
}
