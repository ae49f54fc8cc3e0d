//! Those who wait for room.

use std::task::Waker;

use hashbrown::HashTable;

use super::entry::Hash;
use crate::wait::{Left, WaitId, WaitList};

/// The adders in line. One whose key comes in by another way needs no room any more; it is found by
/// the hash.
#[derive(Debug)]
pub(super) struct Adders {
    line: WaitList<Adder>,
    by_hash: HashTable<(Hash, WaitId)>,
    /// Out of the line, and not woken yet.
    waking: Vec<Waker>,
}

#[derive(Clone, Copy, Debug)]
struct Adder {
    hash: Hash,
    /// Room is kept for it.
    promised: bool,
}

impl Adders {
    pub(super) const fn new() -> Self {
        Self {
            line: WaitList::new(),
            by_hash: HashTable::new(),
            waking: Vec::new(),
        }
    }

    /// How many have not left.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.line.len()
    }

    /// Joins the line, or goes back to its place in it.
    pub(super) fn wait(
        &mut self,
        place: &mut Option<WaitId>,
        waker: &Waker,
        hash: Hash,
    ) -> Option<Waker> {
        let joins = place.is_none();
        let promised = false;
        let stale = self.line.wait(place, waker, Adder { hash, promised });
        if let Some(place) = place
            && joins
        {
            let rehash = |(hash, _): &(Hash, WaitId)| spread(*hash);
            self.by_hash
                .insert_unique(spread(hash), (hash, *place), rehash);
        }
        stale
    }

    /// Ends an adder.
    pub(super) fn leave(&mut self, place: WaitId) -> Option<Waker> {
        let Left { wanted, waker } = self.line.leave(place);
        let this = |entry: &(Hash, WaitId)| *entry == (wanted.hash, place);
        if let Ok(found) = self.by_hash.find_entry(spread(wanted.hash), this) {
            found.remove();
        }
        waker
    }

    /// Calls a promise off: whether there was one.
    pub(super) fn take_promise(&mut self, place: WaitId) -> bool {
        std::mem::take(&mut self.line.wants_mut(place).promised)
    }

    /// Promises room to the first in line, to be woken; `None` if nobody is.
    pub(super) fn promise_first(&mut self) -> Option<Waker> {
        let (_, first) = self.line.first_mut()?;
        first.promised = true;
        self.line.wake_first()
    }

    /// Takes the first out of the line, to be woken without room.
    pub(super) fn wake_first(&mut self) -> Option<Waker> {
        self.line.wake_first()
    }

    /// Has those look again who wait for room for a key that has come in.
    #[cold]
    pub(super) fn came_in(&mut self, hash: Hash) {
        let same = self.by_hash.iter_hash(spread(hash));
        let same = same.filter(|(of, _)| *of == hash);
        let line = &mut self.line;
        self.waking
            .extend(same.filter_map(|(_, place)| line.wake(*place)));
    }

    /// Those who look again, to be woken.
    pub(super) fn waking(&mut self) -> impl Iterator<Item = Waker> {
        self.waking.drain(..)
    }
}

/// A table goes by the low bits and by the highest.
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
            assert!(adders.wait(place, Waker::noop(), hash).is_none());
        }
        assert!(adders.leave(places[0].expect("it waits")).is_some());
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
