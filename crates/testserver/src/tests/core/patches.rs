//! Patches, applies and the `/status` subresource.

use serde_json::json;

use super::super::super::patch::Patch;
use super::super::database;
use super::{Core, at, error_code, target};

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
