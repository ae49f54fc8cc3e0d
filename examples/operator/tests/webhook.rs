//! The webhook over real HTTPS: decisions, requests that are no reviews, renewal of the certificate, and its end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use operator::webhook::authority::{Authority, Pair};
use operator::webhook::{Certificates, PATH, Running, Webhook};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Only a hang takes this long.
const DRAIN: Duration = Duration::from_secs(60);

/// A webhook whose certificate is looked at for each connection.
struct Setup {
    authority: Authority,
    folder: TempDir,
    address: SocketAddr,
    running: Running,
}

impl Setup {
    async fn start() -> Self {
        let authority = Authority::new().unwrap();
        let folder = TempDir::new().unwrap();
        write(folder.path(), &authority.certify(LOOPBACK).unwrap());
        let certificates = Certificates::from_folder(folder.path(), Duration::ZERO).await;
        let webhook = Webhook::bind((LOOPBACK, 0).into(), certificates.unwrap()).await;
        let webhook = webhook.unwrap();
        Self {
            authority,
            folder,
            address: webhook.address(),
            running: webhook.start(DRAIN),
        }
    }

    async fn client(&self) -> Client {
        connect(self.address, &self.authority).await.unwrap()
    }
}

fn write(folder: &Path, pair: &Pair) {
    std::fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
    std::fs::write(folder.join("tls.key"), &pair.key).unwrap();
}

/// A connection, and the certificate that the webhook has shown on it.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    shown: CertificateDer<'static>,
}

async fn handshake(
    address: SocketAddr,
    authority: &Authority,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(tls));
    connector.connect(LOOPBACK.into(), stream).await
}

async fn connect(address: SocketAddr, authority: &Authority) -> std::io::Result<Client> {
    let stream = handshake(address, authority).await?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().unwrap()[0].clone().into_owned();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Ok(Client { sender, shown })
}

impl Client {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> (Response<()>, String) {
        self.sender.ready().await.unwrap();
        let answer: Response<Incoming> = self.sender.send_request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (Response::from_parts(head, ()), body)
    }

    /// The response to a review.
    async fn review(&mut self, operation: &str, new: Value, old: Value) -> Value {
        let body = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "7",
                "kind": { "group": "example.com", "version": "v1", "kind": new["kind"] },
                "resource": { "group": "example.com", "version": "v1", "resource": "any" },
                "operation": operation,
                "userInfo": {},
                "object": new,
                "oldObject": old,
            },
        });
        let (head, body) = self.send(post(body.to_string())).await;
        assert_eq!(head.status(), StatusCode::OK, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["response"]["uid"], "7");
        answer["response"].clone()
    }
}

fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(PATH).header("content-type", "application/json");
    request.body(Full::new(body.into())).unwrap()
}

fn database(engine: &str, replicas: i32, storage: &str) -> Value {
    json!({
        "apiVersion": "example.com/v1",
        "kind": "Database",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": { "engine": engine, "replicas": replicas, "storage": storage },
    })
}

#[tokio::test]
async fn reviews_are_answered() {
    let setup = Setup::start().await;
    let mut client = setup.client().await;
    let good = database("postgres", 3, "20Gi");
    let allowed = client.review("CREATE", good.clone(), Value::Null).await;
    assert_eq!(allowed["allowed"], true);
    let larger = database("postgres", 5, "1Ti");
    let allowed = client.review("UPDATE", larger, good.clone()).await;
    assert_eq!(allowed["allowed"], true);
    let bad = database("mysql", 6, "20G");
    let denied = client.review("UPDATE", bad, good).await;
    assert_eq!(denied["allowed"], false);
    assert_eq!(denied["status"]["code"], 422);
    assert_eq!(
        denied["status"]["message"],
        "spec.engine: may not change from \"postgres\"; spec.replicas: 6 is not from 1 to 5; spec.storage: may not \
         shrink from \"20Gi\" to \"20G\""
    );
    let backup = json!({
        "apiVersion": "example.com/v1",
        "kind": "Backup",
        "metadata": { "name": "nightly", "namespace": "shop" },
        "spec": { "database": "orders", "schedule": "@daily", "retention": 7 },
    });
    let denied = client.review("CREATE", backup, Value::Null).await;
    let message = denied["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("spec.schedule: \"@daily\""),
        "{message}"
    );
}

#[tokio::test]
async fn other_requests_have_clear_errors_and_leave_the_connection_in_use() {
    let setup = Setup::start().await;
    let mut client = setup.client().await;
    let with = |method: &str, path: &str, kind: &str, body: &[u8]| {
        let request = Request::builder().method(method).uri(path);
        let body = Full::new(Bytes::copy_from_slice(body));
        request.header("content-type", kind).body(body).unwrap()
    };
    let (json, large) = ("application/json", vec![b' '; 3 << 20]);
    let larger = [&large[..], b" "].concat();
    for (request, code, what) in [
        (with("GET", PATH, json, b""), 405, "by POST"),
        (with("PUT", PATH, json, b"{}"), 405, "by POST"),
        (with("POST", "/", json, b"{}"), 404, "/validate"),
        (with("POST", PATH, "text/plain", b"{}"), 415, "text/plain"),
        (with("POST", PATH, "", b"{}"), 415, "application/json"),
        (with("POST", PATH, json, b""), 400, "no AdmissionReview"),
        (
            with("POST", PATH, json, b"\xff\x00"),
            400,
            "no AdmissionReview",
        ),
        (
            with("POST", PATH, json, b"[[[[[[[["),
            400,
            "no AdmissionReview",
        ),
        (
            with("POST", PATH, json, &b"[".repeat(1 << 20)),
            400,
            "no AdmissionReview",
        ),
        (with("POST", PATH, json, &large), 400, "no AdmissionReview"),
        (
            with("POST", PATH, json, &larger),
            413,
            "more than 3145728 bytes",
        ),
        (with("POST", PATH, json, b"{}"), 400, "no AdmissionReview"),
    ] {
        let (head, body) = client.send(request).await;
        assert_eq!(head.status(), code, "{body}");
        assert!(body.contains(what), "{body}");
        let allowed = head
            .headers()
            .get("allow")
            .map(|allowed| allowed.as_bytes());
        assert_eq!(allowed, (code == 405).then_some(&b"POST"[..]));
    }
    let kind = "Application/JSON; charset=utf-8";
    let (head, _) = client.send(with("POST", PATH, kind, b"{}")).await;
    assert_eq!(head.status(), 400, "the type is that of a review");
}

#[tokio::test]
async fn clients_without_tls_or_trust_are_turned_away() {
    let setup = Setup::start().await;
    let mut plain = TcpStream::connect(setup.address).await.unwrap();
    plain
        .write_all(b"POST /validate HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // A TLS alert, or a reset.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let stranger = Authority::new().unwrap();
    assert!(connect(setup.address, &stranger).await.is_err());
    setup.client().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let setup = Setup::start().await;
    let mut first = setup.client().await;
    assert_eq!(setup.client().await.shown, first.shown);

    let renewed = setup.authority.certify(LOOPBACK).unwrap();
    // Until both files are there, the former pair stays in use.
    std::fs::write(setup.folder.path().join("tls.crt"), &renewed.certificate).unwrap();
    assert_eq!(setup.client().await.shown, first.shown);
    std::fs::remove_file(setup.folder.path().join("tls.key")).unwrap();
    assert_eq!(setup.client().await.shown, first.shown);
    write(setup.folder.path(), &renewed);
    let second = setup.client().await;
    let expected = CertificateDer::from_pem_slice(renewed.certificate.as_bytes()).unwrap();
    assert_eq!(second.shown, expected);
    assert_ne!(second.shown, first.shown);

    // A connection from before goes on.
    let object = database("postgres", 3, "20Gi");
    first.review("CREATE", object, Value::Null).await;
}

#[tokio::test]
async fn files_are_not_read_again_before_the_interval_is_over() {
    let authority = Authority::new().unwrap();
    let folder = TempDir::new().unwrap();
    write(folder.path(), &authority.certify(LOOPBACK).unwrap());
    let certificates = Certificates::from_folder(folder.path(), Duration::from_secs(3_600)).await;
    let webhook = Webhook::bind((LOOPBACK, 0).into(), certificates.unwrap()).await;
    let webhook = webhook.unwrap();
    let address = webhook.address();
    let running = webhook.start(DRAIN);
    let first = connect(address, &authority).await.unwrap().shown;
    write(folder.path(), &authority.certify(LOOPBACK).unwrap());
    assert_eq!(connect(address, &authority).await.unwrap().shown, first);
    running.stop().await.unwrap();
}

/// Sends the head of a request, and waits until the webhook reads its body of two bytes.
async fn begin_request(stream: &mut TlsStream<TcpStream>) {
    let head = "POST /validate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
                expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut goes_on = [0; 25];
    stream.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_at_the_end() {
    let setup = Setup::start().await;
    let mut idle = setup.client().await;
    let object = database("postgres", 3, "20Gi");
    idle.review("CREATE", object, Value::Null).await;
    let mut busy = handshake(setup.address, &setup.authority).await.unwrap();
    begin_request(&mut busy).await;

    let mut stopped = pin!(setup.running.stop());
    assert!(futures::poll!(&mut stopped).is_pending());
    while TcpStream::connect(setup.address).await.is_ok() {}
    // The idle connection is closed at once.
    let closed = async {
        while !idle.sender.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DRAIN, closed).await.unwrap();
    assert!(futures::poll!(&mut stopped).is_pending());
    busy.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    // Without a close of TLS, as the connection ends.
    let _ = busy.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut_off() {
    let authority = Authority::new().unwrap();
    let pair = authority.certify(LOOPBACK).unwrap();
    let certificates = Certificates::from_pem(&pair.certificate, &pair.key).unwrap();
    let webhook = Webhook::bind((LOOPBACK, 0).into(), certificates)
        .await
        .unwrap();
    let address = webhook.address();
    let running = webhook.start(Duration::ZERO);
    let mut busy = handshake(address, &authority).await.unwrap();
    begin_request(&mut busy).await;
    running.stop().await.unwrap();
    let mut answer = Vec::new();
    let _ = busy.read_to_end(&mut answer).await;
    // Not even that the body did not arrive in time.
    assert!(answer.is_empty());
}

#[test]
fn an_operator_without_a_certificate_ends_with_one_line() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new().unwrap();
    let run = || {
        let ended = Command::new(env!("CARGO_BIN_EXE_operator"))
            .args([
                "--kubeconfig",
                "/nonexistent",
                "--webhook-listen",
                "127.0.0.1:0",
            ])
            .arg("--webhook-certs")
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(!ended.status.success());
        let line = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    };
    let missing = format!(
        "error: the webhook has no certificate: cannot read {}/tls.crt: No such file",
        folder.path().display()
    );
    assert!(run().starts_with(&missing), "{}", run());
    let mut pair = authority.certify(LOOPBACK).unwrap();
    let key = std::mem::take(&mut pair.key);
    write(folder.path(), &pair);
    assert!(run().contains("tls.key holds no private key"), "{}", run());
    // With a certificate it is the kubeconfig that is missing.
    pair.key = key;
    write(folder.path(), &pair);
    assert!(run().contains("/nonexistent"), "{}", run());
}
