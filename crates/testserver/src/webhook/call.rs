//! One call of the webhook: the review over HTTPS, and the answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use super::super::status::{Status, USER};
use super::{Change, Webhook};

/// The largest answer that is read.
const LARGEST_ANSWER: usize = 1 << 20;
const VERSION: &str = "admission.k8s.io/v1";

/// The answer of a webhook.
#[derive(Debug)]
pub enum Verdict {
    /// The write may be stored.
    Allowed,
    /// The write is refused with this status.
    Denied(Status),
    /// There was no answer.
    Failed,
}

/// The client of a webhook. It keeps its connections, as the API server does.
#[derive(Debug)]
pub struct Caller {
    webhook: Webhook,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    calls: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Caller {
    /// A client that trusts the webhook's authorities alone.
    pub fn new(webhook: Webhook) -> Result<Caller, String> {
        if webhook.url.scheme() != Some(&http::uri::Scheme::HTTPS) {
            return Err(format!("{} is not an https URL", webhook.url));
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(webhook.ca_pem.as_bytes()) {
            let unreadable = |error: &dyn std::fmt::Display| format!("no certificate: {error}");
            let certificate = certificate.map_err(|error| unreadable(&error))?;
            roots.add(certificate).map_err(|error| unreadable(&error))?;
        }
        if roots.is_empty() {
            return Err("no certificate of an authority".to_owned());
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        Ok(Caller {
            client: Client::builder(TokioExecutor::new()).build(connector),
            webhook,
            calls: AtomicU64::new(0),
            failure: Mutex::new(None),
        })
    }

    /// Why the last call that failed did.
    pub fn last_failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// Asks the webhook about a change.
    pub async fn call(&self, change: &Change) -> Verdict {
        let answer = tokio::time::timeout(self.webhook.timeout, self.ask(change)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        answer.unwrap_or_else(|why| {
            let why = format!("failed calling webhook {:?}: {why}", self.webhook.name);
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            Verdict::Failed
        })
    }

    async fn ask(&self, change: &Change) -> Result<Verdict, String> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let uid = format!("00000000-0000-4000-9000-{call:012x}");
        let review = review(change, &uid).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.webhook.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::from(review)))
            .map_err(|error| error.to_string())?;
        let reply = self.client.request(request).await;
        let (head, body) = reply.map_err(|error| with_causes(&error))?.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        if !head.status.is_success() {
            let text = String::from_utf8_lossy(&body);
            return Err(format!("{}: {}", head.status, text.trim()));
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        self.verdict(&answer, &uid)
    }

    fn verdict(&self, answer: &Value, uid: &str) -> Result<Verdict, String> {
        let response = &answer["response"];
        if answer["apiVersion"] != VERSION || answer["kind"] != "AdmissionReview" {
            return Err(format!("the answer is no AdmissionReview of {VERSION}"));
        }
        if response["uid"] != uid {
            return Err("the answer has the uid of another review".to_owned());
        }
        match response["allowed"].as_bool() {
            Some(true) => Ok(Verdict::Allowed),
            Some(false) => Ok(Verdict::Denied(Status::denied(
                &self.webhook.name,
                &response["status"],
            ))),
            None => Err("the answer does not say whether the write is allowed".to_owned()),
        }
    }
}

/// The review of a change, as the API server sends it.
fn review(change: &Change, uid: &str) -> Value {
    let (ty, key) = (change.ty, &change.key);
    let kind = json!({ "group": ty.group, "version": ty.version, "kind": ty.kind });
    let resource = json!({ "group": ty.group, "version": ty.version, "resource": ty.plural });
    let (operation, options) = match &change.old {
        None => ("CREATE", "CreateOptions"),
        Some(_) => ("UPDATE", "UpdateOptions"),
    };
    let mut request = json!({
        "uid": uid,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": key.name,
        "operation": operation,
        "userInfo": { "username": USER, "groups": ["system:unauthenticated"] },
        "object": change.new,
        "oldObject": change.old.as_ref().map(|old| &old.value),
        "dryRun": false,
        "options": { "apiVersion": "meta.k8s.io/v1", "kind": options },
    });
    if ty.namespaced {
        request["namespace"] = key.namespace.as_str().into();
    }
    json!({ "apiVersion": VERSION, "kind": "AdmissionReview", "request": request })
}

/// An error and its causes, as one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line = format!("{line}: {inner}");
        cause = inner.source();
    }
    line
}
