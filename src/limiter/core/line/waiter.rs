//! One in line.

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::taken::Debit;
use crate::limiter::core::tokens::Tokens;
use crate::limiter::core::turn::{Kind, Turn};

/// What has become of a waiter: the debit that it can give back, if it was given tokens.
pub(crate) type Outcome = Result<Option<Debit>, Denied>;

/// Where a waiter joined its lane.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Booked,
    /// `joined`, with this one.
    Joined(u128),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) n: u64,
    pub(crate) floor: u64,
    pub(crate) kind: Kind,
    /// What it has not been given yet.
    pub(crate) left: u64,
    /// The latest part that it was given, and the one before: what came before those is more than a
    /// burst ago, and nothing of it can come back.
    pub(crate) later: Option<Debit>,
    pub(crate) earlier: Option<Debit>,
    pub(crate) lane: Place,
    /// Of a reservation: when it can be used.
    pub(crate) ready_at: Option<Timestamp>,
    /// Of a reservation: whether it leaves the line once its tokens are taken.
    pub(crate) is_committed: bool,
    /// What its timer was set to.
    pub(crate) armed: Timestamp,
    /// `None` while it stands in line.
    pub(crate) outcome: Option<Outcome>,
}

impl Waiter {
    pub(crate) fn new(turn: &Turn, lane: Place, ready_at: Option<Timestamp>) -> Self {
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
    pub(crate) fn wanted(&self) -> (u64, u64) {
        (self.left, self.floor)
    }

    /// The part that it takes next.
    pub(crate) fn next_part(&self, burst: u64) -> u64 {
        self.left.min(burst.saturating_sub(self.floor)).max(1)
    }

    /// Its tokens are used.
    pub(crate) fn keep(&self, debt: Option<Debit>, tokens: &mut impl Tokens) {
        for debt in debt.or(self.later).into_iter().chain(self.earlier) {
            tokens.keep(debt);
        }
    }
}
