//! The webhook's server: TLS, HTTP/1.1, and the answers to requests that are no reviews.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{Certificates, PATH, review};

/// The largest body that is read: that of the API server.
const LARGEST_BODY: usize = 3 << 20;
/// What is read and thrown away of a larger one, so that its client sees the answer.
const LARGEST_DISCARDED: usize = 16 << 20;
/// The time for a handshake, and for the body of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time for the head of a request, and so for an idle connection. The API server gives an idle one up sooner.
const IDLE: Duration = Duration::from_secs(120);

/// A webhook that listens.
#[derive(Debug)]
pub struct Webhook {
    listener: TcpListener,
    address: SocketAddr,
    certificates: Certificates,
}

impl Webhook {
    /// Takes the address.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(address: SocketAddr, certificates: Certificates) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            certificates,
        })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers in a task of its own until it is told to [`stop`](Running::stop).
    pub fn start(self, drain: Duration) -> Running {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(self.serve_until(stopped, drain));
        Running { stop, task }
    }

    /// Answers until `stop` completes. Then it accepts nothing more, closes idle connections, and gives requests in
    /// flight `drain` to be answered.
    pub async fn serve_until(self, stop: impl Future, drain: Duration) {
        let certificates = Arc::new(self.certificates);
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                _ = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let served = connection(stream, Arc::clone(&certificates), stopped.clone());
                        connections.spawn(served);
                    }
                    // Most likely out of file descriptors; some may soon be free.
                    Err(_) => sleep(Duration::from_millis(10)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        stopping.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        // What is left is cut off when the set is dropped.
        let _ = timeout(drain, all).await;
    }
}

/// A webhook that answers.
#[derive(Debug)]
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends it, after the requests in flight.
    ///
    /// # Errors
    /// If it has panicked.
    pub async fn stop(self) -> Result<(), JoinError> {
        // The receiver is dropped early by a panic only, which the task reports.
        let _ = self.stop.send(());
        self.task.await
    }
}

/// Serves one connection, until either side ends it.
async fn connection(
    stream: TcpStream,
    certificates: Arc<Certificates>,
    mut stopped: watch::Receiver<bool>,
) {
    // An answer is small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let handshake = async {
        let config = certificates.current().await;
        TlsAcceptor::from(config).accept(stream).await
    };
    let stream = tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => return,
        shaken = timeout(PATIENCE, handshake) => match shaken {
            Ok(Ok(stream)) => stream,
            // A port scan, a plain-text client or one that trusts another authority.
            Ok(Err(error)) => return tracing::debug!(%error, "no handshake"),
            Err(_) => return,
        },
    };
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // A client that breaks its connection gets no answer, and needs none.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = match timeout(PATIENCE, read(body)).await {
        Ok(body) => body,
        Err(_) => {
            return text(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            );
        }
    };
    if head.uri.path() != PATH {
        return text(StatusCode::NOT_FOUND, &format!("reviews go to {PATH}"));
    }
    if head.method != Method::POST {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "reviews are sent by POST");
        let allowed = HeaderValue::from_static("POST");
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    let kind = head.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let media_type = kind.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let why = format!("the Content-Type is {kind:?}, not \"application/json\"");
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why);
    }
    match body {
        Ok(Some(body)) => reviewed(&body),
        Ok(None) => {
            let why = format!("the body has more than {LARGEST_BODY} bytes");
            text(StatusCode::PAYLOAD_TOO_LARGE, &why)
        }
        Err(error) => {
            let why = format!("the body cannot be read: {error}");
            text(StatusCode::BAD_REQUEST, &why)
        }
    }
}

/// Reads a body; `None` if it is too large.
async fn read(mut body: Incoming) -> hyper::Result<Option<Bytes>> {
    let mut kept = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        length += data.len();
        if length <= LARGEST_BODY {
            kept.extend_from_slice(&data);
        } else if length <= LARGEST_DISCARDED {
            kept = BytesMut::new();
        } else {
            return Ok(None);
        }
    }
    Ok((length <= LARGEST_BODY).then(|| kept.freeze()))
}

fn reviewed(body: &[u8]) -> Response<Full<Bytes>> {
    let answer = match review::answer(body) {
        Ok(answer) => serde_json::to_vec(&answer),
        Err(malformed) => return text(StatusCode::BAD_REQUEST, &malformed.to_string()),
    };
    match answer {
        Ok(json) => reply(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    let body = format!("{line}\n").into_bytes();
    reply(status, "text/plain; charset=utf-8", body)
}

fn reply(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
