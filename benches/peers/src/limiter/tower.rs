//! tower's `RateLimit`: fixed windows over one service, which is called through `&mut`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tower::limit::RateLimit;
use tower::limit::rate::Rate;
use tower::{Service, service_fn};

use super::{Limiter, Shared};
use crate::clock::{Clock, Os};
use crate::quota::Quota;

type Inner = fn(()) -> Ready<Result<(), Infallible>>;

/// The layer's service, in a lock so that threads can share it. Each window admits the burst.
pub struct Tower(Mutex<RateLimit<tower::util::ServiceFn<Inner>>>);

/// Drives the timers of the service.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("the operating system starts a thread")
});

impl Limiter for Tower {
    type Handle<'a> = &'a Self;

    fn new(quota: Quota) -> Self {
        let _runtime = RUNTIME.enter();
        let window = quota
            .period
            .mul_f64(quota.burst as f64 / quota.tokens as f64);
        let inner: Inner = |()| ready(Ok(()));
        Self(Mutex::new(RateLimit::new(
            service_fn(inner),
            Rate::new(quota.burst, window),
        )))
    }

    fn handle(&self, _callers: usize) -> &Self {
        self
    }

    fn nanos(&self) -> u64 {
        Os::default().nanos()
    }
}

impl Shared for Tower {
    #[inline(always)]
    fn try_acquire(&self, _one: u32) -> bool {
        let mut service = self.0.lock();
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        let admitted = matches!(ready, Poll::Ready(Ok(())));
        if admitted {
            drop(service.call(()));
        }
        admitted
    }
}
