//! Deletion, finalizers and the garbage collector.

use serde_json::{Value, json};

use super::super::super::store::{Deletion, Key, Preconditions};
use super::super::{config_map, database, owned_by};
use super::{Core, at, error_code, ty};

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
            ..Preconditions::default()
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
fn orphaned_dependents_stay_and_lose_the_reference() {
    let mut core = Core::new();
    let owner = core.create("databases", database("one")).expect("valid");
    let child = owned_by(config_map("child"), &owner);
    core.create("configmaps", child).expect("valid");
    let orphan = Preconditions {
        orphan: true,
        ..Preconditions::default()
    };
    let deleted = core
        .0
        .delete(ty("databases"), &Key::new("ns", "one"), &orphan, at(0));
    assert!(deleted.is_ok());
    while core.0.collect_garbage(1, at(0)) {}
    let child = core.get("configmaps", "child").expect("it stays");
    assert_eq!(
        child["metadata"]["ownerReferences"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
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
