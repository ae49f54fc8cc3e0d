//! Which object is reconciled first, and how often.

use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use serde_json::json;
use tokio::sync::Semaphore;
use tollgate::WorkQueue;
use tollgate_kube::Action;

use crate::setup::{Log, all, create, operator, run, server, until};

#[tokio::test]
async fn a_live_change_passes_what_the_first_list_found() {
    let server = server().await;
    for n in 0..20 {
        create(&server, &format!("listed-{n}"));
    }
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let mut operator = operator(&server).await;
    let maps = all(&operator);
    let (seen, held) = (log.clone(), Arc::clone(&gate));
    let handle = operator
        .for_kind(maps)
        .reconcile(move |object, _| {
            let (seen, held) = (seen.clone(), Arc::clone(&held));
            async move {
                held.acquire().await?.forget();
                seen.note(&object);
                Ok(Action::done())
            }
        })
        .unwrap();
    let running = run(operator);
    // The first one is in process, and the rest of the list waits.
    until(|| handle.queue.stats().ready == 19).await;
    create(&server, "live");
    until(|| handle.queue.stats().ready == 20).await;
    gate.add_permits(21);
    until(|| log.lines().len() == 21).await;
    assert_eq!(log.lines()[1], "live");
    running.stop().await;
}

#[tokio::test]
async fn a_full_queue_loses_no_object() {
    let server = server().await;
    for n in 0..50 {
        create(&server, &format!("map-{n}"));
    }
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    operator
        .for_kind(maps)
        .queue(|_| WorkQueue::builder(3))
        .reconcile(move |object, _| {
            seen.note(&object);
            async { Ok(Action::done()) }
        })
        .unwrap();
    let running = run(operator);
    for n in 0..50 {
        log.wait_for(&format!("map-{n}")).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_full_queue_loses_no_object_that_vanishes() {
    let server = server().await;
    create(&server, "a");
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(1)));
    let mut operator = operator(&server).await;
    let (maps, seen, held) = (all(&operator), log.clone(), Arc::clone(&gate));
    let handle = operator
        .for_kind(maps)
        .queue(|_| WorkQueue::builder(2))
        .reconcile(move |object, _| {
            let (seen, held) = (seen.clone(), Arc::clone(&held));
            async move {
                held.acquire().await?.forget();
                seen.note(&object);
                Ok(Action::done())
            }
        })
        .unwrap();
    let running = run(operator);
    log.wait_for("a").await;
    until(|| handle.queue.is_empty()).await;
    let mut others = 0..;
    let full = std::iter::from_fn(|| {
        let other = ObjectRef::new(&format!("other-{}", others.next()?)).within("ns");
        handle.queue.try_add(other).ok()
    });
    assert!(full.count() >= 2);
    server.delete("configmaps", "ns", "a").unwrap();
    until(|| handle.stores[0].is_empty()).await;
    gate.add_permits(10);
    log.wait_for("a is gone").await;
    running.stop().await;
}

#[tokio::test]
async fn a_predicate_keeps_other_updates_out() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let mut operator = operator(&server).await;
    let (maps, seen) = (all(&operator), log.clone());
    operator
        .for_kind(maps)
        .config(watcher::Config::default())
        .predicate(kube::runtime::predicates::labels)
        .reconcile(move |object, _| {
            seen.note(&object);
            async { Ok(Action::done()) }
        })
        .unwrap();
    let running = run(operator);
    log.wait_for("a").await;
    let data = json!({ "data": { "a": "2" } });
    server.merge("configmaps", "ns", "a", data).unwrap();
    let labels = json!({ "metadata": { "labels": { "x": "y" } } });
    server.merge("configmaps", "ns", "a", labels).unwrap();
    until(|| log.lines().len() == 2).await;
    // It comes after both updates.
    create(&server, "b");
    log.wait_for("b").await;
    assert_eq!(log.lines(), ["a", "a", "b"]);
    running.stop().await;
}
