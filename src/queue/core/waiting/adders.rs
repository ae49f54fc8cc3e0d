//! Those who wait for room.
//!
//! Without groups first come is first served. With groups an adder's rank is its *round*: each group has
//! one adder a round, so groups take turns. An adder whose group is full stands apart until there is room
//! in it, at a rank of its group's own.

use std::collections::HashMap;
use std::task::Waker;

use hashbrown::HashTable;

use crate::queue::core::entry::Hash;
use crate::queue::core::groups::group_table::GroupId;
use crate::queue::core::hash::FastHash;
use crate::wait::{Left, WaitId, WaitList};

#[derive(Debug)]
pub(crate) struct Adders {
    line: WaitList<Adder>,
    /// To find those who wait for room for a key that has come in.
    by_hash: HashTable<(Hash, WaitId)>,
    /// To be woken, for their key has come in.
    waking: Vec<Waker>,
    /// Of each group with blocked adders, by its hash.
    rounds: HashMap<u64, Rounds, FastHash>,
    /// The latest round of which an adder was promised room.
    round: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    last: u64,
    waiting: u32,
}

#[derive(Clone, Copy, Debug)]
struct Adder {
    hash: Hash,
    /// There is room for it.
    promised: bool,
    of: Option<OfGroup>,
    round: u64,
    /// It waits for room in its group.
    is_apart: bool,
}

/// The group of an adder's key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfGroup {
    pub(crate) hash: u64,
    /// If the group was there when the adder began to wait.
    pub(crate) id: Option<GroupId>,
}

/// Room for an adder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// And in this group.
    pub(crate) group: Option<GroupId>,
}

/// What an adder leaves.
#[derive(Debug)]
pub(crate) struct Gone {
    /// To be dropped once the lock is released.
    pub(crate) waker: Option<Waker>,
    /// Its group, and whether it stood apart for that.
    pub(crate) group: Option<GroupId>,
    pub(crate) was_apart: bool,
}

/// The ranks of those who stand apart begin here.
const APART: u64 = 1 << 63;

impl Adders {
    pub(crate) fn new() -> Self {
        Self {
            line: WaitList::new(),
            by_hash: HashTable::new(),
            waking: Vec::new(),
            rounds: HashMap::default(),
            round: 0,
        }
    }

    /// How many have not left.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.line.len()
    }

    /// Joins the line, or goes back to its place. Returns a waker to be dropped once the lock is
    /// released.
    pub(crate) fn wait(
        &mut self,
        place: &mut Option<WaitId>,
        waker: &Waker,
        hash: Hash,
        of: Option<OfGroup>,
    ) -> Option<Waker> {
        if let Some(id) = *place {
            let wants = *self.line.wants(id);
            return self.line.wait(place, waker, wants);
        }
        // Its clone may panic, so before anything has changed.
        let waker = waker.clone();
        let adder = Adder {
            hash,
            promised: false,
            of,
            round: of.map_or(0, |of| self.next_round(of.hash)),
            is_apart: false,
        };
        let id = self.line.join_ranked(adder.round, waker, adder);
        let rehash = |(hash, _): &(Hash, WaitId)| spread(*hash);
        self.by_hash.insert_unique(spread(hash), (hash, id), rehash);
        *place = Some(id);
        None
    }

    /// The round of a group's next adder.
    fn next_round(&mut self, group: u64) -> u64 {
        let rounds = self.rounds.entry(group).or_default();
        rounds.waiting += 1;
        rounds.last = self.round.max(rounds.last + 1);
        rounds.last
    }

    pub(crate) fn leave(&mut self, place: WaitId) -> Gone {
        let Left { wanted, waker } = self.line.leave(place);
        let this = |entry: &(Hash, WaitId)| *entry == (wanted.hash, place);
        if let Ok(found) = self.by_hash.find_entry(spread(wanted.hash), this) {
            found.remove();
        }
        let of = wanted.of;
        if let Some(of) = of
            && let Some(rounds) = self.rounds.get_mut(&of.hash)
        {
            rounds.waiting -= 1;
            if rounds.waiting == 0 {
                self.rounds.remove(&of.hash);
            }
        }
        Gone {
            waker,
            group: of.and_then(|of| of.id),
            was_apart: wanted.is_apart,
        }
    }

    /// The group of an adder, if it was there when the adder began to wait.
    pub(crate) fn group_of(&self, place: WaitId) -> Option<GroupId> {
        self.line.wants(place).of.and_then(|of| of.id)
    }

    /// Whether an adder was promised room, and in which group, once.
    pub(crate) fn take_promise(&mut self, place: WaitId) -> Option<Promise> {
        let adder = self.line.wants_mut(place);
        let promised = std::mem::take(&mut adder.promised);
        let group = adder.of.and_then(|of| of.id);
        promised.then_some(Promise { group })
    }

    /// Whose turn it is to have room, and in which group.
    pub(crate) fn next(&self) -> Option<(WaitId, Option<GroupId>)> {
        let id = self.line.first_of(0..APART)?;
        Some((id, self.line.wants(id).of.and_then(|of| of.id)))
    }

    /// Promises room to an adder, which is to be woken.
    pub(crate) fn promise(&mut self, id: WaitId) -> Option<Waker> {
        let adder = self.line.wants_mut(id);
        adder.promised = true;
        self.round = self.round.max(adder.round);
        self.line.wake(id)
    }

    /// An adder waits for room in its group.
    pub(crate) fn set_apart(&mut self, id: WaitId, group: GroupId) {
        self.line.wants_mut(id).is_apart = true;
        self.line.move_to(id, APART | u64::from(group.at));
    }

    /// The first of those who stood apart for a group takes its turn again: whether there is one.
    pub(crate) fn bring_back(&mut self, group: GroupId) -> bool {
        let rank = APART | u64::from(group.at);
        let Some(id) = self.line.first_of(rank..rank + 1) else {
            return false;
        };
        let adder = self.line.wants_mut(id);
        adder.is_apart = false;
        let round = adder.round;
        self.line.move_to(id, round);
        true
    }

    /// Wakes the first in line.
    pub(crate) fn wake_first(&mut self) -> Option<Waker> {
        self.line.wake_first()
    }

    /// A key has come in: those who wait for room for it need none. Those of another key with the same
    /// hash wait again.
    #[cold]
    pub(crate) fn came_in(&mut self, hash: Hash) {
        let same = self.by_hash.iter_hash(spread(hash));
        let same = same.filter(|(of, _)| *of == hash);
        let line = &mut self.line;
        self.waking
            .extend(same.filter_map(|(_, place)| line.wake(*place)));
    }

    /// Those to be woken by that.
    pub(crate) fn waking(&mut self) -> impl Iterator<Item = Waker> {
        self.waking.drain(..)
    }
}

fn spread(hash: Hash) -> u64 {
    u64::from(hash.bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_has_left_is_not_found() {
        let mut adders = Adders::new();
        let (hash, other) = (Hash::new(1), Hash::new(2));
        let mut places = [None; 3];
        for (place, hash) in places.iter_mut().zip([hash, hash, other]) {
            assert!(adders.wait(place, Waker::noop(), hash, None).is_none());
        }
        assert!(adders.leave(places[0].expect("it waits")).waker.is_some());
        adders.came_in(hash);
        assert_eq!(adders.waking().count(), 1);
        adders.came_in(hash);
        assert_eq!(adders.waking().count(), 0, "it is awake");
        for place in &places[1..] {
            adders.leave(place.expect("it waits"));
        }
        assert!(adders.by_hash.is_empty());
    }
}
