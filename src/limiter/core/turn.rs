//! A caller's turn at a limiter: what it asks for, and where it stands in line.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::taken::Taken;
use crate::sync::UnmodelledU64;
use crate::wait::{Order, WaitId};

/// What a waiter gets when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its tokens, which are kept for it until it is polled.
    Take,
    /// As [`Take`](Self::Take), of more than the burst: in parts, at the head of the line.
    TakeInParts,
    /// As [`Take`](Self::Take), to be given back if another limiter refuses.
    Claim,
    /// Word that its turn has come, and no token: it is polled, or passed.
    Call,
}

/// A caller's turn at a limiter, from its first poll on.
#[derive(Debug)]
pub struct Turn {
    pub(crate) n: u64,
    pub(crate) floor: u64,
    pub(crate) kind: Kind,
    timeout: Duration,
    /// When it was polled first, and until when it waits.
    since: Option<Timestamp>,
    deadline: Option<Timestamp>,
    /// When it first came, among all waiters of the process.
    arrival: Option<u64>,
    pub(crate) place: Option<WaitId>,
    /// What it was given, of [`Kind::Claim`].
    pub(crate) claimed: Option<Taken>,
    /// Of which member of several that is the line.
    pub(crate) member: usize,
    /// Whether it is the line of the keys that share a bucket.
    pub(crate) is_shared: bool,
    /// Whether it leaves the line because it is refused, and not because its caller has gone.
    pub(crate) is_refused: bool,
}

impl Turn {
    pub(crate) const fn new(n: u64, floor: u64, kind: Kind, timeout: Duration) -> Self {
        Self {
            n,
            floor,
            kind,
            timeout,
            since: None,
            deadline: None,
            arrival: None,
            place: None,
            claimed: None,
            member: 0,
            is_shared: false,
            is_refused: false,
        }
    }

    /// Another turn, of the same arrival, that takes.
    pub(crate) fn taking(&mut self, timeout: Duration) -> Self {
        Self {
            arrival: Some(self.arrival()),
            ..Self::new(self.n, self.floor, Kind::Take, timeout)
        }
    }

    /// What leaves the line next is refused: so a meter counts it.
    #[cfg(feature = "tower")]
    pub(crate) const fn refuse(&mut self) {
        self.is_refused = true;
    }

    /// Whether it stands in line.
    pub(crate) const fn is_in_line(&self) -> bool {
        self.place.is_some()
    }

    /// Whether it has not been polled yet.
    pub(crate) const fn is_new(&self) -> bool {
        self.deadline.is_none()
    }

    /// Until when it waits, at a limiter where nobody waits for longer than `longest`.
    pub(crate) fn deadline(&mut self, longest: Duration, now: Timestamp) -> Timestamp {
        self.since.get_or_insert(now);
        let timeout = self.timeout.min(longest);
        *self
            .deadline
            .get_or_insert_with(|| now.saturating_add(timeout))
    }

    /// How long it has waited.
    pub(crate) fn waited(&self, now: Timestamp) -> Duration {
        now.saturating_since(self.since.unwrap_or(now))
    }

    /// Where it stands in line, if it has been in one.
    pub(crate) fn order(&self) -> Option<Order> {
        self.arrival.map(|arrival| (self.floor, arrival))
    }

    /// Its arrival, which it keeps when it moves to another line, or back into one.
    pub(crate) fn arrival(&mut self) -> u64 {
        static ARRIVALS: UnmodelledU64 = UnmodelledU64::new(0);
        // Only that no two are the same, and that they grow under one lock, matters.
        *self
            .arrival
            .get_or_insert_with(|| ARRIVALS.fetch_add_relaxed(1))
    }
}
