//! A limiter as middleware.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tower_layer::Layer;
use ::tower_service::Service;
use futures_util::TryFutureExt;
use futures_util::future::MapErr;

use crate::clock::{Clock, Sleep, SystemClock};
use crate::limiter::{AtomicTokenBucket, Internal, Taken};

type BoxError = Box<dyn Error + Send + Sync>;

/// Wraps services so that each request takes a token first, and waits for it: client-side
/// throttling.
///
/// Services that share a bucket share its tokens, first come, first served.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::integrations::tower::RateLimitLayer;
/// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let budget = Arc::new(AtomicTokenBucket::new(Quota::per_second(50)?.burst(100)?)?);
/// let service = ServiceBuilder::new()
///     .layer(RateLimitLayer::new(budget.clone()))
///     .service(service_fn(async |name: &str| Ok::<_, std::io::Error>(format!("hello {name}"))));
///
/// assert_eq!(service.oneshot("ada").await?, "hello ada");
/// assert_eq!(budget.available(), 99);
/// # Ok(())
/// # }
/// ```
pub struct RateLimitLayer<C = SystemClock> {
    bucket: Arc<AtomicTokenBucket<C>>,
}

impl<C> RateLimitLayer<C> {
    /// A layer that takes its tokens from `bucket`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::integrations::tower::RateLimitLayer;
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let budget = Arc::new(AtomicTokenBucket::new(Quota::per_hour(5)?)?);
    /// let layer = RateLimitLayer::new(budget.clone());
    /// let reads = layer.layer(service_fn(async |id: u64| Ok::<_, std::io::Error>(id)));
    /// let writes = layer.layer(service_fn(async |_: &str| Ok::<_, std::io::Error>(())));
    /// reads.oneshot(7).await?;
    /// writes.oneshot("ada").await?;
    /// assert_eq!(budget.available(), 3); // both take from it
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(bucket: Arc<AtomicTokenBucket<C>>) -> Self {
        Self { bucket }
    }
}

impl<C> Clone for RateLimitLayer<C> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.bucket))
    }
}

impl<S, C: Clock> Layer<S> for RateLimitLayer<C> {
    type Service = RateLimit<S, C>;

    fn layer(&self, inner: S) -> RateLimit<S, C> {
        RateLimit {
            inner,
            bucket: Arc::clone(&self.bucket),
            token: Token::None,
        }
    }
}

/// A service whose readiness is a token: from [`RateLimitLayer`].
///
/// # Cancel safety
/// A token that was taken for a request that never came goes back when the service is dropped, as
/// far as no later taker has built on it.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::integrations::tower::{RateLimit, RateLimitLayer};
/// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// struct Client<S> {
///     service: RateLimit<S>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let budget = Arc::new(AtomicTokenBucket::new(Quota::per_hour(5)?)?);
/// let echo = service_fn(async |id: u64| Ok::<_, std::io::Error>(id));
/// let mut client = Client { service: RateLimitLayer::new(budget.clone()).layer(echo) };
/// ServiceExt::<u64>::ready(&mut client.service).await?;
/// assert_eq!(budget.available(), 4);
/// drop(client); // and its request never came
/// assert_eq!(budget.available(), 5);
/// # Ok(())
/// # }
/// ```
pub struct RateLimit<S, C: Clock = SystemClock> {
    inner: S,
    bucket: Arc<AtomicTokenBucket<C>>,
    token: Token,
}

enum Token {
    None,
    Awaited(Taken, Sleep),
    Held(Taken),
}

impl<S, C: Clock> RateLimit<S, C> {
    fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if matches!(self.token, Token::None) {
            let now = self.bucket.clock().now();
            let owed = self.bucket.owe(1, Duration::MAX, now)?;
            self.token = if owed.ready_at <= now {
                Token::Held(owed)
            } else {
                let sleep = self.bucket.clock().sleep_until(owed.ready_at);
                Token::Awaited(owed, sleep)
            };
        }
        if let Token::Awaited(_, sleep) = &mut self.token {
            ready!(Pin::new(sleep).poll(cx));
        }
        self.token = match std::mem::replace(&mut self.token, Token::None) {
            Token::Awaited(owed, _) => Token::Held(owed),
            other => other,
        };
        Poll::Ready(Ok(()))
    }
}

impl<S, C, Request> Service<Request> for RateLimit<S, C>
where
    S: Service<Request>,
    S::Error: Into<BoxError>,
    C: Clock,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = MapErr<S::Future, fn(S::Error) -> BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        ready!(self.poll_token(cx))?;
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if let Token::Held(owed) = std::mem::replace(&mut self.token, Token::None) {
            self.bucket.keep(&owed);
        }
        self.inner.call(request).map_err(Into::into)
    }
}

impl<S, C: Clock> Drop for RateLimit<S, C> {
    fn drop(&mut self) {
        if let Token::Awaited(owed, _) | Token::Held(owed) = &self.token {
            self.bucket.give_back(owed, None);
        }
    }
}

impl<C> fmt::Debug for RateLimitLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("bucket", &self.bucket)
            .finish()
    }
}

impl<S, C: Clock> fmt::Debug for RateLimit<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}
