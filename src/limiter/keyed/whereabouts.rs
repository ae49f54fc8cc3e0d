//! Where the memory of a table is, known without its lock: to ask for it before it is waited for.

use crate::sync::prefetch;

/// Where a table is, or was. Memory there is asked for and never read, so that one that has moved
/// costs the time of asking.
///
/// An address above eight bits, of which 56 are used, and there the places as a power of two. In one
/// word, so that the two are of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whereabouts(u64);

/// So many lines of places are asked for: most keys are in the first, and of 16 bytes each line has
/// four.
const LINES: usize = 3;
const LINE: usize = 64;

impl Whereabouts {
    /// Of a table of so many places in which `slot` is at `index`. `hashbrown` has the tags behind
    /// the places, which go backwards from there.
    pub(super) fn of<T>(slot: *const T, index: usize, places: usize) -> Self {
        let tags = slot.wrapping_add(index + 1).addr() as u64;
        Self(tags << 8 | u64::from(places.ilog2()))
    }

    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> u64 {
        self.0
    }

    /// Asks for what is read to find a hash: its tags, and the places that come first.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    #[inline]
    pub(super) fn ask<T>(self, hash: u64) {
        let home = hash as usize & ((1 << (self.0 & 63)) - 1);
        let tags = std::ptr::without_provenance::<u8>((self.0 >> 8) as usize);
        prefetch(tags.wrapping_add(home));
        let place = tags.cast::<T>().wrapping_sub(home + 1).cast::<u8>();
        for line in 0..LINES {
            prefetch(place.wrapping_sub(line * LINE));
        }
    }
}
