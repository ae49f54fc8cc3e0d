//! The child objects of a Database: pure functions from the desired state to the objects to apply.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::crd::Database;
use crate::MANAGED_BY;

/// The configuration of the instances.
pub fn config_map(database: &Database) -> Value {
    let spec = &database.spec;
    json!({
        "metadata": metadata(database),
        "data": { "engine": spec.engine, "storage": spec.storage, "max_connections": format!("{}", spec.replicas * 100) },
    })
}

/// The headless service of the instances.
pub fn service(database: &Database) -> Value {
    json!({
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

/// Whether the instances have claims of another size.
pub fn claims_differ(set: &StatefulSet, database: &Database) -> bool {
    let claims = set.spec.volume_claim_templates.as_ref();
    let storage = claims.and_then(|claims| {
        let resources = claims.first()?.spec.as_ref()?.resources.as_ref()?;
        resources.requests.as_ref()?.get("storage")
    });
    storage.is_some_and(|storage| storage.0 != database.spec.storage)
}

/// The (simulated) snapshot that is taken before a Database is deleted. It has no owner, so it is kept.
pub fn snapshot(database: &Database) -> ConfigMap {
    let mut map = ConfigMap::default();
    let uid = database.uid().unwrap_or_default();
    map.metadata.name = Some(snapshot_name(&database.name_any(), &uid));
    map.metadata.namespace = database.namespace();
    map.metadata.labels = Some(
        [MANAGED_BY]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
    );
    let data = [
        ("engine", database.spec.engine.clone()),
        ("database", database.name_any()),
        ("uid", uid),
    ];
    map.data = Some(data.map(|(name, value)| (name.to_owned(), value)).into());
    map
}

/// The name of the snapshot of a Database.
pub fn snapshot_name(database: &str, uid: &str) -> String {
    format!("{database}.{uid}")
}

fn metadata(database: &Database) -> Value {
    json!({
        "name": database.name_any(),
        "labels": labels(database),
    })
}

fn labels(database: &Database) -> Value {
    json!({
        "app.kubernetes.io/name": "database",
        "app.kubernetes.io/instance": database.name_any(),
        (MANAGED_BY.0): MANAGED_BY.1,
    })
}
