//! What a watch tells, and what happens when it breaks.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::Deserialize;
use serde_json::json;
use testserver::{Fault, Injection, Verb};
use tollgate_kube::{Action, Context, Object};

use crate::setup::{AGENT, Log, all, builder, create, note, operator, run, server, until};

#[tokio::test]
async fn an_object_that_vanished_without_a_watch_is_reconciled_as_gone() {
    let server = server().await;
    create(&server, "kept");
    create(&server, "vanished");
    let log = Log::default();
    let mut operator = operator(&server).await;
    note(&mut operator, &log);
    let running = run(operator);
    log.wait_for("kept").await;
    log.wait_for("vanished").await;
    server.set_available(false);
    server.delete("configmaps", "ns", "vanished").unwrap();
    server.expire_history();
    server.set_available(true);
    log.wait_for("vanished is gone").await;
    // The new list found it unchanged.
    let kept = log.lines().iter().filter(|line| *line == "kept").count();
    assert_eq!(kept, 1);
    running.stop().await;
}

#[tokio::test]
async fn an_object_made_anew_without_a_watch_passes_the_predicate() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    operator
        .for_kind(maps)
        .predicate(kube::runtime::predicates::labels)
        .reconcile(move |object: Object<ConfigMap>, _| {
            if let Object::Found(map) = object {
                seen.push(map.uid().unwrap());
            }
            async { Ok(Action::done()) }
        })
        .unwrap();
    let running = run(operator);
    until(|| log.lines().len() == 1).await;
    server.set_available(false);
    server.delete("configmaps", "ns", "a").unwrap();
    create(&server, "a");
    server.expire_history();
    server.set_available(true);
    until(|| log.lines().len() == 2).await;
    assert_ne!(log.lines()[0], log.lines()[1]);
    running.stop().await;
}

/// A ConfigMap of which only the metadata is kept.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = ConfigMap)]
struct Trimmed {
    metadata: ObjectMeta,
}

#[tokio::test]
async fn two_types_of_one_kind_are_both_listed_before_a_reconcile() {
    let server = server().await;
    create(&server, "a");
    // One of the two.
    server.inject(Injection {
        verb: Some(Verb::List),
        resource: Some("configmaps".into()),
        fault: Fault::InternalError,
        times: 1,
    });
    let log = Log::default();
    let mut operator = operator(&server).await;
    let note = |log: &Log, context: &Context| {
        let whole = context.get(&ObjectRef::<ConfigMap>::new("a").within("ns"));
        let trimmed = context.get(&ObjectRef::<Trimmed>::new("a").within("ns"));
        log.push(if whole.is_some() && trimmed.is_some() {
            "listed"
        } else {
            "not listed"
        });
    };
    let (maps, seen) = (all(&operator), log.clone());
    operator
        .for_kind(maps)
        .reconcile(move |_: Object<ConfigMap>, context: Context| {
            note(&seen, &context);
            async { Ok(Action::done()) }
        })
        .unwrap();
    let (maps, seen) = (Api::<Trimmed>::all(operator.client()), log.clone());
    operator
        .for_kind(maps)
        .name("trimmed")
        .reconcile(move |_: Object<Trimmed>, context: Context| {
            note(&seen, &context);
            async { Ok(Action::done()) }
        })
        .unwrap();
    let running = run(operator);
    until(|| log.lines().len() == 2).await;
    assert_eq!(log.lines(), ["listed", "listed"]);
    running.stop().await;
}

#[tokio::test]
async fn a_panic_of_a_mapper_reaches_the_caller_of_run() {
    let server = server().await;
    create(&server, "a");
    let mut operator = operator(&server).await;
    let maps = all(&operator);
    operator
        .for_kind(maps.clone())
        .watches(
            maps,
            watcher::Config::default(),
            |_| -> Option<ObjectRef<ConfigMap>> { panic!("no owner") },
        )
        .reconcile(async |_, _| Ok(Action::done()))
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), run(operator).task).await;
    let panic = ended.expect("it ends").unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"no owner"));
}

#[tokio::test]
async fn controllers_that_cannot_run_end_the_operator_at_once() {
    let server = server().await;
    let log = Log::default();
    let mut twice = operator(&server).await;
    note(&mut twice, &log);
    note(&mut twice, &log);
    let error = run(twice).task.await.unwrap().unwrap_err().to_string();
    assert_eq!(error, "two controllers have the name configmap");
    let mut idle = operator(&server).await;
    let maps = all(&idle);
    let controller = idle.for_kind(maps).concurrency(0);
    controller
        .reconcile(async |_, _| Ok(Action::done()))
        .unwrap();
    let error = run(idle).task.await.unwrap().unwrap_err().to_string();
    assert_eq!(error, "the controller configmap has a concurrency of 0");
}

#[tokio::test]
async fn nothing_is_reconciled_before_all_kinds_are_listed() {
    let server = server().await;
    create(&server, "a");
    let namespace = json!({ "metadata": { "name": "ns" } });
    server.create("namespaces", "", namespace).unwrap();
    server.inject(Injection {
        verb: Some(Verb::List),
        resource: Some("namespaces".into()),
        fault: Fault::InternalError,
        times: 1,
    });
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, namespaces, seen) = (
        all(&operator),
        Api::<Namespace>::all(operator.client()),
        log.clone(),
    );
    operator
        .for_kind(maps)
        .watches(namespaces, watcher::Config::default(), |_| None)
        .reconcile(move |_: Object<ConfigMap>, context: Context| {
            let namespace = context.get(&ObjectRef::<Namespace>::new("ns"));
            seen.push(if namespace.is_some() {
                "listed"
            } else {
                "not listed"
            });
            async { Ok(Action::done()) }
        })
        .unwrap();
    let running = run(operator);
    until(|| !log.lines().is_empty()).await;
    assert_eq!(log.lines(), ["listed"]);
    running.stop().await;
}

#[tokio::test]
async fn controllers_share_the_watch_of_a_kind() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let mut operator = operator(&server).await;
    for name in ["one", "two"] {
        let (maps, seen) = (all(&operator), log.clone());
        operator
            .for_kind(maps)
            .name(name)
            .reconcile(move |_: Object<ConfigMap>, context: Context| {
                seen.push(context.controller());
                async { Ok(Action::done()) }
            })
            .unwrap();
    }
    let running = run(operator);
    log.wait_for("one").await;
    log.wait_for("two").await;
    let lists = server.calls(AGENT)[&(Verb::List, "configmaps".to_owned())];
    assert_eq!(lists, 1);
    running.stop().await;
}

#[tokio::test]
async fn both_objects_of_a_moved_reference_are_reconciled() {
    let server = server().await;
    create(&server, "before");
    create(&server, "after");
    let service = json!({
        "metadata": { "name": "s", "labels": { "of": "before" } },
        "spec": { "ports": [{ "port": 1 }] },
    });
    server.create("services", "ns", service).unwrap();
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    let services = Api::<k8s_openapi::api::core::v1::Service>::all(operator.client());
    let handle = operator
        .for_kind(maps)
        .watches(services, watcher::Config::default(), |service| {
            let of = service.labels().get("of");
            of.map(|name| ObjectRef::new(name).within("ns"))
        })
        .reconcile(move |object, _| {
            seen.note(&object);
            async { Ok(Action::done()) }
        })
        .unwrap();
    let running = run(operator);
    log.wait_for("before").await;
    log.wait_for("after").await;
    until(|| handle.queue.is_empty()).await;
    let so_far = log.lines().len();
    let label = json!({ "metadata": { "labels": { "of": "after" } } });
    server.merge("services", "ns", "s", label).unwrap();
    until(|| {
        let lines = log.lines();
        let new = &lines[so_far..];
        ["before", "after"]
            .iter()
            .all(|name| new.iter().any(|line| line == name))
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_change_need_not_wait_for_a_long_list() {
    const SERVICES: usize = 2_000;
    let server = server().await;
    for n in 0..SERVICES {
        let service = json!({ "metadata": { "name": format!("s-{n}") }, "spec": { "ports": [{ "port": 1 }] } });
        server.create("services", "ns", service).unwrap();
    }
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    let services = Api::<k8s_openapi::api::core::v1::Service>::all(operator.client());
    operator
        .for_kind(maps)
        .watches(services, watcher::Config::default(), move |service| {
            let edited = service.labels().contains_key("edited");
            seen.push(if edited { "live" } else { "listed" });
            // The whole list takes a second at least.
            std::thread::sleep(std::time::Duration::from_micros(500));
            None::<ObjectRef<ConfigMap>>
        })
        .reconcile(async |_, _| Ok(Action::done()))
        .unwrap();
    let running = run(operator);
    log.wait_for("listed").await;
    let label = json!({ "metadata": { "labels": { "edited": "true" } } });
    server.merge("services", "ns", "s-0", label).unwrap();
    log.wait_for("live").await;
    let before = log.lines().len();
    assert!(before < SERVICES, "{before} came before the live change");
    until(|| log.lines().len() >= SERVICES).await;
    running.stop().await;
}

#[tokio::test]
async fn an_owner_in_no_namespace_hears_of_its_child_in_one() {
    let server = server().await;
    let team = json!({ "metadata": { "name": "team" } });
    server.create("namespaces", "", team).unwrap();
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (teams, maps) = (Api::<Namespace>::all(operator.client()), all(&operator));
    let seen = log.clone();
    operator
        .for_kind(teams)
        .owns(maps, watcher::Config::default())
        .reconcile(move |object, context: Context| {
            let seen = seen.clone();
            async move {
                let Object::Found(team) = object else {
                    return Ok(Action::done());
                };
                let map =
                    json!({ "metadata": { "name": "m", "namespace": "ns" }, "data": { "a": "1" } });
                context.apply::<_, ConfigMap>(&*team, map).await?;
                seen.push("applied");
                Ok(Action::done())
            }
        })
        .unwrap();
    let running = run(operator);
    log.wait_for("applied").await;
    let edit = json!({ "data": { "a": "2" } });
    server.merge("configmaps", "ns", "m", edit).unwrap();
    until(|| server.get("configmaps", "ns", "m").unwrap()["data"]["a"] == "1").await;
    running.stop().await;
}

#[tokio::test]
async fn overload_at_the_start_delays_the_operator_and_does_not_end_it() {
    let server = server().await;
    server.inject(Injection {
        verb: Some(Verb::List),
        resource: Some("configmaps".into()),
        fault: Fault::TooManyRequestsText { retry_after_s: 1 },
        times: 2,
    });
    create(&server, "a");
    let log = Log::default();
    let mut operator = operator(&server).await;
    note(&mut operator, &log);
    let running = run(operator);
    log.wait_for("a").await;
    running.stop().await;
}

#[tokio::test]
async fn a_missing_kind_ends_the_operator_with_one_line() {
    let server = server().await;
    server.unserve("databases");
    let mut operator = builder(&server)
        .start_timeout(std::time::Duration::ZERO)
        .build()
        .await
        .unwrap();
    let jobs: Api<databases::Database> = Api::all(operator.client());
    operator
        .for_kind(jobs)
        .reconcile(|_, _| async { Ok(Action::done()) })
        .unwrap();
    let error = run(operator).task.await.unwrap().unwrap_err().to_string();
    assert!(
        error.starts_with("the cluster does not serve databases.example.com"),
        "{error}"
    );
    assert!(!error.contains('\n'));
}

mod databases {
    use kube::CustomResource;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    #[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
    #[kube(group = "example.com", version = "v1", kind = "Database", namespaced)]
    pub struct DatabaseSpec {}
}
