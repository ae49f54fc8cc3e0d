//! [`RateLimit`]: the service that takes a token for each request.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tower_service::Service;

use super::response::{Admission, ResponseFuture};
use super::turns::{Begun, Ready, TokenWait, TurnWait};
use super::{FailFast, RateLimitError, Rejoin};
use crate::limiter::{Denied, RateLimiter};
use crate::wait::Wait;

/// A service that takes a token for each request, from [`RateLimitLayer`](super::RateLimitLayer).
///
/// It is ready when its turn has come, a token is there, and the inner service is ready; it stays
/// ready until it is called. Readiness takes no token and no place in line, so an idle service and
/// a shed request cost nothing. The call takes the token; for a token that another caller took
/// meanwhile see [`RateLimitLayer`](super::RateLimitLayer#a-token-that-another-takes). A service
/// that waited for its readiness keeps its place in line, so its request precedes all that came
/// later. Several services can become ready by the same token; the first that is called takes it.
///
/// A clone starts without readiness.
///
/// # Errors
/// `poll_ready` fails with [`Closed`](RateLimitError::Closed) or an error of the inner service. The
/// response future fails if the limiter refuses the request, and with
/// [`NotReady`](RateLimitError::NotReady) if the service is called without readiness: that request
/// takes no token, and the inner service does not see it.
///
/// # Cancel safety
/// Dropping a waiting service, or the future of a waiting request, leaves the line.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::AtomicTokenBucket;
/// use tollgate::integrations::tower::{RateLimit, RateLimitLayer};
/// use tower::{Layer, Service, ServiceExt, service_fn};
///
/// struct Client<S> {
///     service: RateLimit<S, Arc<AtomicTokenBucket>>,
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     let budget = Arc::new(AtomicTokenBucket::new("5/h".parse()?)?);
///     let echo = service_fn(async |id: u64| Ok::<_, std::io::Error>(id));
///     let mut client = Client { service: RateLimitLayer::new(budget).layer(echo) };
///     let response = client.service.ready().await?.call(7).await?;
///     assert_eq!(response, 7);
///     Ok(())
/// }
/// ```
pub struct RateLimit<S, L: RateLimiter, M = Rejoin> {
    inner: S,
    limiter: L,
    longest: Duration,
    awaited: Option<Wait<TurnWait<L>>>,
    ready: Option<Ready>,
    mode: PhantomData<fn() -> M>,
}

impl<S, L: RateLimiter, M> RateLimit<S, L, M> {
    pub(super) const fn new(inner: S, limiter: L, longest: Duration) -> Self {
        Self {
            inner,
            limiter,
            longest,
            awaited: None,
            ready: None,
            mode: PhantomData,
        }
    }
}

impl<S, L: RateLimiter + Clone, M> RateLimit<S, L, M> {
    /// Ready when the turn has come, or when the request must be told that it never will.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Denied>> {
        if self.ready.is_none() && self.awaited.is_none() {
            if self.limiter.ask(1, 0, self.limiter.now()).is_ok() {
                self.ready = Some(Ready::at_once(self.longest));
            } else {
                let wait = TurnWait::new(self.limiter.clone(), self.longest);
                self.awaited = Some(Wait::new(wait));
            }
        }
        if let Some(turn) = &mut self.awaited {
            let ready = ready!(Pin::new(turn).poll(cx));
            self.awaited = None;
            self.ready = Some(ready?);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_inner<R>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RateLimitError<S::Error>>>
    where
        S: Service<R>,
    {
        // The limiter first: its readiness holds nothing while the inner service is not ready.
        ready!(self.poll_turn(cx)).map_err(RateLimitError::of)?;
        self.inner.poll_ready(cx).map_err(RateLimitError::Inner)
    }

    /// Takes a token, or a place in line for one; `None` if the service is not ready.
    fn begin(&mut self) -> Option<Begun<L>> {
        let ready = self.ready.take()?;
        let now = self.limiter.now();
        Some(if self.limiter.take_at_once(1, 0, now) {
            Begun::Taken
        } else {
            // The denial may be one that a wait resolves.
            TokenWait::begin(self.limiter.clone(), ready, now)
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
                // Readiness belongs to the instance: the ready one goes into the future, its clone
                // stays.
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
            .field("is_ready", &self.ready.is_some())
            .finish_non_exhaustive()
    }
}
