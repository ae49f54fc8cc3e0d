//! One reconcile: its panics, its time limit, and what follows for the key.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread;

use super::failure::{Cause, Failure};
use super::outcome::NextRun;
use super::pool::Pool;
use super::{Action, Controller, ReconcileError, Reconciler, Request};
use crate::clock::{Clock, Timestamp};
use crate::observe::ReconcileResult;
use crate::queue::Work;
use crate::sync::Ordering;

enum Ended {
    Returned(Result<Action, ReconcileError>),
    Panicked(Box<dyn Any + Send>),
    TimedOut,
}

impl<K, R, C, S> Controller<K, R, C, S>
where
    K: fmt::Debug + Hash + Eq + Send + Sync,
    R: Reconciler<K>,
    C: Clock,
    S: BuildHasher + Send + Sync,
{
    /// Works on one key to its end.
    ///
    /// Survives the panics of an observer, a backoff or a key's `Debug`; the guard releases the
    /// key.
    pub(super) async fn process(&self, work: Work<K, C, S>, pool: &Pool) {
        let mut worked = pin!(self.work_on(work, pool));
        drop(poll_fn(|cx| poll_caught(worked.as_mut(), cx)).await);
    }

    async fn work_on(&self, work: Work<K, C, S>, pool: &Pool) {
        work.observe_start();
        // Relaxed: only the uniqueness of each number matters.
        let id = pool.requests.fetch_add(1, Ordering::Relaxed);
        let started = self.queue.0.clock.now();
        let request = Request { work: &work, id };
        let ended = self.attempt(request, started).await;
        let took = self.queue.0.clock.now().saturating_since(started);
        #[cfg(feature = "tracing")]
        self.log(&work, id, &ended);
        let result = self.conclude(work, id, ended);
        self.observer.reconciled(result, took);
    }

    async fn attempt(&self, request: Request<'_, K>, started: Timestamp) -> Ended {
        let future = match catch_unwind(AssertUnwindSafe(|| self.reconciler.reconcile(request))) {
            Ok(future) => future,
            Err(panic) => return Ended::Panicked(panic),
        };
        let mut future = pin!(Some(future));
        let clock = &self.queue.0.clock;
        let mut limit = self
            .timeout
            .map(|limit| clock.sleep_until(started.saturating_add(limit)));
        let ended = poll_fn(|cx| {
            let polled = future.as_mut().as_pin_mut();
            let polled = polled.map_or(Poll::Pending, |future| poll_caught(future, cx));
            if let Poll::Ready(result) = polled {
                return Poll::Ready(result.map_or_else(Ended::Panicked, Ended::Returned));
            }
            match &mut limit {
                Some(limit) => Pin::new(limit).poll(cx).map(|()| Ended::TimedOut),
                None => Poll::Pending,
            }
        })
        .await;
        // Drops what the future holds: the reconciler's destructors, which may panic too.
        let dropped = catch_unwind(AssertUnwindSafe(|| future.set(None)));
        dropped.map_or_else(Ended::Panicked, |()| ended)
    }

    /// Maps the end of a reconcile to the key's next state. Only what the reconciler asked for
    /// clears the failure count.
    fn conclude(&self, work: Work<K, C, S>, id: u64, ended: Ended) -> ReconcileResult {
        match ended {
            Ended::Returned(Ok(Action(NextRun::Never))) => {
                work.done();
                ReconcileResult::Success
            }
            Ended::Returned(Ok(Action(NextRun::After(delay)))) => {
                work.requeue_after(delay);
                if delay.is_zero() {
                    ReconcileResult::Requeue
                } else {
                    ReconcileResult::RequeueAfter
                }
            }
            Ended::Returned(Ok(Action(NextRun::Deferred(delay)))) => {
                work.defer(delay);
                ReconcileResult::Deferred
            }
            Ended::Returned(Err(error)) => {
                self.fail(work, id, Cause::Error(&error));
                if error.is_terminal() {
                    ReconcileResult::TerminalError
                } else {
                    ReconcileResult::Error
                }
            }
            Ended::Panicked(panic) => {
                self.fail(work, id, Cause::Panic(panic_message(&*panic)));
                ReconcileResult::Panic
            }
            Ended::TimedOut => {
                self.fail(work, id, Cause::TimedOut);
                ReconcileResult::Timeout
            }
        }
    }

    /// Calls the hooks for a failure, and for a key that is given up.
    fn fail(&self, work: Work<K, C, S>, id: u64, cause: Cause<'_>) {
        let (own, is_terminal) = match cause {
            Cause::Error(error) => (error.delay, error.is_terminal()),
            Cause::Panic(_) | Cause::TimedOut => (None, false),
        };
        let tell = |key: &K, attempt, retry_after| {
            if let Some(on_failure) = &self.on_failure {
                on_failure(&Failure {
                    key,
                    cause,
                    attempt,
                    retry_after,
                    id,
                });
            }
        };
        if let Some(key) = work.end_failed(own, is_terminal, tell) {
            #[cfg(feature = "tracing")]
            if !is_terminal {
                let (controller, request_id, resource_key) = (self.name.as_str(), id, &key);
                tracing::error!(
                    controller,
                    request_id,
                    ?resource_key,
                    "given up after its last attempt"
                );
            }
            if let Some(dead_letters) = &self.dead_letters {
                dead_letters(key);
            }
        }
    }

    #[cfg(feature = "tracing")]
    fn log(&self, work: &Work<K, C, S>, request_id: u64, ended: &Ended) {
        let (controller, resource_key) = (self.name.as_str(), &**work);
        match ended {
            Ended::Returned(Ok(action)) => {
                tracing::debug!(controller, request_id, ?resource_key, ?action, "reconciled");
            }
            Ended::Returned(Err(error)) => {
                let terminal = error.is_terminal();
                tracing::warn!(controller, request_id, ?resource_key, %error, terminal, "reconcile failed");
            }
            Ended::Panicked(panic) => {
                let panic = panic_message(&**panic);
                tracing::error!(
                    controller,
                    request_id,
                    ?resource_key,
                    panic,
                    "reconcile panicked"
                );
            }
            Ended::TimedOut => {
                tracing::warn!(controller, request_id, ?resource_key, "reconcile timed out");
            }
        }
    }
}

/// Polls the future; a panic is an output, after which the future must not be polled.
fn poll_caught<F: Future>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<thread::Result<F::Output>> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
