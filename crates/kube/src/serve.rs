//! The operator's own HTTP endpoint: probes, metrics and the debug page.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tollgate::integrations::metrics::QUEUE_BUCKETS;

use crate::budget::Budget;
use crate::controller::AnyRunning;
use crate::debug::BudgetState;
use crate::leading::Leading;
use crate::observers::RECONCILE_SECONDS;
use crate::progress::Sources;

/// Reloads itself; the rest is drawn from `/debug/queue`.
const PAGE: &str = include_str!("serve/page.html");

/// What the endpoint shows.
pub(crate) struct Shown {
    pub(crate) sources: Arc<Sources>,
    pub(crate) controllers: Arc<[Box<dyn AnyRunning>]>,
    pub(crate) leading: Leading,
    pub(crate) budget: Budget,
    pub(crate) metrics: PrometheusHandle,
}

/// Installs the recorder of this process, once: operators of one process share its series.
pub(crate) fn recorder() -> Result<PrometheusHandle, BuildError> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let prefixes = ["workqueue_", "controller_runtime_", "rest_client_"];
    let mut builder = PrometheusBuilder::new();
    for prefix in prefixes {
        builder = builder.set_buckets_for_metric(Matcher::Prefix(prefix.into()), &QUEUE_BUCKETS)?;
    }
    // 10 ms to 1.28 s.
    let buckets = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28];
    let matcher = Matcher::Full(RECONCILE_SECONDS.into());
    let handle = builder
        .set_buckets_for_metric(matcher, &buckets)?
        .install_recorder()?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// Takes the address.
pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, shown: Arc<Shown>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shown)));
                }
                // Most likely out of file descriptors; some may soon be free.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, shown: Arc<Shown>) {
    let service = service_fn(|request| {
        let response = shown.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    // A client that breaks its connection gets no answer, and needs none.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Shown {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n".into()),
            "/readyz" => self.readiness(),
            "/metrics" => {
                for controller in &*self.controllers {
                    controller.record();
                }
                self.metrics.run_upkeep();
                text(StatusCode::OK, self.metrics.render())
            }
            "/debug/queue" => {
                let queues: Vec<_> = self.controllers.iter().map(|each| each.state()).collect();
                let state = serde_json::json!({
                    "leading": self.leading.is_leading(),
                    "budget": BudgetState::of(&self.budget),
                    "queues": queues,
                });
                answer(StatusCode::OK, "application/json", state.to_string())
            }
            "/" | "/debug" => answer(StatusCode::OK, "text/html; charset=utf-8", PAGE.into()),
            _ => text(StatusCode::NOT_FOUND, "not found\n".into()),
        }
    }

    /// Ready once every watch has its first list, whether or not this replica leads: a replica that follows
    /// takes over at any time.
    fn readiness(&self) -> Response<Full<Bytes>> {
        let pending = self.sources.pending();
        if pending.is_empty() {
            return text(StatusCode::OK, "ok\n".into());
        }
        let body = format!("waiting for the first list of {}\n", pending.join(", "));
        text(StatusCode::SERVICE_UNAVAILABLE, body)
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    answer(status, "text/plain; version=0.0.4", body)
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
