//! Creates in a namespace that is being deleted, and beyond a quota.

use serde_json::json;

use super::super::{config_map, database};
use super::{Core, error_code, ty};

#[test]
fn nothing_is_created_in_a_namespace_that_is_being_deleted() {
    let mut core = Core::new();
    core.create("configmaps", config_map("old")).expect("valid");
    core.0.terminate_namespace("ns");
    let (code, status) = core
        .create("databases", database("db"))
        .expect_err("refused");
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        status["message"],
        json!(
            "databases.example.com \"db\" is forbidden: unable to create new content in namespace ns because it is \
             being terminated"
        )
    );
    let causes = json!([{
        "reason": "NamespaceTerminating",
        "message": "namespace ns is being terminated",
        "field": "metadata.namespace",
    }]);
    assert_eq!(status["details"]["causes"], causes);
    // The namespace comes before the object's values and its name.
    let invalid = core.create("databases", json!({ "metadata": { "name": "db" } }));
    assert_eq!(error_code(invalid), 403);
    assert_eq!(
        error_code(core.create("configmaps", config_map("old"))),
        403
    );
    let applied = core.apply("configmaps", "new", "op", config_map("new"));
    assert_eq!(error_code(applied), 403);

    core.merge("configmaps", "old", json!({ "data": { "a": "2" } }))
        .expect("a change");
    core.delete("configmaps", "old");
    core.create_in("other", "configmaps", config_map("new"))
        .expect("another namespace");
}

#[test]
fn a_quota_bounds_the_objects_of_a_type_in_a_namespace() {
    let mut core = Core::new();
    core.0.limit_quota(ty("databases"), "ns", 2);
    for name in ["a", "b"] {
        core.create("databases", database(name)).expect("in quota");
    }
    let (code, status) = core
        .create("databases", database("c"))
        .expect_err("refused");
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        status["message"],
        json!(
            "databases.example.com \"c\" is forbidden: exceeded quota: quota, requested: \
             count/databases.example.com=1, used: count/databases.example.com=2, limited: count/databases.example.com=2"
        )
    );
    // The quota comes after the object's values and before its name.
    let mut invalid = database("c");
    invalid["spec"]["replicas"] = json!(9);
    assert_eq!(error_code(core.create("databases", invalid)), 422);
    assert_eq!(error_code(core.create("databases", database("a"))), 403);
    let applied = core.apply("databases", "c", "op", database("c"));
    assert_eq!(error_code(applied), 403);

    core.apply("databases", "a", "op", database("a"))
        .expect("a change");
    core.create("configmaps", config_map("c"))
        .expect("another type");
    for namespace in ["nr", "nt"] {
        core.create_in(namespace, "databases", database("c"))
            .expect("another namespace");
    }
    core.delete("databases", "a");
    core.create("databases", database("c")).expect("in quota");
}
