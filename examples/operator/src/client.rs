//! Clients of the API server: the operator's, which keeps to a budget, and a user's, which does
//! not.

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

/// How the operator names itself to the API server.
pub const OPERATOR_AGENT: &str = "tollgate-operator";
/// Requests that can be on their way to the connection at once.
const MOST_REQUESTS: usize = 1_024;
/// How the demo's users name themselves.
pub const USER_AGENT_OF_LOAD: &str = "tollgate-load";

/// A client each of whose requests takes a token of `budget` first, and waits for it.
///
/// # Errors
/// What is wrong with `config`.
pub fn throttled(mut config: Config, budget: &Arc<AtomicTokenBucket>) -> Result<Client> {
    name(&mut config, OPERATOR_AGENT);
    let client = ClientBuilder::try_from(config).context("the client cannot be set up")?;
    Ok(client
        // The client's own service cannot be cloned; a request that waits for a token needs one that
        // can.
        .with_layer(&BufferLayer::new(MOST_REQUESTS))
        .with_layer(&RateLimitLayer::new(Arc::clone(budget)))
        .with_layer(&MapErrLayer::new(RateLimitError::boxed))
        .build())
}

/// A client without a budget.
///
/// # Errors
/// What is wrong with `config`.
pub fn unthrottled(mut config: Config) -> Result<Client> {
    name(&mut config, USER_AGENT_OF_LOAD);
    Client::try_from(config).context("the client cannot be set up")
}

fn name(config: &mut Config, agent: &'static str) {
    // kube would retry below the budget's layer, unseen by it; retries are the queue's business
    // here.
    config.default_retry = false;
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(agent)));
}

/// One line for an error of the API server, and what can be done about it.
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
