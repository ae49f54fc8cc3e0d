//! How many tokens those in line want, by their reserve floors.

use smallvec::SmallVec;

use crate::limiter::core::line::waiter::{Place, Waiter};

#[derive(Debug)]
pub(crate) struct Lanes {
    /// By floor. Mostly there is one.
    lanes: SmallVec<[Lane; 1]>,
    /// Tokens of reservations, which come before every newcomer, whatever its floor.
    booked: u128,
}

/// Those of one floor.
#[derive(Clone, Copy, Debug)]
struct Lane {
    floor: u64,
    waiters: usize,
    wanted: u128,
    /// Tokens that all who have ever joined wanted.
    joined: u128,
}

impl Lanes {
    pub(crate) const fn new() -> Self {
        Self {
            lanes: SmallVec::new_const(),
            booked: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.booked == 0
    }

    /// Tokens that come before a newcomer with this floor.
    #[inline]
    pub(crate) fn ahead(&self, floor: u64) -> u128 {
        let lower = self.lanes.iter().take_while(|lane| lane.floor <= floor);
        lower.map(|lane| lane.wanted).sum::<u128>() + self.booked
    }

    /// Notes a reservation.
    pub(crate) fn book(&mut self, n: u64) -> Place {
        self.booked += u128::from(n);
        Place::Booked
    }

    /// Tokens of reservations.
    pub(crate) const fn booked(&self) -> u128 {
        self.booked
    }

    /// Notes a waiter, at the end, or back where it was.
    pub(crate) fn join(&mut self, n: u64, floor: u64, is_back: bool) -> Place {
        let at = self.lanes.partition_point(|lane| lane.floor < floor);
        if self.lanes.get(at).is_none_or(|lane| lane.floor != floor) {
            let lane = Lane {
                floor,
                waiters: 0,
                wanted: 0,
                joined: 0,
            };
            self.lanes.insert(at, lane);
        }
        let lane = &mut self.lanes[at];
        let before = if is_back { lane.wanted } else { 0 };
        lane.waiters += 1;
        lane.wanted += u128::from(n);
        lane.joined += u128::from(n);
        Place::Joined(lane.joined - before)
    }

    fn at(&self, floor: u64) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.floor == floor)
    }

    /// Notes that a waiter has left, or was given what it wants.
    pub(crate) fn remove(&mut self, waiter: &Waiter) {
        if let Place::Booked = waiter.lane {
            self.booked -= u128::from(waiter.n);
            return;
        }
        self.shrink(waiter, waiter.left);
        if let Some(at) = self.at(waiter.floor) {
            self.lanes[at].waiters -= 1;
            if self.lanes[at].waiters == 0 {
                self.lanes.remove(at);
            }
        }
    }

    /// Notes that a waiter was given a part of what it wants.
    pub(crate) fn shrink(&mut self, waiter: &Waiter, part: u64) {
        if let Some(at) = self.at(waiter.floor) {
            self.lanes[at].wanted -= u128::from(part);
        }
    }

    /// About how many tokens come before a waiter: those who have joined later come after it.
    pub(crate) fn estimate(&self, waiter: &Waiter) -> u128 {
        let Some(at) = self.at(waiter.floor) else {
            return 0;
        };
        let (lane, Place::Joined(joined)) = (self.lanes[at], waiter.lane) else {
            return 0;
        };
        let behind = lane.joined.saturating_sub(joined) + u128::from(waiter.left);
        self.ahead(waiter.floor).saturating_sub(behind)
    }
}
