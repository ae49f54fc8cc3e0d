//! Client-side throttling: a limiter as middleware around a [tower](https://docs.rs/tower) service.
//!
//! [`RateLimitLayer`] wraps a service; each request takes one token of the layer's limiter, and
//! waits for it. All services of a layer, their clones and every other user of the limiter share
//! its tokens, first come, first served. A pause or another quota reaches waiting requests: when a
//! server answers with `Retry-After`, [`pause_until`](crate::RateLimiter::pause_until) holds all of
//! them.
//!
//! ```
//! use std::sync::Arc;
//! use tollgate::integrations::tower::RateLimitLayer;
//! use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let budget = Arc::new(AtomicTokenBucket::new(Quota::per_second(50)?.burst(100)?)?);
//!     let service = ServiceBuilder::new()
//!         .layer(RateLimitLayer::new(budget.clone()))
//!         .service(service_fn(async |name: &str| Ok::<_, std::io::Error>(format!("hello {name}"))));
//!
//!     assert_eq!(service.oneshot("ada").await?, "hello ada");
//!     assert_eq!(budget.available(), 99);
//!     Ok(())
//! }
//! ```

mod error;
mod response;
mod service;
mod turns;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use ::tower_layer::Layer;

pub use self::error::RateLimitError;
pub use self::response::{Admission, ResponseFuture};
pub use self::service::RateLimit;
use crate::limiter::RateLimiter;

/// A layer whose services take a token for each request, and wait for it.
///
/// The limiter is any [`RateLimiter`] that is cheap to clone: an `Arc` of a bucket, of an
/// [`AllOf`](crate::AllOf) or of a `dyn RateLimiter`, or a `&'static` one. All services of the
/// layer share it. The [module](self) has an example.
///
/// # Waiting
/// Requests stand in the limiter's line with all its other waiters: first come, first served. A
/// service that waits for readiness stands in line. A ready service does not and holds no token;
/// its request goes to the place that the service had. A pause, another quota, a refund and `close`
/// reach both. A service or a response that is dropped leaves the line and costs nothing; one that
/// is not polled holds up no other.
///
/// # A token that another takes
/// A ready service holds no token, so another caller can take the one that made it ready. The mode
/// of the layer says what its request does then:
///
/// - [`Rejoin`], the default: the request waits in line, at the place that the service had. The
///   inner service must be [`Clone`], since the response future keeps the ready one.
/// - [`FailFast`]: the request is refused at once. For an inner service that is not `Clone`; or put
///   a `tower::buffer::Buffer` around that.
///
/// # Bounds
/// [`max_wait`](Self::max_wait) bounds the time that a request waits. The limiter bounds the number
/// of waiters: [`max_waiters`](crate::AtomicTokenBucket::max_waiters).
pub struct RateLimitLayer<L, M = Rejoin> {
    limiter: L,
    longest: Duration,
    mode: PhantomData<fn() -> M>,
}

/// The default mode of [`RateLimitLayer`]: a request whose token another caller has taken waits in
/// line.
#[derive(Debug)]
pub enum Rejoin {}

/// The mode of [`RateLimitLayer::fail_fast`]: a request whose token another caller has taken is
/// refused.
#[derive(Debug)]
pub enum FailFast {}

impl<L: RateLimiter + Clone> RateLimitLayer<L> {
    /// Creates a layer that takes its tokens from `limiter`.
    pub const fn new(limiter: L) -> Self {
        Self {
            limiter,
            longest: Duration::MAX,
            mode: PhantomData,
        }
    }

    /// Refuses a request whose token another caller has taken since the service became ready,
    /// instead of letting it wait. Waiting for readiness is unchanged.
    ///
    /// Services that wait for the same token all become ready when it is there, and all but one of
    /// their requests are then refused.
    pub fn fail_fast(self) -> RateLimitLayer<L, FailFast> {
        RateLimitLayer {
            limiter: self.limiter,
            longest: self.longest,
            mode: PhantomData,
        }
    }
}

impl<L, M> RateLimitLayer<L, M> {
    /// Sets the longest time that a request may wait, for readiness and after it; unbounded by
    /// default. The time during which a ready service is not called does not count.
    ///
    /// A request that would wait longer, as the line stands, is refused at once with
    /// [`Denied::TooLong`](crate::Denied::TooLong). Its service becomes ready in order to say so:
    /// an error of `poll_ready` would mean that the service is broken.
    #[must_use]
    pub const fn max_wait(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }
}

impl<L: Clone, M> Clone for RateLimitLayer<L, M> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            ..*self
        }
    }
}

// The bound is repeated here, where a violation gives a readable compiler message.
impl<S: Clone, L: RateLimiter + Clone> Layer<S> for RateLimitLayer<L, Rejoin> {
    type Service = RateLimit<S, L, Rejoin>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.limiter.clone(), self.longest)
    }
}

impl<S, L: RateLimiter + Clone> Layer<S> for RateLimitLayer<L, FailFast> {
    type Service = RateLimit<S, L, FailFast>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.limiter.clone(), self.longest)
    }
}

impl<L: fmt::Debug, M> fmt::Debug for RateLimitLayer<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("limiter", &self.limiter)
            .field("max_wait", &self.longest)
            .finish()
    }
}
