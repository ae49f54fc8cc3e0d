//! The connections of a server.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::http;
use super::outage;
use super::shell::Shell;

/// Accepts connections, which are closed when this ends.
pub async fn accept(shell: Arc<Shell>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(shell.clone(), stream));
                }
                // Most likely out of file descriptors; some may soon be free.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection, until either side breaks it.
async fn serve(shell: Arc<Shell>, stream: TcpStream) {
    let down = shell.outage.subscribe();
    // Watch events are small and must not wait for each other.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| http::handle(shell.clone(), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // First, so that a request that waits is not carried out once the server is down.
        biased;
        () = outage::next_outage(down) => {}
        // Either side broke the connection, on purpose or not.
        _ = connection => {}
    }
}
