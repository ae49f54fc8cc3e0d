//! Prometheus metrics over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tollgate::integrations::metrics::{Gauges, MetricsObserver, QUEUE_BUCKETS};

use crate::operator::Operator;

/// The name of the queue and the controller in labels.
const NAME: &str = "database";

/// The recorder of this process, and the observer that records the operator's events in it.
pub struct Metrics {
    handle: PrometheusHandle,
    /// Records the events of queue and controller.
    pub observer: Arc<MetricsObserver>,
    gauges: Gauges,
    listener: TcpListener,
}

impl Metrics {
    /// Installs the recorder and takes the address.
    ///
    /// # Errors
    /// A one-line message of what is wrong.
    pub async fn install(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("metrics cannot listen on {address}"))?;
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Prefix("workqueue_".to_owned()), &QUEUE_BUCKETS)?;
        let builder = builder
            .set_buckets_for_metric(Matcher::Prefix("controller_".to_owned()), &QUEUE_BUCKETS)?;
        let handle = builder
            .install_recorder()
            .context("metrics cannot be recorded")?;
        Ok(Self {
            handle,
            observer: Arc::new(MetricsObserver::new(NAME)),
            gauges: Gauges::new(NAME),
            listener,
        })
    }

    /// The address on which it listens.
    ///
    /// # Errors
    /// If the operating system returns none.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers scrapes for as long as it is polled.
    pub async fn serve(&self, operator: &Operator) {
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                continue;
            };
            // Scrapes are rare, so each connection renders its own page, which is never stale.
            self.gauges.record(&operator.queue, &operator.workers);
            self.handle.run_upkeep();
            let page = Bytes::from(self.handle.render());
            let service = service_fn(move |request| answer(request, page.clone()));
            connections.spawn(
                http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service),
            );
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    page: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let found = request.uri().path() == "/metrics";
    let (status, body) = if found {
        (StatusCode::OK, page)
    } else {
        (StatusCode::NOT_FOUND, Bytes::new())
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let text = header::HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}
