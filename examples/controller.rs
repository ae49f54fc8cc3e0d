//! A controller on worker threads. One key fails once and is retried, one fails for good, and one is requeued
//! for an hour later. The drain at the end returns the requeued key.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tollgate::{Action, Controller, FixedBackoff, ReconcileError, Reconciler, Request, WorkQueue};

/// Deploys applications, and reports each attempt.
struct Deployer {
    attempts: Sender<(&'static str, u32)>,
}

impl Reconciler<&'static str> for Deployer {
    async fn reconcile(
        &self,
        request: Request<'_, &'static str>,
    ) -> Result<Action, ReconcileError> {
        // An error is retried, such as one that `?` returns here, unless it is terminal.
        self.attempts.send((*request, request.failures()))?;
        match *request {
            "database" if request.failures() == 0 => Err("its disk is not ready".into()),
            "misspelt" => Err(ReconcileError::terminal("no such application")),
            "certificate" => Ok(Action::requeue_after(Duration::from_secs(3600))),
            _ => Ok(Action::done()),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = WorkQueue::builder(100)
        .backoff(FixedBackoff::new(Duration::from_millis(10)))
        .build()?;
    let (attempts, seen) = channel();
    let workers = Controller::new(queue.clone(), Deployer { attempts })
        .name("deployer")
        .spawn_threads(4);

    for key in ["website", "database", "misspelt", "certificate"] {
        queue.add(key).wait()?; // waits for room while the queue is full
    }

    // A drain returns delayed keys unprocessed, so wait for the retry first.
    let mut seen: Vec<_> = seen.iter().take(5).collect();
    seen.sort_unstable();
    let drained = workers.drain(Duration::from_secs(10)).wait();
    workers.stopped().wait();

    let expected = [
        ("certificate", 0),
        ("database", 0),
        ("database", 1),
        ("misspelt", 0),
        ("website", 0),
    ];
    assert_eq!(seen, expected);
    assert!(drained.complete());
    assert_eq!(drained.returned, ["certificate"]);
    println!(
        "{} attempts, returned: {:?}",
        workers.requests(),
        drained.returned
    );
    Ok(())
}
