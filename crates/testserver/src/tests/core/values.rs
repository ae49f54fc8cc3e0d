//! Names, labels, quantities and immutable fields.

use serde_json::{Value, json};

use super::super::{config_map, database};
use super::{Core, error_code};

fn named(kind: &str, name: &str) -> Value {
    json!({ "kind": kind, "metadata": { "name": name }, "spec": {} })
}

fn stateful_set(storage: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": { "name": "s" },
        "spec": {
            "replicas": 1,
            "serviceName": "s",
            "selector": { "matchLabels": { "app": "s" } },
            "template": {
                "metadata": { "labels": { "app": "s" } },
                "spec": { "containers": [{
                    "name": "c",
                    "resources": { "requests": { "cpu": "500m" }, "limits": { "memory": "1e3" } },
                }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": { "resources": { "requests": { "storage": storage } } },
            }],
        },
    })
}

/// The code and the only cause of a refusal.
fn refusal(outcome: Result<Value, (u16, Value)>) -> (u16, Value) {
    let (code, status) = outcome.expect_err("an error");
    (code, status["details"]["causes"][0].clone())
}

#[test]
fn names_are_subdomains_except_where_they_become_host_names() {
    let mut core = Core::new();
    let longest = format!("{}.{}", "x".repeat(200), "y".repeat(52));
    for name in ["a.b", &"x".repeat(64), &longest] {
        core.create("configmaps", config_map(name)).expect("valid");
        core.create("databases", database(name)).expect("valid");
        for (plural, kind) in [("services", "Service"), ("namespaces", "Namespace")] {
            let (code, cause) = refusal(core.create(plural, named(kind, name)));
            assert_eq!((code, &cause["field"]), (422, &json!("metadata.name")));
        }
    }
    let too_long = format!("{longest}z");
    assert_eq!(
        error_code(core.create("configmaps", config_map(&too_long))),
        422
    );
    core.create("services", named("Service", &"x".repeat(63)))
        .expect("valid");
}

#[test]
fn names_of_jobs_leave_room_for_suffixes_and_labels() {
    let mut core = Core::new();
    let name = "x".repeat(64);
    let (code, cause) = refusal(core.create("jobs", named("Job", &name)));
    assert_eq!(
        (code, &cause["field"]),
        (422, &json!("spec.template.labels"))
    );
    core.create("jobs", named("Job", &name[..63]))
        .expect("valid");
    let cron_job = |name: &str, schedule: &str| json!({ "metadata": { "name": name }, "spec": { "schedule": schedule } });
    core.create("cronjobs", cron_job(&name[..52], "0 3 * * *"))
        .expect("valid");
    core.create("cronjobs", cron_job("daily", "@daily"))
        .expect("valid");
    for (name, schedule) in [(&name[..53], "0 3 * * *"), ("a", "often"), ("a", "")] {
        assert_eq!(
            error_code(core.create("cronjobs", cron_job(name, schedule))),
            422
        );
    }
}

#[test]
fn labels_of_every_object_are_checked() {
    let mut core = Core::new();
    let mut labelled = |key: &str, value: &str| {
        let mut object = config_map("c");
        object["metadata"]["labels"] = json!({ key: value });
        core.create("configmaps", object)
    };
    let value = "x".repeat(64);
    let (code, cause) = refusal(labelled("a", &value));
    assert_eq!((code, &cause["field"]), (422, &json!("metadata.labels")));
    let message = format!("Invalid value: {value:?}: must be no more than 63 characters");
    assert_eq!(cause["message"], json!(message));
    assert_eq!(error_code(labelled("a", "b c")), 422);
    assert_eq!(error_code(labelled("a b", "c")), 422);
    labelled("example.com/a_b", &value[..63]).expect("valid");
    let patch = json!({ "metadata": { "labels": { "a": "-" } } });
    assert_eq!(
        error_code(core.merge("configmaps", "c", patch.clone())),
        422
    );
    core.create("databases", database("db")).expect("valid");
    assert_eq!(error_code(core.apply("databases", "db", "op", patch)), 422);
    let mut set = stateful_set(&json!("1Gi"));
    set["spec"]["template"]["metadata"]["labels"]["app"] = json!(value);
    assert_eq!(error_code(core.create("statefulsets", set)), 422);
}

#[test]
fn an_update_of_a_stateful_set_changes_only_what_it_may() {
    let mut core = Core::new();
    core.create("statefulsets", stateful_set(&json!("1Gi")))
        .expect("valid");
    for patch in [
        json!({ "spec": { "serviceName": "other" } }),
        json!({ "spec": { "selector": { "matchLabels": { "app": "other" } } } }),
        json!({ "spec": { "volumeClaimTemplates": null } }),
        json!({ "spec": { "podManagementPolicy": "Parallel" } }),
    ] {
        let (code, cause) = refusal(core.merge("statefulsets", "s", patch));
        assert_eq!((code, &cause["field"]), (422, &json!("spec")));
    }
    let outcome = core.apply("statefulsets", "s", "op", stateful_set(&json!("2Gi")));
    let (code, status) = outcome.expect_err("the claims are immutable");
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")));
    assert_eq!(
        status["message"],
        json!(
            "StatefulSet.apps \"s\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than \
             'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
             'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
    );
    // The same claim, in other words.
    let mut same = stateful_set(&json!("1024Mi"));
    same["spec"]["podManagementPolicy"] = json!("OrderedReady");
    same["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"] = json!("Filesystem");
    same["spec"]["volumeClaimTemplates"][0]["apiVersion"] = json!("v1");
    same["spec"]["replicas"] = json!(3);
    same["spec"]["template"]["spec"]["containers"][0]["image"] = json!("i");
    let updated = core.update("statefulsets", "s", &same).expect("valid");
    assert_eq!(updated["spec"]["replicas"], json!(3));
    let status = json!({ "status": { "replicas": 3 } });
    core.merge("statefulsets/status", "s", status)
        .expect("valid");
}

#[test]
fn an_unreadable_quantity_is_refused_by_the_code_of_its_verb() {
    let mut core = Core::new();
    let lots = stateful_set(&json!("lots"));
    assert_eq!(error_code(core.create("statefulsets", lots.clone())), 400);
    let outcome = core.apply("statefulsets", "s", "op", lots.clone());
    let (code, status) = outcome.expect_err("unreadable");
    assert_eq!((code, &status["reason"]), (500, &json!("InternalError")));
    assert_eq!(core.get("statefulsets", "s"), None);
    for storage in [
        json!("1Gi"),
        json!("500m"),
        json!("0.5"),
        json!("1e3"),
        json!(5),
    ] {
        let applied = core.apply("statefulsets", "s", "op", stateful_set(&storage));
        applied.expect("a quantity");
        core.delete("statefulsets", "s");
    }
    core.create("statefulsets", stateful_set(&json!("1Gi")))
        .expect("valid");
    assert_eq!(error_code(core.update("statefulsets", "s", &lots)), 400);
    let patch = json!({ "spec": lots["spec"] });
    assert_eq!(error_code(core.merge("statefulsets", "s", patch)), 422);
    let mut limits = stateful_set(&json!("1Gi"));
    limits["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] =
        json!("1KiB");
    assert_eq!(error_code(core.update("statefulsets", "s", &limits)), 400);
    // A custom resource has its own schema.
    let mut free = database("db");
    free["spec"]["storage"] = json!("lots");
    core.create("databases", free).expect("valid");
}
