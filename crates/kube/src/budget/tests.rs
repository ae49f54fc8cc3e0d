//! Tests of the layer over a service that stands for the server, in tokio's paused time.

mod refusals;

use std::collections::VecDeque;
use std::future::{Future, ready};
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use tokio::time::{Instant, advance, sleep, timeout};
use tollgate::integrations::tokio::TokioClock;
use tower::buffer::BufferLayer;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::*;

const LIST: &str = "/apis/example.com/v1/databases";
const OBJECT: &str = "/apis/example.com/v1/namespaces/a/databases/d";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/a/leases/op";

/// A status, and a value of `Retry-After`.
type Refusal = (u16, Option<&'static str>);

/// A server that records each request with its instant, in milliseconds.
#[derive(Clone)]
struct Server {
    start: Instant,
    seen: Arc<Mutex<Vec<(u64, String)>>>,
    /// The next answers; 200 when there is none.
    answers: Arc<Mutex<VecDeque<Refusal>>>,
    /// How long an answer takes.
    latency: Duration,
}

impl Server {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            seen: Arc::default(),
            answers: Arc::default(),
            latency: Duration::ZERO,
        }
    }

    /// Queues answers.
    fn answers(self, answers: impl IntoIterator<Item = Refusal>) -> Self {
        self.answers.lock().unwrap().extend(answers);
        self
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis().try_into().unwrap()
    }

    fn answer(&self, method: &Method, body: &[u8]) -> Response<Body> {
        let line = format!("{method} {}", String::from_utf8_lossy(body));
        self.seen
            .lock()
            .unwrap()
            .push((self.now(), line.trim().to_owned()));
        let (status, header) = self
            .answers
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or((200, None));
        let mut answer = Response::builder().status(status);
        if let Some(value) = header {
            answer = answer.header("retry-after", value);
        }
        answer.body(Body::from(b"plain text".to_vec())).unwrap()
    }

    /// The service that the layers wrap.
    fn service(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send>
    + Clone
    + use<> {
        let server = self.clone();
        service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let answer = server.answer(&parts.method, &body);
                if server.latency > Duration::ZERO {
                    sleep(server.latency).await;
                }
                Ok(answer)
            }
        })
    }

    /// Sends a request through the budget; returns the status.
    fn send(
        &self,
        budget: &Budget,
        method: Method,
        uri: &str,
    ) -> impl Future<Output = u16> + Send + 'static + use<> {
        self.send_request(budget, request(method, uri))
    }

    fn send_request(
        &self,
        budget: &Budget,
        request: Request<Body>,
    ) -> impl Future<Output = u16> + Send + 'static + use<> {
        let service = BudgetLayer::new(budget)
            .host("server:6443")
            .layer(self.service());
        async move { service.oneshot(request).await.unwrap().status().as_u16() }
    }

    /// The instants of all requests, in order.
    fn times(&self) -> Vec<u64> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|(at, _)| *at)
            .collect()
    }

    fn lines(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|(_, line)| line.clone())
            .collect()
    }
}

fn request(method: Method, uri: &str) -> Request<Body> {
    let body = Body::from(b"{}".to_vec());
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .unwrap()
}

fn budget(quota: &str) -> Budget {
    let quota = quota.parse().unwrap();
    Budget::builder(quota)
        .clock(TokioClock::new())
        .build()
        .unwrap()
}

/// Whether a future is still waiting after everything that can run now has run.
async fn waits(future: &mut (impl Future + Unpin)) -> bool {
    timeout(Duration::ZERO, future).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn requests_keep_to_rate_and_burst_across_services() {
    let (server, budget) = (Server::new(), budget("10/s burst 2"));
    let sent = (0..5).map(|_| server.send(&budget.clone(), Method::PATCH, OBJECT));
    assert_eq!(futures::future::join_all(sent).await, [200; 5]);
    assert_eq!(server.times(), [0, 0, 100, 200, 300]);
}

#[tokio::test(start_paused = true)]
async fn the_low_lane_leaves_the_floor() {
    let (server, budget) = (Server::new(), budget("1/s burst 10"));
    let lists = (0..9).map(|_| server.send(&budget, Method::GET, LIST));
    let mut lists = futures::future::join_all(lists);
    assert!(waits(&mut lists).await);
    assert_eq!((server.times().len(), budget.available()), (8, 2));
    for _ in 0..2 {
        assert_eq!(server.send(&budget, Method::PATCH, OBJECT).await, 200);
    }
    assert_eq!(server.now(), 0);
    lists.await;
    // Two tokens of the floor and one of its own.
    assert_eq!(server.now(), 3_000);
}

#[tokio::test(start_paused = true)]
async fn the_floor_can_be_set_and_never_shuts_out_the_low_lane() {
    let quota: Quota = "1/s burst 10".parse().unwrap();
    let builder = Budget::builder(quota).clock(TokioClock::new());
    let budget = builder.clone().floor(7).build().unwrap();
    assert_eq!(budget.floor(), 7);
    let budget = builder.floor(99).build().unwrap();
    assert_eq!(budget.floor(), 9);
    assert_eq!(Server::new().send(&budget, Method::GET, LIST).await, 200);
    assert_eq!(super::tests::budget("1/s burst 1").floor(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handle_or_a_mark_makes_requests_low() {
    let (server, budget) = (Server::new(), budget("1/s burst 5"));
    budget.acquire_all_but(1).await;
    let mut marked = request(Method::GET, OBJECT);
    marked.extensions_mut().insert(LowPriority);
    let mut marked = Box::pin(server.send_request(&budget, marked));
    let mut low = Box::pin(server.send(&budget.low(), Method::GET, OBJECT));
    assert!(waits(&mut marked).await && waits(&mut low).await);
    assert_eq!(server.send(&budget, Method::GET, OBJECT).await, 200);
    assert_eq!(server.send(&budget.low(), Method::GET, LEASE).await, 200);
    assert_eq!(server.times(), [0, 0]);
}

impl Budget {
    async fn acquire_all_but(&self, left: u64) {
        for _ in left..self.available() {
            self.acquire(Lane::Normal).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_quota_reaches_waiting_requests() {
    let (server, budget) = (Server::new(), budget("1/h burst 10"));
    budget.acquire_all_but(0).await;
    let mut list = Box::pin(server.send(&budget, Method::GET, LIST));
    let mut write = Box::pin(server.send(&budget, Method::PATCH, OBJECT));
    assert!(waits(&mut list).await && waits(&mut write).await);
    // The list waits above 2 tokens, which the new burst never holds.
    budget.set_quota("1/s burst 2".parse().unwrap()).unwrap();
    assert_eq!(futures::future::join(write, list).await, (200, 200));
    assert_eq!(server.times(), [1_000, 2_000]);
    assert_eq!(budget.quota().to_string(), "1/s burst 2");
}

#[tokio::test(start_paused = true)]
async fn leases_have_a_bucket_of_their_own() {
    let builder = Budget::builder("10/s".parse().unwrap()).clock(TokioClock::new());
    let budget = builder
        .lease_quota("2/s burst 1".parse().unwrap())
        .build()
        .unwrap();
    let server = Server::new();
    let sent = (0..3).map(|_| server.send(&budget, Method::PUT, LEASE));
    futures::future::join_all(sent).await;
    assert_eq!(
        (server.times(), budget.available()),
        (vec![0, 500, 1_000], 10)
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_gives_up_its_place() {
    let (server, budget) = (Server::new(), budget("1/s"));
    budget.acquire_all_but(0).await;
    let mut first = Box::pin(server.send(&budget, Method::GET, OBJECT));
    let mut second = Box::pin(server.send(&budget, Method::PATCH, OBJECT));
    assert!(waits(&mut first).await && waits(&mut second).await);
    drop(first);
    second.await;
    assert_eq!(
        (server.times(), server.lines()),
        (vec![1_000], vec!["PATCH {}".to_owned()])
    );
    // One that is dropped when its token is set aside gives it back.
    let mut third = Box::pin(server.send(&budget, Method::GET, OBJECT));
    assert!(waits(&mut third).await);
    advance(Duration::from_secs(1)).await;
    drop(third);
    assert_eq!(budget.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_token_do_not_keep_those_with_one_out() {
    let (server, budget) = (Server::new(), budget("1/h"));
    budget.acquire_all_but(0).await;
    let buffer = BufferLayer::new(1).layer(server.service());
    let mut service = BudgetLayer::new(&budget).layer(buffer);
    let mut wait: Vec<_> = Vec::new();
    for _ in 0..3 {
        wait.push(
            service
                .ready()
                .await
                .unwrap()
                .call(request(Method::GET, OBJECT)),
        );
        assert!(waits(wait.last_mut().unwrap()).await);
    }
    let lease = service
        .ready()
        .await
        .unwrap()
        .call(request(Method::PUT, LEASE));
    let answer = timeout(Duration::from_secs(1), lease).await;
    assert_eq!(answer.expect("no wait").unwrap().status(), 200);
}

#[test]
fn a_rate_of_zero_is_refused() {
    let zero = Quota::per_second(0).unwrap().burst(5).unwrap();
    let refused = || Some(BudgetError::ZeroRate);
    assert_eq!(Budget::new(zero).err(), refused());
    let budget = Budget::new(Quota::per_second(5).unwrap()).unwrap();
    assert_eq!(budget.set_quota(zero).err(), refused());
    let no_burst = Quota::per_second(0).unwrap();
    let builder = Budget::builder(Quota::per_second(5).unwrap()).lease_quota(no_burst);
    assert_eq!(builder.build().err(), refused());
}

#[tokio::test(start_paused = true)]
async fn each_wait_is_recorded() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new()
        .set_buckets(&RATE_LIMITER_BUCKETS)
        .unwrap()
        .build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let server = Server::new().answers([(429, Some("3"))]);
    let budget = budget("10/s burst 20");
    assert_eq!(server.send(&budget, Method::PATCH, OBJECT).await, 200);
    let shown = recorder.handle().render();
    let name = "rest_client_rate_limiter_duration_seconds";
    let labels = r#"verb="PATCH",host="server:6443""#;
    for line in [
        format!("{name}_bucket{{{labels},le=\"0.005\"}} 1"),
        format!("{name}_bucket{{{labels},le=\"4\"}} 2"),
        format!("{name}_count{{{labels}}} 2"),
        format!("{name}_sum{{{labels}}} 3"),
    ] {
        assert!(shown.contains(&line), "{line} in\n{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_service_is_an_error_of_the_request() {
    let service = service_fn(|_: Request<Body>| ready(Err::<Response<Body>, _>("broken")));
    let service = BudgetLayer::new(&budget("10/s")).layer(service);
    let error = service
        .oneshot(request(Method::GET, OBJECT))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "broken");
}

#[tokio::test(start_paused = true)]
async fn a_budget_tells_how_long_its_pause_lasts() {
    let quota = Quota::per_second(10).unwrap();
    let budget = Budget::builder(quota).clock(TokioClock::new());
    let budget = budget.build().unwrap();
    assert_eq!(budget.pause_left(), None);
    budget.pause_for(Duration::from_secs(5));
    budget.pause_for(Duration::from_secs(2));
    advance(Duration::from_secs(1)).await;
    assert_eq!(budget.pause_left(), Some(Duration::from_secs(4)));
    advance(Duration::from_secs(4)).await;
    assert_eq!(budget.pause_left(), None);
}
