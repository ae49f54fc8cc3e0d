//! The workloads of queues, with 30-byte keys.

mod crowd;
mod rounds;

use hdrhistogram::Histogram;

use super::Bench;
use crate::measure::{Check, Contender, Row, Sample, interleave};
use crate::queue::{self, Delays, Queue, Shared};
use crate::report::{Body, Percentiles, Table, Unit};
use crate::subject::About;

use crowd::sides;

/// One round of a workload; returns the time of one key, or its bytes.
type Load = fn(&Bench) -> f64;

/// The workloads that a queue supports.
pub struct Loads {
    about: About,
    cycle: Load,
    batch: Load,
    fill_drain: Load,
    memory: Load,
    duplicate: Option<Load>,
    insert_delays: Option<Load>,
    lateness: Option<fn(&Bench) -> Histogram<u64>>,
    many: Option<Load>,
    check: Option<fn(usize) -> Check>,
}

impl Loads {
    /// The workloads of any queue.
    pub fn of<Q: Queue>(about: About) -> Self {
        Self {
            about,
            cycle: rounds::cycle::<Q>,
            batch: rounds::batch::<Q>,
            fill_drain: rounds::fill_drain::<Q>,
            memory: rounds::memory_a_key::<Q>,
            duplicate: None,
            insert_delays: None,
            lateness: None,
            many: None,
            check: None,
        }
    }

    /// Adds the workload of a queue that deduplicates keys.
    pub fn deduplicates<Q: Queue>(mut self) -> Self {
        self.duplicate = Some(rounds::duplicate::<Q>);
        self
    }

    /// Adds the workloads of a queue with delays.
    pub fn delays<Q: Delays>(mut self) -> Self {
        self.insert_delays = Some(rounds::insert_delays::<Q>);
        self.lateness = Some(rounds::lateness::<Q>);
        self
    }

    /// Adds the workloads of a queue for many threads.
    pub fn shared<Q: Shared>(mut self) -> Self {
        self.many = Some(crowd::many::<Q>);
        self.check = Some(crowd::check::<Q>);
        self
    }
}

/// One key at a time: add, take, finish.
pub fn cycles(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "queue-cycle",
        "Queue: add, take, finish, one key at a time",
        "The scheduler and DelayQueue round a deadline up to a millisecond, so they sleep for every single key.",
        |loads| Some(loads.cycle),
    )
}

/// A batch of keys at a time: add, take, finish.
pub fn batches(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = format!("Queue: add, take, finish, {} keys at a time", rounds::BATCH);
    times(
        bench,
        "queue-batch",
        &title,
        "A queue without batches gets one key after the other. The scheduler and DelayQueue sleep once per batch.",
        |loads| Some(loads.batch),
    )
}

/// Adds all keys, then takes and finishes all.
pub fn fill_drains(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = format!("Queue: fill with {} keys, then drain", bench.effort.queued);
    times(
        bench,
        "queue-fill-drain",
        &title,
        "A channel does not know its keys: it is the upper bound.",
        |loads| Some(loads.fill_drain),
    )
}

/// Adds a key that is already queued.
pub fn duplicates(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "queue-duplicate",
        "Queue: add a key that is already queued",
        "",
        |loads| loads.duplicate,
    )
}

/// Adds keys with delays.
pub fn delay_inserts(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = format!(
        "Queue: add {} keys with delays of up to 100 s",
        bench.effort.queued
    );
    times(bench, "queue-delay-insert", &title, "", |loads| {
        loads.insert_delays
    })
}

/// As many producers as consumers.
pub fn manies(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let sides = sides(bench);
    let title = format!("Queue: {sides} producers, {sides} consumers");
    let contenders = contenders(bench, |loads| loads.many);
    let mut rows = interleave(contenders, bench.effort.rounds, bench.progress)?;
    for loads in queue::all() {
        if let Some(check) = loads.check
            && let Some(row) = rows
                .iter_mut()
                .find(|row| row.about.name == loads.about.name)
        {
            row.check = check(sides);
        }
    }
    Ok(vec![Table {
        name: "queue-many".into(),
        title,
        note: "One task polls the scheduler and DelayQueue, so each has one consumer. All have room for all keys. The correctness check adds the same 8 keys over and over from all producers.".into(),
        body: Body::Rows(Unit::NanosAKey, rows),
    }])
}

/// The bytes of a waiting key.
pub fn memories(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let contenders = contenders(bench, |loads| Some(loads.memory));
    let rows: Vec<Row> = interleave(contenders, 1, bench.progress)?;
    Ok(vec![Table {
        name: "queue-memory".into(),
        title: format!(
            "Queue: bytes per waiting key beyond the key, {} keys",
            bench.effort.queued
        ),
        note: "Not counted: the 24 bytes of the `String` and its 30 bytes of text.".into(),
        body: Body::Rows(Unit::BytesAKey, rows),
    }])
}

/// The lateness of delayed keys.
pub fn delays(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let mut rows = Vec::new();
    for loads in queue::all() {
        let Some(lateness) = loads.lateness else {
            continue;
        };
        bench.progress.step(loads.about.name);
        rows.push(Percentiles::of(loads.about, &lateness(bench)));
    }
    Ok(vec![Table {
        name: "queue-delays".into(),
        title: format!(
            "Queue: lateness of {} keys due within {:?}, one consumer",
            bench.effort.many, bench.effort.due_within
        ),
        note: "All three count time in milliseconds and round up.".into(),
        body: Body::Percentiles(rows),
    }])
}

fn contenders<'a>(bench: &'a Bench, load: impl Fn(&Loads) -> Option<Load>) -> Vec<Contender<'a>> {
    let of = |loads: Loads| {
        let load = load(&loads)?;
        let round = move || {
            Ok(Sample {
                nanos: load(bench),
                check: Check::None,
            })
        };
        Some(Contender {
            about: loads.about,
            round: Box::new(round),
        })
    };
    queue::all().into_iter().filter_map(of).collect()
}

fn times(
    bench: &Bench,
    name: &'static str,
    title: &str,
    note: &str,
    load: impl Fn(&Loads) -> Option<Load>,
) -> anyhow::Result<Vec<Table>> {
    let rows = interleave(contenders(bench, load), bench.effort.rounds, bench.progress)?;
    Ok(vec![Table {
        name: name.into(),
        title: title.into(),
        note: note.into(),
        body: Body::Rows(Unit::NanosAKey, rows),
    }])
}
