//! The child objects of a Database: pure functions from the desired state to the objects to apply.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::crd::Database;
use crate::MANAGED_BY;
use crate::quantity::Quantity;

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

/// The instances. `live` are those that exist: the API server rewrites a quantity (`1024Mi` to `1Gi`), so one of the
/// same value is left as it is.
pub fn stateful_set(database: &Database, live: Option<&StatefulSet>) -> Value {
    let (spec, labels) = (&database.spec, labels(database));
    let kept = live
        .and_then(claimed)
        .filter(|_| !live.is_some_and(|live| claims_differ(live, database)));
    let storage = kept.unwrap_or(&spec.storage);
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
                    "resources": { "requests": { "storage": storage } },
                },
            }],
        },
    })
}

/// Whether the instances have claims of another size.
pub fn claims_differ(set: &StatefulSet, database: &Database) -> bool {
    let size = |text: &str| text.parse::<Quantity>().ok();
    claimed(set).is_some_and(|claimed| size(claimed) != size(&database.spec.storage))
}

/// The storage of each claim.
fn claimed(set: &StatefulSet) -> Option<&str> {
    let claims = set.spec.volume_claim_templates.as_ref()?;
    let resources = claims.first()?.spec.as_ref()?.resources.as_ref()?;
    Some(&resources.requests.as_ref()?.get("storage")?.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::DatabaseSpec;

    fn set_of(storage: &str) -> StatefulSet {
        serde_json::from_value(stateful_set(&database(storage), None)).unwrap()
    }

    fn database(storage: &str) -> Database {
        let spec = DatabaseSpec {
            engine: "postgres".into(),
            replicas: 1,
            storage: storage.into(),
        };
        Database::new("db", spec)
    }

    #[test]
    fn claims_differ_by_value_and_keep_the_words_of_the_server() {
        for (live, desired, differ) in [
            ("1Gi", "1Gi", false),
            ("1Gi", "1024Mi", false),
            ("512Mi", "0.5Gi", false),
            ("1Gi", "2Gi", true),
            ("1Gi", "1G", true),
        ] {
            let (set, database) = (set_of(live), database(desired));
            assert_eq!(claims_differ(&set, &database), differ, "{live} {desired}");
            let next = serde_json::from_value(stateful_set(&database, Some(&set))).unwrap();
            assert_eq!(claimed(&next), Some(if differ { desired } else { live }));
        }
    }
}
