//! [`RateLimitError`]: why a rate-limited service returned no response.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use crate::limiter::Denied;

/// Why a [`RateLimit`](super::RateLimit) returned no response: the limiter's denial, or the error
/// `E` of the inner service.
///
/// It implements [`Error`] if `E` does. A `Box<dyn Error>` does not: below a middleware that boxes
/// errors itself (`Timeout`, `Buffer`, `LoadShed`), map the errors with [`boxed`](Self::boxed).
///
/// ```
/// use std::io;
/// use tollgate::integrations::tower::RateLimitError;
///
/// fn report(error: RateLimitError<io::Error>) {
///     match error {
///         RateLimitError::Limited(denied) => println!("shed: {denied}"),
///         RateLimitError::Inner(error) => println!("failed: {error}"),
///         other => println!("{other}"),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitError<E = Infallible> {
    /// The limiter refused the request. The inner service has not seen it.
    Limited(Denied),
    /// The limiter is closed. The inner service has not seen the request and will see no other.
    Closed,
    /// The service was called before its `poll_ready` returned ready: a bug in the middleware
    /// around it. A clone does not share the readiness of its original.
    NotReady,
    /// The inner service failed.
    Inner(E),
}

impl<E> RateLimitError<E> {
    pub(super) const fn of(denied: Denied) -> Self {
        match denied {
            Denied::Closed => Self::Closed,
            denied => Self::Limited(denied),
        }
    }

    /// Returns the limiter's denial, if it stopped the request.
    pub const fn denied(&self) -> Option<Denied> {
        match self {
            Self::Limited(denied) => Some(*denied),
            Self::Closed => Some(Denied::Closed),
            Self::NotReady | Self::Inner(_) => None,
        }
    }

    /// Returns the error of the inner service.
    ///
    /// # Errors
    /// The same error, if it is not the inner service's.
    pub fn into_inner(self) -> Result<E, Self> {
        match self {
            Self::Inner(error) => Ok(error),
            other => Err(other),
        }
    }

    /// Boxes the error of the inner service, or this error as `RateLimitError<Infallible>`, as
    /// which it can be downcast.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tollgate::AtomicTokenBucket;
    /// use tollgate::integrations::tower::{RateLimitError, RateLimitLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() -> Result<(), tollgate::QuotaError> {
    ///     let budget = Arc::new(AtomicTokenBucket::new("5/s".parse()?)?);
    ///     let service = ServiceBuilder::new()
    ///         .buffer(10)
    ///         .map_err(RateLimitError::boxed)
    ///         .layer(RateLimitLayer::new(budget.clone()))
    ///         .timeout(Duration::from_secs(1)) // boxes the errors of what it is around
    ///         .service(service_fn(async |(): ()| Ok::<_, std::io::Error>(())));
    ///     budget.close();
    ///     let error = service.oneshot(()).await.unwrap_err(); // of the buffer
    ///     let cause = error.source().and_then(|cause| cause.downcast_ref::<RateLimitError>());
    ///     assert_eq!(cause, Some(&RateLimitError::Closed));
    ///     Ok(())
    /// }
    /// ```
    pub fn boxed(self) -> Box<dyn Error + Send + Sync>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let own = match self {
            Self::Inner(error) => return error.into(),
            Self::Limited(denied) => RateLimitError::Limited(denied),
            Self::Closed => RateLimitError::Closed,
            Self::NotReady => RateLimitError::<Infallible>::NotReady,
        };
        own.into()
    }
}

impl<E> fmt::Display for RateLimitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limited(_) => "the limiter refused the request",
            Self::Closed => "the limiter is closed",
            Self::NotReady => "the service was called before it was ready",
            Self::Inner(_) => "the service failed",
        })
    }
}

impl<E: Error + 'static> Error for RateLimitError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Limited(denied) => Some(denied),
            Self::Inner(error) => Some(error),
            Self::Closed | Self::NotReady => None,
        }
    }
}
