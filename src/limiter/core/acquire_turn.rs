//! A caller's turn at a limiter: what it asks for, how long it waits, and its place in line.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::reserved_part::ReservedPart;
use crate::sync::UnmodelledU64;
use crate::wait::{Order, WaitId};

/// What a waiter gets when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnTurn {
    /// Its tokens, which are debited and kept for it until it is polled.
    Take,
    /// Same as [`Take`](Self::Take), of more than the burst: in parts, at the head of the line.
    TakeInParts,
    /// Same as [`Take`](Self::Take), to be given back if another limiter refuses.
    Claim,
    /// A wake-up and no token: it is polled, or passed by the waiters behind it.
    Notify,
}

/// A caller's turn at a limiter, from its first poll on.
#[derive(Debug)]
pub struct AcquireTurn {
    pub(crate) n: u64,
    pub(crate) floor: u64,
    pub(crate) on_turn: OnTurn,
    timeout: Duration,
    /// When it was first polled, and until when it waits.
    since: Option<Timestamp>,
    deadline: Option<Timestamp>,
    /// The number of its arrival among all waiters of the process.
    arrival: Option<u64>,
    pub(crate) place: Option<WaitId>,
    /// The tokens that were set aside for it, on [`OnTurn::Claim`].
    pub(crate) claimed: Option<ReservedPart>,
    /// The index of the member of an [`AllOf`](crate::AllOf) in whose line it stands.
    pub(crate) member: usize,
    /// Whether it stands in the line of the keys that share a bucket.
    pub(crate) is_shared: bool,
    /// Whether it leaves the line because it is refused, and not because its caller has gone.
    pub(crate) is_refused: bool,
}

impl AcquireTurn {
    pub(crate) const fn new(n: u64, floor: u64, on_turn: OnTurn, timeout: Duration) -> Self {
        Self {
            n,
            floor,
            on_turn,
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

    /// Returns a new turn with the same arrival, which takes.
    pub(crate) fn renewed(&mut self, timeout: Duration) -> Self {
        Self {
            arrival: Some(self.arrival()),
            ..Self::new(self.n, self.floor, OnTurn::Take, timeout)
        }
    }

    /// Returns whether it stands in line.
    pub(crate) const fn is_in_line(&self) -> bool {
        self.place.is_some()
    }

    /// Returns whether it has not been polled yet.
    pub(crate) const fn is_new(&self) -> bool {
        self.deadline.is_none()
    }

    /// Returns until when it waits, at a limiter where no waiter waits for longer than `max_wait`. The
    /// first call fixes it.
    pub(crate) fn deadline(&mut self, max_wait: Duration, now: Timestamp) -> Timestamp {
        self.since.get_or_insert(now);
        let timeout = self.timeout.min(max_wait);
        *self
            .deadline
            .get_or_insert_with(|| now.saturating_add(timeout))
    }

    /// Returns how long it has waited.
    pub(crate) fn waited(&self, now: Timestamp) -> Duration {
        now.saturating_since(self.since.unwrap_or(now))
    }

    /// Returns its order in a line, if it has been in one.
    pub(crate) fn order(&self) -> Option<Order> {
        self.arrival.map(|arrival| (self.floor, arrival))
    }

    /// Returns the number of its arrival, which it keeps when it moves to another line, or back into
    /// one.
    pub(crate) fn arrival(&mut self) -> u64 {
        static ARRIVALS: UnmodelledU64 = UnmodelledU64::new(0);
        // Relaxed: it publishes nothing. Numbers are unique, and callers under one lock get growing
        // ones, since the lock orders their increments.
        *self
            .arrival
            .get_or_insert_with(|| ARRIVALS.fetch_add_relaxed(1))
    }
}
