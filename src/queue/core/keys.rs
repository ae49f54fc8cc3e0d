//! The keys of the queue, in slots whose addresses do not change.
//!
//! A worker borrows its key: it reads the key in its slot, without the lock, while other threads compare
//! theirs with it under the lock. So no key is ever copied. A key that is borrowed is neither replaced nor
//! taken out before the worker releases it.
//!
//! [`slots`] enforces this by a byte a slot, whatever the rest of the queue does, and has the invariant;
//! this file adds what needs no `unsafe`.

mod slots;
#[cfg(all(test, not(tollgate_loom)))]
mod tests;

use crate::list::Index;
use crate::queue::core::keys::slots::SlotState;
use crate::unwind::Panics;

pub(crate) use self::slots::{KeyRef, Keys};

impl<K> Keys<K> {
    /// Replaces a key that is not borrowed. Returns the old one.
    pub(crate) fn replace(&mut self, index: Index, key: K) -> K {
        let old = self.remove(index);
        self.insert(index, key);
        old
    }
}

impl<K> Drop for Keys<K> {
    fn drop(&mut self) {
        // If a key panics when it is dropped, the others are dropped all the same. The panic continues
        // once the slots are freed.
        let mut panics = Panics::default();
        let mut next = 0;
        while let Some(state) = self.states().get(next as usize) {
            if *state == SlotState::Occupied {
                panics.catch(|| drop(self.remove(next)));
            }
            next += 1;
        }
        self.free();
    }
}
