//! The caller's code in a queue. Each call of it panics once, after which no key and no room is lost and every
//! waiter is served; the calls that run without the lock may also call the queue again.
#![allow(
    dropping_copy_types,
    clippy::unnecessary_operation,
    reason = "each row is one expression without an output"
)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tollgate::queue::{Groups, Revive};
use tollgate::{AddError, AddOptions, AtomicTokenBucket, Priority, RateLimiter, Work, WorkQueue};

use crate::trap::{
    self, ALL, Call, Key, Name, OUTSIDE, TrapCallbacks, TrapClock, TrapHasher, Waiter, trapped,
    without_deadlock,
};

type Queue = WorkQueue<Key, TrapClock, TrapHasher>;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const CAPACITY: usize = 4;
const MS: Duration = Duration::from_millis(1);

/// The queue of an operation: key 1 is in flight, 2 and 4 are ready, 3 is delayed.
struct Subject<'a> {
    queue: &'a Queue,
    work: RefCell<Option<Work<Key, TrapClock, TrapHasher>>>,
    /// The keys that were processed or returned.
    out: RefCell<Vec<u64>>,
}

impl Subject<'_> {
    fn work(&self) -> Work<Key, TrapClock, TrapHasher> {
        self.work.borrow_mut().take().unwrap()
    }

    fn out(&self, key: &Key) {
        self.out.borrow_mut().push(key.0.0);
    }

    fn all_out(&self, keys: Vec<Key>) {
        keys.iter().for_each(|key| self.out(key));
    }
}

fn key(name: u64) -> Key {
    Key(Name(name))
}

type Op = fn(&Subject<'_>);

/// Each operation, and the keys that it may finish or remove.
const OPS: &[(&str, &[u64], Op)] = &[
    ("add", &[], |s| {
        for name in 1..6 {
            let _ = s.queue.try_add(key(name));
        }
    }),
    ("add after", &[], |s| {
        for name in 1..6 {
            let _ = s.queue.try_add_after(key(name), MS);
        }
    }),
    ("add with", &[], |s| {
        for name in 1..6 {
            let _ = s.queue.try_add_with(key(name), Priority::HIGH);
        }
    }),
    ("add a batch", &[], |s| {
        let refused = s.queue.try_add_batch((1..8).map(key), AddOptions::new());
        drop(refused);
    }),
    ("add or resync", &[], |s| {
        drop(s.queue.try_add_or_resync(key(7), AddOptions::new()));
        s.queue.try_resync();
        Waiter::new(s.queue.resync()).poll();
    }),
    ("wait to add", &[], |s| {
        let mut waiter = Waiter::new(s.queue.add(key(7)));
        waiter.poll();
        waiter.poll();
        drop(s.queue.add_timeout(key(8), Duration::ZERO).wait());
    }),
    ("get", &[2], |s| {
        if let Some(work) = s.queue.try_get() {
            s.out(&work);
            work.done();
        }
    }),
    ("get, drop", &[], |s| drop(s.queue.try_get())),
    ("wait to get", &[], |s| {
        let mut waiters = [(); 4].map(|()| Waiter::new(s.queue.get()));
        for waiter in &mut waiters {
            drop(waiter.poll());
            drop(waiter.poll());
        }
    }),
    ("batch", &[2, 4], |s| {
        if let Some(batch) = s.queue.try_get_batch(9) {
            batch.keys().for_each(|key| s.out(key));
            batch.done();
        }
    }),
    ("batch, drop", &[], |s| drop(s.queue.try_get_batch(9))),
    ("wait for a batch", &[], |s| {
        let mut waiters = [(); 2].map(|()| Waiter::new(s.queue.get_batch(9)));
        for waiter in &mut waiters {
            drop(waiter.poll());
        }
    }),
    ("done", &[1], |s| s.work().done()),
    ("done while dirty", &[], |s| {
        drop(s.queue.try_add(key(1)));
        s.work().done();
    }),
    ("fail", &[1], |s| {
        s.all_out(s.work().fail().into_iter().collect())
    }),
    ("defer", &[], |s| s.work().defer(Duration::ZERO)),
    ("retry", &[], |s| drop(s.work().retry())),
    ("requeue", &[], |s| s.work().requeue()),
    ("requeue after", &[], |s| s.work().requeue_after(MS)),
    ("drop", &[], |s| drop(s.work())),
    ("done and get", &[1], |s| drop(s.work().done_and_get())),
    ("dirtied", &[], |s| {
        let work = s.work();
        let mut waiter = Waiter::new(work.dirtied());
        waiter.poll();
        drop(s.queue.try_add(key(1)));
        waiter.poll();
        work.is_dirty();
        drop(work.add_related(key(7)));
    }),
    ("remove", &[1, 2, 3, 4], |s| {
        for name in [Name(1), Name(2), Name(3), Name(9)] {
            s.queue.remove(&name);
        }
        s.queue.remove(&key(4));
    }),
    ("snapshot", &[], |s| drop(s.queue.snapshot())),
    ("reads", &[], |s| {
        s.queue.stats();
        s.queue.pause();
        s.queue.resume();
    }),
    ("close", &[], |s| s.all_out(s.queue.close().returned)),
    ("shutdown", &[], |s| {
        s.all_out(s.queue.shutdown_now().returned)
    }),
    ("drain", &[], |s| {
        let mut waiter = Waiter::new(s.queue.drain(MS));
        if let Some(drained) = waiter.poll() {
            s.all_out(drained.returned);
        }
    }),
    // A waker that panics after the poll drops the keys that the poll has returned.
    ("drain in time", &[1, 2, 3, 4], |s| {
        let mut waiter = Waiter::new(s.queue.drain(MS));
        waiter.poll();
        s.work().done();
        while let Some(work) = s.queue.try_get() {
            s.out(&work);
            work.done();
        }
        if let Some(drained) = waiter.poll() {
            s.all_out(drained.returned);
        }
    }),
];

/// Runs an operation with the n-th call trapped; returns false if there were fewer calls.
fn run_trapped(
    n: usize,
    calls: &'static [Call],
    reenters: bool,
    (capacity, is_grouped): (usize, bool),
    op: usize,
) -> bool {
    let (name, ends, op) = OPS[op];
    let clock = TrapClock::default();
    let queue = trapped_queue(capacity, is_grouped, &clock);
    let mut getter = Waiter::pending(queue.get());
    assert!((1..3).all(|name| queue.try_add(key(name)).is_ok()));
    let held = getter.poll().unwrap().unwrap();
    assert_eq!(held.0.0, 1);
    queue.try_add_after(key(3), MS).unwrap();
    queue.try_add(key(4)).unwrap();
    let mut adder = Waiter::new(queue.add(key(5)));
    let added = adder.poll();
    // With room left no adder waits; instead two consumers wait, while the queue is paused.
    let mut getters = Vec::new();
    if added.is_some() {
        queue.pause();
        getters.extend((0..2).map(|_| Waiter::pending(queue.get())));
        queue.resume();
    }
    let subject = Subject {
        queue: &queue,
        work: RefCell::new(Some(held)),
        out: RefCell::default(),
    };
    let again = queue.clone();
    let action: Rc<dyn Fn()> = Rc::new(move || {
        again.stats();
        let _ = again.try_add(key(300));
        again.remove(&Name(300));
    });
    let action = reenters.then_some(action);
    let (fired, panicked) = trapped(n, calls, action, || op(&subject));
    let context =
        format!("{name}, call {n}: {panicked:?}, capacity {capacity}, grouped: {is_grouped}");
    assert_eq!(panicked.is_some(), fired && !reenters, "{context}");
    let Subject { work, out, .. } = subject;
    drop(work.into_inner());
    let mut out = out.into_inner();
    out.extend(ends);
    // The waiting consumers get their keys, and drop them.
    for getter in &mut getters {
        drop(getter.poll());
    }
    drop(getters);
    let ended = run_all(&queue, &clock, &mut adder, &mut out, &context);
    assert!(!adder.is_alive(), "{context}: the adder is lost");
    assert!(added.is_some() || ended == 1, "{context}");
    drop(adder);
    assert_no_room_is_lost(&queue, capacity, &context);
    out.extend(queue.shutdown_now().returned.iter().map(|key| key.0.0));
    for name in 1..6 {
        assert!(out.contains(&name), "{context}: {name} is lost");
    }
    fired
}

/// A queue all of whose callers' code may be trapped.
fn trapped_queue(capacity: usize, is_grouped: bool, clock: &TrapClock) -> Queue {
    let builder = WorkQueue::builder(capacity)
        .clock(clock.clone())
        .hasher(TrapHasher)
        .backoff(TrapCallbacks)
        .observer(Arc::new(TrapCallbacks));
    let builder = if is_grouped {
        let builder = builder.remember_given_up(Revive::Once, DAY / 2);
        builder.groups(groups(clock))
    } else {
        builder
    };
    builder.build().unwrap()
}

/// Runs all keys, and polls the adder beside them. Returns how often the adder ended.
fn run_all(
    queue: &Queue,
    clock: &TrapClock,
    adder: &mut Waiter<'_, Result<(), AddError<Key>>>,
    out: &mut Vec<u64>,
    context: &str,
) -> usize {
    let mut ended = 0;
    for _ in 0..40 {
        clock.0.advance(DAY);
        while let Some(work) = queue.try_get() {
            assert!(work.0.0 != 300, "{context}: a removed key was handed out");
            out.push(work.0.0);
            work.done();
        }
        let over = adder.poll();
        ended += usize::from(over.is_some());
        if let Some(Err(AddError::Closed(key) | AddError::Full(key))) = over {
            out.push(key.0.0);
        }
    }
    ended
}

/// The queue is empty; fills it, unless it is closed.
fn assert_no_room_is_lost(queue: &Queue, capacity: usize, context: &str) {
    assert!(queue.is_empty(), "{context}: a key is left");
    if queue.is_closed() {
        return;
    }
    for name in 0..capacity as u64 {
        let room = queue.try_add(key(1_000 + name));
        assert_eq!(room, Ok(()), "{context}: room is lost");
    }
    assert!(queue.try_add(key(2_000)).is_err(), "{context}");
}

/// Two groups, each with a limiter that never denies here.
fn groups(clock: &TrapClock) -> Groups<Key, Key> {
    let clock = clock.clone();
    let limit = move |_: &Key| -> Option<Arc<dyn RateLimiter>> {
        trap::call(Call::Closure);
        let quota = "1000/s".parse().unwrap();
        Some(Arc::new(
            AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap(),
        ))
    };
    let groups = Groups::by(|key: &Key| {
        trap::call(Call::Closure);
        Key(Name(key.0.0 % 2))
    });
    let weight = |_: &Key| {
        trap::call(Call::Closure);
        1
    };
    groups.weight(weight).rate_limit(limit)
}

fn every_call(calls: &'static [Call], reenters: bool) {
    let configs = [(CAPACITY, false), (9, false), (CAPACITY, true), (9, true)];
    for config in configs {
        for (op, (name, ..)) in OPS.iter().enumerate() {
            if reenters && *name == "snapshot" {
                // A snapshot clones keys under the lock.
                continue;
            }
            (1..).find(|n| !run_trapped(*n, calls, reenters, config, op));
        }
    }
}

#[test]
fn a_panic_in_any_call_loses_no_key_and_no_room() {
    without_deadlock(|| every_call(ALL, false));
}

#[test]
fn keys_wakers_and_observers_may_call_the_queue() {
    without_deadlock(|| every_call(OUTSIDE, true));
}

#[test]
fn a_leader_whose_waker_panicked_is_woken_at_the_next_add() {
    let clock = TrapClock::default();
    let builder = WorkQueue::builder(CAPACITY).clock(clock.clone());
    let queue: Queue = builder.hasher(TrapHasher).build().unwrap();
    let mut leader = Waiter::pending(queue.get());
    let (_, panicked) = trapped(1, &[Call::CloneWaker], None, || {
        queue.try_add_after(key(1), MS).unwrap();
    });
    assert_eq!(panicked, Some(Call::CloneWaker));
    queue.try_add_after(key(2), 2 * MS).unwrap();
    assert_eq!(
        leader.woken(),
        1,
        "the leader has no timer for the earlier key"
    );
    clock.0.advance(MS);
    assert!(leader.poll().is_some());
}

/// Waits for a token and for a key with the n-th call trapped; returns false if there were fewer calls.
fn held_back(n: usize) -> bool {
    const HOUR: Duration = Duration::from_secs(3_600);
    let clock = TrapClock::default();
    let limiter = AtomicTokenBucket::with_clock("1/h".parse().unwrap(), clock.clone());
    let limiter = Arc::new(limiter.unwrap());
    limiter.try_acquire(1).unwrap();
    let builder = WorkQueue::builder(CAPACITY).hasher(TrapHasher);
    let builder = builder.clock(clock.clone()).rate_limit(limiter.clone());
    let queue: Queue = builder.build().unwrap();
    (1..3).for_each(|name| queue.try_add(key(name)).unwrap());
    let (fired, panicked) = trapped(n, ALL, None, || {
        let mut waiters = [(); 2].map(|()| Waiter::new(queue.get()));
        waiters.iter_mut().for_each(|waiter| drop(waiter.poll()));
        limiter.refund(1);
        waiters.iter_mut().for_each(|waiter| drop(waiter.poll()));
        clock.0.advance(HOUR);
        waiters.iter_mut().for_each(|waiter| drop(waiter.poll()));
    });
    let context = format!("call {n}: {panicked:?}");
    assert_eq!(panicked.is_some(), fired, "{context}");
    assert_eq!(
        limiter.status(1).waiting,
        0,
        "{context}: the queue stays in line"
    );
    let mut done = 0;
    for _ in 0..4 {
        clock.0.advance(DAY);
        if let Some(work) = queue.try_get() {
            work.done();
            done += 1;
        }
    }
    assert_eq!(done, 2, "{context}: a key or a token is lost");
    fired
}

#[test]
fn a_panic_in_a_rate_limited_queue_loses_no_key_and_no_token() {
    without_deadlock(|| {
        (1..).find(|n| !held_back(*n));
    });
}
