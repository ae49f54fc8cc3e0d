//! Keys that know whether they have been dropped, in a queue whose workers outlive it: what the property
//! test, the fuzzer and its seeds run.
//!
//! There is no model of what the queue answers. After each operation, every key that is held has to be
//! the one that was handed out, at its address, and held once; at the end, every key has to be dropped.

mod tracked_key;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tollgate::queue::Revive;
use tollgate::{FixedBackoff, ManualClock, Work, WorkQueue};

pub(crate) use tracked_key::Call;
use tracked_key::{Key, NEXT, OnPurpose, TRAP, live};

type Queue = WorkQueue<Key, ManualClock>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) capacity: usize,
    pub(crate) keeps_newest: bool,
    pub(crate) remembers: bool,
    pub(crate) has_interval: bool,
    pub(crate) is_grouped: bool,
    /// All keys have one hash.
    pub(crate) collides: bool,
}

/// How the work on a key ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Done,
    DoneAndGet,
    Requeue,
    RequeueAfter(u8),
    Retry,
    Fail,
    Drop,
}

/// An operation. A `usize` picks one of the keys that are held, if there is any; a duration is in
/// milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Add(u8),
    AddAfter(u8, u8),
    /// Adds so many keys, which need several chunks of slots.
    AddMany(u8),
    AddRelated(usize, u8),
    Get,
    GetBatch(u8),
    /// Gets a batch and is done with it.
    RunBatch(u8),
    End(usize, End),
    /// Ends work on another thread than the one that got it.
    EndElsewhere(usize, End),
    /// Leaks the work: it is never ended, also after the queue has gone.
    Leak(usize),
    Remove(u8),
    /// Another thread adds and removes two keys and runs one, while this one reads what it holds.
    Beside(u8, u8),
    Snapshot,
    Advance(u8),
    Close,
    ShutDown,
    /// Drops the handle of the queue, and has another queue.
    NewQueue,
    /// Lets the key's code panic in the next operation, after so many calls.
    Trap(Call, u8),
}

struct Held {
    work: Work<Key, ManualClock>,
    queue: u64,
    name: u8,
    number: u64,
    address: usize,
}

impl Held {
    fn new(work: Work<Key, ManualClock>, queue: u64) -> Self {
        work.check();
        Self {
            queue,
            name: work.name,
            number: work.copy,
            address: ptr::from_ref(&*work).addr(),
            work,
        }
    }

    fn check(&self) {
        let address = ptr::from_ref(&*self.work).addr();
        assert_eq!(address, self.address, "it moved");
        self.work.check();
        let (name, number) = (self.work.name, self.work.copy);
        assert_eq!((name, number), (self.name, self.number), "it was replaced");
    }
}

struct Run {
    config: Config,
    clock: ManualClock,
    /// Of all keys of this run.
    number: u64,
    queue: Queue,
    queues: u64,
    held: Vec<Held>,
    leaked: Vec<Held>,
}

impl Run {
    fn new(config: Config) -> Self {
        let clock = ManualClock::new();
        Self {
            config,
            queue: queue(config, &clock),
            clock,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            queues: 0,
            held: Vec::new(),
            leaked: Vec::new(),
        }
    }

    fn key(&self, name: u8) -> Key {
        Key::new(self.number, name, self.config.collides)
    }

    fn hold(&mut self, works: impl IntoIterator<Item = Work<Key, ManualClock>>) {
        let held = works.into_iter().map(|work| Held::new(work, self.queues));
        self.held.extend(held);
    }

    fn pick(&mut self, pick: usize) -> Option<Held> {
        let len = self.held.len();
        (len > 0).then(|| self.held.swap_remove(pick % len))
    }

    /// Ends work. What comes of `DoneAndGet` is of the queue of that work.
    fn end(&mut self, pick: usize, end: End, elsewhere: bool) {
        let Some(Held { work, queue, .. }) = self.pick(pick) else {
            return;
        };
        let next = if elsewhere {
            thread::scope(|scope| match scope.spawn(move || ended(work, end)).join() {
                Ok(next) => next,
                Err(panic) => resume_unwind(panic),
            })
        } else {
            ended(work, end)
        };
        self.held.extend(next.map(|work| Held::new(work, queue)));
    }

    fn op(&mut self, op: Op) {
        let queue = &self.queue;
        match op {
            Op::Add(name) => drop(queue.try_add(self.key(name))),
            Op::AddAfter(name, delay) => drop(queue.try_add_after(self.key(name), millis(delay))),
            Op::AddMany(count) => {
                for name in 0..count {
                    drop(queue.try_add(self.key(name)));
                }
            }
            Op::AddRelated(pick, name) => {
                if let Some(held) = pick.checked_rem(self.held.len()) {
                    drop(self.held[held].work.add_related(self.key(name)));
                }
            }
            Op::Get => {
                let work = queue.try_get();
                self.hold(work);
            }
            Op::GetBatch(max) => {
                let batch = queue.try_get_batch(max.into());
                self.hold(batch.into_iter().flatten());
            }
            Op::RunBatch(max) => {
                if let Some(batch) = queue.try_get_batch(max.into()) {
                    batch.keys().for_each(Key::check);
                    batch.done();
                }
            }
            Op::End(pick, end) => self.end(pick, end, false),
            Op::EndElsewhere(pick, end) => self.end(pick, end, true),
            Op::Leak(pick) => {
                let leaked = self.pick(pick);
                self.leaked.extend(leaked);
            }
            Op::Remove(name) => drop(queue.remove(&self.key(name))),
            Op::Beside(first, second) => self.beside(first, second),
            Op::Snapshot => drop(queue.snapshot()),
            Op::Advance(delay) => self.clock.advance(millis(delay)),
            Op::Close => drop(queue.close()),
            Op::ShutDown => drop(queue.shutdown_now()),
            Op::NewQueue => {
                self.queues += 1;
                let new = self::queue(self.config, &self.clock);
                drop(std::mem::replace(&mut self.queue, new));
            }
            Op::Trap(..) => {}
        }
    }

    fn beside(&self, first: u8, second: u8) {
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                for name in [first, second] {
                    drop(self.queue.try_add(self.key(name)));
                    self.queue.remove(&self.key(name));
                    drop(self.queue.try_add(self.key(name)));
                }
                self.queue.try_get().into_iter().for_each(Work::done);
            });
            loop {
                let held = self.held.iter().chain(&self.leaked);
                held.for_each(|held| held.work.read());
                if other.is_finished() {
                    break;
                }
            }
        });
    }

    fn check(&self) {
        let mut names = HashSet::new();
        for held in self.held.iter().chain(&self.leaked) {
            held.check();
            assert!(names.insert((held.queue, held.name)), "it is held twice");
        }
    }

    /// Drops all but what was leaked, then that: the same to the queue as if it stayed for ever, but no
    /// leak to a leak checker.
    fn finish(self) {
        let (number, leaked) = (self.number, self.leaked);
        drop(self.held);
        drop(self.queue);
        leaked.iter().for_each(Held::check);
        drop(leaked);
        let left = live(|live| live.range((number, 0)..=(number, u64::MAX)).next().copied());
        assert_eq!(left, None, "a key is never dropped");
    }
}

fn queue(config: Config, clock: &ManualClock) -> Queue {
    let builder = WorkQueue::builder(config.capacity).clock(clock.clone());
    let mut builder = builder
        .backoff(FixedBackoff::new(millis(3)))
        .max_attempts(2);
    if config.keeps_newest {
        builder = builder.keep_newest();
    }
    if config.remembers {
        builder = builder.remember_given_up(Revive::Once, millis(50));
    }
    if config.has_interval {
        builder = builder.min_interval(millis(4));
    }
    if config.is_grouped {
        builder = builder.group_by(|key: &Key| {
            key.check();
            key.name % 3
        });
    }
    builder.build().unwrap()
}

fn ended(work: Work<Key, ManualClock>, end: End) -> Option<Work<Key, ManualClock>> {
    match end {
        End::Done => work.done(),
        End::DoneAndGet => return work.done_and_get(),
        End::Requeue => work.requeue(),
        End::RequeueAfter(delay) => work.requeue_after(millis(delay)),
        End::Retry => drop(work.retry()),
        End::Fail => drop(work.fail()),
        End::Drop => drop(work),
    }
    None
}

fn millis(delay: u8) -> Duration {
    Duration::from_millis(delay.into())
}

/// Runs the operations on a queue.
///
/// # Panics
/// If a key is used after its drop, dropped twice or not at all, moved or replaced while it is held, or
/// held twice.
pub(crate) fn run(config: Config, ops: &[Op]) {
    let mut run = Run::new(config);
    for &op in ops {
        if let Op::Trap(call, after) = op {
            TRAP.set(Some((call, after)));
            continue;
        }
        let done = catch_unwind(AssertUnwindSafe(|| run.op(op)));
        TRAP.set(None);
        if let Err(panic) = done
            && !panic.is::<OnPurpose>()
        {
            resume_unwind(panic);
        }
        run.check();
    }
    TRAP.set(None);
    run.finish();
}
