//! An embedded API server with Kubernetes semantics, over HTTP on loopback.
//!
//! The store and its verbs are a sequential core without clocks or locks; the shell locks it and wakes
//! watchers; `listen`, `http` and `watch` serve clients. `faults`, `flow` and `outage` make requests fail,
//! `admission` and `validate` refuse objects, `webhook` asks a validating webhook about them, and [`account`] records
//! each request as it arrives.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub mod account;
mod admission;
mod apply;
mod control;
mod dice;
mod discovery;
mod faults;
mod flow;
mod gc;
mod history;
mod http;
mod list;
mod listen;
mod managed;
mod meta;
mod names;
mod objects;
mod outage;
mod patch;
mod quantity;
mod query;
mod reply;
mod resource;
mod route;
mod rules;
mod selector;
mod serving;
mod shell;
mod statefulset;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod validate;
mod verbs;
mod watch;
mod webhook;

pub use faults::{Fault, Injection};
pub use route::Verb;
use shell::Shell;
pub use webhook::{Reviews, Webhook};

/// The options of a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Probability, from 0 to 1, that a request of a faulty client fails. Each event of its watches cuts the
    /// stream with a sixteenth of it.
    pub fault_rate: f64,
    /// Seed of the sequence of faults.
    pub seed: u64,
    /// Only clients whose `User-Agent` starts with this meet faults; empty means all clients.
    pub faults_for: String,
    /// How long the replicas of a StatefulSet take to become ready.
    pub ready_after: Duration,
    /// The interval of bookmarks.
    pub bookmark_every: Duration,
    /// The number of events kept for each type.
    pub history: usize,
    /// How many requests of the clients that meet faults may be in flight, watches apart. The server answers one more with
    /// a 429 in plain text, as priority and fairness does; `None` for any number.
    pub max_in_flight: Option<usize>,
    /// How long each request of the clients that meet faults is in flight before the server acts on it, watches apart.
    pub latency: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            fault_rate: 0.0,
            seed: 0,
            faults_for: String::new(),
            ready_after: Duration::from_millis(100),
            bookmark_every: Duration::from_secs(10),
            history: 8_192,
            max_in_flight: None,
            latency: Duration::ZERO,
        }
    }
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct ApiServer {
    shell: Arc<Shell>,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl ApiServer {
    /// Starts a server on a free port of the loopback interface.
    pub async fn start(options: Options) -> io::Result<ApiServer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shell = Arc::new(Shell::new(options));
        let mut tasks = JoinSet::new();
        tasks.spawn(listen::accept(shell.clone(), listener));
        let collector = shell.clone();
        tasks.spawn(async move { collector.collect_garbage().await });
        let simulator = shell.clone();
        tasks.spawn(async move { statefulset::simulate(&simulator).await });
        Ok(ApiServer {
            shell,
            address,
            tasks,
        })
    }

    /// The address on which the server listens.
    pub fn url(&self) -> ::http::Uri {
        let authority = self.address.to_string();
        ::http::Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query("/")
            .build()
            .expect("a socket address is an authority")
    }

    /// When each request of a client arrived, in nanoseconds since the server started, in order.
    pub fn arrivals(&self, user_agent: &str) -> Vec<u64> {
        self.shell.account.of(user_agent)
    }

    /// The number of requests of a client.
    pub fn requests(&self, user_agent: &str) -> usize {
        self.shell.account.count(user_agent)
    }

    /// The number of requests of a client that create, update, patch or delete, whatever came of them.
    pub fn writes(&self, user_agent: &str) -> usize {
        let calls = self.calls(user_agent);
        let writes = calls.iter().filter(|((verb, _), _)| verb.writes());
        writes.map(|(_, times)| times).sum()
    }

    /// How often a client made each call, by verb and resource (`databases`, `databases/status`), whatever came of it.
    /// Requests outside of resources and for unknown paths are not among them.
    pub fn calls(&self, user_agent: &str) -> BTreeMap<(Verb, String), usize> {
        self.shell.account.calls(user_agent)
    }

    /// Stops listening, closes all connections and ends all tasks.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
