use std::convert::Infallible;
use std::error::Error;
use std::fmt;

use crate::limiter::Denied;

/// Why a [`RateLimit`](super::RateLimit) answered no response: the limiter's answer, or the error `E`
/// of the inner service.
///
/// It is an [`Error`] if `E` is. A `Box<dyn Error>` is not one: below a middleware that boxes errors
/// itself (`Timeout`, `Buffer`, `LoadShed`), map them with [`boxed`](Self::boxed).
///
/// ```
/// use std::error::Error;
/// use std::io;
/// use std::sync::Arc;
/// use tollgate::AtomicTokenBucket;
/// use tollgate::integrations::tower::{RateLimitError, RateLimitLayer};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tollgate::QuotaError> {
/// let layer = RateLimitLayer::new(Arc::new(AtomicTokenBucket::new("5/s".parse()?)?));
/// let refuse = async |(): ()| Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused));
/// match layer.layer(service_fn(refuse)).oneshot(()).await {
///     Err(RateLimitError::Limited(denied)) => panic!("it is the first request: {denied}"),
///     Err(RateLimitError::Inner(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitError<E = Infallible> {
    /// The limiter refused the request, and the inner service has not seen it.
    Limited(Denied),
    /// The limiter was closed. The inner service has not seen the request, and will see no other.
    Closed,
    /// The service was called before its `poll_ready` had said that it is ready: an error of the
    /// middleware around it. A clone has no part in the readiness of its original.
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

    /// The limiter's answer, if it is what stopped the request.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Denied;
    /// use tollgate::integrations::tower::RateLimitError;
    ///
    /// let retry_after = Duration::from_millis(1_500);
    /// let error = RateLimitError::<std::io::Error>::Limited(Denied::TooLong { retry_after });
    /// assert_eq!(error.denied().and_then(|denied| denied.retry_after_secs()), Some(2));
    /// ```
    pub const fn denied(&self) -> Option<Denied> {
        match self {
            Self::Limited(denied) => Some(*denied),
            Self::Closed => Some(Denied::Closed),
            Self::NotReady | Self::Inner(_) => None,
        }
    }

    /// The error of the inner service.
    ///
    /// # Errors
    /// The same error, if it is not the inner service's.
    ///
    /// ```
    /// use tollgate::integrations::tower::RateLimitError;
    ///
    /// assert_eq!(RateLimitError::Inner("no route").into_inner(), Ok("no route"));
    /// let closed = RateLimitError::<&str>::Closed;
    /// assert_eq!(closed.into_inner(), Err(RateLimitError::Closed));
    /// ```
    pub fn into_inner(self) -> Result<E, Self> {
        match self {
            Self::Inner(error) => Ok(error),
            other => Err(other),
        }
    }

    /// The inner service's own error in a box, or this one without a type of inner error, as which it
    /// can be found again.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tollgate::AtomicTokenBucket;
    /// use tollgate::integrations::tower::{RateLimitError, RateLimitLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tollgate::QuotaError> {
    /// let budget = Arc::new(AtomicTokenBucket::new("5/s".parse()?)?);
    /// let service = ServiceBuilder::new()
    ///     .buffer(10)
    ///     .map_err(RateLimitError::boxed)
    ///     .layer(RateLimitLayer::new(budget.clone()))
    ///     .timeout(Duration::from_secs(1)) // boxes the errors of what it is around
    ///     .service(service_fn(async |(): ()| Ok::<_, std::io::Error>(())));
    /// budget.close();
    /// let error = service.oneshot(()).await.unwrap_err(); // of the buffer
    /// let cause = error.source().and_then(|cause| cause.downcast_ref::<RateLimitError>());
    /// assert_eq!(cause, Some(&RateLimitError::Closed));
    /// # Ok(())
    /// # }
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
