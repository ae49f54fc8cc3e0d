//! Adds, gets and the end of work on a queue.

use std::collections::{BTreeMap, VecDeque};

use tollgate::{ManualClock, Work, WorkQueue};

use crate::{CALLS, Call, Recorder, assert_linearizable, record, scramble};

/// A call on the queue. A thread finishes only the key that it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueueOp {
    Add(u8),
    Get,
    Done(u8),
}

/// The sequential queue: for each live key `Some(dirty)` while it is processed; and the ready keys in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequential {
    live: BTreeMap<u8, Option<bool>>,
    ready: VecDeque<u8>,
}

const CAPACITY: usize = 2;

/// Applies a call. A get returns its key, if any; an add returns `None` if the queue is full.
pub(crate) fn step(queue: &mut Sequential, op: &QueueOp) -> Option<u8> {
    match *op {
        QueueOp::Add(key) => {
            let room = queue.live.len() < CAPACITY;
            match queue.live.get_mut(&key) {
                Some(Some(dirty)) => *dirty = true,
                Some(None) => {}
                None if !room => return None,
                None => {
                    queue.live.insert(key, None);
                    queue.ready.push_back(key);
                }
            }
            Some(key)
        }
        QueueOp::Get => {
            let key = queue.ready.pop_front()?;
            queue.live.insert(key, Some(false));
            Some(key)
        }
        QueueOp::Done(key) => {
            if queue.live.remove(&key) == Some(Some(true)) {
                queue.live.insert(key, None);
                queue.ready.push_back(key);
            }
            Some(key)
        }
    }
}

type TestQueue = WorkQueue<u8, ManualClock>;

/// Runs the calls of one thread: adds, gets, and the end of the work that it holds.
fn use_queue(queue: &TestQueue, recorder: &Recorder, seed: u64) -> Vec<Call<QueueOp, Option<u8>>> {
    let (mut held, mut calls) = (None, Vec::new());
    let done = |work: Work<u8, ManualClock>| {
        let key = *work;
        recorder.call(QueueOp::Done(key), |_| {
            work.done();
            Some(key)
        })
    };
    for i in 0..CALLS {
        let seed = scramble(seed * CALLS + i);
        let key = u8::try_from(seed / 2 % 3).unwrap();
        calls.push(if seed.is_multiple_of(2) {
            recorder.call(QueueOp::Add(key), |_| queue.try_add(key).ok().map(|()| key))
        } else if let Some(work) = held.take() {
            done(work)
        } else {
            recorder.call(QueueOp::Get, |_| {
                held = queue.try_get();
                held.as_deref().copied()
            })
        });
    }
    calls.extend(held.map(done));
    calls
}

#[test]
fn the_queue_is_linearizable() {
    let subject = || {
        let builder = WorkQueue::builder(CAPACITY).clock(ManualClock::new());
        let queue: TestQueue = builder.build().unwrap();
        (queue, Recorder::default())
    };
    record(
        subject,
        |(queue, recorder), seed| use_queue(queue, recorder, seed),
        |history| assert_linearizable(&Sequential::default(), history, step),
    );
}
