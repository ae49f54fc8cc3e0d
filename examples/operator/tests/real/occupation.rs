//! A request that occupies the server for as long as the test likes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, EXPECT};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;

/// Ends the request when it is dropped.
pub struct Occupation(JoinHandle<()>);

impl Occupation {
    /// Sends a create whose body does not end. A client of kube sends only whole bodies.
    pub async fn start(cluster: &Cluster, user: &str, path: &str) -> Self {
        let connector = cluster
            .config(user, cluster.api)
            .await
            .rustls_https_connector();
        let client = Client::builder(TokioExecutor::new()).build(connector.unwrap());
        let url = format!("https://127.0.0.1:{}{path}", cluster.api);
        let token = format!("Bearer {user}");
        Self(tokio::spawn(async move {
            loop {
                let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, io::Error>>());
                let request = Request::post(&url)
                    .header(AUTHORIZATION, &token)
                    .header(CONTENT_TYPE, "application/json")
                    // Without it, the server waits for the body of a request that it refuses.
                    .header(EXPECT, "100-continue")
                    .body(body);
                // It is refused while another request has the seat, or the server does not know of the right yet.
                let _refused = client.request(request.unwrap()).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }))
    }
}

impl Drop for Occupation {
    fn drop(&mut self) {
        self.0.abort();
    }
}
