//! The layer under other middleware: buffer, load shedding, retry and timeout.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tollgate::RateLimiter;
use tollgate::integrations::tower::{RateLimitError, RateLimitLayer};
use tower::retry::Policy;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{Server, bucket, empty_bucket};

#[tokio::test(start_paused = true)]
async fn a_buffer_shares_the_service_between_tasks() {
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
async fn a_denied_request_does_not_break_a_buffer() {
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
async fn shed_requests_take_no_token() {
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

/// Retries an inner failure twice, and no denial.
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
async fn each_retry_takes_its_own_token() {
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
