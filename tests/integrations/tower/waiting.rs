//! Requests in line: overload, pauses, quota changes, order and drops.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tollgate::integrations::tower::RateLimitLayer;
use tollgate::{CarryOver, RateLimiter};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{Server, bucket, empty_bucket, poll, poll_ready};

/// Sends 20 requests a second at 10/s, each with a timeout of one second. Returns how many are served in
/// each stretch of ten seconds.
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
async fn overloaded_services_use_every_token() {
    assert_eq!(overload(false).await, [100; 6]);
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_buffer_uses_every_token() {
    assert_eq!(overload(true).await, [100; 6]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_waiting_requests() {
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
    // The pause holds a service that was ready before it too.
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
async fn a_changed_quota_reaches_waiting_requests() {
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
    // At 100 ms, both services are ready by one token, and another caller takes it.
    bucket.try_acquire(1).unwrap();
    for request in 10..13 {
        let (turn, mut client) = (bucket.clone().acquire_owned(1), server.client());
        tokio::spawn(async move {
            turn.await.unwrap();
            client.ready().await.unwrap().call(request).await
        });
    }
    sleep(Duration::from_millis(50)).await;
    // Both keep their places before later waiters and in their own order, whichever is called first.
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
    sleep(Duration::from_secs(60)).await;
    // Five waiters are ahead, and the next one behind takes the token that made the service ready.
    assert_eq!(server.seen(), [(700, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_is_not_overtaken() {
    let (bucket, server) = (empty_bucket(), Server::new());
    let mut service = RateLimitLayer::new(bucket.clone()).layer(server.client());
    service.ready().await.unwrap();
    bucket.try_acquire(1).unwrap();
    let mut called = service.call(1);
    // The call has not been polled yet, and stands in line.
    sleep(Duration::from_millis(99)).await;
    let later = tokio::spawn(bucket.clone().acquire_owned(1));
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(poll(&mut called), Poll::Ready(Ok(1)));
    assert!(!later.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_service_or_request_leaves_the_line() {
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
    // This one, the layer's, and those of the two services.
    assert_eq!(Arc::strong_count(&bucket), 4);
    sleep(Duration::from_millis(100)).await;
    assert!(bucket.try_acquire(1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_later_larger_request_does_not_block_a_ready_service() {
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
