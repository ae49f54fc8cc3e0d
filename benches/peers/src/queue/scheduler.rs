//! kube-runtime's scheduler, the queue of its controllers.

use std::pin::Pin;
use std::task::Context;

use futures::stream::Map;
use futures::{Stream, StreamExt};
use kube_runtime::scheduler::{self, ScheduleRequest, scheduler};

use super::streamed::{Request, Streamed};

/// `kube_runtime::scheduler`.
pub struct Scheduler;

type Requests<R> = Map<R, fn(Request) -> ScheduleRequest<String>>;

fn to_schedule((message, run_at): Request) -> ScheduleRequest<String> {
    ScheduleRequest { message, run_at }
}

impl Streamed for Scheduler {
    type Keys<R: Stream<Item = Request> + Unpin> = scheduler::Scheduler<String, Requests<R>>;

    fn over<R: Stream<Item = Request> + Unpin>(requests: R) -> Self::Keys<R> {
        scheduler(requests.map(to_schedule))
    }

    fn settle<R: Stream<Item = Request> + Unpin>(
        keys: &mut Self::Keys<R>,
        context: &mut Context<'_>,
    ) {
        // Moves due keys to the scheduler's held list, as while no worker is free.
        let held = Pin::new(keys).hold().poll_next_unpin(context);
        debug_assert!(held.is_pending());
    }
}
