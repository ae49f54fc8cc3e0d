//! The future of a request: the wait for a token, then the response of the inner service.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::tower_service::Service;
use futures_util::TryFutureExt;
use futures_util::future::{MapErr, TryFlatten};

use super::RateLimitError;
use super::turns::TokenWait;
use crate::limiter::RateLimiter;
use crate::wait::Wait;

/// The future of a [`RateLimit`](super::RateLimit): waits for a token if another caller took the
/// one that made the service ready, and then for the response.
///
/// # Cancel safety
/// Dropping it while it waits leaves the line, takes no token, and the inner service does not see
/// the request. Once the inner service has been called, the token is used.
pub type ResponseFuture<S, R, L> = TryFlatten<Admission<S, R, L>, Inner<S, R>>;

/// The inner service's future, with its error converted to the layer's.
type Inner<S, R> = MapErr<
    <S as Service<R>>::Future,
    fn(<S as Service<R>>::Error) -> RateLimitError<<S as Service<R>>::Error>,
>;

/// The first half of a [`ResponseFuture`]: ends when the inner service has been called.
pub struct Admission<S: Service<R>, R, L: RateLimiter>(AdmissionState<S, R, L>);

enum AdmissionState<S: Service<R>, R, L: RateLimiter> {
    Called(S::Future),
    Refused(RateLimitError<S::Error>),
    /// The wait for a token, then what is called with what.
    Waiting(Wait<TokenWait<L>>, S, R),
    Ended,
}

impl<S: Service<R>, R, L: RateLimiter> Admission<S, R, L> {
    pub(super) fn called(future: S::Future) -> ResponseFuture<S, R, L> {
        Self(AdmissionState::Called(future)).try_flatten()
    }

    pub(super) fn refused(error: RateLimitError<S::Error>) -> ResponseFuture<S, R, L> {
        Self(AdmissionState::Refused(error)).try_flatten()
    }

    /// Calls `service`, which is ready, once a token is taken.
    pub(super) fn waiting(turn: TokenWait<L>, service: S, request: R) -> ResponseFuture<S, R, L> {
        let waiting = AdmissionState::Waiting(Wait::new(turn), service, request);
        Self(waiting).try_flatten()
    }
}

// Nothing is structurally pinned: the futures that it holds have not been polled yet.
impl<S: Service<R>, R, L: RateLimiter> Unpin for Admission<S, R, L> {}

impl<S: Service<R>, R, L: RateLimiter> Future for Admission<S, R, L> {
    type Output = Result<Inner<S, R>, RateLimitError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let taken = match &mut self.0 {
            AdmissionState::Waiting(turn, ..) => ready!(Pin::new(turn).poll(cx)),
            _ => Ok(()),
        };
        let called = match std::mem::replace(&mut self.0, AdmissionState::Ended) {
            AdmissionState::Called(future) => Ok(future),
            AdmissionState::Refused(error) => Err(error),
            AdmissionState::Waiting(_, mut service, request) => match taken {
                Ok(()) => Ok(service.call(request)),
                Err(denied) => Err(RateLimitError::of(denied)),
            },
            AdmissionState::Ended => panic!("polled after it has ended"),
        };
        Poll::Ready(called.map(|future| future.map_err(RateLimitError::Inner as fn(_) -> _)))
    }
}

impl<S: Service<R>, R, L: RateLimiter> fmt::Debug for Admission<S, R, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admission")
            .field(&match self.0 {
                AdmissionState::Called(_) => "called",
                AdmissionState::Refused(_) => "refused",
                AdmissionState::Waiting(..) => "waiting",
                AdmissionState::Ended => "ended",
            })
            .finish()
    }
}
