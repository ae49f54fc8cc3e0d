//! The recorder as middleware.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower::{Layer, Service};

use crate::call::{Call, Verb};
use crate::rbac::Recorder;

/// The service of a [`Recorder`].
#[derive(Clone, Debug)]
pub struct Recorded<S> {
    inner: S,
    recorder: Recorder,
}

impl<S> Layer<S> for Recorder {
    type Service = Recorded<S>;

    fn layer(&self, inner: S) -> Recorded<S> {
        Recorded {
            inner,
            recorder: self.clone(),
        }
    }
}

impl<S, A, B> Service<Request<A>> for Recorded<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let call = Call::of(&request);
        self.recorder.record(&call);
        let (recorder, answer) = (self.recorder.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::CREATED && may_create(&call) {
                recorder.record_creation(&call);
            }
            Ok(answer)
        })
    }
}

/// Whether a request creates its object if there is none: server-side apply and some updates do.
fn may_create(call: &Call) -> bool {
    matches!(call, Call::Resource(call) if matches!(call.verb, Verb::Patch | Verb::Update))
}
