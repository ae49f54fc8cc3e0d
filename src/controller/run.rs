//! One reconcile: its panics, its time limit, and what becomes of the key.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

use super::{Action, Controller, ReconcileError, Reconciler, Request};
use crate::clock::{Timer, Timestamp};
use crate::observe::ReconcileResult;
use crate::queue::Work;

enum Ended {
    Returned(Result<Action, ReconcileError>),
    #[cfg_attr(
        not(feature = "tracing"),
        expect(dead_code, reason = "its message goes to the log")
    )]
    Panicked(Box<dyn Any + Send>),
    TimedOut,
}

impl<K, R, C, S> Controller<K, R, C, S>
where
    K: fmt::Debug,
    R: Reconciler<K>,
    C: Timer,
{
    /// Works on one key to its end.
    pub(super) async fn process(&self, work: Work<K, C, S>, id: u64) {
        let started = self.queue.clock().now();
        let request = Request {
            key: &*work,
            failures: work.failures(),
            id,
        };
        let ended = self.attempt(request, started).await;
        let took = self.queue.clock().now().saturating_since(started);
        self.log(&work, id, &ended);
        self.observer.reconciled(conclude(work, ended), took);
    }

    async fn attempt(&self, request: Request<'_, K>, started: Timestamp) -> Ended {
        let future = match catch_unwind(AssertUnwindSafe(|| self.reconciler.reconcile(request))) {
            Ok(future) => future,
            Err(panic) => return Ended::Panicked(panic),
        };
        let mut future = pin!(future);
        let clock = self.queue.clock();
        let mut limit = self
            .timeout
            .map(|limit| clock.sleep_until(started.saturating_add(limit)));
        poll_fn(|cx| {
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(Poll::Ready(result)) => return Poll::Ready(Ended::Returned(result)),
                Ok(Poll::Pending) => {}
                Err(panic) => return Poll::Ready(Ended::Panicked(panic)),
            }
            match &mut limit {
                Some(limit) => Pin::new(limit).poll(cx).map(|()| Ended::TimedOut),
                None => Poll::Pending,
            }
        })
        .await
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
                tracing::warn!(
                    controller,
                    request_id,
                    ?resource_key,
                    "reconcile took too long"
                );
            }
        }
    }

    #[cfg(not(feature = "tracing"))]
    #[expect(clippy::unused_self, reason = "as with the feature `tracing`")]
    fn log(&self, _: &Work<K, C, S>, _: u64, _: &Ended) {}
}

/// An error comes first, whatever else was said; only what was asked for clears the failures.
fn conclude<K, C: Timer, S>(work: Work<K, C, S>, ended: Ended) -> ReconcileResult {
    match ended {
        Ended::Returned(Ok(Action(None))) => {
            work.done();
            ReconcileResult::Success
        }
        Ended::Returned(Ok(Action(Some(delay)))) => {
            work.requeue_after(delay);
            if delay.is_zero() {
                ReconcileResult::Requeue
            } else {
                ReconcileResult::RequeueAfter
            }
        }
        Ended::Returned(Err(error)) if error.is_terminal() => {
            work.fail();
            ReconcileResult::TerminalError
        }
        Ended::Returned(Err(_)) => {
            work.retry();
            ReconcileResult::Error
        }
        Ended::Panicked(_) => {
            work.retry();
            ReconcileResult::Panic
        }
        Ended::TimedOut => {
            work.retry();
            ReconcileResult::Timeout
        }
    }
}

#[cfg(feature = "tracing")]
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
