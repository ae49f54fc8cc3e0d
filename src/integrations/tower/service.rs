use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tower_service::Service;

use super::response::{Admission, ResponseFuture};
use super::turns::{Begun, Calling, Ready, Taking};
use super::{FailFast, RateLimitError, Rejoin};
use crate::limiter::{Denied, RateLimiter};
use crate::wait::Wait;

/// A service each of whose requests takes a token: from [`RateLimitLayer`](super::RateLimitLayer).
///
/// It is ready when its turn has come, a token is there, and the inner service is ready; and it stays
/// ready until it is called. Readiness takes nothing and stands in no line, so an idle service and a
/// request that is shed cost nothing. The call takes the token; if another caller took it meanwhile,
/// see [`RateLimitLayer`](super::RateLimitLayer#a-token-that-another-takes). A service that waited
/// for its readiness keeps its place in line, so its request comes before all that came later.
/// Several services can be told of the same token; the first that is called takes it.
///
/// A clone has a readiness of its own: none yet.
///
/// # Errors
/// Of `poll_ready`: [`Closed`](RateLimitError::Closed), and those of the inner service. A request that
/// the limiter refuses fails by its future. So does one without readiness, with
/// [`NotReady`](RateLimitError::NotReady): it takes no token, and the inner service does not see it.
///
/// # Cancel safety
/// Dropping a service, or the future of a request, that waits leaves the line.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::integrations::tower::{RateLimit, RateLimitLayer};
/// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
/// use tower::{Layer, Service, ServiceExt, service_fn};
///
/// struct Client<S> {
///     service: RateLimit<S, Arc<AtomicTokenBucket>>,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let budget = Arc::new(AtomicTokenBucket::new(Quota::per_hour(5)?)?);
/// let echo = service_fn(async |id: u64| Ok::<_, std::io::Error>(id));
/// let mut client = Client { service: RateLimitLayer::new(budget.clone()).layer(echo) };
/// let service = client.service.ready().await?;
/// assert_eq!(budget.available(), 5);
/// assert_eq!(service.call(7).await?, 7);
/// assert_eq!(budget.available(), 4);
/// # Ok(())
/// # }
/// ```
pub struct RateLimit<S, L: RateLimiter, M = Rejoin> {
    inner: S,
    limiter: L,
    longest: Duration,
    readiness: Readiness<L>,
    mode: PhantomData<fn() -> M>,
}

enum Readiness<L: RateLimiter> {
    None,
    Awaited(Wait<Calling<L>>),
    Ready(Ready),
}

impl<S, L: RateLimiter, M> RateLimit<S, L, M> {
    pub(super) const fn new(inner: S, limiter: L, longest: Duration) -> Self {
        Self {
            inner,
            limiter,
            longest,
            readiness: Readiness::None,
            mode: PhantomData,
        }
    }
}

impl<S, L: RateLimiter + Clone, M> RateLimit<S, L, M> {
    /// Ready when the turn has come, or when the request is to be told that it never will.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Denied>> {
        if matches!(self.readiness, Readiness::None) {
            let is_there = self.limiter.ask(1, 0, self.limiter.now()).is_ok();
            self.readiness = if is_there {
                Readiness::Ready(Ready::at_once(self.longest))
            } else {
                let calling = Calling::new(self.limiter.clone(), self.longest);
                Readiness::Awaited(Wait::new(calling))
            };
        }
        if let Readiness::Awaited(turn) = &mut self.readiness {
            let called = ready!(Pin::new(turn).poll(cx));
            self.readiness = Readiness::None;
            self.readiness = Readiness::Ready(called?);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_inner<R>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RateLimitError<S::Error>>>
    where
        S: Service<R>,
    {
        // The limiter first: its readiness holds nothing while the inner service's is waited for.
        ready!(self.poll_turn(cx)).map_err(RateLimitError::of)?;
        self.inner.poll_ready(cx).map_err(RateLimitError::Inner)
    }

    /// Takes a token, or a place in line for one; `None` if it is not ready.
    fn begin(&mut self) -> Option<Begun<L>> {
        let Readiness::Ready(_) = self.readiness else {
            return None;
        };
        let Readiness::Ready(ready) = std::mem::replace(&mut self.readiness, Readiness::None)
        else {
            unreachable!("seen above")
        };
        let now = self.limiter.now();
        Some(if self.limiter.take_at_once(1, 0, now) {
            Begun::Taken
        } else {
            // A denial may be one that can be waited out.
            Taking::begin(self.limiter.clone(), ready, now)
        })
    }
}

impl<S, L, R> Service<R> for RateLimit<S, L, Rejoin>
where
    S: Service<R> + Clone,
    L: RateLimiter + Clone,
{
    type Response = S::Response;
    type Error = RateLimitError<S::Error>;
    type Future = ResponseFuture<S, R, L>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_inner(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.begin() {
            None => Admission::refused(RateLimitError::NotReady),
            Some(Begun::Taken) => Admission::called(self.inner.call(request)),
            Some(Begun::Refused(denied)) => Admission::refused(RateLimitError::of(denied)),
            Some(Begun::Waiting(turn, _)) => {
                // The one that is ready is the one that will be called.
                let other = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, other);
                Admission::waiting(turn, service, request)
            }
        }
    }
}

impl<S, L, R> Service<R> for RateLimit<S, L, FailFast>
where
    S: Service<R>,
    L: RateLimiter + Clone,
{
    type Response = S::Response;
    type Error = RateLimitError<S::Error>;
    type Future = ResponseFuture<S, R, L>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_inner(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let denied = match self.begin() {
            None => return Admission::refused(RateLimitError::NotReady),
            Some(Begun::Taken) => return Admission::called(self.inner.call(request)),
            Some(Begun::Refused(denied)) => denied,
            Some(Begun::Waiting(turn, until)) => {
                turn.refuse();
                until.map_or(Denied::Exhausted, |until| Denied::NotYet {
                    retry_after: until.saturating_since(self.limiter.now()),
                })
            }
        };
        Admission::refused(RateLimitError::of(denied))
    }
}

impl<S: Clone, L: RateLimiter + Clone, M> Clone for RateLimit<S, L, M> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.limiter.clone(), self.longest)
    }
}

impl<S, L: RateLimiter, M> fmt::Debug for RateLimit<S, L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("limiter", &self.limiter)
            .field("max_wait", &self.longest)
            .field("is_ready", &matches!(self.readiness, Readiness::Ready(_)))
            .finish_non_exhaustive()
    }
}
