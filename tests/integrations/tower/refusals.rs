//! Denied requests: their errors, the bound on their wait, fail-fast services, and what the meter counts.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tollgate::integrations::tokio::TokioClock;
use tollgate::integrations::tower::{RateLimitError, RateLimitLayer};
use tollgate::{AtomicTokenBucket, Denied, Metered, Quota, RateLimiter};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{BoxError, Bucket, Client, Server, bucket, empty_bucket, poll, poll_ready};

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

#[tokio::test(start_paused = true)]
async fn the_inner_error_and_the_denial_are_sources() {
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
    // The same through middleware that boxes the error.
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
async fn boxed_errors_pass_through_unchanged() {
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
async fn closing_the_limiter_ends_every_wait_and_denies_later_calls() {
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
async fn a_request_beyond_max_wait_is_denied_at_once() {
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
async fn max_wait_bounds_the_waits_before_and_after_readiness_together() {
    let (bucket, server) = (empty_bucket(), Server::new());
    let layer = RateLimitLayer::new(bucket.clone()).max_wait(Duration::from_millis(250));
    let mut service = layer.layer(server.client());
    service.ready().await.unwrap();
    // The service has waited for 100 ms. Its idle hour does not count.
    sleep(Duration::from_secs(3_600)).await;
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
async fn a_pause_beyond_max_wait_ends_the_wait() {
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
        "100 ms of the bound were already used"
    );
    // The service works on; it denies its next request at once.
    let unready = unready.ready().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(250));
    let mut refused = unready.call(2);
    assert!(matches!(poll(&mut refused), Poll::Ready(answer) if too_long(answer)));
    assert_eq!(server.seen(), []);
}

#[tokio::test(start_paused = true)]
async fn the_limiters_own_bounds_on_waiters_hold() {
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
    // The idle time of a ready service does not count as waiting.
    for service in &mut services {
        service.ready().await.unwrap();
        sleep(Duration::from_secs(10)).await;
        bucket.try_acquire(1).unwrap();
        assert_eq!(service.call(2).await, Ok(2));
        bucket.drain();
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_zero_denies_requests_and_leaves_the_service_ready() {
    let (bucket, server) = (bucket("0/s burst 1"), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(1));
    let exhausted = RateLimitError::Limited(Denied::Exhausted);
    assert_eq!(service.ready().await.unwrap().call(2).await, Err(exhausted));
    bucket.refund(1);
    assert_eq!(service.ready().await.unwrap().call(3).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_service_without_clone_works_with_fail_fast() {
    let (bucket, mut server) = (bucket("10/s burst 1"), Server::new());
    let layer = RateLimitLayer::new(bucket.clone()).fail_fast();
    let mut service = layer.layer(Connection(server.client()));
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(1));
    // The service waits for readiness like any other.
    let ready = service.ready().await.unwrap();
    bucket.try_acquire(1).unwrap();
    let retry_after = Duration::from_millis(100);
    let limited = RateLimitError::Limited(Denied::NotYet { retry_after });
    assert_eq!(poll(&mut ready.call(2)), Poll::Ready(Err(limited)));
    assert_eq!(bucket.status(1).waiting, 0);
    assert_eq!(service.ready().await.unwrap().call(3).await, Ok(3));
    assert_eq!(server.seen(), [(0, 1), (200, 3)]);
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
    assert_eq!(counts(), ([1, 0, 0], 0, 0), "admitted at once");
    service().oneshot(2).await.unwrap();
    assert_eq!(counts(), ([2, 0, 0], 1, 100), "after a wait for readiness");

    // Another caller takes the token of a ready service: the request waits.
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
    assert_eq!(counts(), ([4, 0, 1], 2, 200), "dropped while waiting");

    let hasty = layer.clone().max_wait(Duration::from_millis(10));
    assert!(hasty.layer(server.client()).oneshot(5).await.is_err());
    assert_eq!(counts(), ([4, 1, 1], 2, 200), "denied by its bound");

    sleep(Duration::from_millis(100)).await;
    let fail_fast = layer.clone().fail_fast();
    let mut late = fail_fast.layer(server.client());
    let ready = late.ready().await.unwrap();
    metered.try_acquire(1).unwrap();
    assert!(ready.call(6).await.is_err());
    assert_eq!(
        counts(),
        ([5, 2, 1], 2, 200),
        "denied after another caller took the token"
    );
}
