//! Clients with a budget against the embedded API server. The budget's clock stands until a test advances
//! it, so what waits for tokens waits until then.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use http::HeaderValue;
use http::header::USER_AGENT;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, Config};
use serde_json::json;
use testserver::account::largest_excess;
use testserver::{ApiServer, Fault, Injection, Options, Verb};
use tollgate::{ManualClock, Quota};
use tollgate_kube::budget::{Budget, LONGEST_PAUSE};
use tollgate_kube::client::{client, client_with};
use tollgate_kube::explain;
use tollgate_kube::rbac::Recorder;
use tower::layer::layer_fn;
use tower::layer::util::Identity;
use tower::util::MapRequest;

const AGENT: &str = "operator/test";

struct Setup {
    server: ApiServer,
    clock: ManualClock,
    budget: Budget,
}

impl Setup {
    async fn new(quota: &str) -> Self {
        let (clock, quota) = (ManualClock::new(), quota.parse().unwrap());
        Self {
            server: ApiServer::start(Options::default()).await.unwrap(),
            budget: Budget::builder(quota).clock(clock.clone()).build().unwrap(),
            clock,
        }
    }

    fn config(&self) -> Config {
        let mut config = Config::new(self.server.url());
        config
            .headers
            .push((USER_AGENT, HeaderValue::from_static(AGENT)));
        config
    }

    fn client(&self) -> Client {
        client(self.config(), &self.budget).unwrap()
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client(), "a")
    }

    fn requests(&self) -> usize {
        self.server.requests(AGENT)
    }

    fn inject(&self, fault: Fault, times: usize) {
        self.server.inject(Injection {
            verb: Some(Verb::Create),
            resource: None,
            fault,
            times,
        });
    }
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap()
}

/// Fails a test that would hang.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(10), work).await;
    done.expect("an end within 10 s")
}

/// Lets the connections run until `done`.
async fn until(done: impl Fn() -> bool) {
    soon(async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_arrive_at_the_rate_with_the_burst() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let mut config = Config::new(server.url());
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(AGENT)));
    let budget = Budget::new(Quota::per_second(200).unwrap().burst(10).unwrap()).unwrap();
    let clients = [(); 2].map(|()| client(config.clone(), &budget).unwrap());
    let sent = (0..60).map(|n| {
        let maps: Api<ConfigMap> = Api::namespaced(clients[n % 2].clone(), "a");
        async move {
            maps.create(&PostParams::default(), &map(&format!("c{n}")))
                .await
        }
    });
    for created in join_all(sent).await {
        created.unwrap();
    }
    let arrivals = server.arrivals(AGENT);
    assert_eq!(arrivals.len(), 60);
    let excess = largest_excess(&arrivals, 10, 200, Duration::from_millis(50));
    assert!(excess <= 0, "{excess} requests too many");
}

#[tokio::test]
async fn a_refused_request_is_sent_again_after_the_pause_and_holds_up_all() {
    let setup = Setup::new("100/s").await;
    setup.inject(Fault::TooManyRequests { retry_after_s: 7 }, 1);
    let maps = setup.maps();
    let create = tokio::spawn({
        let maps = maps.clone();
        async move { maps.create(&PostParams::default(), &map("c")).await }
    });
    until(|| setup.budget.available() == 0).await;
    let other = tokio::spawn(async move { maps.get_opt("other").await });
    // The refused request is ahead in the line, and a token accrues in 10 ms.
    let wait = setup.budget.status().retry_after;
    assert_eq!(
        (wait, setup.requests()),
        (Some(Duration::from_millis(7_010)), 1)
    );
    setup.clock.advance(Duration::from_secs(8));
    soon(create).await.unwrap().unwrap();
    assert!(soon(other).await.unwrap().unwrap().is_none());
    assert_eq!((setup.requests(), setup.server.count("configmaps")), (3, 1));
    // A token of the restart each, of the hundred that accrued in the last second.
    assert_eq!(setup.budget.available(), 98);
}

#[tokio::test]
async fn a_delay_of_a_day_pauses_for_five_minutes() {
    let setup = Setup::new("100/s").await;
    setup.inject(
        Fault::TooManyRequests {
            retry_after_s: 86_400,
        },
        1,
    );
    let maps = setup.maps();
    let create = tokio::spawn(async move { maps.create(&PostParams::default(), &map("c")).await });
    until(|| setup.budget.available() == 0).await;
    setup.clock.advance(LONGEST_PAUSE - Duration::from_nanos(1));
    assert_eq!(setup.budget.available(), 0);
    setup.clock.advance(Duration::from_nanos(1));
    soon(create).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_last_refusal_is_the_callers() {
    let setup = Setup::new("100/s").await;
    setup.inject(Fault::TooManyRequests { retry_after_s: 0 }, 100);
    let maps = setup.maps();
    let refused = soon(maps.create(&PostParams::default(), &map("c")))
        .await
        .unwrap_err();
    assert_eq!(setup.requests(), 11);
    assert!(
        explain(&refused).starts_with("too many requests: "),
        "{}",
        explain(&refused)
    );
}

#[tokio::test]
async fn kube_retries_nothing_below_the_budget() {
    let setup = Setup::new("1/h burst 100").await;
    setup.server.inject(Injection {
        verb: None,
        resource: None,
        fault: Fault::TooManyRequests { retry_after_s: 0 },
        times: 100,
    });
    // A refusal of a lease is its caller's, so each request that arrives is one that the caller made.
    let leases: Api<Lease> = Api::namespaced(setup.client(), "a");
    let refused = soon(leases.get("op")).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 429));
    assert_eq!(setup.requests(), 1);
}

#[tokio::test]
async fn a_watch_takes_one_token_and_its_events_none() {
    let setup = Setup::new("1/h burst 10").await;
    let maps = setup.maps();
    let mut events = Box::pin(maps.watch(&WatchParams::default(), "0").await.unwrap());
    assert_eq!(setup.budget.available(), 9);
    for name in ["c", "d"] {
        maps.create(&PostParams::default(), &map(name))
            .await
            .unwrap();
        let event = events.try_next().await.unwrap();
        assert!(matches!(event, Some(WatchEvent::Added(_))), "{event:?}");
    }
    assert_eq!((setup.budget.available(), setup.requests()), (7, 3));
}

#[tokio::test]
async fn writes_find_tokens_while_lists_wait() {
    let setup = Setup::new("1/h burst 5").await;
    let maps = setup.maps();
    let lists: Vec<_> = (0..20)
        .map(|_| {
            let maps = maps.clone();
            tokio::spawn(async move { maps.list(&ListParams::default()).await })
        })
        .collect();
    until(|| setup.requests() == 4).await;
    soon(maps.create(&PostParams::default(), &map("c")))
        .await
        .unwrap();
    assert_eq!((setup.requests(), setup.budget.available()), (5, 0));
    lists.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn layers_stand_inside_and_outside_of_the_budget() {
    let setup = Setup::new("100/s").await;
    setup.inject(Fault::TooManyRequests { retry_after_s: 0 }, 2);
    let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let [inside, outside] = counts.clone().map(|count| {
        move |request: http::Request<kube::client::Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            request
        }
    });
    let inside = layer_fn(|sender| MapRequest::new(sender, inside.clone()));
    let outside = layer_fn(|sender| MapRequest::new(sender, outside.clone()));
    let client = client_with(setup.config(), &setup.budget, &inside, &outside).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, "a");
    maps.create(&PostParams::default(), &map("c"))
        .await
        .unwrap();
    assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [3, 1]);
}

#[tokio::test]
async fn the_recorder_notes_what_a_client_needs() {
    let setup = Setup::new("100/s").await;
    let recorder = Recorder::new();
    let client = client_with(setup.config(), &setup.budget, &Identity::new(), &recorder).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "a");
    let services: Api<Service> = Api::namespaced(client, "a");
    let apply = PatchParams::apply("test");
    let document = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" } });
    maps.patch("c", &apply, &Patch::Apply(&document))
        .await
        .unwrap();
    maps.patch("c", &apply, &Patch::Apply(&document))
        .await
        .unwrap();
    services.list(&ListParams::default()).await.unwrap();
    let rules = recorder.role("operator", "a").rules.unwrap();
    let shown: Vec<_> = rules
        .iter()
        .map(|rule| (&rule.resources, &rule.verbs))
        .collect();
    let expected = json!([
        [["configmaps"], ["create", "patch"]],
        [["services"], ["list"]],
    ]);
    assert_eq!(json!(shown), expected);
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_with_its_cause() {
    let setup = Setup::new("100/s").await;
    let maps = setup.maps();
    setup.server.stop().await;
    let line = explain(&maps.get("c").await.unwrap_err());
    let start = "the API server cannot be reached: ";
    assert!(
        line.starts_with(start) && line.contains("refused"),
        "{line}"
    );
}
