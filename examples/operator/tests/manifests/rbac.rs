//! The roles: what a run through everything needs, and no more.

use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Config;
use operator::cluster::check_namespaces;
use operator::operator::install_crds;
use serde_json::{Value, json};
use testserver::ApiServer;
use tollgate_kube::Operator;
use tollgate_kube::rbac::{Permission, Recorder, to_yaml};

use crate::files::object;
use crate::run::{LEASES, Running, USERS, backup, database, reason, server, until};

fn rules(file: &str, kind: &str) -> Vec<PolicyRule> {
    serde_json::from_value(object(file, kind)["rules"].clone()).unwrap()
}

fn text(permissions: Vec<Permission>) -> Vec<String> {
    permissions.iter().map(ToString::to_string).collect()
}

/// Requires that `granted` allows what was recorded, and nothing else.
fn assert_least(recorder: &Recorder, granted: &[PolicyRule]) {
    let missing = text(recorder.missing(granted));
    let unused = text(recorder.unused(granted));
    assert!(
        missing.is_empty() && unused.is_empty(),
        "missing: {missing:?}\nunused: {unused:?}\nneeded:\n{}",
        to_yaml(&recorder.cluster_role("needed"))
    );
}

#[tokio::test]
async fn a_run_needs_the_roles_and_no_more() {
    let server = server().await;
    let recorder = Recorder::new();
    let checker = Operator::builder(Config::new(server.url())).record(recorder.clone());
    let client = checker.build().await.unwrap().client();
    let checked = check_namespaces(&client, &[USERS.to_owned()]).await;
    checked.expect_err("the namespace is not there yet");
    let operator = Running::start(&server, recorder.clone(), &[]).await;
    create_and_change(&server).await;
    collide(&server).await;
    delete(&server).await;
    assert!(operator.drain().await.released);

    let (cluster, election) = (
        rules("rbac.yaml", "ClusterRole"),
        rules("rbac.yaml", "Role"),
    );
    assert_least(&recorder, &[cluster.clone(), election.clone()].concat());
    // The role in the namespace of the lease is the lease's alone, and the cluster's has no part in leases.
    assert_eq!(recorder.rules_in(Some(LEASES)), election);
    let leases = |rule: &PolicyRule| rule.resources.iter().flatten().any(|each| each == "leases");
    assert!(!cluster.iter().any(leases));
}

/// Objects come to be, and each child changes once.
async fn create_and_change(server: &ApiServer) {
    server
        .create("databases", USERS, database("orders"))
        .unwrap();
    let orphaned = backup("nightly", "missing");
    server.create("backups", USERS, orphaned).unwrap();
    until("a Backup without its Database says so", || {
        reason(server, "backups", "nightly").as_deref() == Some("DatabaseMissing")
    })
    .await;
    until("the Database is ready", || {
        reason(server, "databases", "orders").as_deref() == Some("AllReplicasReady")
    })
    .await;
    let set = |field: &str| {
        server
            .get("statefulsets", USERS, "orders")
            .map(|set| set["metadata"][field].clone())
    };
    let first = set("uid");

    let spec = json!({ "spec": { "engine": "mysql", "replicas": 2 } });
    server.merge("databases", USERS, "orders", spec).unwrap();
    let found = json!({ "spec": { "database": "orders" } });
    server.merge("backups", USERS, "nightly", found).unwrap();
    until("the schedule exists", || {
        server.get("cronjobs", USERS, "nightly").is_some()
    })
    .await;
    let (rescheduled, at) = (json!({ "spec": { "schedule": "0 4 * * *" } }), "0 4 * * *");
    server
        .merge("backups", USERS, "nightly", rescheduled)
        .unwrap();
    until("the schedule changes", || {
        let cron = server.get("cronjobs", USERS, "nightly");
        cron.is_some_and(|cron| cron["spec"]["schedule"] == at)
    })
    .await;
    until("the instances change", || {
        let set = server.get("statefulsets", USERS, "orders");
        set.is_some_and(|set| set["spec"]["replicas"] == 2)
    })
    .await;
    // No other controller keeps the Service as it should be.
    let port = json!({ "spec": { "selector": { "app.kubernetes.io/name": "other" } } });
    server.merge("services", USERS, "orders", port).unwrap();
    until("the Service is restored", || {
        let service = server.get("services", USERS, "orders");
        service.is_some_and(|it| it["spec"]["selector"]["app.kubernetes.io/name"] == "database")
    })
    .await;

    assert_eq!(set("uid"), first, "the changes so far replace nothing");
    let grown = json!({ "spec": { "storage": "2Gi" } });
    server.merge("databases", USERS, "orders", grown).unwrap();
    until("larger storage replaces the StatefulSet", || {
        set("uid").is_some_and(|uid| Some(uid) != first)
    })
    .await;
}

/// A refusal is published, and then counted.
async fn collide(server: &ApiServer) {
    let map = json!({ "metadata": { "name": "taken" } });
    server.create("configmaps", USERS, map).unwrap();
    server
        .create("databases", USERS, database("taken"))
        .unwrap();
    let repeated = |event: &Value| {
        event["reason"] == "Refused" && event["series"]["count"].as_i64() >= Some(2)
    };
    until("a refusal is counted in a series", || {
        server.list("events").iter().any(repeated)
    })
    .await;
}

/// A Backup goes once its Jobs are gone, and a Database once its snapshot is there.
async fn delete(server: &ApiServer) {
    let labels = json!({ "example.com/backup": "nightly" });
    let template = json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "a", "image": "a" }] } });
    let job = json!({ "metadata": { "name": "stale", "labels": labels }, "spec": { "template": template } });
    server.create("jobs", USERS, job).unwrap();
    server.delete("backups", USERS, "nightly").unwrap();
    until("the Backup and its Jobs are gone", || {
        server.count("backups") + server.count("jobs") == 0
    })
    .await;
    server.delete("databases", USERS, "orders").unwrap();
    until("the Database is gone", || {
        server.get("databases", USERS, "orders").is_none()
    })
    .await;
    let maps = server.list("configmaps");
    let of_it = |map: &Value| map["data"]["database"] == "orders";
    assert!(maps.iter().any(of_it), "its snapshot stays");
}

#[tokio::test]
async fn an_installation_needs_its_role_and_no_more() {
    let server = server().await;
    for plural in ["databases", "backups"] {
        server.unserve(plural);
    }
    let recorder = Recorder::new();
    let builder = Operator::builder(Config::new(server.url())).record(recorder.clone());
    let operator = builder.build().await.unwrap();
    install_crds(&operator.client()).await.unwrap();
    assert_eq!(server.count("customresourcedefinitions"), 2);
    // The embedded server establishes a definition at once, so this run never waits for one.
    let granted = rules("install.yaml", "ClusterRole");
    assert_eq!(recorder.missing(&granted), []);
    assert_eq!(
        text(recorder.unused(&granted)),
        ["watch customresourcedefinitions.apiextensions.k8s.io"]
    );
}
