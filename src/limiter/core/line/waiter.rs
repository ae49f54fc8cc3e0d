//! A waiter in line, or a reservation that has its place there.

use crate::clock::Timestamp;
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::Debit;
use crate::limiter::core::tokens::Tokens;

/// The end of a wait: a debit that can be given back, if the waiter was given tokens.
pub(crate) type TurnOutcome = Result<Option<Debit>, Denied>;

/// Where a waiter's tokens are counted in the line's totals.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    /// Among the reservations.
    Reserved,
    /// Among the waiters of its floor: the running total up to this waiter, inclusive.
    Waiting { up_to: u128 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LineWaiter {
    pub(crate) n: u64,
    pub(crate) floor: u64,
    pub(crate) on_turn: OnTurn,
    /// The tokens that it has not been given yet.
    pub(crate) left: u64,
    /// The latest part that it was given, and the one before. Earlier parts are more than a burst ago,
    /// so nothing of them can come back.
    pub(crate) later: Option<Debit>,
    pub(crate) earlier: Option<Debit>,
    pub(crate) counted: Counted,
    /// When a reservation can be used; `None` for a waiter.
    pub(crate) ready_at: Option<Timestamp>,
    /// Whether a reservation is used, and leaves the line once its tokens are debited.
    pub(crate) is_committed: bool,
    /// The instant to which its timer is set.
    pub(crate) armed: Timestamp,
    /// Whether it was woken to set its timer anew, and has not been polled since.
    pub(crate) is_notified: bool,
    /// `None` while it stands in line.
    pub(crate) outcome: Option<TurnOutcome>,
}

impl LineWaiter {
    pub(crate) fn new(turn: &AcquireTurn, counted: Counted, ready_at: Option<Timestamp>) -> Self {
        Self {
            n: turn.n,
            floor: turn.floor,
            on_turn: turn.on_turn,
            left: turn.n,
            later: None,
            earlier: None,
            counted,
            ready_at,
            is_committed: false,
            armed: Timestamp::MAX,
            is_notified: false,
            outcome: None,
        }
    }

    /// Returns the tokens that it still wants, and its floor.
    pub(crate) fn wanted(&self) -> (u64, u64) {
        (self.left, self.floor)
    }

    /// Returns the part that it takes next.
    pub(crate) fn next_part(&self, burst: u64) -> u64 {
        self.left.min(burst.saturating_sub(self.floor)).max(1)
    }

    /// Marks the tokens that it was given as used.
    pub(crate) fn commit(&self, debit: Option<Debit>, tokens: &mut impl Tokens) {
        for debit in debit.or(self.later).into_iter().chain(self.earlier) {
            tokens.commit(debit);
        }
    }
}
