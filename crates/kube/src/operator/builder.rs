//! The set-up of an operator.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::{Client, Config};
use tollgate::{Quota, QuotaError};
use tower::layer::util::Identity;
use tower::util::option_layer;

use super::Operator;
use crate::budget::{Budget, BudgetError};
use crate::client::client_with;
use crate::election::{ConfigError, ElectionOptions, FenceLayer, Leadership};
use crate::rbac::Recorder;
use crate::serve;
use crate::stores::Registry;

/// Why an operator cannot be set up or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The configuration of the client is invalid.
    #[error("the client cannot be set up: {0}")]
    Client(#[source] kube::Error),
    /// The budget is invalid.
    #[error("the budget cannot be used: {0}")]
    Budget(#[from] BudgetError),
    /// The quota is invalid.
    #[error("the budget cannot be used: {0}")]
    Quota(#[from] QuotaError),
    /// The durations of the election are invalid.
    #[error("the election cannot be held: {0}")]
    Election(#[from] ConfigError),
    /// The address of the endpoint cannot be had.
    #[error("the operator cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// Another recorder of metrics is installed in this process.
    #[error("the metrics cannot be recorded: {0}")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
    /// No handler of signals can be installed.
    #[error("signals cannot be handled: {0}")]
    Signals(#[source] std::io::Error),
    /// Two controllers have the same [name](crate::ControllerBuilder::name).
    #[error("two controllers have the name {0}")]
    SameName(String),
    /// The [concurrency](crate::ControllerBuilder::concurrency) of a controller is 0.
    #[error("the controller {0} has a concurrency of 0")]
    NoWorkers(String),
    /// The cluster does not serve a kind.
    #[error("{0}")]
    NotServed(String),
    /// What the cluster refuses the operator: a list, or the lease.
    #[error("{0}")]
    Cluster(String),
}

/// The options of an [`Operator`].
#[derive(Debug)]
pub struct OperatorBuilder {
    config: Config,
    name: String,
    budget: Option<Budget>,
    election: Option<ElectionOptions>,
    listen: Option<SocketAddr>,
    recorder: Option<Recorder>,
    drain_timeout: Duration,
    start_timeout: Duration,
}

impl OperatorBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            name: "tollgate-operator".to_owned(),
            budget: None,
            election: None,
            listen: None,
            recorder: None,
            drain_timeout: Duration::from_secs(20),
            start_timeout: Duration::from_secs(20),
        }
    }

    /// Names the operator: in its `User-Agent`, as the reporter of its events, and in its Lease.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Keeps all requests to `budget`; otherwise to 20 a second with a burst of 30, as
    /// controller-runtime did while it limited its clients.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Reconciles only while this replica holds the lease; see [`election`](crate::election) for what that promises.
    pub fn elect(mut self, election: ElectionOptions) -> Self {
        self.election = Some(election);
        self
    }

    /// Serves `/healthz`, `/readyz`, `/metrics`, `/debug/queue` and, for people, `/debug` on `address`.
    ///
    /// Installs the process's recorder of metrics.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Records what the operator asks of the API server, for the least role: see [`rbac`](crate::rbac).
    pub fn record(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Gives reconciles in flight this long to end at a shutdown; 20 s otherwise.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Lets the first lists, and the lease, be refused for this long before the operator ends with an error; 20 s
    /// otherwise. An API server that has just started refuses every request until it has read its roles. A refusal
    /// after the first list never ends the operator.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Takes the address, and sets up the clients.
    ///
    /// # Errors
    /// [`OperatorError`] of an invalid option, or of an address in use.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn build(mut self) -> Result<Operator, OperatorError> {
        let listener = match self.listen {
            None => None,
            Some(address) => {
                let listener = serve::bind(address).await;
                let listener =
                    listener.map_err(|error| OperatorError::Listen { address, error })?;
                Some((listener, serve::recorder().map_err(OperatorError::Metrics)?))
            }
        };
        let budget = match self.budget.take() {
            Some(budget) => budget,
            None => Budget::new(Quota::per_second(20)?.burst(30)?)?,
        };
        let clients = Clients {
            name: self.name.clone(),
            config: self.config,
            budget,
            recorder: self.recorder,
        };
        Ok(Operator {
            name: self.name,
            client: clients.make(None)?,
            clients,
            election: self.election,
            listener,
            drain_timeout: self.drain_timeout,
            start_timeout: self.start_timeout,
            registry: Registry::default(),
            controllers: Vec::new(),
        })
    }
}

/// Makes the clients of an operator, which share its budget.
pub(super) struct Clients {
    name: String,
    config: Config,
    pub(super) budget: Budget,
    recorder: Option<Recorder>,
}

impl Clients {
    /// The client of the election, whose requests the budget counts apart, and an audit log should too.
    pub(super) fn make_for_leases(&self) -> Result<Client, OperatorError> {
        let mut config = self.config.clone();
        let agent = format!("{}/leader-election", self.name);
        name(&mut config, &agent);
        client_with(
            config,
            &self.budget,
            &Identity::new(),
            &option_layer(self.recorder.clone()),
        )
        .map_err(OperatorError::Client)
    }

    /// A client that is refused outside the terms of `leadership`.
    pub(super) fn make(&self, leadership: Option<Leadership>) -> Result<Client, OperatorError> {
        let mut config = self.config.clone();
        name(&mut config, &self.name);
        let fence = option_layer(leadership.map(FenceLayer::new));
        client_with(
            config,
            &self.budget,
            &fence,
            &option_layer(self.recorder.clone()),
        )
        .map_err(OperatorError::Client)
    }
}

fn name(config: &mut Config, agent: &str) {
    // A name that cannot be sent is left out.
    if let Ok(agent) = HeaderValue::from_str(agent) {
        config.headers.push((USER_AGENT, agent));
    }
}
