//! The targets, one a line.

use Over::{BestPeer, Nothing, One, Ours};

/// Our bucket.
pub const OURS: &str = "AtomicTokenBucket";
/// Our queue.
pub const QUEUE: &str = "WorkQueue";

/// What ours is measured against.
#[derive(Clone, Copy)]
pub enum Over {
    /// The contender of that name.
    One(&'static str),
    /// The crate or package that takes the least of our time. Textbook buckets are no bar.
    BestPeer,
    /// Our own figure in that table.
    Ours(&'static str),
    /// Nothing: the figure is a ratio or a number of bytes.
    Nothing,
}

/// The table, ours, what it is measured against, the upper bound, and what a reader calls it.
pub const TARGETS: &[(&str, &str, Over, f64, &str)] = &[
    ("admit", OURS, BestPeer, 1.05, "admit"),
    ("admit", OURS, One("clock read + CAS"), 1.10, "admit"),
    ("deny", OURS, BestPeer, 1.0, "deny"),
    ("deny", OURS, One("clock read"), 1.10, "deny"),
    ("contention-2", OURS, BestPeer, 1.0, "two threads"),
    (
        "contention-2",
        OURS,
        One("clock read + CAS, paused"),
        1.10,
        "two threads",
    ),
    (
        "fairness",
        OURS,
        Nothing,
        1.25,
        "two threads, the faster's calls over the slower's in the worst 10 ms",
    ),
    (
        "admit",
        "AtomicTokenBucket, given time",
        One("CAS"),
        1.30,
        "admit at a given time",
    ),
    (
        "contention-2",
        "AtomicTokenBucket, given time",
        One("CAS"),
        1.20,
        "two threads at a given time",
    ),
    (
        "admit",
        "StripedTokenBucket",
        One("fetch_sub, a line each"),
        1.5,
        "StripedTokenBucket, from its stripe",
    ),
    (
        "admit",
        "StripedTokenBucket, no stripes",
        One(OURS),
        1.1,
        "StripedTokenBucket, without stripes",
    ),
    (
        "contention-2",
        "StripedTokenBucket",
        BestPeer,
        0.2,
        "StripedTokenBucket, two threads",
    ),
    ("admit", "TokenLease", One("CAS"), 0.5, "TokenLease"),
    (
        "contention-2",
        "TokenLease",
        One("CAS"),
        0.10,
        "TokenLease, two threads",
    ),
    (
        "admit",
        "LockedTokenBucket",
        One("clock read + lock pair"),
        1.30,
        "LockedTokenBucket",
    ),
    (
        "keyed-1k",
        "KeyedLimiter",
        One("governor, dashmap"),
        1.0,
        "keyed, 1 000 keys",
    ),
    (
        "keyed-1m",
        "KeyedLimiter",
        One("governor, dashmap"),
        0.5,
        "keyed, 1 000 000 keys",
    ),
    (
        "keyed-flood",
        "KeyedLimiter",
        Ours("keyed-1m"),
        2.0,
        "keyed, a flood of new keys over known ones",
    ),
    (
        "keyed-memory",
        "KeyedLimiter",
        Nothing,
        24.0,
        "keyed, bytes per key at 1 000 000 keys",
    ),
    (
        "queue-cycle",
        QUEUE,
        One("client-go"),
        0.5,
        "queue, add, get, finish",
    ),
    (
        "queue-fill-drain",
        QUEUE,
        One("client-go"),
        0.25,
        "queue, fill and drain",
    ),
    (
        "queue-fill-drain",
        QUEUE,
        One("kube-runtime scheduler"),
        0.25,
        "queue, fill and drain",
    ),
    (
        "queue-delay-insert",
        QUEUE,
        One("client-go"),
        0.2,
        "queue, insert of a delay",
    ),
    (
        "queue-delay-insert",
        QUEUE,
        One("DelayQueue + set"),
        1.0,
        "queue, insert of a delay",
    ),
    (
        "queue-delays-latest",
        QUEUE,
        One("client-go"),
        0.3,
        "queue, lateness of the latest delayed key",
    ),
    (
        "queue-many",
        QUEUE,
        One("client-go"),
        0.4,
        "queue, as many producers as consumers",
    ),
    (
        "queue-backlog",
        QUEUE,
        One("controller-runtime"),
        0.2,
        "queue, p99 of an add while a million keys wait",
    ),
    (
        "queue-memory",
        QUEUE,
        One("client-go"),
        0.7,
        "queue, bytes per waiting key beyond the key",
    ),
];
