//! What a limiter costs where it is used: requests to an HTTP service on a socket, with and without a
//! layer that limits them. The limit is never reached.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate::integrations::tower::RateLimitLayer;
use tollgate::{AtomicTokenBucket, RateLimiter, StripedTokenBucket};
use tower::limit::RateLimit;
use tower::limit::rate::Rate;
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, service_fn};

use super::Bench;
use crate::limiter::Limiter;
use crate::measure::{Contender, interleave};
use crate::quota::Quota;
use crate::report::{Body, Table, Unit};
use crate::subject::{About, Family};

/// Clients, each with one connection and one request at a time.
const CLIENTS: usize = 64;

/// A round is this many slices: a socket needs longer than a limiter to show a steady rate.
const SLICES: u32 = 5;

/// `hyper` counts it, so the body of a response is never chunked.
type Answer = http_body_util::Full<Bytes>;
type Service = BoxCloneService<Request<Incoming>, Response<Answer>, io::Error>;

async fn answer(_request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    Ok(Response::new(Answer::new(Bytes::from_static(b"ok"))))
}

fn bare() -> Service {
    let service = ServiceBuilder::new().map_err(|never: Infallible| match never {});
    BoxCloneService::new(service.service(service_fn(answer)))
}

fn limited(limiter: impl RateLimiter + 'static) -> Service {
    BoxCloneService::new(
        ServiceBuilder::new()
            .map_err(io::Error::other)
            .layer(RateLimitLayer::new(Arc::new(limiter)))
            .service_fn(answer),
    )
}

/// A service that is not `Clone`, so all connections share it behind a buffer, as its page advises.
fn buffered() -> Service {
    let Quota { burst, period, .. } = Quota::GENEROUS;
    let limited = RateLimit::new(service_fn(answer), Rate::new(burst, period));
    BoxCloneService::new(
        ServiceBuilder::new()
            .map_err(io::Error::other)
            .buffer(CLIENTS)
            .service(limited),
    )
}

/// Requests over loopback with and without a limiter.
pub fn service(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let contender = |name, family, make: fn() -> Service| {
        let round = move || Ok(serve(make, bench.threads, bench.effort.slice * SLICES)?.into());
        Contender {
            about: About::new(name, family, ""),
            round: Box::new(round),
        }
    };
    let contenders = vec![
        contender("RateLimitLayer, AtomicTokenBucket", Family::Ours, || {
            limited(<AtomicTokenBucket as Limiter>::new(Quota::GENEROUS))
        }),
        contender("RateLimitLayer, StripedTokenBucket", Family::Ours, || {
            limited(<StripedTokenBucket as Limiter>::new(Quota::GENEROUS))
        }),
        contender("tower RateLimit, in a Buffer", Family::Peer, buffered),
        contender("no layer", Family::Bound, bare),
    ];
    let rows = interleave(contenders, bench.effort.rounds, bench.progress)?;
    Ok(vec![Table {
        name: "service".into(),
        title: format!("An HTTP service on a socket: {CLIENTS} clients, a request at a time each"),
        note: "hyper serves over loopback, in the process of the clients. The time of a request is that of all clients divided by their requests; no request waits for a token.".into(),
        body: Body::Rows(Unit::NanosACall, rows),
    }])
}

/// Returns the time of a request, in nanoseconds.
fn serve(make: fn() -> Service, threads: usize, slice: Duration) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    let requests = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(accept(listener, make()));
        let start = Instant::now();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                tokio::spawn(
                    async move { ask(TcpStream::connect(address).await?, start + slice).await },
                )
            })
            .collect();
        let mut requests = 0;
        for client in clients {
            requests += client.await?.context("a client")?;
        }
        anyhow::Ok(requests)
    })?;
    // Ends the server and its connections.
    runtime.shutdown_background();
    Ok(slice.as_nanos() as f64 / requests as f64)
}

async fn accept(listener: TcpListener, service: Service) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that is done closes its connection.
            let _ = connection.await;
        });
    }
}

/// Sends requests until `end`; returns how many were answered.
async fn ask(mut stream: TcpStream, end: Instant) -> anyhow::Result<u64> {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    const LAST: &[u8] = b"\r\n\r\nok";
    stream.set_nodelay(true)?;
    let (mut answered, mut response) = (0, Vec::new());
    while Instant::now() < end {
        stream.write_all(REQUEST).await?;
        response.clear();
        while !response.ends_with(LAST) {
            let read = stream.read_buf(&mut response).await?;
            anyhow::ensure!(read > 0, "the server closed the connection");
        }
        answered += 1;
    }
    Ok(answered)
}
