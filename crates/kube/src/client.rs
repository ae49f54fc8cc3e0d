//! Clients of the API server that keep to a [budget](crate::budget).
//!
//! ```no_run
//! use tollgate::Quota;
//! use tollgate_kube::budget::Budget;
//! use tollgate_kube::client::client;
//!
//! # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
//! let budget = Budget::new(Quota::per_second(20)?.burst(30)?)?;
//! let client = client(kube::Config::infer().await?, &budget)?;
//! # Ok(())
//! # }
//! ```

use http::{Request, Response};
use kube::client::{Body, ClientBuilder, DynBody};
use kube::{Client, Config};
use tower::buffer::BufferLayer;
use tower::layer::util::Identity;
use tower::util::{BoxCloneService, BoxService};
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::budget::{Budget, BudgetLayer};

/// Requests that the buffer in front of the connection holds.
const BUFFER: usize = 1_024;

/// The answer of the API server, within a client.
pub type Answer = Response<Box<DynBody>>;
/// The service that sends requests to the API server: what a layer inside the budget wraps.
pub type Sender = BoxService<Request<Body>, Answer, BoxError>;
/// The service whose requests wait for tokens: what a layer outside the budget wraps.
pub type BudgetedSender = BoxCloneService<Request<Body>, Answer, BoxError>;

/// Creates a client whose every request takes a token of `budget`. Another client of the same budget shares
/// the tokens.
///
/// The client does not retry what fails, but for [the answers that pause the
/// budget](crate::budget#when-the-server-asks-for-less): kube's own retries, which take no tokens, are off.
///
/// # Errors
/// If `config` is invalid.
///
/// # Panics
/// Outside a tokio runtime, as a client of kube.
pub fn client(config: Config, budget: &Budget) -> Result<Client, kube::Error> {
    client_with(config, budget, &Identity::new(), &Identity::new())
}

/// Same as [`client`], with two more layers; [`Identity`] is the one that does nothing, and
/// [`option_layer`](tower::util::option_layer) makes a layer of an optional one.
///
/// | position | sees | example |
/// |---|---|---|
/// | `outside` the budget | each request once, when it is made, and its last answer | a [recorder of rules](crate::rbac) |
/// | `inside` the budget | each try, when it is sent, and its answer | a fence that checks the lease |
///
/// A layer inside that checks directly before a request is sent does so in its response future, ahead of
/// the inner one: the response future is polled by the caller, and nothing is sent before that.
///
/// # Errors
/// If `config` is invalid.
///
/// # Panics
/// As [`client`].
pub fn client_with<I, O>(
    mut config: Config,
    budget: &Budget,
    inside: &I,
    outside: &O,
) -> Result<Client, kube::Error>
where
    I: Layer<Sender>,
    I::Service: Service<Request<Body>, Response = Answer, Error: Into<BoxError>, Future: Send>
        + Send
        + 'static,
    O: Layer<BudgetedSender>,
    O::Service: Service<Request<Body>, Response = Answer, Error: Into<BoxError>, Future: Send>
        + Send
        + 'static,
{
    // kube's retries are below the budget, and without tokens.
    config.default_retry = false;
    let host = config.cluster_url.authority().map(ToString::to_string);
    let budget = BudgetLayer::new(budget).host(&host.unwrap_or_default());
    let inside = tower::layer::layer_fn(|sender| inside.layer(sender).map_err(Into::into).boxed());
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&inside)
        // The budget needs a service that is `Clone`.
        .with_layer(&BufferLayer::new(BUFFER))
        .with_layer(&budget)
        .with_layer(&tower::layer::layer_fn(BoxCloneService::new))
        .with_layer(outside)
        .build())
}
