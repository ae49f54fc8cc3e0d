//! The workloads. Each runs one contender against a server of its own.

use std::ops::Range;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::child::Child;
use crate::contender::{Contender, Limit};

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Objects of the workloads on all objects.
    pub objects: usize,
    /// Edits while all objects are queued.
    pub live_edits: usize,
    /// Edits whose calls are counted.
    pub counted_edits: usize,
    /// Edits under faults.
    pub faulty_edits: usize,
    /// How long the server is away.
    pub outage: Duration,
}

/// A measured value.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its column.
    pub name: &'static str,
    /// In the unit that the column names.
    pub value: f64,
}

/// A workload.
pub struct Workload {
    /// Its name for `--only`.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What happens.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(Contender, &Size) -> anyhow::Result<Vec<Figure>>,
}

pub const ALL: [Workload; 7] = [
    Workload {
        name: "cold",
        title: "Cold start and memory",
        about: "All objects exist. From the start of the operator until each object was reconciled once; the \
                reconcile neither sleeps nor writes. Memory is the resident set 3 s later, less that of the same \
                operator on an empty server.",
        run: cold,
    },
    Workload {
        name: "live",
        title: "Live edits during a relist",
        about: "The server goes away, changes every object, and expires its history, so that a relist delivers all \
                objects as changed: each contender can do that, and none takes it for a resync without news. \
                Meanwhile other users edit one object each 100 ms. The time from an edit until the reconcile that sees \
                it begins. tokio's timer rounds the 1 ms of work up and Go's does not, so controller-runtime is through \
                sooner.",
        run: live,
    },
    Workload {
        name: "live-start",
        title: "Live edits during the first list",
        about: "The same edits while a started operator reconciles all objects for the first time. \
                controller-runtime has a lower priority for the first list, but not for a relist whose objects have \
                changed.",
        run: live_start,
    },
    Workload {
        name: "calls",
        title: "API calls of a changed object",
        about: "One edit each 5 ms, each of another object, until all are written.",
        run: calls,
    },
    Workload {
        name: "outage",
        title: "An outage",
        about: "The server goes away from an idle operator, one object is edited meanwhile, and the server comes \
                back.",
        run: outage,
    },
    Workload {
        name: "backlog",
        title: "An outage with work under way",
        about: "200 objects are edited, and the server goes away for half as long once 20 of them have been seen. \
                `tollgate-kube` has its default budget, 20 a second with a burst of 30, and a backoff of up to 60 s for \
                each object; the others have no limit of calls. kube's error policy retries after 5 s, and \
                controller-runtime backs off for up to 16 min.",
        run: backlog,
    },
    Workload {
        name: "faults",
        title: "5% faults",
        about: "One request in 20 fails (409, 429, 500, 503, a broken connection before or after the change), and \
                watches are cut. One edit each 2 ms, each of another object, until all are written. After a 429, or a 503 \
                that asks for a delay, `tollgate-kube` holds all its requests for that delay, the others the one \
                request.",
        run: faults,
    },
];

/// How long a reconcile sleeps where it works.
const WORK_MICROS: u64 = 1_000;
/// The objects of the workloads that are about calls.
const FEW: usize = 5_000;
/// Longer than any contender should take for anything.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(10);

/// A server and one contender.
struct Pair {
    contender: Contender,
    server: Child,
    operator: Child,
}

impl Pair {
    fn new(
        contender: Contender,
        limit: Limit,
        objects: usize,
        faults: f64,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut server = Child::start(command.args(["server", &faults.to_string()]))?;
        let url = server.line()?;
        server.ask(&format!("load {objects}"))?;
        let operator = contender.spawn(&url, limit)?;
        Ok(Self {
            contender,
            server,
            operator,
        })
    }

    /// Starts the operator; returns when.
    fn start(&mut self, work_micros: u64) -> anyhow::Result<i64> {
        self.operator.number(&format!("start {work_micros}"))
    }

    /// Waits until `n` objects were reconciled since the last reset; returns when the last one was.
    fn reconciled(&mut self, n: usize) -> anyhow::Result<i64> {
        let mut newest = 0;
        wait("reconciles", || {
            let count: Vec<i64> = self.operator.numbers("count")?;
            newest = *count.get(2).context("too few counts")?;
            Ok(count[0] >= i64::try_from(n)?)
        })?;
        Ok(newest)
    }

    /// Starts it on existing objects and waits until it is idle.
    fn started(&mut self, objects: usize) -> anyhow::Result<()> {
        self.start(WORK_MICROS)?;
        self.reconciled(objects)?;
        sleep(Duration::from_millis(500));
        Ok(())
    }

    /// Makes each edit on an object of its own, spread over all; returns when each was made.
    fn edit(
        &mut self,
        edits: Range<usize>,
        objects: usize,
        pause: Duration,
    ) -> anyhow::Result<Vec<i64>> {
        let begun = Instant::now();
        let mut made = Vec::new();
        for edit in edits {
            // A prime, so that the order of the edits is not that of a list.
            let object = edit * 7_919 % objects;
            made.push(self.server.number(&format!("edit {object} {edit}"))?);
            let due = pause * u32::try_from(made.len())?;
            sleep(due.saturating_sub(begun.elapsed()));
        }
        Ok(made)
    }

    /// Waits until the edits are seen; returns when each was.
    fn seen(&mut self, edits: &Range<usize>) -> anyhow::Result<Vec<i64>> {
        let mut seen = Vec::new();
        wait("edits to be seen", || {
            seen = self
                .operator
                .numbers(&format!("edits {} {}", edits.start, edits.end))?;
            Ok(seen.iter().all(|at| *at > 0))
        })?;
        Ok(seen)
    }

    /// Waits until every edit is written.
    fn written(&mut self) -> anyhow::Result<()> {
        wait("edits to be written", || {
            Ok(self.server.number::<usize>("pending")? == 0)
        })
    }

    /// All its requests, and those that patch.
    fn calls(&mut self) -> anyhow::Result<(f64, f64)> {
        let answer = self
            .server
            .ask(&format!("calls {}", self.contender.agent()))?;
        let mut words = answer.split(' ');
        let all = words.next().context("no number of calls")?.parse()?;
        let patches = words.find_map(|word| word.strip_prefix("patch="));
        Ok((all, patches.map_or(Ok(0.0), str::parse)?))
    }
}

fn wait(what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !done()? {
        ensure!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        sleep(POLL);
    }
    Ok(())
}

fn millis(from: i64, to: i64) -> f64 {
    (to - from) as f64 / 1e6
}

fn seconds(from: i64, to: i64) -> f64 {
    millis(from, to) / 1e3
}

fn figure(name: &'static str, value: f64) -> Figure {
    Figure { name, value }
}

fn cold(contender: Contender, size: &Size) -> anyhow::Result<Vec<Figure>> {
    let settle = Duration::from_secs(3);
    let mut empty = Pair::new(contender, Limit::None, 0, 0.0)?;
    empty.start(0)?;
    sleep(settle);
    let base = empty.operator.memory("VmRSS")?;
    drop(empty);

    let mut pair = Pair::new(contender, Limit::None, size.objects, 0.0)?;
    let begun = pair.start(0)?;
    let ended = pair.reconciled(size.objects)?;
    let (calls, _) = pair.calls()?;
    sleep(settle);
    let resident = pair.operator.memory("VmRSS")?;
    let peak = pair.operator.memory("VmHWM")?;
    let each = |bytes: u64| bytes.saturating_sub(base) as f64 / size.objects as f64;
    Ok(vec![
        figure("time, s", seconds(begun, ended)),
        figure("calls", calls),
        figure("empty, MiB", base as f64 / f64::from(1 << 20)),
        figure("bytes an object", each(resident)),
        figure("bytes an object at the peak", each(peak)),
    ])
}

fn live(contender: Contender, size: &Size) -> anyhow::Result<Vec<Figure>> {
    let mut pair = Pair::new(contender, Limit::None, size.objects, 0.0)?;
    pair.start(0)?;
    pair.reconciled(size.objects)?;
    sleep(Duration::from_millis(500));
    pair.operator.ask("reset")?;
    pair.operator.ask(&format!("work {WORK_MICROS}"))?;
    pair.server.ask("touch")?;
    edits_meanwhile(&mut pair, size)
}

fn live_start(contender: Contender, size: &Size) -> anyhow::Result<Vec<Figure>> {
    let mut pair = Pair::new(contender, Limit::None, size.objects, 0.0)?;
    pair.start(WORK_MICROS)?;
    edits_meanwhile(&mut pair, size)
}

/// Edits objects from the first reconcile of a pass over all objects.
fn edits_meanwhile(pair: &mut Pair, size: &Size) -> anyhow::Result<Vec<Figure>> {
    let begun = {
        pair.reconciled(1)?;
        crate::clock::now()
    };
    let edits = 1..size.live_edits + 1;
    let made = pair.edit(edits.clone(), size.objects, Duration::from_millis(100))?;
    let edited = made.last().copied().unwrap_or(begun);
    let seen = pair.seen(&edits)?;
    let ended = pair.reconciled(size.objects)?;
    let mut latencies: Vec<f64> = made
        .iter()
        .zip(&seen)
        .map(|(made, seen)| millis(*made, *seen))
        .collect();
    latencies.sort_by(f64::total_cmp);
    let quantile = |percent: usize| latencies[(latencies.len() * percent).div_ceil(100).max(1) - 1];
    Ok(vec![
        figure("p50, ms", quantile(50)),
        figure("p99, ms", quantile(99)),
        figure("longest, ms", quantile(100)),
        figure("all objects, s", seconds(begun, ended)),
        figure("edits over, s", seconds(begun, edited)),
    ])
}

fn calls(contender: Contender, size: &Size) -> anyhow::Result<Vec<Figure>> {
    let objects = size.objects.min(FEW);
    let mut pair = Pair::new(contender, Limit::None, objects, 0.0)?;
    pair.started(objects)?;
    let before = pair.calls()?;
    pair.edit(1..size.counted_edits + 1, objects, Duration::from_millis(5))?;
    pair.written()?;
    sleep(Duration::from_secs(1));
    let after = pair.calls()?;
    let edits = size.counted_edits as f64;
    Ok(vec![
        figure("calls an object", (after.0 - before.0) / edits),
        figure("writes an object", (after.1 - before.1) / edits),
    ])
}

fn outage(contender: Contender, size: &Size) -> anyhow::Result<Vec<Figure>> {
    let objects = size.objects.min(FEW);
    let mut pair = Pair::new(contender, Limit::Default, objects, 0.0)?;
    pair.started(objects)?;
    let before = pair.calls()?;
    pair.server.ask("available false")?;
    sleep(size.outage / 2);
    pair.edit(1..2, objects, Duration::ZERO)?;
    sleep(size.outage / 2);
    let after = pair.calls()?;
    let back: i64 = pair.server.number("available true")?;
    let seen = pair.seen(&(1..2))?;
    Ok(vec![
        figure("edit reconciled after, s", seconds(back, seen[0])),
        figure("calls meanwhile", after.0 - before.0),
    ])
}

fn backlog(contender: Contender, size: &Size) -> anyhow::Result<Vec<Figure>> {
    const UNDER_WAY: usize = 200;
    let objects = size.objects.min(FEW);
    let mut pair = Pair::new(contender, Limit::Default, objects, 0.0)?;
    pair.started(objects)?;
    pair.edit(1..UNDER_WAY + 1, objects, Duration::ZERO)?;
    wait("edits to be seen", || {
        let seen: Vec<i64> = pair
            .operator
            .numbers(&format!("edits 1 {}", UNDER_WAY + 1))?;
        Ok(seen.iter().filter(|at| **at > 0).count() >= 20)
    })?;
    pair.server.ask("available false")?;
    let before = pair.calls()?;
    let left: f64 = pair.server.number("pending")?;
    sleep(size.outage / 2);
    let after = pair.calls()?;
    let back: i64 = pair.server.number("available true")?;
    pair.written()?;
    let written = crate::clock::now();
    Ok(vec![
        figure("not written before", left),
        figure("calls meanwhile", after.0 - before.0),
        figure("all written after, s", seconds(back, written)),
    ])
}

fn faults(contender: Contender, size: &Size) -> anyhow::Result<Vec<Figure>> {
    let objects = size.objects.min(FEW);
    let mut pair = Pair::new(contender, Limit::None, objects, 0.05)?;
    pair.started(objects)?;
    let before = pair.calls()?;
    let made = pair.edit(1..size.faulty_edits + 1, objects, Duration::from_millis(2))?;
    pair.written()?;
    let written = crate::clock::now();
    let after = pair.calls()?;
    let (first, last) = (made[0], made[made.len() - 1]);
    Ok(vec![
        figure("edits, s", seconds(first, last)),
        figure("all written after, s", seconds(last, written)),
        figure("calls", after.0 - before.0),
        figure("writes", after.1 - before.1),
    ])
}
