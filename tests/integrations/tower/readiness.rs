//! Readiness takes no token: a call takes it, at the place in line of its readiness.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_executor::block_on;
use tokio::time::{Instant, sleep};
use tollgate::integrations::tokio::TokioClock;
use tollgate::integrations::tower::{RateLimit, RateLimitError, RateLimitLayer, ResponseFuture};
use tollgate::{
    AllOf, AtomicTokenBucket, Clock, LockedTokenBucket, ManualClock, Quota, RateLimiter, Timestamp,
};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Bucket, Client, Server, bucket, empty_bucket, poll_ready};

/// A clock that counts the timers that are armed.
#[derive(Clone, Debug, Default)]
struct TimerCountingClock {
    time: ManualClock,
    sleeps: Arc<AtomicU32>,
}

impl Clock for TimerCountingClock {
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
fn only_a_waiting_service_arms_a_timer() {
    let clock = TimerCountingClock::default();
    let quota: Quota = "1/s burst 2".parse().unwrap();
    let bucket = Arc::new(AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap());
    let echo = service_fn(|request: u32| async move { Ok::<_, Infallible>(request) });
    let mut service = RateLimitLayer::new(bucket).layer(echo);
    for request in 1..=2 {
        let answer = block_on(async { service.ready().await?.call(request).await });
        assert_eq!(answer, Ok(request));
    }
    assert_eq!(clock.sleeps.load(Ordering::SeqCst), 0);
    // The third call is ready with its token.
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
fn services_and_futures_are_send_and_sync() {
    fn shareable<T: Send + Sync + Clone + 'static>() {}
    fn sendable<T: Send + Sync + 'static>() {}
    shareable::<RateLimitLayer<Arc<Bucket>>>();
    shareable::<RateLimit<Client, Arc<Bucket>>>();
    shareable::<RateLimit<Client, Arc<dyn RateLimiter>>>();
    sendable::<RateLimitError<io::Error>>();
    sendable::<ResponseFuture<Client, u32, Arc<Bucket>>>();
}

#[tokio::test(start_paused = true)]
async fn an_idle_ready_service_holds_no_token() {
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
    sleep(Duration::from_secs(48 * 3_600)).await;
    // The services are still ready, and each takes its token when it is called.
    for (request, service) in (1..).zip(&mut idle) {
        assert_eq!(poll_ready(service), Poll::Ready(Ok(())));
        service.call(request).await.unwrap();
    }
    assert_eq!(bucket.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_waited_holds_no_token_before_its_call() {
    let (bucket, server) = (empty_bucket(), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    service.ready().await.unwrap();
    assert_eq!(bucket.available(), 1);
    assert!(bucket.try_acquire(1).is_ok());
    assert_eq!(
        poll_ready(&mut service),
        Poll::Ready(Ok(())),
        "the service stays ready until its call"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_without_readiness_is_rejected() {
    let (bucket, mut server) = (bucket("1/h"), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    for request in 0..100 {
        let refused = service.call(request).await;
        assert_eq!(refused, Err(RateLimitError::NotReady));
    }
    // Readiness is for one call of one service, not of its clones.
    let ready = service.ready().await.unwrap();
    let refused = ready.clone().call(100).await;
    assert_eq!(refused, Err(RateLimitError::NotReady));
    assert_eq!(ready.call(101).await, Ok(101));
    assert_eq!(ready.call(102).await, Err(RateLimitError::NotReady));
    assert_eq!(server.seen(), [(0, 101)]);
    assert_eq!(bucket.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_while_the_service_waits_for_readiness_is_rejected() {
    let (bucket, server) = (empty_bucket(), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    assert!(poll_ready(&mut service).is_pending());
    assert_eq!(service.call(1).await, Err(RateLimitError::NotReady));
    assert_eq!(bucket.status(1).waiting, 1, "the service left the line");
    assert_eq!(service.ready().await.unwrap().call(2).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn two_greedy_services_alternate() {
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

#[test]
fn debug_shows_the_state_of_a_service() {
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

async fn check_five_at_ten_a_second<L: RateLimiter + Clone + Send + 'static>(limiter: L) {
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
async fn the_layer_accepts_every_limiter() {
    let locked = |quota: &str| {
        let clock = TokioClock::new();
        Arc::new(LockedTokenBucket::with_clock(quota.parse().unwrap(), clock).unwrap())
    };
    check_five_at_ten_a_second(bucket("10/s burst 1")).await;
    check_five_at_ten_a_second(locked("10/s burst 1")).await;
    let object: Arc<dyn RateLimiter> = bucket("10/s burst 1");
    check_five_at_ten_a_second(object).await;
    let leaked: &'static Bucket = Box::leak(Box::new(
        AtomicTokenBucket::with_clock("10/s burst 1".parse().unwrap(), TokioClock::new()).unwrap(),
    ));
    check_five_at_ten_a_second(leaked).await;
    check_five_at_ten_a_second(AllOf::new((bucket("10/s burst 1"), locked("1000/h")))).await;
    check_five_at_ten_a_second(Arc::new(AllOf::new((
        locked("20/s burst 1"),
        bucket("10/s burst 1"),
    ))))
    .await;
}
