//! The limiter as a layer of `tower`.
#![cfg(all(feature = "tower", not(tollgate_loom)))]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use tollgate::integrations::tower::RateLimitLayer;
use tollgate::{AtomicTokenBucket, Clock, ManualClock, Quota, Timestamp};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Counts how often somebody means to sleep.
#[derive(Clone, Debug, Default)]
struct Counts {
    time: ManualClock,
    sleeps: Arc<AtomicUsize>,
}

impl Clock for Counts {
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
fn only_who_has_to_wait_needs_a_timer() {
    let clock = Counts::default();
    let quota: Quota = "1/s burst 2".parse().unwrap();
    let bucket = Arc::new(AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap());
    let echo = service_fn(|request: u32| async move { Ok::<_, Infallible>(request) });
    let mut service = RateLimitLayer::new(bucket).layer(echo);
    for request in 1..=2 {
        let answer = block_on(async { service.ready().await?.call(request).await });
        assert_eq!(answer.unwrap(), request);
    }
    assert_eq!(clock.sleeps.load(Ordering::SeqCst), 0);
    // The third is not ready before its token is.
    std::thread::scope(|scope| {
        let third = scope.spawn(|| block_on(async { service.ready().await?.call(3).await }));
        while clock.time.next_deadline().is_none() {
            std::thread::yield_now();
        }
        clock.time.advance(Duration::from_secs(1));
        assert_eq!(third.join().unwrap().unwrap(), 3);
    });
    assert_eq!(clock.sleeps.load(Ordering::SeqCst), 1);
}
