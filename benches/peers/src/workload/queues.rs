//! The workloads of queues, with 30-byte keys.

pub mod backlog;
mod crowd;
mod rounds;
pub mod storms;
pub mod workers;

use super::Bench;
use crate::go::Go;
use crate::measure::{Check, Contender, Row, Sample, interleave, interleave_cold};
use crate::queue::{self, Awaited, Delays, Queue, Shared};
use crate::report::{Body, Percentiles, Table, Unit};
use crate::subject::{About, Family};

pub use crowd::sides;
pub use rounds::BATCH;

/// One round of a workload.
type Round = Box<dyn Fn(&Bench) -> anyhow::Result<Sample>>;

/// Checks a queue under that many producers and as many consumers.
type Judge = Box<dyn Fn(usize) -> anyhow::Result<Check>>;

/// The workloads that a queue supports.
pub struct Loads {
    about: About,
    /// By the names of their workloads.
    rounds: Vec<(&'static str, Round)>,
    judge: Option<Judge>,
}

impl Loads {
    /// No workload yet.
    pub const fn none(about: About) -> Self {
        Self {
            about,
            rounds: Vec::new(),
            judge: None,
        }
    }

    /// Adds a workload.
    pub fn with(
        mut self,
        workload: &'static str,
        round: impl Fn(&Bench) -> anyhow::Result<Sample> + 'static,
    ) -> Self {
        self.rounds.push((workload, Box::new(round)));
        self
    }

    fn timed(self, workload: &'static str, round: impl Fn(&Bench) -> f64 + 'static) -> Self {
        self.with(workload, move |bench| Ok(round(bench).into()))
    }

    /// Adds the correctness check.
    pub fn judged(mut self, judge: impl Fn(usize) -> anyhow::Result<Check> + 'static) -> Self {
        self.judge = Some(Box::new(judge));
        self
    }

    /// The workloads of any queue.
    pub fn of<Q: Queue + 'static>(about: About) -> Self {
        Self::none(about)
            .timed("queue-cycle", rounds::cycle::<Q>)
            .timed("queue-batch", rounds::batch::<Q>)
            .timed("queue-fill-drain", rounds::fill_drain::<Q>)
            .timed("queue-memory", rounds::memory_a_key::<Q>)
    }

    /// Adds the workloads of a queue that deduplicates keys.
    pub fn deduplicates<Q: Queue + 'static>(self) -> Self {
        self.timed("queue-duplicate", rounds::duplicate::<Q>)
            .with("queue-resync", |bench| Ok(storms::resync::<Q>(bench)))
    }

    /// Adds the workloads of a queue with delays.
    pub fn delays<Q: Delays + 'static>(self) -> Self {
        self.timed("queue-delay-insert", rounds::insert_delays::<Q>)
            .with("queue-delays", |bench| Ok(rounds::lateness::<Q>(bench)))
            .timed("queue-pause", storms::pause::<Q>)
    }

    /// Adds the workloads of a queue for many threads.
    pub fn shared<Q: Shared + 'static>(self) -> Self {
        self.timed("queue-many", crowd::many::<Q>)
            .judged(|sides| Ok(crowd::check::<Q>(sides)))
    }

    /// Adds the workload of a queue on which many tasks block.
    pub fn awaited<Q: Awaited>(self) -> Self {
        self.with("queue-workers", workers::bursts::<Q>)
            .with("queue-backlog", |bench| Ok(backlog::adds::<Q>(bench)))
    }
}

/// Not a queue: what a queue that refuses a duplicate pays for the caller's key.
fn drop_of_a_key() -> Loads {
    Loads::none(About::new(DROP, Family::Bound, "")).timed("queue-duplicate", rounds::drops)
}

/// The name of the row of [`drop_of_a_key`].
pub const DROP: &str = "drop of a 30-byte string";

/// One key at a time: add, take, finish.
pub fn cycles(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "queue-cycle",
        "Queue: add, take, finish, one key at a time",
        "The scheduler and DelayQueue round a deadline up to a millisecond, so they sleep for every single key.",
    )
}

/// A batch of keys at a time: add, take, finish.
pub fn batches(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = format!("Queue: add, take, finish, {BATCH} keys at a time");
    times(
        bench,
        "queue-batch",
        &title,
        "A queue without batches gets one key after the other. The scheduler and DelayQueue sleep once per batch.",
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
    )
}

/// Adds a key that is already queued.
pub fn duplicates(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "queue-duplicate",
        "Queue: add a key that is already queued",
        "A queue in Rust also drops the caller's key, whose cost stands beside it; in Go the collector frees it later.",
    )
}

/// Adds keys with delays.
pub fn delay_inserts(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = format!(
        "Queue: add {} keys with delays of up to 100 s",
        bench.effort.queued
    );
    times(bench, "queue-delay-insert", &title, "")
}

/// As many producers as consumers.
pub fn manies(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let sides = sides(bench);
    let title = format!("Queue: {sides} producers, {sides} consumers");
    let note = "One task polls the scheduler and DelayQueue, so each has one consumer. All have room for all keys. The correctness check adds the same 8 keys over and over from all producers.";
    let mut rows = rows(bench, "queue-many")?;
    for loads in queue::all() {
        if let Some(judge) = loads.judge
            && let Some(row) = rows
                .iter_mut()
                .find(|row| row.about.name == loads.about.name)
        {
            row.check = judge(sides)?;
        }
    }
    Ok(vec![table(
        "queue-many",
        &title,
        note,
        Unit::NanosAKey,
        rows,
    )])
}

/// The bytes of a waiting key.
pub fn memories(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = format!(
        "Queue: bytes per waiting key beyond the key, {} keys",
        bench.effort.queued
    );
    let note = "Not counted: the text of a key and one header of the string, 24 bytes in Rust and 16 in Go. In Rust a counting allocator counts; Go counts its own heap after a collection.";
    let contenders = contenders(bench, "queue-memory");
    let rows = interleave(contenders, 1, bench.progress)?;
    Ok(vec![table(
        "queue-memory",
        &title,
        note,
        Unit::BytesAKey,
        rows,
    )])
}

/// The lateness of delayed keys.
pub fn delays(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let of = format!(
        "{} keys due within {:?}, one consumer",
        bench.effort.many, bench.effort.due_within
    );
    // A ratio needs rounds, and a round takes seconds.
    let rounds = if Go::running().is_some() { 3 } else { 1 };
    let contenders = contenders(bench, "queue-delays");
    let rows = interleave_cold(contenders, rounds, bench.progress)?;
    let title = format!("Queue: lateness of {of}");
    let note = "Those in Rust count time in milliseconds and round up.";
    let each = each("queue-delays", &title, note, &rows);
    let title = format!("Queue: lateness of the latest of {of}");
    let latest = table("queue-delays-latest", &title, "", Unit::Millis, rows);
    Ok(vec![each, latest])
}

/// What a pause of the API costs the worker.
pub fn pauses(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let (keys, length) = storms::paused(bench);
    times(
        bench,
        "queue-pause",
        &format!("Queue: {keys} keys wait while the API asks for a pause of {length:?}"),
        "Counts the worker's time during the pause, and from its end until the last key is finished. Ours is paused and resumed. No other queue can be, so the worker does what its users do: it takes each key and adds it again with the rest of the pause as its delay.",
    )
}

/// A resync storm with live keys.
pub fn resyncs(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let keys = storms::resynced(bench);
    let title = format!("Queue: a resync of {keys} keys, nine of ten of them waiting");
    let note = format!(
        "All keys are added again. For every {} of them a live key comes in, and the worker takes two keys; in the end it takes all. Ours and controller-runtime's have priorities, and a resync adds at a low one; elsewhere a live key waits its turn.",
        storms::A_LIVE_KEY_IN
    );
    let rows = rows(bench, "queue-resync")?;
    let waits = each(
        "queue-resync-live",
        "Queue: how long a live key waits during the resync",
        "A queue that hands out keys of one millisecond in any order may hand out a key of the resync twice, and a few live keys later than what is counted.",
        &rows,
    );
    Ok(vec![
        table("queue-resync", &title, &note, Unit::NanosAKey, rows),
        waits,
    ])
}

/// Many workers that block on the queue.
pub fn crowds(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let workers = workers::WORKERS;
    let title = format!("Queue: a key through {workers} workers that block on the queue");
    let note = format!(
        "Bursts of {workers} keys, one for each worker; the next comes when all are finished. Workers are tasks on tokio's threads, or goroutines. The others have one consumer."
    );
    let rows = rows(bench, "queue-workers")?;
    let adds = each(
        "queue-workers-adds",
        &format!("Queue: each add while {workers} workers block on the queue"),
        "A clock read included.",
        &rows,
    );
    Ok(vec![
        table("queue-workers", &title, &note, Unit::NanosAKey, rows),
        adds,
    ])
}

/// Adds to a long queue.
pub fn backlogs(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = format!(
        "Queue: p99 of an add while {} keys wait and {} workers are asleep in their work",
        bench.effort.many,
        backlog::WORKERS
    );
    let note = format!(
        "Of {} adds of new keys, a clock read included.",
        backlog::ADDS
    );
    // A round fills the queue first, which takes seconds.
    let contenders = contenders(bench, "queue-backlog");
    let rows = interleave_cold(contenders, 3, bench.progress)?;
    let unit = Unit::NanosACall;
    Ok(vec![table("queue-backlog", &title, &note, unit, rows)])
}

fn contenders<'a>(bench: &'a Bench, workload: &str) -> Vec<Contender<'a>> {
    let of = |loads: Loads| {
        let mut rounds = loads.rounds.into_iter();
        let (_, round) = rounds.find(|(name, _)| *name == workload)?;
        Some(Contender {
            about: loads.about,
            round: Box::new(move || round(bench)),
        })
    };
    let all = queue::all().into_iter().chain([drop_of_a_key()]);
    all.filter_map(of).collect()
}

fn rows(bench: &Bench, workload: &str) -> anyhow::Result<Vec<Row>> {
    let contenders = contenders(bench, workload);
    interleave(contenders, bench.effort.rounds, bench.progress)
}

fn times(bench: &Bench, name: &str, title: &str, note: &str) -> anyhow::Result<Vec<Table>> {
    let rows = rows(bench, name)?;
    Ok(vec![table(name, title, note, Unit::NanosAKey, rows)])
}

fn table(name: &str, title: &str, note: &str, unit: Unit, rows: Vec<Row>) -> Table {
    Table {
        name: name.into(),
        title: title.into(),
        note: note.into(),
        body: Body::Rows(unit, rows),
    }
}

/// The table of what the rows recorded of single operations.
fn each(name: &str, title: &str, note: &str, rows: &[Row]) -> Table {
    let percentiles = |row: &Row| Some(Percentiles::of(row.about.clone(), row.each.as_ref()?));
    Table {
        name: name.into(),
        title: title.into(),
        note: note.into(),
        body: Body::Percentiles(rows.iter().filter_map(percentiles).collect()),
    }
}
