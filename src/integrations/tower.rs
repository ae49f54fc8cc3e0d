//! Client-side throttling: a limiter as middleware around a [tower](https://docs.rs/tower) service.
//!
//! [`RateLimitLayer`] wraps a service; each request takes one token of the layer's limiter, and waits
//! for it. All services of a layer, their clones and every other user of the limiter share its
//! tokens, first come, first served. A pause or another quota reaches requests that wait, so when a
//! server says `Retry-After`, [`pause_until`](crate::RateLimiter::pause_until) holds all of them.
//!
//! ```
//! use std::sync::Arc;
//! use tollgate::integrations::tower::RateLimitLayer;
//! use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let budget = Arc::new(AtomicTokenBucket::new(Quota::per_second(50)?.burst(100)?)?);
//! let service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(budget.clone()))
//!     .service(service_fn(async |name: &str| Ok::<_, std::io::Error>(format!("hello {name}"))));
//!
//! assert_eq!(service.oneshot("ada").await?, "hello ada");
//! assert_eq!(budget.available(), 99);
//! # Ok(())
//! # }
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

/// Wraps services so that each request takes a token first, and waits for it.
///
/// The limiter is anything that implements [`RateLimiter`] and is cheap to clone: an `Arc` of a
/// bucket, of an [`AllOf`](crate::AllOf) or of a `dyn RateLimiter`, or a `&'static` one.
///
/// # Waiting
/// Requests stand in the limiter's line, with all others that wait for it: first come, first served. A
/// service that waits for readiness is in line, and one that is ready is not and holds no token; its
/// request goes to the place that it had. A pause, another quota, a refund and `close` reach both. A
/// service or a response that is dropped leaves the line and costs nothing; one that is not polled holds
/// up no other.
///
/// # A token that another takes
/// A ready service holds no token, so another caller can take the one that it was told of. What its
/// request does then is the layer's choice:
///
/// - [`Rejoin`], the default: the request waits in line, at the place that the service had. The inner
///   service has to be [`Clone`], since the response future keeps the ready one.
/// - [`FailFast`]: the request is refused at once. For an inner service that is not `Clone`; or put a
///   `tower::buffer::Buffer` around that.
///
/// # Bounds
/// [`max_wait`](Self::max_wait) bounds how long a request waits. How many wait at once is bounded by
/// the limiter: [`max_waiters`](crate::AtomicTokenBucket::max_waiters).
///
/// ```
/// use std::sync::Arc;
/// use tollgate::integrations::tower::RateLimitLayer;
/// use tollgate::{AllOf, AtomicTokenBucket, LockedTokenBucket, RateLimiter};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let per_second = Arc::new(AtomicTokenBucket::new("20/s".parse()?)?);
/// let per_hour = Arc::new(LockedTokenBucket::new("5/h".parse()?)?);
/// let layer = RateLimitLayer::new(AllOf::new((per_second, per_hour.clone())));
/// let reads = layer.layer(service_fn(async |id: u64| Ok::<_, std::io::Error>(id)));
/// let writes = layer.layer(service_fn(async |_: &str| Ok::<_, std::io::Error>(())));
/// reads.oneshot(7).await?;
/// writes.oneshot("ada").await?;
/// assert_eq!(per_hour.available(), 3); // both take from it
/// # Ok(())
/// # }
/// ```
pub struct RateLimitLayer<L, M = Rejoin> {
    limiter: L,
    longest: Duration,
    mode: PhantomData<fn() -> M>,
}

/// The default of [`RateLimitLayer`]: a request whose token another caller has taken waits in line.
#[derive(Debug)]
pub enum Rejoin {}

/// Of [`RateLimitLayer::fail_fast`]: a request whose token another caller has taken is refused.
#[derive(Debug)]
pub enum FailFast {}

impl<L: RateLimiter + Clone> RateLimitLayer<L> {
    /// A layer that takes its tokens from `limiter`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::integrations::tower::RateLimitLayer;
    /// use tollgate::{AtomicTokenBucket, RateLimiter};
    ///
    /// let chosen_at_run_time: Arc<dyn RateLimiter> = Arc::new(AtomicTokenBucket::new("20/s".parse()?)?);
    /// let layer = RateLimitLayer::new(chosen_at_run_time);
    /// # drop(layer);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn new(limiter: L) -> Self {
        Self {
            limiter,
            longest: Duration::MAX,
            mode: PhantomData,
        }
    }

    /// Refuses a request whose token another caller has taken since the service was ready, instead of
    /// having it wait. Waiting for readiness stays as it is.
    ///
    /// Services that wait for the same token are all ready when it is there, and all but one of their
    /// requests are then refused.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::integrations::tower::{RateLimitError, RateLimitLayer};
    /// use tollgate::{AtomicTokenBucket, RateLimiter};
    /// use tower::{Layer, Service, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let budget = Arc::new(AtomicTokenBucket::new("1/h".parse()?)?);
    /// let layer = RateLimitLayer::new(budget.clone()).fail_fast();
    /// let mut service = layer.layer(service_fn(async |id: u64| Ok::<_, std::io::Error>(id)));
    /// let ready = service.ready().await?;
    /// budget.try_acquire(1)?;
    /// assert!(matches!(ready.call(7).await, Err(RateLimitError::Limited(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_fast(self) -> RateLimitLayer<L, FailFast> {
        RateLimitLayer {
            limiter: self.limiter,
            longest: self.longest,
            mode: PhantomData,
        }
    }
}

impl<L, M> RateLimitLayer<L, M> {
    /// The longest that a request may wait, for readiness and after it; any time unless set. The time
    /// in which a ready service is not called does not count.
    ///
    /// A request that would wait for longer, as the line stands, is refused at once with
    /// [`Denied::TooLong`](crate::Denied::TooLong). Its service is ready in order to say so: an error
    /// of `poll_ready` would mean that the service is broken.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tollgate::integrations::tower::{RateLimitError, RateLimitLayer};
    /// use tollgate::{AtomicTokenBucket, Denied};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let budget = Arc::new(AtomicTokenBucket::new("1/h".parse()?)?);
    /// let layer = RateLimitLayer::new(budget).max_wait(Duration::from_secs(1));
    /// let service = layer.layer(service_fn(async |id: u64| Ok::<_, std::io::Error>(id)));
    /// service.clone().oneshot(1).await?;
    /// let refused = service.oneshot(2).await; // does not wait a second
    /// assert!(matches!(refused, Err(RateLimitError::Limited(Denied::TooLong { .. }))));
    /// # Ok(())
    /// # }
    /// ```
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

// The bound is here, and not only at the service, for the sake of the compiler's message.
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
