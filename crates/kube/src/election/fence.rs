//! A tower layer that lets requests pass only while this process leads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request};
use tollgate::{BootClock, Clock};
use tower::{BoxError, Layer, Service};

use super::leadership::Leadership;
use super::record::Term;

/// Wraps a service so that each request checks the leadership directly before it is sent: when it is
/// passed on, and when its response future is first polled.
///
/// It belongs directly around the service that sends: a layer below it that waits (a budget, a
/// buffer, a retry) sends requests after their check. The election's own client must not have it.
///
/// A request that carries a [`Term`] in its extensions passes only in that term. Without one it
/// passes in any, also if the work it belongs to began in an earlier term.
///
/// ```no_run
/// use kube::client::ClientBuilder;
/// use tollgate_kube::election::{FenceLayer, Leadership};
///
/// # fn client(leadership: Leadership, config: kube::Config) -> Result<(), kube::Error> {
/// let builder = ClientBuilder::try_from(config)?;
/// // The last layer is the outermost.
/// let client = builder.with_layer(&FenceLayer::new(leadership).writes_only()).build();
/// # Ok(()) }
/// ```
pub struct FenceLayer<C = BootClock> {
    leadership: Leadership<C>,
    reads_pass: bool,
}

impl<C> FenceLayer<C> {
    /// Creates a layer whose services check `leadership` at each request.
    pub const fn new(leadership: Leadership<C>) -> Self {
        Self {
            leadership,
            reads_pass: false,
        }
    }

    /// Lets `GET` and `HEAD` pass always: a follower keeps its watches and stores warm.
    #[must_use]
    pub fn writes_only(mut self) -> Self {
        self.reads_pass = true;
        self
    }
}

/// The service of a [`FenceLayer`].
pub struct Fence<S, C = BootClock> {
    inner: S,
    leadership: Leadership<C>,
    reads_pass: bool,
}

/// The error of a request that a [`Fence`] refused: this process does not lead, or leads another
/// term than the request's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sent: this process does not hold the lease")]
pub struct NotLeading;

impl<S, C> Layer<S> for FenceLayer<C> {
    type Service = Fence<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Fence {
            inner,
            leadership: self.leadership.clone(),
            reads_pass: self.reads_pass,
        }
    }
}

impl<S, C: Clock> Fence<S, C> {
    /// What must hold when a request is sent; `None` if it passes always.
    fn condition<B>(&self, request: &Request<B>) -> Option<Condition<C>> {
        if self.reads_pass && matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        Some(Condition {
            leadership: self.leadership.clone(),
            required: request.extensions().get::<Term>().copied(),
        })
    }
}

/// That this process leads, in the term of the request if it names one.
struct Condition<C> {
    leadership: Leadership<C>,
    required: Option<Term>,
}

impl<C: Clock> Condition<C> {
    fn holds(&self) -> bool {
        let required = self.required;
        self.leadership
            .check()
            .is_some_and(|term| required.is_none_or(|required| required == term))
    }
}

impl<S, B, C> Service<Request<B>> for Fence<S, C>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    C: Clock + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let condition = self.condition(&request);
        let holds = move || condition.as_ref().is_none_or(Condition::holds);
        if !holds() {
            return Box::pin(async { Err(NotLeading.into()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            // Behind a buffer, `call` runs in another task than this future, and much may pass in between. A client
            // sends nothing before its future is polled.
            if !holds() {
                return Err(NotLeading.into());
            }
            answer.await.map_err(Into::into)
        })
    }
}

impl<C> Clone for FenceLayer<C> {
    fn clone(&self) -> Self {
        Self {
            leadership: self.leadership.clone(),
            reads_pass: self.reads_pass,
        }
    }
}

impl<S: Clone, C> Clone for Fence<S, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            leadership: self.leadership.clone(),
            reads_pass: self.reads_pass,
        }
    }
}

impl<C: Clock> fmt::Debug for FenceLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceLayer")
            .field("leadership", &self.leadership)
            .field("reads_pass", &self.reads_pass)
            .finish()
    }
}

impl<S: fmt::Debug, C: Clock> fmt::Debug for Fence<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence")
            .field("inner", &self.inner)
            .field("leadership", &self.leadership)
            .field("reads_pass", &self.reads_pass)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tollgate::{ManualClock, Timestamp};
    use tower::{ServiceExt, service_fn};

    use super::super::leadership::Reporter;
    use super::*;

    async fn send(layer: &FenceLayer<ManualClock>, request: Request<()>) -> Result<(), BoxError> {
        let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(()));
        layer.layer(inner).oneshot(request).await
    }

    fn request(method: Method, term: Option<u32>) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        if let Some(term) = term {
            request.extensions_mut().insert(Term::new(term));
        }
        request
    }

    #[tokio::test]
    async fn requests_pass_only_while_the_term_is_valid() {
        let clock = ManualClock::new();
        let reporter = Reporter::new(clock.clone());
        let layer = FenceLayer::new(reporter.leadership());
        let refused = |result: Result<(), BoxError>| result.unwrap_err().is::<NotLeading>();
        assert!(refused(send(&layer, request(Method::PUT, None)).await));

        let until = Timestamp::ZERO + Duration::from_secs(10);
        reporter.publish(Some((Term::new(3), until)), None);
        send(&layer, request(Method::PUT, None)).await.unwrap();
        send(&layer, request(Method::PUT, Some(3))).await.unwrap();
        assert!(refused(send(&layer, request(Method::PUT, Some(2))).await));

        clock.set(until);
        assert!(refused(send(&layer, request(Method::PUT, Some(3))).await));
        assert!(refused(send(&layer, request(Method::GET, None)).await));
        let layer = layer.writes_only();
        send(&layer, request(Method::GET, None)).await.unwrap();
        assert!(refused(send(&layer, request(Method::DELETE, None)).await));
    }

    #[tokio::test]
    async fn a_service_checks_at_the_call_and_not_when_it_is_ready() {
        let clock = ManualClock::new();
        let reporter = Reporter::new(clock.clone());
        let until = Timestamp::ZERO + Duration::from_secs(10);
        reporter.publish(Some((Term::new(1), until)), None);
        let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(()));
        let mut service = FenceLayer::new(reporter.leadership()).layer(inner);
        let ready = ServiceExt::<Request<()>>::ready(&mut service)
            .await
            .unwrap();
        clock.set(until);
        let error = ready.call(Request::new(())).await.unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&NotLeading));
    }

    #[tokio::test]
    async fn a_request_whose_future_waits_to_be_polled_is_checked_again() {
        let clock = ManualClock::new();
        let reporter = Reporter::new(clock.clone());
        let until = Timestamp::ZERO + Duration::from_secs(10);
        reporter.publish(Some((Term::new(1), until)), None);
        let sent = Arc::new(AtomicBool::new(false));
        let inner = service_fn(|_: Request<()>| {
            let sent = Arc::clone(&sent);
            async move {
                sent.store(true, Ordering::Relaxed);
                Ok::<_, Infallible>(())
            }
        });
        let mut service = FenceLayer::new(reporter.leadership()).layer(inner);
        let answer = service.call(Request::new(()));
        clock.set(until);
        let error = answer.await.unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&NotLeading));
        assert!(!sent.load(Ordering::Relaxed));
    }
}
