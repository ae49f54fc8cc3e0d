//! Clients of the API server: the operator's, which keeps to a budget, and a user's, which does not.

use std::sync::Arc;

use anyhow::{Context, Result};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tollgate::AtomicTokenBucket;
use tollgate::integrations::tower::{RateLimitError, RateLimitLayer};
use tower::buffer::BufferLayer;
use tower::util::MapErrLayer;

/// The `User-Agent` of the operator.
pub const OPERATOR_AGENT: &str = "tollgate-operator";
/// Requests that the buffer in front of the connection holds.
const MOST_REQUESTS: usize = 1_024;
/// The `User-Agent` of the demo's users.
pub const USER_AGENT_OF_LOAD: &str = "tollgate-load";

/// A client whose every request waits for a token of `budget`.
///
/// # Errors
/// If `config` is invalid.
pub fn throttled(mut config: Config, budget: &Arc<AtomicTokenBucket>) -> Result<Client> {
    name(&mut config, OPERATOR_AGENT);
    let client = ClientBuilder::try_from(config).context("the client cannot be set up")?;
    Ok(client
        // A request that waits for a token needs a service that can be cloned, which the client's own cannot.
        .with_layer(&BufferLayer::new(MOST_REQUESTS))
        .with_layer(&RateLimitLayer::new(Arc::clone(budget)))
        .with_layer(&MapErrLayer::new(RateLimitError::boxed))
        .build())
}

/// A client without a budget.
///
/// # Errors
/// If `config` is invalid.
pub fn unthrottled(mut config: Config) -> Result<Client> {
    name(&mut config, USER_AGENT_OF_LOAD);
    Client::try_from(config).context("the client cannot be set up")
}

fn name(config: &mut Config, agent: &'static str) {
    // kube would retry below the budget's layer, without tokens. The queue retries instead.
    config.default_retry = false;
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(agent)));
}

/// One line for an error of the API server.
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            format!("forbidden: {}", status.message)
        }
        kube::Error::Api(status) => {
            format!("the API server says: {} ({})", status.message, status.code)
        }
        other => {
            let mut line = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_line = cause.to_string();
                if !line.contains(&cause_line) {
                    line = format!("{line}: {cause_line}");
                }
                source = cause.source();
            }
            format!("the API server cannot be reached: {line}")
        }
    }
}
