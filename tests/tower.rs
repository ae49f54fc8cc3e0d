//! The limiter as a layer of `tower`.
#![cfg(all(feature = "tower", feature = "tokio", not(tollgate_loom)))]

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Debug;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_executor::block_on;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, timeout};
use tollgate::integrations::tokio::TokioClock;
use tollgate::integrations::tower::{RateLimit, RateLimitError, RateLimitLayer, ResponseFuture};
use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, Clock, Denied, LockedTokenBucket, ManualClock, Metered,
    Quota, RateLimiter, Timestamp,
};
use tower::retry::Policy;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

type Bucket = AtomicTokenBucket<TokioClock>;
type BoxError = Box<dyn Error + Send + Sync>;

fn bucket(quota: &str) -> Arc<Bucket> {
    let quota = quota.parse().unwrap();
    Arc::new(AtomicTokenBucket::with_clock(quota, TokioClock::new()).unwrap())
}

/// An emptied bucket of one token in 100 ms.
fn empty_bucket() -> Arc<Bucket> {
    let bucket = bucket("10/s burst 1");
    bucket.try_acquire(1).unwrap();
    bucket
}

/// A server that writes down which request came when, in milliseconds from the start.
struct Server {
    start: Instant,
    sent: UnboundedSender<(u128, u32)>,
    seen: UnboundedReceiver<(u128, u32)>,
}

impl Server {
    fn new() -> Self {
        let (sent, seen) = unbounded_channel();
        Self {
            start: Instant::now(),
            sent,
            seen,
        }
    }

    fn client(&self) -> Client {
        Client {
            start: self.start,
            sent: self.sent.clone(),
            is_ready: false,
        }
    }

    fn seen(&mut self) -> Vec<(u128, u32)> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

/// A service that insists on being ready when it is called, and whose clones are not.
struct Client {
    start: Instant,
    sent: UnboundedSender<(u128, u32)>,
    is_ready: bool,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self {
            start: self.start,
            sent: self.sent.clone(),
            is_ready: false,
        }
    }
}

impl Service<u32> for Client {
    type Response = u32;
    type Error = Infallible;
    type Future = Ready<Result<u32, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called unready");
        let _ = self.sent.send((self.start.elapsed().as_millis(), request));
        ready(Ok(request))
    }
}

/// A service that cannot be cloned.
struct Connection(Client);

impl Service<u32> for Connection {
    type Response = u32;
    type Error = Infallible;
    type Future = Ready<Result<u32, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.0.call(request)
    }
}

fn poll_ready<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Counts the timers that are armed.
#[derive(Clone, Debug, Default)]
struct CountsTimers {
    time: ManualClock,
    sleeps: Arc<AtomicU32>,
}

impl Clock for CountsTimers {
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> tollgate::clock::Sleep {
        self.sleeps.fetch_add(1, Ordering::SeqCst);
        self.time.sleep_until(deadline)
    }

    fn park_until(&self, deadline: Option<Timestamp>) {
        self.time.park_until(deadline);
    }
}

#[test]
fn only_a_service_that_waits_needs_a_timer() {
    let clock = CountsTimers::default();
    let quota: Quota = "1/s burst 2".parse().unwrap();
    let bucket = Arc::new(AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap());
    let echo = service_fn(|request: u32| async move { Ok::<_, Infallible>(request) });
    let mut service = RateLimitLayer::new(bucket).layer(echo);
    for request in 1..=2 {
        let answer = block_on(async { service.ready().await?.call(request).await });
        assert_eq!(answer, Ok(request));
    }
    assert_eq!(clock.sleeps.load(Ordering::SeqCst), 0);
    // The third is not ready before its token is.
    std::thread::scope(|scope| {
        let third = scope.spawn(|| block_on(async { service.ready().await?.call(3).await }));
        while clock.time.next_deadline().is_none() {
            std::thread::yield_now();
        }
        clock.time.advance(Duration::from_secs(1));
        assert_eq!(third.join().unwrap(), Ok(3));
    });
    assert_eq!(clock.sleeps.load(Ordering::SeqCst), 1);
}

#[test]
fn the_services_and_futures_go_anywhere() {
    fn anywhere<T: Send + Sync + Clone + 'static>() {}
    fn sendable<T: Send + Sync + 'static>() {}
    anywhere::<RateLimitLayer<Arc<Bucket>>>();
    anywhere::<RateLimit<Client, Arc<Bucket>>>();
    anywhere::<RateLimit<Client, Arc<dyn RateLimiter>>>();
    sendable::<RateLimitError<io::Error>>();
    sendable::<ResponseFuture<Client, u32, Arc<Bucket>>>();
}

#[tokio::test(start_paused = true)]
async fn idle_ready_services_keep_no_tokens() {
    let (bucket, server) = (bucket("5/h"), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    let mut idle: Vec<_> = (0..5).map(|_| layer.layer(server.client())).collect();
    for service in &mut idle {
        service.ready().await.unwrap();
    }
    assert_eq!(bucket.available(), 5);
    let start = Instant::now();
    layer.layer(server.client()).oneshot(0).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(Duration::from_hours(48)).await;
    // They are still ready, and each takes its token when it is called.
    for (request, service) in (1..).zip(&mut idle) {
        assert_eq!(poll_ready(service), Poll::Ready(Ok(())));
        service.call(request).await.unwrap();
    }
    assert_eq!(bucket.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_waited_holds_no_token_either() {
    let (bucket, server) = (empty_bucket(), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    service.ready().await.unwrap();
    assert_eq!(bucket.available(), 1);
    assert!(bucket.try_acquire(1).is_ok());
    assert_eq!(
        poll_ready(&mut service),
        Poll::Ready(Ok(())),
        "until it is called"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_without_readiness_is_refused() {
    let (bucket, mut server) = (bucket("1/h"), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    for request in 0..100 {
        let refused = service.call(request).await;
        assert_eq!(refused, Err(RateLimitError::NotReady));
    }
    // Readiness is for one call, and for the service that has it.
    let ready = service.ready().await.unwrap();
    let refused = ready.clone().call(100).await;
    assert_eq!(refused, Err(RateLimitError::NotReady));
    assert_eq!(ready.call(101).await, Ok(101));
    assert_eq!(ready.call(102).await, Err(RateLimitError::NotReady));
    assert_eq!(server.seen(), [(0, 101)]);
    assert_eq!(bucket.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_while_the_service_waits_for_readiness_is_refused() {
    let (bucket, server) = (empty_bucket(), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    assert!(poll_ready(&mut service).is_pending());
    assert_eq!(service.call(1).await, Err(RateLimitError::NotReady));
    assert_eq!(bucket.status(1).waiting, 1, "it still waits");
    assert_eq!(service.ready().await.unwrap().call(2).await, Ok(2));
}

/// 20 requests a second at 10/s, each with a patience of one second: what is served in each ten
/// seconds.
async fn overload(is_buffered: bool) -> [u32; 6] {
    let (layer, start) = (RateLimitLayer::new(bucket("10/s burst 1")), Instant::now());
    let served: Arc<[AtomicU32; 6]> = Arc::default();
    let http = {
        let served = served.clone();
        service_fn(move |(): ()| {
            let tenth = start.elapsed().as_secs() / 10;
            served[usize::try_from(tenth).unwrap()].fetch_add(1, Ordering::Relaxed);
            ready(Ok::<_, Infallible>(()))
        })
    };
    let buffer = ServiceBuilder::new()
        .buffer(1_000)
        .layer(layer.clone())
        .service(http.clone());
    for _ in 0..1_200 {
        let (own, shared) = (layer.layer(http.clone()), buffer.clone());
        tokio::spawn(async move {
            let patience = Duration::from_secs(1);
            if is_buffered {
                timeout(patience, shared.oneshot(())).await.is_ok()
            } else {
                timeout(patience, own.oneshot(())).await.is_ok()
            }
        });
        sleep(Duration::from_millis(50)).await;
    }
    served.each_ref().map(|n| n.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn under_overload_all_tokens_are_served() {
    assert_eq!(overload(false).await, [100; 6]);
}

#[tokio::test(start_paused = true)]
async fn under_overload_all_tokens_are_served_through_a_buffer() {
    assert_eq!(overload(true).await, [100; 6]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_the_requests_that_wait() {
    let (bucket, mut server) = (bucket("10/s burst 1"), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    let mut ready = layer.layer(server.client());
    ready.ready().await.unwrap();
    for request in 0..20 {
        tokio::spawn(layer.layer(server.client()).oneshot(request));
    }
    sleep(Duration::from_millis(250)).await;
    assert_eq!(server.seen(), [(0, 0), (100, 1), (200, 2)]);
    let until = bucket.now().saturating_add(Duration::from_secs(30));
    bucket.pause_until(until).unwrap();
    // One that was ready before the pause, too.
    tokio::spawn(ready.call(99));
    sleep(Duration::from_millis(29_999)).await;
    assert_eq!(server.seen(), []);
    sleep(Duration::from_secs(2)).await;
    let seen = server.seen();
    assert_eq!(seen.len(), 18);
    assert_eq!(seen[0], (30_250, 3));
    assert_eq!(seen[17], (31_950, 99));
}

#[tokio::test(start_paused = true)]
async fn another_quota_reaches_the_requests_that_wait() {
    let (bucket, mut server) = (bucket("1/h"), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    for request in 0..3 {
        tokio::spawn(layer.layer(server.client()).oneshot(request));
    }
    sleep(Duration::from_millis(50)).await;
    let faster = "10/s burst 1".parse().unwrap();
    bucket.set_quota(faster, CarryOver::Empty).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.seen(), [(0, 0), (150, 1), (250, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_limiter_ends_all() {
    let (bucket, mut server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    let mut ready = [layer.layer(server.client()), layer.layer(server.client())];
    for service in &mut ready {
        service.ready().await.unwrap();
    }
    let [first, second] = &mut ready;
    first.call(1).await.unwrap();
    let mut called = second.call(2);
    assert!(poll(&mut called).is_pending());
    let mut unready = layer.layer(server.client());
    assert!(poll_ready(&mut unready).is_pending());
    bucket.close();
    assert_eq!(called.await, Err(RateLimitError::Closed));
    assert_eq!(unready.ready().await.err(), Some(RateLimitError::Closed));
    let late = layer.layer(server.client()).oneshot(3).await;
    assert_eq!(late, Err(RateLimitError::Closed));
    assert_eq!(server.seen(), [(100, 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_inner_error_is_kept() {
    let layer = RateLimitLayer::new(empty_bucket());
    let refuse = || {
        ready(Err::<(), _>(io::Error::from(
            io::ErrorKind::ConnectionRefused,
        )))
    };
    let service = layer.layer(service_fn(move |(): ()| refuse()));
    let error = service.clone().oneshot(()).await.unwrap_err();
    assert_eq!(error.to_string(), "the service failed");
    let source = error.source().and_then(|source| source.downcast_ref());
    assert_eq!(
        source.map(io::Error::kind),
        Some(io::ErrorKind::ConnectionRefused)
    );
    // Through middleware that boxes it, too.
    let boxed: BoxError = error.into();
    let error = boxed.downcast::<RateLimitError<io::Error>>().unwrap();
    assert_eq!(error.denied(), None);
    let inner = error.into_inner().unwrap();
    assert_eq!(inner.kind(), io::ErrorKind::ConnectionRefused);

    let impatient = layer.max_wait(Duration::from_millis(1));
    let service = impatient.layer(service_fn(move |(): ()| refuse()));
    let error = service.oneshot(()).await.unwrap_err();
    let retry_after = Duration::from_millis(100);
    let denied = Denied::TooLong { retry_after };
    assert_eq!(error.denied(), Some(denied));
    let source = error.source().and_then(|source| source.downcast_ref());
    assert_eq!(source, Some(&denied));
    assert!(error.into_inner().is_err());
}

#[tokio::test(start_paused = true)]
async fn errors_in_boxes_go_through_as_they_are() {
    let bucket = bucket("10/s");
    let fail = |(): ()| ready(Err::<(), BoxError>("no route".into()));
    let service = ServiceBuilder::new()
        .buffer(10)
        .map_err(RateLimitError::boxed)
        .layer(RateLimitLayer::new(bucket.clone()))
        .service(service_fn(fail));
    let error = service.clone().oneshot(()).await.unwrap_err();
    assert_eq!(error.to_string(), "no route");
    bucket.close();
    let error = service.oneshot(()).await.unwrap_err();
    let source = error.source().and_then(|source| source.downcast_ref());
    assert_eq!(source, Some(&RateLimitError::<Infallible>::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_buffer_shares_it_between_tasks() {
    let mut server = Server::new();
    let shared = ServiceBuilder::new()
        .buffer(10)
        .layer(RateLimitLayer::new(bucket("10/s burst 1")))
        .service(server.client());
    let requests = [1, 2, 3].map(|request| tokio::spawn(shared.clone().oneshot(request)));
    for (request, answer) in (1..).zip(requests) {
        assert_eq!(answer.await.unwrap().unwrap(), request);
    }
    assert_eq!(server.seen(), [(0, 1), (100, 2), (200, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_does_not_break_a_buffer() {
    let mut server = Server::new();
    let layer = RateLimitLayer::new(empty_bucket()).max_wait(Duration::from_millis(50));
    let shared = ServiceBuilder::new()
        .buffer(10)
        .layer(layer)
        .service(server.client());
    let error = shared.clone().oneshot(1).await.unwrap_err();
    assert!(error.is::<RateLimitError<Infallible>>(), "{error}");
    sleep(Duration::from_millis(60)).await;
    assert_eq!(shared.oneshot(2).await.unwrap(), 2);
    assert_eq!(server.seen(), [(100, 2)]);
}

#[tokio::test(start_paused = true)]
async fn shed_requests_cost_nothing() {
    let (bucket, mut server) = (bucket("10/s burst 1"), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    let mut shedding = ServiceBuilder::new()
        .load_shed()
        .layer(layer.clone())
        .service(server.client());
    let mut shed = 0;
    for request in 0..1_000 {
        let answer = shedding.ready().await.unwrap().call(request).await;
        shed +=
            u32::from(answer.is_err_and(|error| error.is::<tower::load_shed::error::Overloaded>()));
    }
    assert_eq!(shed, 999);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(layer.layer(server.client()).oneshot(1_000).await, Ok(1_000));
    sleep(Duration::from_millis(100)).await;
    let answer = shedding.ready().await.unwrap().call(1_001).await;
    assert_eq!(answer.unwrap(), 1_001);
    assert_eq!(server.seen(), [(0, 0), (100, 1_000), (200, 1_001)]);
    drop(shedding);
    assert_eq!(bucket.status(1).waiting, 0);
}

/// Retries what failed inside, twice; not what the limiter refused.
#[derive(Clone)]
struct Twice(u32);

impl<Response> Policy<u32, Response, RateLimitError<io::Error>> for Twice {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut u32,
        result: &mut Result<Response, RateLimitError<io::Error>>,
    ) -> Option<Ready<()>> {
        match result {
            Err(RateLimitError::Inner(_)) if self.0 > 0 => {
                self.0 -= 1;
                Some(ready(()))
            }
            _ => None,
        }
    }

    fn clone_request(&mut self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

#[tokio::test(start_paused = true)]
async fn each_retry_takes_a_token_of_its_own() {
    let (bucket, start) = (bucket("10/s burst 1"), Instant::now());
    let attempts = Arc::new(AtomicU32::new(0));
    let flaky = {
        let attempts = attempts.clone();
        service_fn(move |request: u32| {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            ready(if attempt < 2 {
                Err(io::Error::other("again"))
            } else {
                Ok(request)
            })
        })
    };
    let service = ServiceBuilder::new()
        .retry(Twice(2))
        .layer(RateLimitLayer::new(bucket))
        .service(flaky);
    assert_eq!(service.oneshot(7).await.unwrap(), 7);
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
    assert_eq!(start.elapsed(), Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_times_out_takes_no_token() {
    let (bucket, mut server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    let mut service = ServiceBuilder::new()
        .timeout(Duration::from_millis(50))
        .layer(layer)
        .service(server.client());
    service.ready().await.unwrap();
    bucket.try_acquire(1).unwrap();
    let error = service.call(1).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_eq!(bucket.status(1).waiting, 0);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(bucket.available(), 1);
    assert_eq!(server.seen(), []);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_token_was_taken_keeps_its_place() {
    let (bucket, mut server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    let mut services = [(); 2].map(|()| layer.layer(server.client()));
    for service in &mut services {
        assert!(poll_ready(service).is_pending());
    }
    for service in &mut services {
        service.ready().await.unwrap();
    }
    // At 100 ms, both are told of one token, and another takes it.
    bucket.try_acquire(1).unwrap();
    for request in 10..13 {
        let (turn, mut client) = (bucket.clone().acquire_owned(1), server.client());
        tokio::spawn(async move {
            turn.await.unwrap();
            client.ready().await.unwrap().call(request).await
        });
    }
    sleep(Duration::from_millis(50)).await;
    // They come before all that came after them, in their own order, however they are called.
    let [first, second] = &mut services;
    let (second, first) = (second.call(2), first.call(1));
    tokio::spawn(second);
    tokio::spawn(first);
    sleep(Duration::from_secs(1)).await;
    let expected = [(200, 1), (300, 2), (400, 10), (500, 11), (600, 12)];
    assert_eq!(server.seen(), expected);
}

#[tokio::test(start_paused = true)]
async fn waiters_that_never_end_do_not_starve_a_service() {
    let (bucket, mut server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    for _ in 0..5 {
        let bucket = bucket.clone();
        tokio::spawn(async move {
            loop {
                bucket.acquire(1).await.unwrap();
            }
        });
    }
    tokio::task::yield_now().await;
    tokio::spawn(layer.layer(server.client()).oneshot(1));
    sleep(Duration::from_mins(1)).await;
    // Five are before it, and the next behind it takes the token that it was told of.
    assert_eq!(server.seen(), [(700, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_not_passed() {
    let (bucket, server) = (empty_bucket(), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    service.ready().await.unwrap();
    bucket.try_acquire(1).unwrap();
    let mut called = service.call(1);
    // It has not been polled yet, and stands in line.
    sleep(Duration::from_millis(99)).await;
    let later = tokio::spawn(bucket.clone().acquire_owned(1));
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(poll(&mut called), Poll::Ready(Ok(1)));
    assert!(!later.is_finished());
}

#[tokio::test(start_paused = true)]
async fn dropping_what_waits_leaves_the_line() {
    let (bucket, mut server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    let mut unready = layer.layer(server.client());
    assert!(poll_ready(&mut unready).is_pending());
    assert_eq!(bucket.status(1).waiting, 1);
    drop(unready);
    assert_eq!(bucket.status(1).waiting, 0);

    let mut services = [(); 2].map(|()| layer.layer(server.client()));
    for service in &mut services {
        service.ready().await.unwrap();
    }
    bucket.try_acquire(1).unwrap();
    let [first, second] = &mut services;
    let (mut polled, unpolled) = (first.call(1), second.call(2));
    assert!(poll(&mut polled).is_pending());
    assert_eq!(bucket.status(1).waiting, 2);
    drop((polled, unpolled));
    assert_eq!(bucket.status(1).waiting, 0);
    assert_eq!(server.seen(), []);
    // This, the layer's, and the services'.
    assert_eq!(Arc::strong_count(&bucket), 4);
    sleep(Duration::from_millis(100)).await;
    assert!(bucket.try_acquire(1).is_ok());
}

async fn five_at_ten_a_second<L: RateLimiter + Clone + Send + 'static>(limiter: L) {
    let mut server = Server::new();
    let service = RateLimitLayer::new(limiter).layer(server.client());
    for request in 0..5 {
        tokio::spawn(service.clone().oneshot(request));
    }
    sleep(Duration::from_secs(1)).await;
    let expected = [(0, 0), (100, 1), (200, 2), (300, 3), (400, 4)];
    assert_eq!(server.seen(), expected);
}

#[tokio::test(start_paused = true)]
async fn any_limiter_will_do() {
    let locked = |quota: &str| {
        let clock = TokioClock::new();
        Arc::new(LockedTokenBucket::with_clock(quota.parse().unwrap(), clock).unwrap())
    };
    five_at_ten_a_second(bucket("10/s burst 1")).await;
    five_at_ten_a_second(locked("10/s burst 1")).await;
    let object: Arc<dyn RateLimiter> = bucket("10/s burst 1");
    five_at_ten_a_second(object).await;
    let leaked: &'static Bucket = Box::leak(Box::new(
        AtomicTokenBucket::with_clock("10/s burst 1".parse().unwrap(), TokioClock::new()).unwrap(),
    ));
    five_at_ten_a_second(leaked).await;
    five_at_ten_a_second(AllOf::new((bucket("10/s burst 1"), locked("1000/h")))).await;
    five_at_ten_a_second(Arc::new(AllOf::new((
        locked("20/s burst 1"),
        bucket("10/s burst 1"),
    ))))
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_services_alternate() {
    let mut server = Server::new();
    let layer = RateLimitLayer::new(empty_bucket());
    for name in 0..2 {
        let mut service = layer.layer(server.client());
        tokio::spawn(async move {
            loop {
                service.ready().await.unwrap().call(name).await.unwrap();
            }
        });
    }
    sleep(Duration::from_millis(10_050)).await;
    let seen = server.seen();
    assert_eq!(seen.len(), 100);
    for (n, (ms, name)) in (1..).zip(seen) {
        assert_eq!((ms, name), (u128::from(n * 100), (n - 1) % 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_would_wait_too_long_is_refused_at_once() {
    let (bucket, mut server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket).max_wait(Duration::from_millis(250));
    for request in 1..=4 {
        let answer = tokio::spawn(layer.layer(server.client()).oneshot(request));
        tokio::task::yield_now().await;
        assert_eq!(answer.is_finished(), request > 2);
        if request > 2 {
            let retry_after = Duration::from_millis(300);
            let too_long = RateLimitError::Limited(Denied::TooLong { retry_after });
            assert_eq!(answer.await.unwrap(), Err(too_long));
        }
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.seen(), [(100, 1), (200, 2)]);
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_is_that_before_and_after_readiness() {
    let (bucket, server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket.clone()).max_wait(Duration::from_millis(250));
    let mut service = layer.layer(server.client());
    service.ready().await.unwrap();
    // It has waited for 100 ms. That it then idles does not count.
    sleep(Duration::from_hours(1)).await;
    bucket.try_acquire(1).unwrap();
    let waiting = service.call(1);
    let start = Instant::now();
    assert_eq!(waiting.await, Ok(1));
    assert_eq!(start.elapsed(), Duration::from_millis(100));

    service.ready().await.unwrap();
    bucket.try_acquire(1).unwrap();
    bucket.charge(1);
    let retry_after = Duration::from_millis(200);
    let too_long = RateLimitError::Limited(Denied::TooLong { retry_after });
    assert_eq!(poll(&mut service.call(2)), Poll::Ready(Err(too_long)));
    assert_eq!(bucket.status(1).waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_beyond_the_longest_wait_ends_it() {
    let (bucket, mut server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket.clone()).max_wait(Duration::from_millis(250));
    let mut services = [(); 2].map(|()| layer.layer(server.client()));
    let [unready, called] = &mut services;
    called.ready().await.unwrap();
    bucket.try_acquire(1).unwrap();
    let called = called.call(1);
    assert!(poll_ready(unready).is_pending());
    let start = Instant::now();
    let until = bucket.now().saturating_add(Duration::from_millis(400));
    bucket.pause_until(until).unwrap();
    let too_long = |answer: Result<u32, RateLimitError<Infallible>>| {
        matches!(answer, Err(RateLimitError::Limited(Denied::TooLong { .. })))
    };
    assert!(too_long(called.await));
    assert!(
        start.elapsed() <= Duration::from_millis(150),
        "it had waited for 100"
    );
    // The service is not broken; it has a request to refuse, which does not wait once more.
    let unready = unready.ready().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(250));
    let mut refused = unready.call(2);
    assert!(matches!(poll(&mut refused), Poll::Ready(answer) if too_long(answer)));
    assert_eq!(server.seen(), []);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_ready_at_once_waits_from_its_call_on() {
    let (bucket, mut server) = (bucket("10/s burst 1"), Server::new());
    let layer = RateLimitLayer::new(bucket.clone());
    let mut services = [(); 3].map(|()| layer.layer(server.client()));
    for service in &mut services {
        service.ready().await.unwrap();
    }
    for (request, service) in (1..).zip(&mut services) {
        tokio::spawn(service.call(request));
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.seen(), [(0, 1), (100, 2), (200, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_larger_request_that_came_later_does_not_hold_it_back() {
    let (bucket, mut server) = (bucket("10/s burst 5"), Server::new());
    bucket.drain();
    let layer = RateLimitLayer::new(bucket.clone());
    let mut waits = layer.layer(server.client());
    let mut fails_fast = layer.fail_fast().layer(server.client());
    waits.ready().await.unwrap();
    assert!(bucket.try_acquire(1).is_ok());
    assert!(poll_ready(&mut fails_fast).is_pending());
    fails_fast.ready().await.unwrap();
    let larger = tokio::spawn(bucket.clone().acquire_owned(5));
    tokio::task::yield_now().await;
    assert_eq!(poll(&mut fails_fast.call(1)), Poll::Ready(Ok(1)));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(poll(&mut waits.call(2)), Poll::Ready(Ok(2)));
    assert!(!larger.is_finished());
    assert_eq!(server.seen(), [(200, 1), (300, 2)]);
}

#[tokio::test(start_paused = true)]
async fn the_limiters_own_bounds_hold() {
    let bounded = |bucket: Bucket| Arc::new(bucket.max_waiters(2).max_wait(Duration::from_secs(1)));
    let quota: Quota = "10/s burst 1".parse().unwrap();
    let bucket = bounded(AtomicTokenBucket::with_clock(quota, TokioClock::new()).unwrap());
    let server = Server::new();
    let layer = RateLimitLayer::new(bucket.clone());
    bucket.try_acquire(1).unwrap();
    let mut services = [(); 2].map(|()| layer.layer(server.client()));
    for service in &mut services {
        assert!(poll_ready(service).is_pending());
    }
    let refused = layer.layer(server.client()).oneshot(1).await;
    let full = RateLimitError::Limited(Denied::TooManyWaiters);
    assert_eq!(refused, Err(full));
    // A ready service that idles for longer than a wait may last has not waited.
    for service in &mut services {
        service.ready().await.unwrap();
        sleep(Duration::from_secs(10)).await;
        bucket.try_acquire(1).unwrap();
        assert_eq!(service.call(2).await, Ok(2));
        bucket.drain();
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_without_a_rate_refuses_the_requests_and_not_the_service() {
    let (bucket, server) = (bucket("0/s burst 1"), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(1));
    let exhausted = RateLimitError::Limited(Denied::Exhausted);
    assert_eq!(service.ready().await.unwrap().call(2).await, Err(exhausted));
    bucket.refund(1);
    assert_eq!(service.ready().await.unwrap().call(3).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_cloned_fails_fast() {
    let (bucket, mut server) = (bucket("10/s burst 1"), Server::new());
    let layer = RateLimitLayer::new(bucket.clone()).fail_fast();
    let mut service = layer.layer(Connection(server.client()));
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(1));
    // It waits to be ready, as any.
    let ready = service.ready().await.unwrap();
    bucket.try_acquire(1).unwrap();
    let retry_after = Duration::from_millis(100);
    let limited = RateLimitError::Limited(Denied::NotYet { retry_after });
    assert_eq!(poll(&mut ready.call(2)), Poll::Ready(Err(limited)));
    assert_eq!(bucket.status(1).waiting, 0);
    assert_eq!(service.ready().await.unwrap().call(3).await, Ok(3));
    assert_eq!(server.seen(), [(0, 1), (200, 3)]);
}

#[test]
fn debug_shows_what_it_does() {
    fn shown(it: impl Debug) -> String {
        format!("{it:?}")
    }
    let bucket = Arc::new(AtomicTokenBucket::new("1/h".parse().unwrap()).unwrap());
    let layer = RateLimitLayer::new(bucket);
    assert!(shown(&layer).starts_with("RateLimitLayer"));
    let mut service = layer.layer(service_fn(|_: u32| ready(Ok::<_, Infallible>(()))));
    assert!(shown(&service).contains("is_ready: false"));
    assert!(poll_ready(&mut service).is_ready());
    assert!(shown(&service).contains("is_ready: true"));
    assert!(shown(service.call(1)).contains("called"));
}

#[tokio::test(start_paused = true)]
async fn a_meter_counts_each_request_once() {
    let metered = Arc::new(Metered::new(bucket("10/s burst 1")));
    let server = Server::new();
    let layer = RateLimitLayer::new(metered.clone());
    let counts = || {
        let meter = metered.meter();
        let decided = [meter.admitted, meter.denied, meter.abandoned];
        (decided, meter.waited(), meter.total_wait.as_millis())
    };
    let service = || layer.layer(server.client());
    service().oneshot(1).await.unwrap();
    assert_eq!(counts(), ([1, 0, 0], 0, 0), "at once");
    service().oneshot(2).await.unwrap();
    assert_eq!(counts(), ([2, 0, 0], 1, 100), "after a wait for readiness");

    // Ready, and then another takes the token: the request waits.
    sleep(Duration::from_millis(100)).await;
    let mut late = service();
    let ready = late.ready().await.unwrap();
    metered.try_acquire(1).unwrap();
    ready.call(3).await.unwrap();
    assert_eq!(
        counts(),
        ([4, 0, 0], 2, 200),
        "after a wait for the response"
    );

    let impatient = timeout(Duration::from_millis(10), service().oneshot(4));
    assert!(impatient.await.is_err());
    assert_eq!(counts(), ([4, 0, 1], 2, 200), "given up");

    let hasty = layer.clone().max_wait(Duration::from_millis(10));
    assert!(hasty.layer(server.client()).oneshot(5).await.is_err());
    assert_eq!(counts(), ([4, 1, 1], 2, 200), "refused for its bound");

    sleep(Duration::from_millis(100)).await;
    let fail_fast = layer.clone().fail_fast();
    let mut late = fail_fast.layer(server.client());
    let ready = late.ready().await.unwrap();
    metered.try_acquire(1).unwrap();
    assert!(ready.call(6).await.is_err());
    assert_eq!(
        counts(),
        ([5, 2, 1], 2, 200),
        "refused as another took the token"
    );
}
