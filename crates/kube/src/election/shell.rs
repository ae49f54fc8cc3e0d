//! The task that drives an [`Elector`] against an API server.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp as WallTime;
use kube::{Api, Client};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tollgate::{BootClock, Clock};

use super::config::{ConfigError, ElectionConfig};
use super::error::LeaseError;
use super::leadership::{Leadership, Reporter};
use super::lease::{Answered, LeaseApi};
use super::machine::{Elector, Outcome, Request, RequestId, Step};

/// Which Lease to contend for, as which candidate, with which durations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ElectionOptions {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The identity of this candidate: distinct from those of all processes that are alive.
    ///
    /// By default the host's name (in a cluster, the pod's) and a random suffix.
    pub identity: String,
    /// The durations.
    pub config: ElectionConfig,
}

impl ElectionOptions {
    /// Options for the Lease `namespace/name`, with defaults for the rest.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let host = std::env::var("HOSTNAME").ok();
        let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok());
        let host = host
            .as_deref()
            .map(str::trim)
            .filter(|host| !host.is_empty());
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: format!("{}_{:016x}", host.unwrap_or("candidate"), random()),
            config: ElectionConfig::default(),
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        for (what, value) in [("namespace", &self.namespace), ("name", &self.name)] {
            if value.is_empty() {
                return Err(ConfigError::Empty(what));
            }
        }
        self.config.validate()
    }
}

/// A random number from the keys that the standard library draws for its hash maps.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A candidate that runs as a task; the [module](super) has an example.
///
/// Dropping it aborts the task without a release: the term ends in this process as soon as the
/// runtime drops the task, and the lease has to expire.
pub struct Election<C: Clock + 'static = BootClock> {
    leadership: Leadership<C>,
    release: Option<oneshot::Sender<()>>,
    task: JoinHandle<Outcome>,
}

impl Election {
    /// Starts a candidate on the [`BootClock`], which counts the time that the process is stopped
    /// or the machine suspended.
    ///
    /// `client` must not have to wait behind other requests: give it no shared budget, no
    /// [`Fence`](super::Fence), and no pause after a 429.
    ///
    /// # Errors
    /// Invalid options.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(client: Client, options: ElectionOptions) -> Result<Self, ConfigError> {
        Self::spawn_with_clock(client, options, BootClock::new())
    }
}

impl<C: Clock + 'static> Election<C> {
    /// Starts a candidate on `clock`.
    ///
    /// A clock that stands still while the process is stopped or the machine suspended gives the
    /// old leader a valid term after it wakes.
    ///
    /// # Errors
    /// Invalid options.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_with_clock(
        client: Client,
        options: ElectionOptions,
        clock: C,
    ) -> Result<Self, ConfigError> {
        options.validate()?;
        let elector = Elector::new(options.config, options.identity, random())?;
        let reporter = Reporter::new(clock);
        let leadership = reporter.leadership();
        let lease = LeaseApi {
            api: Api::namespaced(client, &options.namespace),
            namespace: options.namespace,
            name: options.name,
        };
        let (release, released) = oneshot::channel();
        let driver = Driver {
            elector,
            reporter,
            lease,
            last: Lease::default(),
            outstanding: None,
        };
        let task = tokio::spawn(driver.run(released));
        Ok(Self {
            leadership,
            release: Some(release),
            task,
        })
    }

    /// Returns a handle that tells whether this candidate leads.
    pub fn leadership(&self) -> Leadership<C> {
        self.leadership.clone()
    }

    /// Leaves the election: ends the term at once and frees the lease, so that the next candidate
    /// takes it over at its next read instead of after the lease duration.
    ///
    /// To be called after all work of the term has ended. Takes at most the renew deadline.
    ///
    /// # Panics
    /// If the election's task has panicked.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the task, as dropping the election does.
    pub async fn release(mut self) -> Outcome {
        if let Some(release) = self.release.take() {
            // The task ends only after it has received this.
            let _sent = release.send(());
        }
        (&mut self.task)
            .await
            .expect("the election's task does not panic")
    }
}

impl<C: Clock + 'static> Drop for Election<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C: Clock + 'static> fmt::Debug for Election<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("leadership", &self.leadership)
            .finish_non_exhaustive()
    }
}

type Pending = Pin<Box<dyn Future<Output = (RequestId, Answered)> + Send>>;

struct Driver<C: Clock> {
    elector: Elector,
    reporter: Reporter<C>,
    lease: LeaseApi,
    /// The Lease last read or written, whose other fields an update keeps.
    last: Lease,
    outstanding: Option<Pending>,
}

impl<C: Clock> Driver<C> {
    async fn run(mut self, mut release: oneshot::Receiver<()>) -> Outcome {
        let mut releasing = false;
        loop {
            // Read before the machine decides, and so before anything is sent.
            let now = self.reporter.clock().now();
            let step = self.elector.poll(now, WallTime::now().as_microsecond());
            // Before the request is sent: a release must find the term ended in this process.
            let (held, holder) = (self.elector.valid_until(), self.elector.holder());
            self.reporter.publish(held, holder);
            let wake_at = match step {
                Step::Send(request) => {
                    self.send(request);
                    continue;
                }
                Step::Wait(at) => at,
                Step::Done(outcome) => return outcome,
            };
            let sleep = self.reporter.clock().sleep_until(wake_at);
            tokio::select! {
                (id, answered) = pending(&mut self.outstanding) => self.receive(id, answered),
                () = sleep => {}
                _ = &mut release, if !releasing => {
                    releasing = true;
                    self.outstanding = None;
                    self.elector.release(self.reporter.clock().now());
                }
            }
        }
    }

    /// Replaces the outstanding request: dropping its future cancels it on this side.
    fn send(&mut self, Request { id, operation }: Request) {
        if self.outstanding.is_some() {
            let error = LeaseError::NoAnswer {
                lease: self.lease.to_string(),
                message: "timed out".to_owned(),
            };
            self.report(Some(error));
        }
        let answered = self.lease.clone().perform(operation, self.last.clone());
        self.outstanding = Some(Box::pin(async move { (id, answered.await) }));
    }

    fn receive(&mut self, id: RequestId, (answer, result): Answered) {
        self.outstanding = None;
        let now = self.reporter.clock().now();
        if !self.elector.answer(id, answer, now) {
            return;
        }
        let error = match result {
            Ok(lease) => {
                self.last = lease.unwrap_or_default();
                None
            }
            Err(error) => Some(error),
        };
        self.report(error);
    }

    fn report(&self, error: Option<LeaseError>) {
        self.reporter.error.send_if_modified(|current| {
            let changed = current.as_deref() != error.as_ref();
            if changed {
                *current = error.map(Arc::new);
            }
            changed
        });
    }
}

/// Waits for the answer to the outstanding request; for ever, if there is none.
///
/// # Cancel safety
/// Dropping the future loses nothing: the request stays outstanding.
async fn pending(outstanding: &mut Option<Pending>) -> (RequestId, Answered) {
    match outstanding {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
