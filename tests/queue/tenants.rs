//! A day of an operator in virtual time: 10,000 objects of 50 tenants. The objects of one tenant always fail
//! and write a status; those of another flood the queue. The tests bound how long the other tenants wait.
//!
//! `cargo test --release --test queue tenants -- --ignored --nocapture` prints the table of a day; the test
//! that always runs covers half an hour.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use tollgate::{ExponentialBackoff, ManualClock, Priority, Timestamp, Work, WorkQueue};

type Object = (u32, u32);

const TENANTS: u32 = 50;
const OBJECTS: u32 = 200;
const FAILING: u32 = 0;
const FLOODING: u32 = 1;
const WORKERS: usize = 4;
/// A reconcile, in milliseconds, as all times here.
const RUN: u64 = 80;
/// From a status write to its watch event.
const WATCH: u64 = 5;
/// Between two polls of the queue for due keys.
const POLL: u64 = 20;
const MAX_BACKOFF: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker has reconciled an object.
    Done(Object),
    /// A watch event of a change.
    Changed(Object),
    /// A watch event of the status write of a failed run.
    StatusWritten(Object),
    /// A resync lists all objects.
    Resync,
    /// Due keys may start.
    Poll,
}

/// A pseudo-random generator with a fixed seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }
}

struct Day {
    clock: ManualClock,
    queue: WorkQueue<Object, ManualClock>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    held: HashMap<Object, Work<Object, ManualClock>>,
    /// When each object was changed that has not started since.
    changed: HashMap<Object, u64>,
    waits: HashMap<u32, Vec<u64>>,
    runs: HashMap<Object, u64>,
    dice: Dice,
}

impl Day {
    fn new(has_groups: bool, holds_backoff: bool) -> Self {
        let clock = ManualClock::new();
        let (first, max) = (Duration::from_secs(1), Duration::from_millis(MAX_BACKOFF));
        let mut builder = WorkQueue::builder(20_000)
            .clock(clock.clone())
            .backoff(ExponentialBackoff::new(first, max).jitter(0));
        if holds_backoff {
            builder = builder.hold_backoff();
        }
        if has_groups {
            builder = builder.group_by(|object: &Object| object.0);
        }
        Self {
            queue: builder.build().unwrap(),
            clock,
            events: BinaryHeap::new(),
            held: HashMap::new(),
            changed: HashMap::new(),
            waits: HashMap::new(),
            runs: HashMap::new(),
            dice: Dice(1),
        }
    }

    fn at(&mut self, millis: u64, event: Event) {
        self.events.push(Reverse((millis, event)));
    }

    fn run(&mut self, until: u64) {
        self.at(0, Event::Resync);
        self.at(0, Event::Poll);
        for object in 0..OBJECTS {
            self.at(0, Event::Changed((FLOODING, object)));
        }
        // One object of the other tenants changes each second.
        for second in 0..until / 1_000 {
            let tenant = 2 + self.dice.below(u64::from(TENANTS) - 2) as u32;
            let object = self.dice.below(OBJECTS.into()) as u32;
            let at = second * 1_000 + self.dice.below(1_000);
            self.at(at, Event::Changed((tenant, object)));
        }
        while let Some(Reverse((now, event))) = self.events.pop()
            && now < until
        {
            self.clock.set(Timestamp::from_nanos(now * 1_000_000));
            self.handle(event, now);
            self.start_ready(now);
        }
    }

    fn handle(&mut self, event: Event, now: u64) {
        match event {
            Event::Poll => self.at(now + POLL, Event::Poll),
            Event::Resync => {
                for tenant in 0..TENANTS {
                    for object in 0..OBJECTS {
                        let low = Priority::LOW;
                        self.queue.try_add_with((tenant, object), low).unwrap();
                    }
                }
                self.at(now + 3_600_000, Event::Resync);
            }
            Event::Changed(object) => {
                self.changed.entry(object).or_insert(now);
                self.queue.try_add(object).unwrap();
            }
            Event::StatusWritten(object) => self.queue.try_add(object).unwrap(),
            Event::Done(object) => {
                let work = self.held.remove(&object).unwrap();
                match object.0 {
                    FAILING => {
                        assert!(work.retry().is_none());
                        self.at(now + WATCH, Event::StatusWritten(object));
                    }
                    FLOODING => {
                        work.done();
                        self.at(now + WATCH, Event::Changed(object));
                    }
                    _ => work.done(),
                }
            }
        }
    }

    fn start_ready(&mut self, now: u64) {
        while self.held.len() < WORKERS
            && let Some(work) = self.queue.try_get()
        {
            let object = *work;
            if let Some(changed) = self.changed.remove(&object) {
                let tenant = self.waits.entry(object.0.min(2)).or_default();
                tenant.push(now - changed);
            }
            *self.runs.entry(object).or_default() += 1;
            self.held.insert(object, work);
            self.at(now + RUN, Event::Done(object));
        }
    }

    /// The percentile of the waits of one kind of tenant, in milliseconds.
    fn wait(&mut self, tenants: u32, percent: usize) -> u64 {
        let waits = self.waits.entry(tenants).or_default();
        waits.sort_unstable();
        waits.get(waits.len() * percent / 100).copied().unwrap_or(0)
    }

    fn max_runs_of_a_failing_object(&self) -> u64 {
        let failing = self
            .runs
            .iter()
            .filter(|((tenant, _), _)| *tenant == FAILING);
        failing.map(|(_, runs)| *runs).max().unwrap_or(0)
    }
}

/// The runs that a backoff allows that doubles from a second to its maximum.
fn allowed(until: u64) -> u64 {
    let (mut at, mut backoff, mut runs) = (0, 1_000, 1);
    loop {
        at += RUN + backoff;
        if at > until {
            return runs;
        }
        runs += 1;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

fn row(name: &str, has_groups: bool, holds_backoff: bool, until: u64) -> (u64, u64) {
    let mut day = Day::new(has_groups, holds_backoff);
    day.run(until);
    let others = [50, 99].map(|percent| day.wait(2, percent));
    let flood = day.wait(FLOODING, 99);
    let failing = day.max_runs_of_a_failing_object();
    println!(
        "| {name} | {} | {} | {flood} | {failing} | {} |",
        others[0],
        others[1],
        allowed(until)
    );
    (others[1], failing)
}

fn table(until: u64) {
    println!(
        "| queue | others: p50, ms | others: p99, ms | the flood: p99, ms | runs of a failing object | its backoff allows |\n\
         |---|---:|---:|---:|---:|---:|"
    );
    row("no groups, events cut a backoff", false, false, until);
    row("no groups, backoffs are held", false, true, until);
    row("by tenant, events cut a backoff", true, false, until);
    let (p99, failing) = row("by tenant, backoffs are held", true, true, until);
    assert!(p99 < 1_000, "{p99} ms");
    assert!(failing <= allowed(until), "{failing} runs");
}

#[test]
fn tenants_are_isolated_from_those_that_fail_or_flood() {
    table(30 * 60 * 1_000);
}

#[test]
#[ignore = "takes a minute or more"]
fn tenants_are_isolated_for_a_whole_day() {
    table(24 * 3_600 * 1_000);
}
