//! What a reconcile writes, and what it leaves alone.

use k8s_openapi::api::batch::v1::{Job, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use testserver::ApiServer;
use tollgate_kube::{Action, ApplyError, Context, Object};

use crate::setup::{AGENT, Log, Running, all, create, operator, run, server, until};

/// Gives each map a Service with the port in its data, and logs how that ended.
async fn start(server: &ApiServer, log: &Log) -> Running {
    let mut operator = operator(server).await;
    let (maps, seen) = (all(&operator), log.clone());
    let services: Api<Service> = Api::all(operator.client());
    let labelled = watcher::Config::default().labels("made=by-us");
    operator
        .for_kind(maps)
        .owns(services, labelled)
        .reconcile(move |object, context| {
            let seen = seen.clone();
            async move {
                let Object::Found(map) = object else {
                    return Ok(Action::done());
                };
                let done = apply(&map, &context).await;
                seen.push(match &done {
                    Ok(service) => {
                        format!("{} {}", map.name_any(), service.resource_version().unwrap())
                    }
                    Err(error) => error.to_string(),
                });
                done?;
                Ok(Action::done())
            }
        })
        .unwrap();
    run(operator)
}

async fn apply(map: &ConfigMap, context: &Context) -> Result<std::sync::Arc<Service>, ApplyError> {
    let port: u16 = map.data.as_ref().unwrap()["a"].parse().unwrap();
    let service = json!({
        "metadata": { "name": map.name_any(), "labels": { "made": "by-us" } },
        "spec": { "ports": [{ "port": port }] },
    });
    context.apply(map, service).await
}

fn port(server: &ApiServer, name: &str) -> Value {
    let service = server.get("services", "ns", name);
    service.map_or(Value::Null, |service| {
        service["spec"]["ports"][0]["port"].clone()
    })
}

#[tokio::test]
async fn a_child_in_the_desired_state_is_not_written() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let running = start(&server, &log).await;
    until(|| port(&server, "a") == 1).await;
    until(|| log.lines().len() >= 2).await;
    let before = server.writes(AGENT);
    let label = json!({ "metadata": { "labels": { "x": "y" } } });
    let so_far = log.lines().len();
    server.merge("configmaps", "ns", "a", label).unwrap();
    until(|| log.lines().len() > so_far).await;
    assert_eq!(server.writes(AGENT), before);
    // By hand, and back.
    let edit = json!({ "spec": { "ports": [{ "port": 7 }] } });
    server.merge("services", "ns", "a", edit).unwrap();
    until(|| port(&server, "a") == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn an_object_of_another_owner_is_left_alone() {
    let server = server().await;
    let theirs = json!({ "metadata": { "name": "a" }, "spec": { "ports": [{ "port": 9 }] } });
    let theirs = server.create("services", "ns", theirs).unwrap();
    create(&server, "a");
    let log = Log::default();
    let running = start(&server, &log).await;
    log.wait_for("Service a exists and is not controlled by ConfigMap a")
        .await;
    assert_eq!(*server.get("services", "ns", "a").unwrap(), theirs);
    assert_eq!(server.writes(AGENT), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_child_of_an_earlier_owner_of_the_name_is_left_alone() {
    let server = server().await;
    let owner = json!([{
        "apiVersion": "v1", "kind": ConfigMap::kind(&()), "name": "a", "uid": "an-earlier-one", "controller": true,
    }]);
    let metadata = json!({ "name": "a", "labels": { "made": "by-us" }, "ownerReferences": owner });
    // Its owner is gone, so it is collected before long; until then it is not ours.
    let theirs = json!({ "metadata": metadata, "spec": { "ports": [{ "port": 9 }] } });
    create(&server, "a");
    let log = Log::default();
    server.create("services", "ns", theirs).unwrap();
    let running = start(&server, &log).await;
    until(|| port(&server, "a") == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_write_from_an_old_version_is_refused() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    let edits = std::sync::Arc::new(server);
    let shared = std::sync::Arc::clone(&edits);
    operator
        .for_kind(maps)
        .reconcile(move |object: Object<ConfigMap>, context: Context| {
            let (seen, server) = (seen.clone(), std::sync::Arc::clone(&shared));
            async move {
                let Object::Found(map) = object else {
                    return Ok(Action::done());
                };
                // Another writer is faster.
                let edit = json!({ "metadata": { "finalizers": ["others/hold"] } });
                if map.finalizers().is_empty() {
                    server.merge("configmaps", "ns", "a", edit).unwrap();
                }
                let added = context.add_finalizer(&*map, "ours/hold").await;
                seen.push(match &added {
                    Ok(added) => format!("added {added}"),
                    Err(kube::Error::Api(status)) => status.code.to_string(),
                    Err(error) => error.to_string(),
                });
                added?;
                Ok(Action::done())
            }
        })
        .unwrap();
    let running = run(operator);
    log.wait_for("added true").await;
    assert_eq!(log.lines()[0], "409");
    let map = edits.get("configmaps", "ns", "a").unwrap();
    assert_eq!(
        map["metadata"]["finalizers"],
        json!(["others/hold", "ours/hold"])
    );
    running.stop().await;
}

#[tokio::test]
async fn a_child_that_has_changed_since_the_store_saw_it_is_not_overwritten() {
    let server = std::sync::Arc::new(server().await);
    create(&server, "a");
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    let services: Api<Service> = Api::all(operator.client());
    let shared = std::sync::Arc::clone(&server);
    operator
        .for_kind(maps)
        .owns(services, watcher::Config::default())
        .reconcile(move |object: Object<ConfigMap>, context: Context| {
            let (seen, server) = (seen.clone(), std::sync::Arc::clone(&shared));
            async move {
                let Object::Found(map) = object else {
                    return Ok(Action::done());
                };
                // Without a wait before the write, so that the store is behind.
                if map.data.as_ref().unwrap()["a"] == "2" && port(&server, "a") == 1 {
                    let edit = json!({ "metadata": { "labels": { "newer": "yes" } } });
                    server.merge("services", "ns", "a", edit).unwrap();
                }
                let applied = apply(&map, &context).await;
                seen.push(match &applied {
                    Err(ApplyError::Api(kube::Error::Api(status))) => status.code.to_string(),
                    other => format!("{}", other.is_ok()),
                });
                applied?;
                Ok(Action::done())
            }
        })
        .unwrap();
    let running = run(operator);
    until(|| port(&server, "a") == 1).await;
    // The event of the Service has passed, so the store has it.
    until(|| log.lines().len() >= 2).await;
    let edit = json!({ "data": { "a": "2" } });
    server.merge("configmaps", "ns", "a", edit).unwrap();
    log.wait_for("409").await;
    until(|| port(&server, "a") == 2).await;
    let labels = &server.get("services", "ns", "a").unwrap()["metadata"]["labels"];
    assert_eq!(labels["newer"], "yes");
    running.stop().await;
}

#[tokio::test]
async fn the_note_of_an_event_is_cut_to_what_the_server_takes() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    operator
        .for_kind(maps)
        .reconcile(move |object: Object<ConfigMap>, context: Context| {
            let seen = seen.clone();
            async move {
                if let Object::Found(map) = object {
                    context.warn(&*map, "Refused", "\u{e4}".repeat(2_000)).await;
                }
                seen.push("done");
                Ok(Action::done())
            }
        })
        .unwrap();
    let running = run(operator);
    log.wait_for("done").await;
    let events = server.list("events");
    assert_eq!(events[0]["note"].as_str().map(str::len), Some(1024));
    running.stop().await;
}

#[tokio::test]
async fn a_field_that_is_no_longer_desired_is_removed() {
    let server = server().await;
    let map = json!({ "metadata": { "name": "a" }, "data": { "policy": "Local" } });
    server.create("configmaps", "ns", map).unwrap();
    let mut operator = operator(&server).await;
    let maps = all(&operator);
    let services: Api<Service> = Api::all(operator.client());
    operator
        .for_kind(maps)
        .owns(services, watcher::Config::default())
        .reconcile(|object: Object<ConfigMap>, context: Context| async move {
            let Object::Found(map) = object else {
                return Ok(Action::done());
            };
            // Null once the key is gone.
            let policy = map.data.as_ref().and_then(|data| data.get("policy"));
            let service = json!({
                "metadata": { "name": "a" },
                "spec": { "ports": [{ "port": 1 }], "internalTrafficPolicy": policy },
            });
            context.apply::<_, Service>(&*map, service).await?;
            Ok(Action::done())
        })
        .unwrap();
    let policy = || {
        let service = server.get("services", "ns", "a")?;
        Some(service["spec"]["internalTrafficPolicy"].clone())
    };
    let running = run(operator);
    until(|| policy() == Some(json!("Local"))).await;
    let gone = json!({ "data": { "policy": null } });
    server.merge("configmaps", "ns", "a", gone).unwrap();
    until(|| policy() == Some(Value::Null)).await;
    running.stop().await;
}

#[tokio::test]
async fn a_status_loses_the_nested_fields_that_are_gone() {
    let server = server().await;
    let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] });
    let job = json!({
        "metadata": { "name": "a", "annotations": { "failed": "f" } },
        "spec": { "template": { "spec": pod } },
    });
    server.create("jobs", "ns", job).unwrap();
    let mut operator = operator(&server).await;
    let jobs: Api<Job> = Api::all(operator.client());
    operator
        .for_kind(jobs)
        .reconcile(|object: Object<Job>, context: Context| async move {
            let Object::Found(job) = object else {
                return Ok(Action::done());
            };
            let failed = job.annotations().get("failed").cloned();
            let uncounted = UncountedTerminatedPods {
                failed: failed.map(|failed| vec![failed]),
                succeeded: Some(vec!["s".into()]),
            };
            let status = JobStatus {
                uncounted_terminated_pods: Some(uncounted),
                ..JobStatus::default()
            };
            context.set_status(&*job, &status).await?;
            Ok(Action::done())
        })
        .unwrap();
    let uncounted = || {
        let job = server.get("jobs", "ns", "a").unwrap();
        job["status"]["uncountedTerminatedPods"].clone()
    };
    let running = run(operator);
    until(|| uncounted() == json!({ "failed": ["f"], "succeeded": ["s"] })).await;
    let gone = json!({ "metadata": { "annotations": { "failed": null } } });
    server.merge("jobs", "ns", "a", gone).unwrap();
    until(|| uncounted() == json!({ "succeeded": ["s"] })).await;
    running.stop().await;
}

#[tokio::test]
async fn a_conflict_is_no_failure_and_ends_with_the_next_event() {
    let server = std::sync::Arc::new(server().await);
    create(&server, "a");
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    let shared = std::sync::Arc::clone(&server);
    operator
        .for_kind(maps)
        // A failure would end the test's patience.
        .queue(|queue| {
            queue.backoff(tollgate::FixedBackoff::new(std::time::Duration::from_secs(
                3_600,
            )))
        })
        .reconcile(move |object: Object<ConfigMap>, context: Context| {
            let (seen, server) = (seen.clone(), std::sync::Arc::clone(&shared));
            async move {
                let Object::Found(map) = object else {
                    return Ok(Action::done());
                };
                if map.finalizers().is_empty() {
                    let edit = json!({ "metadata": { "finalizers": ["others/hold"] } });
                    server.merge("configmaps", "ns", "a", edit).unwrap();
                }
                context.add_finalizer(&*map, "ours/hold").await?;
                seen.push(format!("failures {}", context.failures()));
                Ok(Action::done())
            }
        })
        .unwrap();
    let running = run(operator);
    log.wait_for("failures 0").await;
    running.stop().await;
}
