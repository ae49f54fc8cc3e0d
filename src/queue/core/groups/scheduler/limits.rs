//! The rate limits of groups. A group whose limiter refuses is *parked*: its flows leave the rings
//! until the limiter wakes it, or until the instant that the limiter named.

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::groups::group_table::GroupId;
use crate::queue::core::groups::scheduler::GroupScheduler;
use crate::wake::Wakers;

impl GroupScheduler {
    /// Parks a group whose limiter has refused.
    pub(crate) fn park(&mut self, at: Index, until: Timestamp) {
        self.groups.slots[at].parked = Some(until);
        self.parked.insert((until, at));
        self.refresh(at);
    }

    /// Returns when the first parked group is to be unparked.
    pub(crate) fn next_poll(&self) -> Option<Timestamp> {
        self.parked.first().map(|(until, _)| *until)
    }

    /// Unparks the groups whose instants have come.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        while let Some(&(until, at)) = self.parked.first()
            && until <= now
        {
            self.unpark(at, None);
        }
    }

    /// The limiter of a group has woken the queue: it may have a token.
    pub(crate) fn on_limiter_wake(&mut self, id: GroupId, now: Option<Timestamp>) {
        // The slot may be another group's by now.
        if self.groups.get_mut(id).is_some() {
            self.unpark(id.at, now);
        }
    }

    fn unpark(&mut self, at: Index, woken_at: Option<Timestamp>) {
        let group = &mut self.groups.slots[at];
        if let Some(until) = group.parked.take() {
            self.parked.remove(&(until, at));
        }
        if let Some(throttle) = &mut group.throttle {
            throttle.on_wake(woken_at);
        }
        self.refresh(at);
    }

    /// Groups without ready keys leave their limiters' lines. They are unparked, so that the next
    /// key asks the limiter again.
    pub(crate) fn leave_limiters(&mut self, wakers: &mut Wakers) {
        while let Some(at) = self.idle.pop() {
            let group = &mut self.groups.slots[at];
            if group.ready > 0 {
                continue;
            }
            if let Some(throttle) = &mut group.throttle {
                throttle.leave(wakers);
            }
            self.unpark(at, None);
        }
    }

    /// Returns the groups with ready keys whose limiters say that they are closed.
    pub(crate) fn closed(&mut self, wakers: &mut Wakers) -> Vec<Index> {
        let ready = self.groups.iter().filter(|(_, group)| group.ready > 0);
        let mut ready: Vec<Index> = ready.map(|(at, _)| at).collect();
        ready.retain(|at| {
            let throttle = self.groups.slots[*at].throttle.as_mut();
            throttle.is_some_and(|throttle| throttle.check_closed(wakers))
        });
        ready
    }
}
