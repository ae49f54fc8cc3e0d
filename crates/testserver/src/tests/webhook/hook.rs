//! A webhook for tests, over HTTPS on loopback.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::super::super::Webhook;

/// What a webhook makes of a review: a code and a body.
pub type Answer = (u16, String);

type Handler = Arc<dyn Fn(Value) -> BoxFuture<'static, Answer> + Send + Sync>;

/// A running webhook; it stops when dropped.
pub struct Hook {
    /// How it is registered.
    pub webhook: Webhook,
    reviews: Arc<Mutex<Vec<Value>>>,
    _tasks: JoinSet<()>,
}

impl Hook {
    /// Starts a webhook for databases.
    pub async fn start(
        handler: impl Fn(Value) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Hook {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (acceptor, ca_pem) = certified();
        let reviews = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen): (Handler, _) = (Arc::new(handler), reviews.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, handler, seen) = (acceptor.clone(), handler.clone(), seen.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| answer(request, &handler, &seen));
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        let webhook = Webhook {
            name: "rules.example.com".to_owned(),
            url: format!("https://{address}/validate")
                .parse()
                .expect("a URL"),
            ca_pem,
            resources: vec!["databases".to_owned()],
            timeout: Duration::from_secs(20),
        };
        Hook {
            webhook,
            reviews,
            _tasks: tasks,
        }
    }

    /// The requests of all reviews so far.
    pub fn requests(&self) -> Vec<Value> {
        let reviews = self.reviews.lock().expect("no panic");
        let requests = reviews.iter().map(|review| review["request"].clone());
        requests.collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    handler: &Handler,
    seen: &Mutex<Vec<Value>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a whole body");
    let review: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    seen.lock().expect("no panic").push(review.clone());
    let (code, body) = handler(review).await;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code.try_into().expect("a code");
    Ok(response)
}

/// A certificate for loopback that is its own authority, and that authority in PEM.
fn certified() -> (TlsAcceptor, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    let certificate = params.self_signed(&key).expect("a certificate");
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("a pair");
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}

/// The answer to a review with this response, whose uid is filled in.
pub fn response(review: &Value, mut response: Value) -> Answer {
    response["uid"] = review["request"]["uid"].clone();
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": response,
    });
    (200, answer.to_string())
}

/// The answer that lets a write pass.
pub fn allow(review: &Value) -> Answer {
    response(review, json!({ "allowed": true }))
}
