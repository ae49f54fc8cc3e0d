//! The budget as middleware.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::client::Body;
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::budget::lane::{Lane, LowPriority};
use crate::budget::{Budget, overload};
use crate::call::Call;

/// How many times a request is sent again after an answer 429, or 503 with `Retry-After`: as often as by
/// client-go.
pub const RETRIES: usize = 10;

/// The bucket bounds of `rest_client_rate_limiter_duration_seconds`, in seconds, as in client-go.
pub const RATE_LIMITER_BUCKETS: [f64; 12] = [
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0,
];

/// A layer whose services take a token of a [`Budget`] for each request, and wait for it.
///
/// The [module](crate::budget) says which token, and what happens on an answer 429. The inner service must
/// be [`Clone`], which that of a [`kube::Client`] is not: put a
/// [`BufferLayer`](tower::buffer::BufferLayer) around it, as [`client`](crate::client::client) does.
///
/// # Readiness
/// A service is always ready; the response future waits, first for the token, then for the inner service.
/// So a request that waits for a token keeps no place in the inner service's buffer, and a request for a
/// lease never queues behind it. No wait is bounded: put a timeout around a request whose caller cannot
/// wait as long as the budget may be paused.
///
/// # Metrics
/// The histogram `rest_client_rate_limiter_duration_seconds` records how long each try of a request waited
/// for its token, in seconds. Its labels are client-go's: `verb`, which is the HTTP method, and
/// [`host`](Self::host). Configure [`RATE_LIMITER_BUCKETS`] in the recorder.
///
/// # Cancel safety
/// Dropping a response future that waits for a token gives up its place; the requests behind move up.
#[derive(Clone, Debug)]
pub struct BudgetLayer {
    budget: Budget,
    host: Arc<str>,
}

/// The service of a [`BudgetLayer`].
#[derive(Clone)]
pub struct Budgeted<S> {
    inner: S,
    layer: BudgetLayer,
}

impl BudgetLayer {
    /// Creates a layer whose services take tokens of `budget`.
    pub fn new(budget: &Budget) -> Self {
        Self {
            budget: budget.clone(),
            host: Arc::from(""),
        }
    }

    /// Sets the label `host` of the histogram: the host and port of the API server, which a request carries
    /// only further in.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Arc::from(host);
        self
    }

    /// Waits for a token and records how long that took.
    async fn take_token(&self, lane: Lane, method: &http::Method) -> Result<(), BoxError> {
        let waited = self.budget.acquire(lane).await?;
        let labels = [
            ("verb", method.as_str().to_owned()),
            ("host", self.host.to_string()),
        ];
        metrics::histogram!("rest_client_rate_limiter_duration_seconds", &labels).record(waited);
        Ok(())
    }

    async fn send<S, B>(self, mut inner: S, request: Request<Body>) -> Result<Response<B>, BoxError>
    where
        S: Service<Request<Body>, Response = Response<B>>,
        S::Error: Into<BoxError>,
    {
        let call = Call::of(&request);
        let marked = self.budget.low || request.extensions().get::<LowPriority>().is_some();
        let lane = Lane::of(&call, marked);
        let (parts, mut body) = request.into_parts();
        let mut retries = 0;
        loop {
            let copy = body.try_clone();
            self.take_token(lane, &parts.method).await?;
            let request = Request::from_parts(parts.clone(), body);
            let ready = inner.ready().await.map_err(Into::into)?;
            let answer = ready.call(request).await.map_err(Into::into)?;
            let Some(pause) = overload::pause_of(&call, lane, &answer) else {
                return Ok(answer);
            };
            tracing::debug!(%call, status = answer.status().as_u16(), ?pause, retries, "the API server asks for a pause");
            self.budget.pause_for(pause);
            body = match copy {
                Some(copy) if retries < RETRIES => copy,
                _ => return Ok(answer),
            };
            retries += 1;
        }
    }
}

impl<S> Layer<S> for BudgetLayer {
    type Service = Budgeted<S>;

    fn layer(&self, inner: S) -> Budgeted<S> {
        Budgeted {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, B> Service<Request<Body>> for Budgeted<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A ready buffer holds a slot for the request. Taken here, the slots of requests without a token
        // would keep those with one out.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.layer.clone().send(self.inner.clone(), request))
    }
}

impl<S> fmt::Debug for Budgeted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgeted")
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}
