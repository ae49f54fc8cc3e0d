//! Linearizability of recorded histories of real threads: each history must be that of a sequential
//! bucket or queue, with every call at some instant between its beginning and its end.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "other tests use the operations")]
#[path = "../model/limiter.rs"]
mod exact;
mod limiters;
mod queue;

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use exact::Exact;
use limiters::take;
use queue::{QueueOp, Sequential, step};
use tollgate::Quota;

const THREADS: u64 = 3;
const CALLS: u64 = 4;
const ROUNDS: u64 = 20_000;
/// Rounds that share their threads, since starting threads takes longer than a round.
const BLOCK: u64 = 500;

/// A call with its place in the order of all beginnings and ends.
#[derive(Clone, Debug)]
struct Call<O, R> {
    op: O,
    result: R,
    began: u64,
    ended: u64,
}

/// Numbers the beginnings and ends of calls.
#[derive(Default)]
struct Recorder(AtomicU64);

impl Recorder {
    fn call<O, R>(&self, op: O, run: impl FnOnce(&O) -> R) -> Call<O, R> {
        let began = self.0.fetch_add(1, Ordering::SeqCst);
        let result = run(&op);
        let ended = self.0.fetch_add(1, Ordering::SeqCst);
        Call {
            op,
            result,
            began,
            ended,
        }
    }
}

/// Wing and Gong's search (1993): the first call is one that began before any other ended.
fn linearizable<S: Clone, O: Clone, R: Clone + PartialEq>(
    state: &S,
    history: &[Call<O, R>],
    apply: fn(&mut S, &O) -> R,
) -> bool {
    let Some(first_end) = history.iter().map(|call| call.ended).min() else {
        return true;
    };
    (0..history.len())
        .filter(|&i| history[i].began < first_end)
        .any(|i| {
            let (mut state, mut rest) = (state.clone(), history.to_vec());
            let call = rest.swap_remove(i);
            apply(&mut state, &call.op) == call.result && linearizable(&state, &rest, apply)
        })
}

/// Lets three threads run `part` on each of many subjects, and passes each history to `check`.
///
/// The threads spin to begin each round together: a thread that has to be woken or started is too late
/// to overlap with the others.
fn record<S: Sync, C: Send>(
    subject: impl Fn() -> S,
    part: impl Fn(&S, u64) -> Vec<C> + Sync,
    check: impl Fn(&[C]),
) {
    for block in 0..ROUNDS / BLOCK {
        let subjects: Vec<S> = (0..BLOCK).map(|_| subject()).collect();
        let there = AtomicU64::new(0);
        let run = |thread| {
            let part = |(round, subject)| {
                there.fetch_add(1, Ordering::SeqCst);
                while there.load(Ordering::SeqCst) < (round + 1) * THREADS {
                    thread::yield_now();
                }
                part(subject, (block * BLOCK + round) * THREADS + thread)
            };
            (0..).zip(&subjects).map(part).collect::<Vec<_>>()
        };
        let mut parts = thread::scope(|scope| {
            let spawn = |thread| {
                let run = &run;
                scope.spawn(move || run(thread))
            };
            let threads: Vec<_> = (0..THREADS).map(spawn).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Vec<Vec<C>>>| {
                thread.join().unwrap().into_iter()
            };
            threads.into_iter().map(join).collect::<Vec<_>>()
        });
        for _ in 0..BLOCK {
            let history: Vec<C> = parts
                .iter_mut()
                .flat_map(|part| part.next().unwrap())
                .collect();
            check(&history);
        }
    }
}

/// Pseudo-random numbers that repeat from run to run.
fn scramble(x: u64) -> u64 {
    let x = x.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

fn assert_linearizable<S: Clone, O: Clone + Debug, R: Clone + PartialEq + Debug>(
    state: &S,
    history: &[Call<O, R>],
    apply: fn(&mut S, &O) -> R,
) {
    assert!(
        linearizable(state, history, apply),
        "no order explains {history:#?}"
    );
}

#[test]
fn the_search_rejects_impossible_histories() {
    fn call<O, R>(op: O, result: R, began: u64, ended: u64) -> Call<O, R> {
        Call {
            op,
            result,
            began,
            ended,
        }
    }
    let quota = Quota::per_second(1).unwrap();
    let taken_twice = [call((1, 0), Ok(()), 0, 1), call((1, 0), Ok(()), 2, 3)];
    assert!(!linearizable(&Exact::new(quota), &taken_twice, take));
    // Sequential calls: the get cannot precede the add.
    let lost = [
        call(QueueOp::Add(1), Some(1), 0, 1),
        call(QueueOp::Get, None, 2, 3),
    ];
    assert!(!linearizable(&Sequential::default(), &lost, step));
    // Overlapping calls: it can.
    let either = [
        call(QueueOp::Add(1), Some(1), 0, 3),
        call(QueueOp::Get, None, 1, 2),
    ];
    assert!(linearizable(&Sequential::default(), &either, step));
}
