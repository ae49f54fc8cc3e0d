//! The operator: several controllers that share a client, a budget, their watches, an election and a shutdown.

mod builder;
mod run;

use std::fmt;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;

use builder::Clients;
pub use builder::{OperatorBuilder, OperatorError};
pub use run::Report;

use crate::budget::Budget;
use crate::controller::{AnyController, ControllerBuilder};
use crate::election::ElectionOptions;
use crate::kinds::{Kind, Scope};
use crate::stores::Registry;

/// Controllers that are being set up, and run together.
///
/// See the [front page](crate) for an example.
pub struct Operator {
    name: String,
    /// Within the budget, for watches, and for whatever a replica does that does not lead.
    client: Client,
    clients: Clients,
    election: Option<ElectionOptions>,
    listener: Option<(TcpListener, metrics_exporter_prometheus::PrometheusHandle)>,
    drain_timeout: Duration,
    start_timeout: Duration,
    pub(crate) registry: Registry,
    pub(crate) controllers: Vec<Box<dyn AnyController>>,
}

impl Operator {
    /// Starts the set-up of an operator on the cluster of `config`.
    pub fn builder(config: kube::Config) -> OperatorBuilder {
        OperatorBuilder::new(config)
    }

    /// Sets up a controller for a kind, in the whole cluster (an [`Api::all`](kube::Api::all)) or in one or several
    /// namespaces (a `Vec` of [`Api::namespaced`](kube::Api::namespaced)). Make the `Api` with
    /// [`client`](Self::client).
    pub fn for_kind<K: Kind>(&mut self, scope: impl Into<Scope<K>>) -> ControllerBuilder<'_, K> {
        ControllerBuilder::new(self, scope.into())
    }

    /// A client whose every request takes a token of the budget. It is not bound to the lease: reconciles take
    /// that of their [`Context`](crate::Context).
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The budget of all requests.
    pub fn budget(&self) -> &Budget {
        &self.clients.budget
    }

    /// The address on which probes and metrics are served, once it is known: with a port of 0 the operating system
    /// chooses one.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        let (listener, _) = self.listener.as_ref()?;
        listener.local_addr().ok()
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator")
            .field("name", &self.name)
            .field("controllers", &self.controllers.len())
            .finish_non_exhaustive()
    }
}
