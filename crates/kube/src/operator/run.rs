//! A running operator, from its first watch to its report.

use std::collections::HashSet;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use kube::runtime::events::{Recorder, Reporter};
use metrics::{describe_gauge, gauge};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::{Operator, OperatorError};
use crate::context::Shared;
use crate::controller::{AnyController, AnyRunning, Left};
use crate::election::machine::Outcome;
use crate::election::{Election, Leadership, LeaseError, Role};
use crate::leading::Leading;
use crate::progress::{Lack, Sources};
use crate::serve::{self, Shown};

/// The gauge of client-go's leader election.
const LEADING: &str = "leader_election_master_status";

/// What a stopped operator left undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each controller, in the order in which they were set up.
    pub controllers: Vec<Left>,
    /// Whether the lease was given back, so that another replica need not wait for its end.
    pub released: bool,
}

impl Operator {
    /// Runs until SIGTERM or SIGINT: see [`run_until`](Self::run_until).
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    pub async fn run(self) -> Result<Report, OperatorError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(OperatorError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(OperatorError::Signals)?;
        let stopped = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        self.run_until(stopped).await
    }

    /// Runs until `stop` completes. Reconciles start once every watch has its first list. At the end it stops the
    /// watches, hands out nothing more, gives the reconciles in flight the drain timeout to end, and gives the lease
    /// back.
    ///
    /// # Errors
    /// [`OperatorError::NotServed`] if a kind is not served, and [`OperatorError::Cluster`] if the operator may not
    /// list it or use its lease, for the start timeout.
    /// Whatever happens after the first list is logged and tried again.
    /// [`OperatorError::SameName`] and [`OperatorError::NoWorkers`] if a controller cannot run.
    ///
    /// # Panics
    /// If a predicate, a mapper or a task of the operator has panicked, with its panic, after the shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future stops everything at once; the lease then runs out.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<Report, OperatorError> {
        check(&self.controllers)?;
        let sources = Arc::new(Sources::new(self.start_timeout));
        let stores = self.registry.stores.clone();
        let mut watches = JoinSet::new();
        for watch in self.registry.into_tasks(&sources) {
            watches.spawn(watch);
        }
        let lease = self.election.as_ref().map(|options| options.name.clone());
        let lease = lease.unwrap_or_default();
        let election = match self.election {
            None => None,
            // Its requests wait behind no others.
            Some(options) => Some(Election::spawn(self.clients.make_for_leases()?, options)?),
        };
        let leadership = election.as_ref().map(Election::leadership);
        let leading = Leading::new(leadership.clone());
        let client = self.clients.make(leadership)?;
        let start = |controller: Box<dyn AnyController>| {
            let reporter = Reporter {
                controller: controller.name().to_owned(),
                instance: Some(self.name.clone()),
            };
            let shared = Shared {
                controller: controller.name().to_owned(),
                client: client.clone(),
                stores: stores.clone(),
                events: Recorder::new(client.clone(), reporter),
            };
            controller.start(Arc::new(shared), leading.clone())
        };
        let running: Arc<[_]> = self.controllers.into_iter().map(start).collect();

        let mut tasks = JoinSet::new();
        for at in 0..running.len() {
            let running: Arc<[Box<dyn AnyRunning>]> = Arc::clone(&running);
            tasks.spawn(async move { running[at].resync().await });
        }
        if let Some((listener, metrics)) = self.listener {
            let shown = Shown {
                sources: Arc::clone(&sources),
                controllers: Arc::clone(&running),
                leading: leading.clone(),
                budget: self.clients.budget.clone(),
                metrics,
            };
            tasks.spawn(serve::serve(listener, Arc::new(shown)));
        }
        let (expected, workers) = (Arc::clone(&sources), Arc::clone(&running));
        match &election {
            None => drop(tasks.spawn(async move { work(&expected, &workers).await })),
            Some(election) => {
                tasks.spawn(follow(leading, expected, workers, lease));
                tasks.spawn(report_errors(election.leadership(), Arc::clone(&sources)));
            }
        }

        let mut panic = None;
        let ended = tokio::select! {
            () = stop => Ok(()),
            // Of a predicate or a mapper, for one: without its watch the store would stand still.
            error = panicked([&mut watches, &mut tasks]) => {
                panic = error.try_into_panic().ok();
                Ok(())
            }
            lack = sources.failed() => Err(match lack {
                Lack::Kind(line) => OperatorError::NotServed(line),
                Lack::Right(line) => OperatorError::Cluster(line),
            }),
        };
        watches.shutdown().await;
        let drains = running
            .iter()
            .map(|controller| controller.drain(self.drain_timeout));
        let controllers = futures::future::join_all(drains).await;
        let released = match election {
            // Not before the reconciles have ended: another replica starts at once.
            Some(election) => election.release().await == Outcome::Released,
            None => false,
        };
        tasks.shutdown().await;
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        ended.map(|()| Report {
            controllers,
            released,
        })
    }
}

/// Refuses what would only show as an operator that does nothing, or as two controllers that undo each other's
/// applies: the name is the field manager.
fn check(controllers: &[Box<dyn AnyController>]) -> Result<(), OperatorError> {
    let mut names = HashSet::new();
    for controller in controllers {
        let name = controller.name();
        if !names.insert(name) {
            return Err(OperatorError::SameName(name.to_owned()));
        }
        if controller.concurrency() == 0 {
            return Err(OperatorError::NoWorkers(name.to_owned()));
        }
    }
    Ok(())
}

/// Hands out once every source has its first list. A reconcile before that would take an object that is not listed
/// yet for one that does not exist.
async fn work(sources: &Sources, running: &[Box<dyn AnyRunning>]) {
    sources.listed().await;
    running.iter().for_each(|controller| controller.resume());
}

/// Completes once a task of either set has panicked; tasks that end otherwise are done.
async fn panicked([one, other]: [&mut JoinSet<()>; 2]) -> JoinError {
    loop {
        let ended = tokio::select! {
            Some(ended) = one.join_next() => ended,
            Some(ended) = other.join_next() => ended,
            else => std::future::pending().await,
        };
        if let Err(error) = ended {
            return error;
        }
    }
}

/// Works while this replica leads. A new term begins with every object of the stores, since the last leader may
/// have ended in the midst of any of them.
async fn follow(
    leading: Leading,
    sources: Arc<Sources>,
    running: Arc<[Box<dyn AnyRunning>]>,
    lease: String,
) {
    describe_gauge!(LEADING, "1 while this replica holds the lease");
    let gauge = gauge!(LEADING, "name" => lease);
    gauge.set(0.0);
    while let Some(term) = leading.won().await {
        tracing::info!(%term, "leading");
        gauge.set(1.0);
        tokio::select! {
            () = leading.lost(Some(term)) => {}
            () = work(&sources, &running) => leading.lost(Some(term)).await,
        }
        running.iter().for_each(|controller| controller.pause());
        gauge.set(0.0);
        tracing::warn!(%term, "no longer leading");
    }
}

/// Logs why the lease cannot be reached, and ends the operator if it may not be used for too long from the
/// start.
async fn report_errors(leadership: Leadership, sources: Arc<Sources>) {
    let mut errors = leadership.errors();
    let started = Instant::now();
    let mut has_worked = false;
    let mut refused_since = None;
    loop {
        let error = errors.borrow_and_update().clone();
        // A lease that is reached all the time reports nothing, so its first error shows that it has worked.
        has_worked |= refused_since.is_none()
            && started.elapsed() >= sources.patience
            && leadership.role() != Role::Following { holder: None };
        if let Some(error) = &error {
            tracing::warn!(%error, "the lease was not reached");
        }
        let refusal = error.filter(|error| matches!(**error, LeaseError::Forbidden { .. }));
        let changed = match refusal.filter(|_| !has_worked) {
            None => {
                refused_since = None;
                errors.changed().await
            }
            // An error that stays the same is no change.
            Some(error) => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                match timeout_at(since + sources.patience, errors.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => return sources.fail(Lack::Right(error.to_string())),
                }
            }
        };
        if changed.is_err() {
            return;
        }
    }
}
