//! The server through the real Kubernetes client: objects, apply, owners, lists and discovery.

use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use super::super::Options;
use super::{AGENT, client, code, config_map, database, databases, owned_by, start, typed};

#[tokio::test]
async fn a_custom_resource_is_created_updated_and_deleted() {
    let server = start(Options::default()).await;
    let api = databases(&server);
    let created = api
        .create(&PostParams::default(), &typed(database("db")))
        .await
        .expect("new");
    assert_eq!(created.metadata.generation, Some(1));
    assert!(created.metadata.creation_timestamp.is_some());
    assert_eq!(
        code(
            api.create(&PostParams::default(), &typed(database("db")))
                .await
        ),
        409
    );
    assert_eq!(code(api.get("none").await), 404);
    assert!(api.get_opt("none").await.expect("no error").is_none());

    let mut replaced = api.get("db").await.expect("there");
    replaced.data["spec"]["replicas"] = json!(4);
    api.replace("db", &PostParams::default(), &replaced)
        .await
        .expect("latest");
    assert_eq!(
        code(api.replace("db", &PostParams::default(), &replaced).await),
        409
    );

    let patch = Patch::Merge(json!({ "status": { "phase": "Ready" } }));
    let patched = api
        .patch_status("db", &PatchParams::default(), &patch)
        .await
        .expect("valid");
    assert_eq!(patched.data["status"]["phase"], "Ready");
    let patch = Patch::Strategic(json!({}));
    assert_eq!(
        code(api.patch("db", &PatchParams::default(), &patch).await),
        415
    );
    let patch = Patch::Merge(json!({ "spec": { "replicas": 9 } }));
    assert_eq!(
        code(api.patch("db", &PatchParams::default(), &patch).await),
        422
    );

    let wrong = Preconditions {
        uid: Some("wrong".into()),
        ..Preconditions::default()
    };
    let wrong = DeleteParams::background().preconditions(wrong);
    assert_eq!(code(api.delete("db", &wrong).await), 409);
    let deleted = api
        .delete("db", &DeleteParams::default())
        .await
        .expect("there");
    assert!(deleted.right().expect("a status").is_success());
    assert_eq!(server.count("databases"), 0);
    assert_eq!(server.requests(AGENT), 12);
    assert_eq!(server.arrivals(AGENT).len(), 12);
    server.stop().await;
}

#[tokio::test]
async fn server_side_apply_needs_a_manager_and_reports_conflicts() {
    let server = start(Options::default()).await;
    let api: Api<ConfigMap> = Api::namespaced(client(&server), "ns");
    let apply = |manager: &str| PatchParams::apply(manager);
    let mine = Patch::Apply(config_map("c"));
    api.patch("c", &apply("op"), &mine).await.expect("created");
    let mut other = config_map("c");
    other["data"]["a"] = json!("2");
    let other = Patch::Apply(other);
    assert_eq!(code(api.patch("c", &apply("me"), &other).await), 409);
    let taken = api
        .patch("c", &apply("me").force(), &other)
        .await
        .expect("forced");
    assert_eq!(taken.data.expect("data")["a"], "2");
    assert_eq!(
        code(api.patch("c", &PatchParams::default(), &mine).await),
        400
    );
}

#[tokio::test]
async fn finalizers_and_owners_decide_which_objects_are_deleted() {
    let server = start(Options::default()).await;
    let api = databases(&server);
    let children: Api<ConfigMap> = Api::namespaced(client(&server), "ns");
    let mut object = database("db");
    object["metadata"]["finalizers"] = json!(["example.com/cleanup"]);
    api.create(&PostParams::default(), &typed(object))
        .await
        .expect("new");
    let owner = server.get("databases", "ns", "db").expect("there");
    let child = typed(owned_by(config_map("child"), &owner));
    children
        .create(&PostParams::default(), &child)
        .await
        .expect("new");
    let follow = watcher(children, watcher::Config::default());
    let mut follow = std::pin::pin!(follow.default_backoff());

    let pending = api
        .delete("db", &DeleteParams::background())
        .await
        .expect("there");
    let pending = pending.left().expect("the object itself");
    assert!(pending.metadata.deletion_timestamp.is_some());
    let done = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    api.patch("db", &PatchParams::default(), &done)
        .await
        .expect("there");
    assert_eq!(code(api.get("db").await), 404);
    // The list may still have the child; the watch shows when it is deleted.
    let mut left = 0;
    while let Some(event) = follow.try_next().await.expect("no faults") {
        match event {
            watcher::Event::InitApply(_) => left += 1,
            watcher::Event::Delete(_) => left -= 1,
            _ => {}
        }
        if matches!(event, watcher::Event::InitDone | watcher::Event::Delete(_)) && left == 0 {
            break;
        }
    }
    assert_eq!(server.count("configmaps"), 0);
}

#[tokio::test]
async fn statefulsets_become_ready() {
    let options = Options {
        ready_after: Duration::from_millis(5),
        ..Options::default()
    };
    let server = start(options).await;
    let api: Api<StatefulSet> = Api::namespaced(client(&server), "ns");
    let object = |replicas: i32| -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": { "name": "s" },
            "spec": {
                "replicas": replicas,
                "serviceName": "s",
                "selector": {},
                "template": {},
            },
        })
    };
    let follow = watcher(api.clone(), watcher::Config::default());
    let mut follow = std::pin::pin!(follow.default_backoff());
    for (replicas, generation) in [(3, 1), (5, 2)] {
        let patch = Patch::Apply(object(replicas));
        api.patch("s", &PatchParams::apply("op"), &patch)
            .await
            .expect("valid");
        loop {
            let event = follow.try_next().await.expect("no faults").expect("no end");
            let (watcher::Event::Apply(set) | watcher::Event::InitApply(set)) = event else {
                continue;
            };
            let status = set.status.unwrap_or_default();
            if status.ready_replicas == Some(replicas) {
                assert_eq!(status.observed_generation, Some(generation));
                break;
            }
        }
    }
}

#[tokio::test]
async fn cluster_scoped_types_lists_and_discovery_work() {
    let server = start(Options::default()).await;
    let client = client(&server);
    assert_eq!(
        client.apiserver_version().await.expect("a version").major,
        "1"
    );
    let groups = client.list_api_groups().await.expect("groups");
    let names: Vec<_> = groups
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "apps",
            "batch",
            "coordination.k8s.io",
            "events.k8s.io",
            "example.com",
            "apiextensions.k8s.io"
        ]
    );
    let resources = client
        .list_api_group_resources("example.com/v1")
        .await
        .expect("resources");
    let names: Vec<_> = resources
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["databases", "databases/status", "backups", "backups/status"]
    );
    let core = client
        .list_core_api_resources("v1")
        .await
        .expect("resources");
    assert!(
        core.resources
            .iter()
            .any(|resource| resource.name == "services")
    );

    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({ "metadata": { "name": "ns", "labels": { "team": "a" } } });
    namespaces
        .create(&PostParams::default(), &typed(namespace))
        .await
        .expect("new");
    let labelled = |labels: &str| ListParams::default().labels(labels);
    let found = namespaces.list(&labelled("team=a")).await.expect("a list");
    assert_eq!(found.items.len(), 1);
    let found = namespaces.list(&labelled("team=b")).await.expect("a list");
    assert!(found.items.is_empty());
    assert_eq!(code(namespaces.list(&labelled("team in (a)")).await), 400);

    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "databases.example.com" },
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": { "kind": "Database", "plural": "databases" },
            "versions": [],
        },
    });
    let apply = PatchParams::apply("op").force();
    definitions
        .patch("databases.example.com", &apply, &Patch::Apply(definition))
        .await
        .expect("created");
    let established = kube::runtime::wait::conditions::is_crd_established();
    kube::runtime::wait::await_condition(definitions, "databases.example.com", established)
        .await
        .expect("established");
}
