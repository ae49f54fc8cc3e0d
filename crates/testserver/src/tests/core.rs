//! The sequential core, verb by verb.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::patch::Patch;
use super::super::resource::{ResourceType, by_plural};
use super::super::status::Status;
use super::super::store::{Deletion, Key, Object, Preconditions, Store, Target};
use super::{config_map, database, owned_by};

struct Core(Store);

type Outcome = Result<Value, (u16, Value)>;

fn ty(plural: &str) -> &'static ResourceType {
    by_plural(plural).expect("a served type")
}

fn target(path: &str, name: &str) -> Target {
    let (plural, status) = path
        .strip_suffix("/status")
        .map_or((path, false), |plural| (plural, true));
    Target {
        ty: ty(plural),
        key: Key::new("ns", name),
        status,
    }
}

fn outcome(result: Result<Arc<Object>, Status>) -> Outcome {
    result
        .map(|object| object.value.clone())
        .map_err(|status| (status.code, status.to_json()))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

impl Core {
    fn new() -> Core {
        Core(Store::new(1_000))
    }

    fn create(&mut self, plural: &str, object: Value) -> Outcome {
        outcome(self.0.create(ty(plural), "ns", object, at(0)))
    }

    fn update(&mut self, path: &str, name: &str, object: &Value) -> Outcome {
        outcome(self.0.update(&target(path, name), object.clone()))
    }

    fn merge(&mut self, path: &str, name: &str, patch: Value) -> Outcome {
        let patched = self
            .0
            .patch(&target(path, name), &Patch::Merge(patch), at(0));
        outcome(patched.map(|(_, object)| object))
    }

    fn json_patch(&mut self, path: &str, name: &str, patch: &Value) -> Outcome {
        let body = patch.to_string();
        let patch = Patch::parse("application/json-patch+json", body.as_bytes(), None, false);
        let patched = patch.and_then(|patch| self.0.patch(&target(path, name), &patch, at(0)));
        outcome(patched.map(|(_, object)| object))
    }

    fn apply(&mut self, path: &str, name: &str, manager: &str, config: Value) -> Outcome {
        let patch = Patch::Apply {
            manager: manager.to_owned(),
            force: false,
            config,
        };
        let patched = self.0.patch(&target(path, name), &patch, at(0));
        outcome(patched.map(|(_, object)| object))
    }

    fn delete(&mut self, plural: &str, name: &str) -> Deletion {
        let nothing = Preconditions::default();
        self.0
            .delete(ty(plural), &Key::new("ns", name), &nothing, at(9))
            .expect("it exists")
    }

    fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.0
            .get(ty(plural), &Key::new("ns", name))
            .ok()
            .map(|object| object.value.clone())
    }
}

fn error_code(outcome: Outcome) -> u16 {
    outcome.expect_err("an error").0
}

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

#[test]
fn status_and_spec_are_written_separately() {
    let mut core = Core::new();
    core.create("databases", database("db")).expect("valid");
    let patch = json!({ "spec": { "replicas": 1 }, "status": { "phase": "Ready" } });
    let patched = core
        .merge("databases/status", "db", patch.clone())
        .expect("valid");
    assert_eq!(patched["status"], json!({ "phase": "Ready" }));
    assert_eq!(patched["spec"]["replicas"], json!(3));
    assert_eq!(patched["metadata"]["generation"], json!(1));
    let patch = json!({ "spec": { "replicas": 1 }, "status": { "phase": "Failed" } });
    let patched = core.merge("databases", "db", patch).expect("valid");
    assert_eq!(patched["status"], json!({ "phase": "Ready" }));
    assert_eq!(patched["spec"]["replicas"], json!(1));
    assert_eq!(patched["metadata"]["generation"], json!(2));
    let labels = json!({ "metadata": { "labels": { "a": "b" } } });
    let patched = core.merge("databases", "db", labels).expect("valid");
    assert_eq!(patched["metadata"]["generation"], json!(2));
}

#[test]
fn patches_may_carry_preconditions() {
    let mut core = Core::new();
    let created = core.create("databases", database("db")).expect("valid");
    let version = &created["metadata"]["resourceVersion"];
    let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "replicas": 4 } });
    core.merge("databases", "db", patch.clone())
        .expect("the latest version");
    assert_eq!(
        error_code(core.merge("databases", "db", patch.clone())),
        409
    );
    assert_eq!(error_code(core.merge("databases/status", "db", patch)), 409);
    let test = |value: u64| {
        json!([
            { "op": "test", "path": "/spec/replicas", "value": value },
            { "op": "replace", "path": "/spec/replicas", "value": 5 },
        ])
    };
    assert_eq!(
        error_code(core.json_patch("databases", "db", &test(3))),
        422
    );
    let patched = core
        .json_patch("databases", "db", &test(4))
        .expect("test holds");
    assert_eq!(patched["spec"]["replicas"], json!(5));
    let missing = json!([{ "op": "remove", "path": "/spec/none" }]);
    assert_eq!(
        error_code(core.json_patch("databases", "db", &missing)),
        422
    );
    assert_eq!(
        error_code(core.json_patch("databases", "db", &json!([{ "op": "jump" }]))),
        400
    );
    let erase = json!([{ "op": "replace", "path": "/metadata", "value": null }]);
    let erased = core
        .json_patch("databases", "db", &erase)
        .expect("nothing to erase");
    assert_eq!(erased["metadata"]["name"], json!("db"));
}

#[test]
fn apply_creates_merges_and_respects_other_managers() {
    let mut core = Core::new();
    let patch = Patch::Apply {
        manager: "op".into(),
        force: false,
        config: database("db"),
    };
    let (created, _) = core
        .0
        .patch(&target("databases", "db"), &patch, at(0))
        .expect("valid");
    assert!(created);
    let mut config = database("db");
    config["spec"]["replicas"] = json!(5);
    assert_eq!(
        error_code(core.apply("databases", "db", "other", config.clone())),
        409
    );
    let applied = core
        .apply("databases", "db", "op", config)
        .expect("its own field");
    assert_eq!(applied["spec"]["replicas"], json!(5));
    let mut status = database("db");
    status["status"] = json!({ "phase": "Ready", "unset": null });
    let applied = core
        .apply("databases/status", "db", "op", status)
        .expect("valid");
    assert_eq!(applied["status"], json!({ "phase": "Ready" }));
    // Claims on the status are separate: an apply of the rest does not release them.
    let applied = core
        .apply("databases", "db", "op", database("db"))
        .expect("valid");
    assert_eq!(applied["status"], json!({ "phase": "Ready" }));
    assert_eq!(
        error_code(core.apply("databases/status", "no", "op", database("no"))),
        404
    );
    let mut gone = database("gone");
    gone["metadata"]["uid"] = json!("was-here");
    assert_eq!(error_code(core.apply("databases", "gone", "op", gone)), 409);
}

#[test]
fn a_deleted_object_waits_for_its_finalizers() {
    let mut core = Core::new();
    let mut object = database("db");
    object["metadata"]["finalizers"] = json!(["a/x", "b/y"]);
    core.create("databases", object).expect("valid");
    let Deletion::Pending(marked) = core.delete("databases", "db") else {
        panic!("held")
    };
    assert_eq!(
        marked.value["metadata"]["deletionTimestamp"],
        json!("1970-01-01T00:00:09Z")
    );
    assert_eq!(
        marked.value["metadata"]["deletionGracePeriodSeconds"],
        json!(0)
    );
    let Deletion::Pending(again) = core.delete("databases", "db") else {
        panic!("held")
    };
    assert_eq!(again.value, marked.value);
    let more = json!({ "metadata": { "finalizers": ["a/x", "c/z"] } });
    assert_eq!(error_code(core.merge("databases", "db", more)), 422);
    let fewer = json!({ "metadata": { "finalizers": ["b/y"], "deletionTimestamp": null } });
    let fewer = core.merge("databases", "db", fewer).expect("fewer is fine");
    assert!(fewer["metadata"]["deletionTimestamp"].is_string());
    core.merge(
        "databases",
        "db",
        json!({ "metadata": { "finalizers": null } }),
    )
    .expect("last");
    assert_eq!(core.get("databases", "db"), None);
    assert_eq!(core.0.history(ty("databases")).newest(), core.0.revision());
}

#[test]
fn delete_has_preconditions() {
    let mut core = Core::new();
    let created = core.create("configmaps", config_map("c")).expect("valid");
    let mut delete = |uid: &str, version: &str| {
        let wanted = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
        };
        let deletion = core
            .0
            .delete(ty("configmaps"), &Key::new("ns", "c"), &wanted, at(0));
        deletion.map(|_| ()).map_err(|status| status.code)
    };
    let uid = created["metadata"]["uid"].as_str().expect("a uid");
    assert_eq!(delete("other", "2"), Err(409));
    assert_eq!(delete(uid, "1"), Err(409));
    assert_eq!(delete(uid, "2"), Ok(()));
    assert_eq!(delete(uid, "2"), Err(404));
}

#[test]
fn dependents_are_deleted_with_their_last_owner() {
    let mut core = Core::new();
    let one = core.create("databases", database("one")).expect("valid");
    let two = core.create("databases", database("two")).expect("valid");
    let child = owned_by(config_map("child"), &one);
    let child = core.create("configmaps", child).expect("valid");
    core.create("services", owned_by(named("Service", "grandchild"), &child))
        .expect("valid");
    let mut shared = owned_by(config_map("shared"), &one);
    let reference = owned_by(json!({}), &two)["metadata"]["ownerReferences"][0].clone();
    shared["metadata"]["ownerReferences"]
        .as_array_mut()
        .expect("a list")
        .push(reference);
    core.create("configmaps", shared).expect("valid");
    let mut held = owned_by(config_map("held"), &one);
    held["metadata"]["finalizers"] = json!(["a/x"]);
    core.create("configmaps", held).expect("valid");
    assert!(!core.0.has_suspects());

    core.delete("databases", "one");
    while core.0.collect_garbage(1, at(0)) {}
    assert_eq!(core.get("configmaps", "child"), None);
    assert_eq!(core.get("services", "grandchild"), None);
    let held = core
        .get("configmaps", "held")
        .expect("held by its finalizer");
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    assert!(core.get("configmaps", "shared").is_some());
    core.delete("databases", "two");
    while core.0.collect_garbage(1, at(0)) {}
    assert_eq!(core.get("configmaps", "shared"), None);

    core.create("configmaps", owned_by(config_map("late"), &one))
        .expect("valid");
    while core.0.collect_garbage(1, at(0)) {}
    assert_eq!(core.get("configmaps", "late"), None);
}

fn named(kind: &str, name: &str) -> Value {
    json!({ "kind": kind, "metadata": { "name": name }, "spec": {} })
}
