//! One in line.

use super::lanes::Place;
use crate::clock::Timestamp;
use crate::limiter::Denied;
use crate::limiter::tokens::{Debit, Tokens};
use crate::limiter::turn::{Kind, Turn};

/// What has become of a waiter: the debit that it can give back, if it was given tokens.
pub(super) type Outcome = Result<Option<Debit>, Denied>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) n: u64,
    pub(super) floor: u64,
    pub(super) kind: Kind,
    /// What it has not been given yet.
    pub(super) left: u64,
    /// The latest part that it was given, and the one before: what came before those is more than a
    /// burst ago, and nothing of it can come back.
    pub(super) later: Option<Debit>,
    pub(super) earlier: Option<Debit>,
    pub(super) lane: Place,
    /// Of a reservation: when it can be used.
    pub(super) ready_at: Option<Timestamp>,
    /// Of a reservation: whether it leaves the line once its tokens are taken.
    pub(super) is_committed: bool,
    /// What its timer was set to.
    pub(super) armed: Timestamp,
    /// `None` while it stands in line.
    pub(super) outcome: Option<Outcome>,
}

impl Waiter {
    pub(super) fn new(turn: &Turn, lane: Place, ready_at: Option<Timestamp>) -> Self {
        Self {
            n: turn.n,
            floor: turn.floor,
            kind: turn.kind,
            left: turn.n,
            later: None,
            earlier: None,
            lane,
            ready_at,
            is_committed: false,
            armed: Timestamp::MAX,
            outcome: None,
        }
    }

    /// What it still wants, and above which floor.
    pub(super) fn wanted(&self) -> (u64, u64) {
        (self.left, self.floor)
    }

    /// The part that it takes next.
    pub(super) fn next_part(&self, burst: u64) -> u64 {
        self.left.min(burst.saturating_sub(self.floor)).max(1)
    }

    /// Its tokens are used.
    pub(super) fn keep(&self, debt: Option<Debit>, tokens: &mut impl Tokens) {
        for debt in debt.or(self.later).into_iter().chain(self.earlier) {
            tokens.keep(debt);
        }
    }
}
