//! The workloads of keyed limiters.

pub mod drive;
pub mod traffic;

use super::Bench;
use crate::keyed::{self, Key};
use crate::measure::{Check, Contender, interleave};
use crate::memory::left_by;
use crate::quota::Quota;
use crate::report::{Body, Table, Unit};

use traffic::{CALLS, Traffic, number_keys, scrambled, string_keys};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;

/// The note of every workload that is both timed and judged.
const JUDGED: &str = "The correctness check records every call of the same traffic, at a quota at which keys run out of tokens.";

/// 1,000 keys, drawn uniformly.
pub fn small(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "keyed-1k",
        "Keyed: 1 000 integer keys, uniform",
        Traffic::uniform(number_keys(FEW)),
    )
}

/// A million keys, drawn uniformly.
pub fn large(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    times(
        bench,
        "keyed-1m",
        "Keyed: 1 000 000 integer keys, uniform",
        Traffic::uniform(number_keys(MANY)),
    )
}

/// A million keys, drawn by Zipf's law.
pub fn zipf(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = "Keyed: 1 000 000 integer keys, Zipf (s = 1.1)";
    times(bench, "keyed-zipf", title, Traffic::zipf(number_keys(MANY)))
}

/// The same from all threads.
pub fn zipf_contention(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = format!(
        "Keyed: 1 000 000 integer keys, Zipf (s = 1.1), {} threads",
        bench.threads
    );
    let traffic = Traffic {
        threads: bench.threads,
        ..Traffic::zipf(number_keys(MANY))
    };
    times(bench, "keyed-zipf-contention", &title, traffic)
}

/// Every key is out of tokens.
pub fn deny(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let quota = Quota {
        burst: 1,
        ..Quota::STINGY
    };
    let traffic = Traffic {
        quota,
        judged_by: quota,
        ..Traffic::uniform(number_keys(MANY))
    };
    times(
        bench,
        "keyed-deny",
        "Keyed: denied, 1 000 000 integer keys, uniform",
        traffic,
    )
}

/// Strings for keys.
pub fn strings(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let title = "Keyed: 1 000 000 string keys of 30 bytes, uniform";
    times(
        bench,
        "keyed-strings",
        title,
        Traffic::uniform(string_keys(MANY)),
    )
}

/// A flood: every key is new.
pub fn flood(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let known = number_keys(MANY);
    let (known, slice) = (&known, bench.effort.slice);
    let contenders = keyed::all::<u64>().into_iter().map(|limiter| {
        let built = limiter.build(Quota::GENEROUS, known);
        let mut first = MANY as u64;
        let round = move || {
            let fresh: Vec<u64> = (first..).take(CALLS).map(scrambled).collect();
            first += CALLS as u64;
            built.warm_up(known);
            Ok((1.0 / built.spin(&fresh, 1, slice)).into())
        };
        Contender {
            about: limiter.about().clone(),
            round: Box::new(round),
        }
    });
    let mut rows = interleave(contenders.collect(), bench.effort.rounds, bench.progress)?;
    let room = 10_000;
    let traffic = Traffic::uniform(number_keys(room * 4));
    for (limiter, row) in keyed::all::<u64>().iter().zip(&mut rows) {
        let answers = limiter.judge(&traffic, room, bench.effort.watch);
        // A denial for lack of room is correct, so only an excess counts.
        row.check = Check::Excess(answers.excess);
    }
    Ok(vec![Table {
        name: "keyed-flood".into(),
        title: "Keyed: only new keys, into a table of 1 000 000".into(),
        note: "governor keeps every key until its caller removes the stale ones. The correctness check uses four times as many keys as there is room for, so buckets are evicted and created again.".into(),
        body: Body::Rows(Unit::NanosACall, rows),
    }])
}

/// The bytes of a key.
pub fn memory(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let keys = number_keys(MANY);
    let keys = &keys;
    let contenders = keyed::all::<u64>().into_iter().map(|limiter| Contender {
        about: limiter.about().clone(),
        round: Box::new(move || {
            let (built, bytes) = left_by(|| limiter.build(Quota::GENEROUS, keys));
            drop(built);
            Ok((bytes as f64 / keys.len() as f64).into())
        }),
    });
    let rows = interleave(contenders.collect(), 1, bench.progress)?;
    Ok(vec![Table {
        name: "keyed-memory".into(),
        title: "Keyed: bytes per key, 1 000 000 integer keys".into(),
        note: "Includes the 8 bytes of the key.".into(),
        body: Body::Rows(Unit::BytesAKey, rows),
    }])
}

fn times<K: Key>(
    bench: &Bench,
    name: &str,
    title: &str,
    traffic: Traffic<K>,
) -> anyhow::Result<Vec<Table>> {
    let Traffic {
        keys,
        quota,
        threads,
        ..
    } = &traffic;
    let asked = &traffic.asked();
    let slice = bench.effort.slice;
    let limiters = keyed::all::<K>();
    let contenders = limiters.iter().map(|limiter| {
        let built = limiter.build(*quota, keys);
        let round = move || {
            built.warm_up(asked);
            Ok((1.0 / built.spin(asked, *threads, slice)).into())
        };
        Contender {
            about: limiter.about().clone(),
            round: Box::new(round),
        }
    });
    let mut rows = interleave(contenders.collect(), bench.effort.rounds, bench.progress)?;
    for (limiter, row) in limiters.iter().zip(&mut rows) {
        let answers = limiter.judge(&traffic, keys.len(), bench.effort.watch);
        row.check = Check::Answers(answers);
    }
    Ok(vec![Table {
        name: name.into(),
        title: title.into(),
        note: JUDGED.into(),
        body: Body::Rows(Unit::NanosACall, rows),
    }])
}
