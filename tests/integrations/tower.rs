//! The limiter as a layer of `tower`: shared servers, clients and buckets.

mod middleware;
mod readiness;
mod refusals;
mod waiting;

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tollgate::integrations::tokio::TokioClock;
use tollgate::{AtomicTokenBucket, RateLimiter};
use tower::Service;

type Bucket = AtomicTokenBucket<TokioClock>;
type BoxError = Box<dyn Error + Send + Sync>;

fn bucket(quota: &str) -> Arc<Bucket> {
    let quota = quota.parse().unwrap();
    Arc::new(AtomicTokenBucket::with_clock(quota, TokioClock::new()).unwrap())
}

/// An empty bucket that gains one token in 100 ms.
fn empty_bucket() -> Arc<Bucket> {
    let bucket = bucket("10/s burst 1");
    bucket.try_acquire(1).unwrap();
    bucket
}

/// A server that records each request and when it came, in milliseconds from the start.
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

/// A service that panics when it is called unready; its clones are unready.
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

fn poll_ready<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
