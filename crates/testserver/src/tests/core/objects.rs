//! Creates and updates.

use serde_json::{Value, json};

use super::super::{config_map, database};
use super::{Core, error_code, ty};

#[test]
fn create_fills_in_the_server_written_fields() {
    let mut core = Core::new();
    let mut object = database("db");
    object["metadata"]["uid"] = json!("mine");
    object["metadata"]["generation"] = json!(7);
    object["metadata"]["labels"] = json!({ "dropped": null });
    object["status"] = json!({ "phase": "Ready" });
    let created = core.create("databases", object).expect("valid");
    assert_eq!(
        created["metadata"],
        json!({
            "name": "db",
            "namespace": "ns",
            "uid": "00000000-0000-4000-8000-000000000001",
            "creationTimestamp": "1970-01-01T00:00:00Z",
            "generation": 1,
            "resourceVersion": "2",
        })
    );
    assert_eq!(created["status"], Value::Null);
    assert_eq!(error_code(core.create("databases", database("db"))), 409);
    assert_eq!(error_code(core.create("databases", created)), 400);
}

#[test]
fn invalid_objects_are_rejected() {
    let mut core = Core::new();
    let mut refuse = |change: fn(&mut Value)| {
        let mut object = database("db");
        change(&mut object);
        core.create("databases", object).expect_err("invalid")
    };
    let (code, status) = refuse(|object| object["spec"] = json!({ "replicas": 6 }));
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    let fields: Vec<_> = status["details"]["causes"]
        .as_array()
        .expect("causes")
        .iter()
        .map(|cause| cause["field"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(fields, ["spec.replicas", "spec.engine", "spec.storage"]);
    assert_eq!(
        refuse(|object| object["spec"]["replicas"] = json!(0)).0,
        422
    );
    assert_eq!(
        refuse(|object| object["spec"]["replicas"] = json!("3")).0,
        422
    );
    assert_eq!(refuse(|object| object["spec"]["engine"] = json!("")).0, 422);
    assert_eq!(
        refuse(|object| object["metadata"]["name"] = json!("Not_OK")).0,
        422
    );
    assert_eq!(
        refuse(|object| object["metadata"]["name"] = json!(null)).0,
        422
    );
    assert_eq!(
        refuse(|object| object["metadata"]["name"] = json!(3)).0,
        400
    );
    assert_eq!(
        refuse(|object| object["metadata"]["finalizers"] = json!("f")).0,
        400
    );
    assert_eq!(
        refuse(|object| object["metadata"]["ownerReferences"] = json!([{}])).0,
        400
    );
    assert_eq!(
        refuse(|object| object["metadata"]["namespace"] = json!("other")).0,
        400
    );
    assert_eq!(refuse(|object| object["kind"] = json!("ConfigMap")).0, 400);
    assert_eq!(refuse(|object| *object = json!([])).0, 400);
}

#[test]
fn update_needs_the_latest_version() {
    let mut core = Core::new();
    let first = core.create("databases", database("db")).expect("valid");
    let mut second = first.clone();
    second["spec"]["replicas"] = json!(5);
    second["status"] = json!({ "ignored": true });
    let second = core.update("databases", "db", &second).expect("latest");
    assert_eq!(second["metadata"]["generation"], json!(2));
    assert_eq!(second["status"], Value::Null);
    assert_eq!(error_code(core.update("databases", "db", &first)), 409);
    assert_eq!(
        error_code(core.update("databases", "db", &database("db"))),
        422
    );
    assert_eq!(error_code(core.update("databases", "no", &first)), 404);
    // Built-in types may be replaced without a resource version.
    core.create("configmaps", config_map("c")).expect("valid");
    core.update("configmaps", "c", &config_map("c"))
        .expect("unconditional");
    let mut other = config_map("c");
    other["metadata"]["uid"] = json!("other");
    assert_eq!(error_code(core.update("configmaps", "c", &other)), 409);
}

#[test]
fn a_write_without_a_change_makes_no_version_and_no_event() {
    let mut core = Core::new();
    let created = core.create("databases", database("db")).expect("valid");
    let revision = core.0.revision();
    for unchanged in [
        core.update("databases", "db", &created),
        core.merge(
            "databases",
            "db",
            json!({ "spec": { "replicas": 3, "extra": null } }),
        ),
        core.merge(
            "databases",
            "db",
            json!({ "metadata": { "finalizers": [], "labels": {} } }),
        ),
        core.merge(
            "databases/status",
            "db",
            json!({ "spec": { "replicas": 1 } }),
        ),
        core.json_patch("databases", "db", &json!([])),
        core.json_patch(
            "databases",
            "db",
            &json!([
                { "op": "replace", "path": "/metadata/uid", "value": created["metadata"]["uid"] },
            ]),
        ),
        core.apply("databases", "db", "op", database("db")),
        core.apply("databases/status", "db", "op", database("db")),
    ] {
        assert_eq!(unchanged, Ok(created.clone()));
    }
    assert_eq!(core.0.revision(), revision);
    assert_eq!(core.0.history(ty("databases")).newest(), revision);
}
