//! The caller's own code around the tower layer: after a panic at any call of an inner service, a clock
//! or a waker, no token and no place in the line is lost.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tollgate::integrations::tower::{FailFast, RateLimit, RateLimitLayer, Rejoin};
use tollgate::{AtomicTokenBucket, RateLimiter};
use tower::{Layer, Service};

use crate::trap::{ALL, Call, TrapClock, Waiter, call, trapped, without_deadlock};

const HOUR: Duration = Duration::from_secs(3_600);

type Bucket = Arc<AtomicTokenBucket<TrapClock>>;

/// An inner service that can panic at each of its calls.
struct Inner;

impl Clone for Inner {
    fn clone(&self) -> Self {
        call(Call::Clone);
        Self
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        call(Call::Drop);
    }
}

impl Service<u32> for Inner {
    type Response = u32;
    type Error = Infallible;
    type Future = Ready<Result<u32, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        call(Call::Closure);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        call(Call::Closure);
        ready(Ok(request))
    }
}

/// An operation on a service of one mode.
type Op<M> = fn(RateLimit<Inner, Bucket, M>, &Bucket);

async fn is_ready<S: Service<u32>>(service: &mut S) -> bool {
    std::future::poll_fn(|cx| service.poll_ready(cx))
        .await
        .is_ok()
}

/// Polls again after an hour, in which two tokens accrue.
fn an_hour_later<T>(bucket: &Bucket, waiter: &mut Waiter<'_, T>) -> Option<T> {
    waiter.poll();
    CLOCK.with(|clock| clock.0.advance(HOUR));
    bucket.refund(0);
    waiter.poll()
}

thread_local! {
    static CLOCK: TrapClock = TrapClock::default();
}

macro_rules! ops {
    ($mode:ty) => {
        [
            ("ready, drop", |mut service, _| {
                Waiter::new(is_ready(&mut service)).poll();
            }),
            ("ready after a wait, drop", |mut service, bucket| {
                an_hour_later(bucket, &mut Waiter::new(is_ready(&mut service)));
            }),
            ("call", |mut service, bucket| {
                bucket.refund(1);
                Waiter::new(is_ready(&mut service)).poll();
                Waiter::new(service.call(1)).poll();
            }),
            ("call unready", |mut service, _| {
                Waiter::new(service.call(1)).poll();
            }),
            ("call after a wait", |mut service, bucket| {
                an_hour_later(bucket, &mut Waiter::new(is_ready(&mut service)));
                Waiter::new(service.call(1)).poll();
            }),
            (
                "call, when another has taken the token",
                |mut service, bucket| {
                    bucket.refund(1);
                    Waiter::new(is_ready(&mut service)).poll();
                    let _ = bucket.try_acquire(1);
                    an_hour_later(bucket, &mut Waiter::new(service.call(1)));
                },
            ),
            ("drop a request that waits", |mut service, bucket| {
                bucket.refund(1);
                Waiter::new(is_ready(&mut service)).poll();
                let _ = bucket.try_acquire(1);
                Waiter::new(service.call(1)).poll();
            }),
            ("clone", |service, bucket| {
                let mut other = service.clone();
                an_hour_later(bucket, &mut Waiter::new(is_ready(&mut other)));
                Waiter::new(other.call(1)).poll();
            }),
        ] as [(&str, Op<$mode>); 8]
    };
}

/// Runs an operation with its `n`-th call trapped; `false` if it makes fewer calls.
fn traps<M>(
    name: &str,
    make: fn(Bucket) -> RateLimit<Inner, Bucket, M>,
    op: Op<M>,
    n: usize,
) -> bool {
    let clock = CLOCK.with(Clone::clone);
    let bucket = AtomicTokenBucket::with_clock("2/h burst 2".parse().unwrap(), clock.clone());
    let bucket = Arc::new(bucket.unwrap());
    bucket.try_acquire(2).unwrap();
    let service = make(Arc::clone(&bucket));
    let (fired, panicked) = trapped(n, ALL, None, || op(service, &bucket));
    let context = format!("{name}, call {n}: {panicked:?}");
    assert_eq!(panicked.is_some(), fired, "{context}");
    assert_eq!(
        bucket.status(1).waiting,
        0,
        "{context}: a dropped waiter is still in line"
    );
    clock.0.advance(HOUR);
    assert_eq!(bucket.available(), 2, "{context}: tokens are lost");
    assert_eq!(bucket.try_acquire(2), Ok(()), "{context}");
    let more = bucket.try_acquire(1);
    assert!(more.is_err(), "{context}: a token from nowhere");
    fired
}

#[test]
fn a_panic_at_any_call_loses_no_token_and_no_place() {
    without_deadlock(|| {
        for (name, op) in ops!(Rejoin) {
            let make = |bucket| RateLimitLayer::new(bucket).layer(Inner);
            (1..).find(|n| !traps(name, make, op, *n));
        }
        for (name, op) in ops!(FailFast) {
            let make = |bucket| RateLimitLayer::new(bucket).fail_fast().layer(Inner);
            (1..).find(|n| !traps(name, make, op, *n));
        }
    });
}
