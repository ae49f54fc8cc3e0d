//! A user of the API server.

use http::{Method, Request};
use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};

/// A user: paths and JSON.
#[derive(Clone)]
pub struct User(pub Client);

impl User {
    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Value, Box<Status>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind);
        match self.0.request(request.body(body).unwrap()).await {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(status),
            Err(error) => Err(Status::failure(&error.to_string(), "Unreachable").boxed()),
        }
    }

    /// The object at `path`, if there is one.
    pub async fn get(&self, path: &str) -> Option<Value> {
        self.send(Method::GET, path, "application/json", Vec::new())
            .await
            .ok()
    }

    /// The status code of the answer to a read.
    pub async fn code(&self, path: &str) -> u16 {
        let answer = self
            .send(Method::GET, path, "application/json", Vec::new())
            .await;
        answer.map_or_else(|status| status.code, |_| 200)
    }

    /// The items of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// An answer in plain text.
    pub async fn text(&self, path: &str) -> kube::Result<String> {
        self.0
            .request_text(Request::get(path).body(Vec::new()).unwrap())
            .await
    }

    pub async fn create(&self, path: &str, object: Value) -> Result<Value, Box<Status>> {
        self.send(
            Method::POST,
            path,
            "application/json",
            object.to_string().into(),
        )
        .await
    }

    /// Merges `change` into the object.
    pub async fn patch(&self, path: &str, change: Value) -> Result<Value, Box<Status>> {
        self.send(
            Method::PATCH,
            path,
            "application/merge-patch+json",
            change.to_string().into(),
        )
        .await
    }

    pub async fn delete(&self, path: &str) -> Result<Value, Box<Status>> {
        let options = json!({ "propagationPolicy": "Background" });
        self.send(
            Method::DELETE,
            path,
            "application/json",
            options.to_string().into(),
        )
        .await
    }
}
