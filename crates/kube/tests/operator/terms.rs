//! Terms of the lease: what runs in them, and what ends with them.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use testserver::ApiServer;
use tokio::sync::Semaphore;
use tollgate_kube::election::ElectionOptions;
use tollgate_kube::{Action, Context, Object, Operator, OperatorBuilder};

use crate::setup::{Log, OnDrop, all, builder, create, hold, map, run, server, until};

/// A candidate with the shortest lease that there is.
async fn candidate(server: &ApiServer) -> Operator {
    candidate_builder(server).build().await.unwrap()
}

fn candidate_builder(server: &ApiServer) -> OperatorBuilder {
    let mut election = ElectionOptions::new("ns", "tests");
    election.config.lease_duration = Duration::from_secs(1);
    election.config.renew_deadline = Duration::from_millis(600);
    election.config.retry_period = Duration::from_millis(50);
    builder(server).elect(election)
}

fn noting(log: &Log, name: &'static str, operator: &mut Operator) {
    let (maps, seen) = (all(operator), log.clone());
    operator
        .for_kind(maps)
        .reconcile(move |_: Object<ConfigMap>, context: Context| {
            seen.push(format!("{name} in term {}", context.term().unwrap()));
            async { Ok(Action::done()) }
        })
        .unwrap();
}

#[tokio::test]
async fn a_follower_takes_over_when_the_leader_leaves() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let mut first = candidate(&server).await;
    noting(&log, "first", &mut first);
    let first = run(first);
    until(|| log.lines().len() == 1).await;
    let mut second = candidate(&server).await;
    noting(&log, "second", &mut second);
    let second = run(second);
    create(&server, "b");
    until(|| log.lines().len() == 2).await;
    assert!(log.lines().iter().all(|line| line.starts_with("first")));
    assert!(first.stop().await.released);
    // Every object, since the first one may have ended in the midst of any.
    until(|| {
        log.lines()
            .iter()
            .filter(|line| line.starts_with("second"))
            .count()
            == 2
    })
    .await;
    let terms: Vec<_> = log
        .lines()
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect();
    assert_ne!(terms.first(), terms.last());
    second.stop().await;
}

#[tokio::test]
async fn a_lost_lease_drops_the_reconcile_and_refuses_what_it_left_running() {
    let server = Arc::new(server().await);
    create(&server, "a");
    let log = Log::default();
    let gate = Arc::new(Semaphore::new(0));
    let mut operator = candidate(&server).await;
    let (maps, seen, held) = (all(&operator), log.clone(), Arc::clone(&gate));
    operator
        .for_kind(maps)
        .reconcile(move |_: Object<ConfigMap>, context: Context| {
            let (seen, held) = (seen.clone(), Arc::clone(&held));
            async move {
                seen.push("started");
                let (later, left, late) = (context.clone(), held, seen.clone());
                tokio::spawn(async move {
                    later.cancelled().await;
                    late.push("cancelled");
                    left.acquire().await.unwrap().forget();
                    let maps: Api<ConfigMap> = Api::namespaced(later.client().clone(), "ns");
                    let map = serde_json::from_value(map("late")).unwrap();
                    let created = maps.create(&PostParams::default(), &map).await;
                    late.push(created.map_or_else(|error| error.to_string(), |_| "created".into()));
                });
                let _dropped = OnDrop(seen);
                std::future::pending::<()>().await;
                Ok(Action::done())
            }
        })
        .unwrap();
    let running = run(operator);
    log.wait_for("started").await;
    server.forbid("update", "leases");
    log.wait_for("dropped").await;
    log.wait_for("cancelled").await;
    gate.add_permits(1);
    until(|| log.lines().len() == 4).await;
    let refusal = "not sent: this process does not hold the lease";
    assert!(log.lines()[3].contains(refusal), "{:?}", log.lines());
    assert!(server.get("configmaps", "ns", "late").is_none());
    running.stop().await;
}

#[tokio::test]
async fn a_leader_whose_lease_is_refused_later_goes_on() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let builder = candidate_builder(&server).start_timeout(Duration::ZERO);
    let mut operator = builder.build().await.unwrap();
    hold(&mut operator, &log);
    let running = run(operator);
    log.wait_for("started").await;
    server.forbid("update", "leases");
    log.wait_for("dropped").await;
    assert!(!running.task.is_finished());
    running.stop().await;
}

#[tokio::test]
async fn dropping_the_operator_drops_what_runs() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let mut operator = builder(&server).build().await.unwrap();
    hold(&mut operator, &log);
    let running = run(operator);
    log.wait_for("started").await;
    running.task.abort();
    log.wait_for("dropped").await;
}

#[tokio::test]
async fn a_reconcile_that_outlives_the_drain_timeout_is_dropped_and_reported() {
    let server = server().await;
    create(&server, "a");
    let log = Log::default();
    let builder = builder(&server).drain_timeout(Duration::from_millis(1));
    let mut operator = builder.build().await.unwrap();
    hold(&mut operator, &log);
    let running = run(operator);
    log.wait_for("started").await;
    assert_eq!(running.stop().await.controllers[0].in_flight, 1);
    log.wait_for("dropped").await;
}
