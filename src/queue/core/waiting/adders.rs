//! Blocked adders: the line of callers that wait for room.
//!
//! Without groups the line is FIFO. With groups an adder's rank is its *round*: each group has one
//! adder in a round, so groups take turns. An adder whose group is full is *group-blocked*: it moves
//! to a rank of its group, behind all rounds, until the group has room.

use std::collections::HashMap;
use std::task::Waker;

use hashbrown::HashTable;

use crate::queue::core::entry::KeyHash;
use crate::queue::core::groups::group_table::GroupId;
use crate::queue::core::hash::FastHash;
use crate::wait::{Left, WaitId, WaitList};

#[derive(Default)]
pub(crate) struct Adders {
    pub(crate) line: WaitList<Adder>,
    /// The adders by the hash of their keys: if another caller adds the key, they need no room.
    by_hash: HashTable<(KeyHash, WaitId)>,
    /// The wakers of adders whose key another caller has added.
    pub(crate) to_wake: Vec<Waker>,
    /// The rounds of each group with adders in line, by its hash.
    rounds: HashMap<u64, Rounds, FastHash>,
    /// The latest round in which an adder was promised room.
    round: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    /// The round of the group's last adder.
    last: u64,
    waiting: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Adder {
    hash: KeyHash,
    /// Whether room is reserved for it.
    pub(crate) promised: bool,
    group: Option<AdderGroup>,
    round: u64,
    pub(crate) is_group_blocked: bool,
}

/// The group of an adder's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdderGroup {
    pub(crate) hash: u64,
    /// `None` if the group did not exist when the adder began to wait.
    pub(crate) id: Option<GroupId>,
}

/// The first rank of group-blocked adders, above all rounds.
const GROUP_BLOCKED: u64 = 1 << 63;

impl Adders {
    /// Joins the line, or goes back to its place there. Returns a waker to be dropped once the lock
    /// is released.
    pub(crate) fn wait(
        &mut self,
        place: &mut Option<WaitId>,
        waker: &Waker,
        hash: KeyHash,
        group: Option<AdderGroup>,
    ) -> Option<Waker> {
        if let Some(id) = *place {
            let wants = *self.line.wants(id);
            return self.line.wait(place, waker, wants);
        }
        // Cloned before anything changes: the clone is the caller's code, and may panic.
        let waker = waker.clone();
        let adder = Adder {
            hash,
            promised: false,
            group,
            round: group.map_or(0, |group| self.next_round(group.hash)),
            is_group_blocked: false,
        };
        let id = self.line.join_ranked(adder.round, waker, adder);
        let rehash = |(hash, _): &(KeyHash, WaitId)| hash.spread();
        self.by_hash
            .insert_unique(hash.spread(), (hash, id), rehash);
        *place = Some(id);
        None
    }

    /// Returns the round of a group's next adder. A group that was away joins the current round, and
    /// gains nothing from the rounds that it missed.
    fn next_round(&mut self, group: u64) -> u64 {
        let rounds = self.rounds.entry(group).or_default();
        rounds.waiting += 1;
        rounds.last = self.round.max(rounds.last + 1);
        rounds.last
    }

    /// Leaves the line. The waker is to be dropped once the lock is released.
    pub(crate) fn leave(&mut self, place: WaitId) -> Left<Adder> {
        let left = self.line.leave(place);
        let wanted = &left.wanted;
        let this = |entry: &(KeyHash, WaitId)| *entry == (wanted.hash, place);
        if let Ok(found) = self.by_hash.find_entry(wanted.hash.spread(), this) {
            found.remove();
        }
        if let Some(group) = wanted.group
            && let Some(rounds) = self.rounds.get_mut(&group.hash)
        {
            rounds.waiting -= 1;
            if rounds.waiting == 0 {
                self.rounds.remove(&group.hash);
            }
        }
        left
    }

    /// Returns the group of an adder, if it existed when the adder began to wait.
    pub(crate) fn group_of(&self, place: WaitId) -> Option<GroupId> {
        self.line.wants(place).group?.id
    }

    /// Returns the adder whose turn it is, and its group.
    pub(crate) fn next(&self) -> Option<(WaitId, Option<GroupId>)> {
        let id = self.line.first_of(0..GROUP_BLOCKED)?;
        Some((id, self.group_of(id)))
    }

    /// Promises room to an adder; returns its waker.
    pub(crate) fn promise(&mut self, id: WaitId) -> Option<Waker> {
        let adder = self.line.wants_mut(id);
        adder.promised = true;
        self.round = self.round.max(adder.round);
        self.line.wake(id)
    }

    /// Sets an adder aside whose group is full.
    pub(crate) fn block_on_group(&mut self, id: WaitId, group: GroupId) {
        self.line.wants_mut(id).is_group_blocked = true;
        self.line.move_to(id, GROUP_BLOCKED | u64::from(group.at));
    }

    /// Returns the first group-blocked adder of a group to its round; returns false if none is in
    /// line.
    pub(crate) fn unblock(&mut self, group: GroupId) -> bool {
        let rank = GROUP_BLOCKED | u64::from(group.at);
        let Some(id) = self.line.first_of(rank..rank + 1) else {
            return false;
        };
        let adder = self.line.wants_mut(id);
        adder.is_group_blocked = false;
        let round = adder.round;
        self.line.move_to(id, round);
        true
    }

    /// Wakes the adders of a key that another caller has added: it is live now, and they need no
    /// room. Adders of another key with the same hash wait again.
    #[cold]
    pub(crate) fn key_added(&mut self, hash: KeyHash) {
        let same = self.by_hash.iter_hash(hash.spread());
        let same = same.filter(|(other, _)| *other == hash);
        let line = &mut self.line;
        self.to_wake
            .extend(same.filter_map(|(_, place)| line.wake(*place)));
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_adder_that_has_left_is_not_woken() {
        let mut adders = Adders::default();
        let (hash, other) = (KeyHash::new(1), KeyHash::new(2));
        let mut places = [None; 3];
        for (place, hash) in places.iter_mut().zip([hash, hash, other]) {
            assert!(adders.wait(place, Waker::noop(), hash, None).is_none());
        }
        assert!(adders.leave(places[0].expect("it waits")).waker.is_some());
        adders.key_added(hash);
        assert_eq!(adders.to_wake.drain(..).count(), 1);
        adders.key_added(hash);
        assert_eq!(adders.to_wake.drain(..).count(), 0, "it is awake");
        for place in &places[1..] {
            adders.leave(place.expect("it waits"));
        }
        assert!(adders.by_hash.is_empty());
    }
}
