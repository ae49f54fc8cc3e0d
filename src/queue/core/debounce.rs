//! Debounce: an add becomes ready after a quiet time, which later adds extend up to a maximum.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::entry::{NEVER, tick_after};

/// The quiet time of a debounced key, and the longest time for which adds can put its run off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Debounce {
    pub(crate) quiet: Duration,
    pub(crate) max: Duration,
}

impl Debounce {
    /// Returns the tick at which a key is due that is added `now`, and the end of its window. The
    /// first add opens a window, which ends at `due` at the latest.
    pub(crate) fn next(self, due: u64, window: u64, now: Timestamp) -> (u64, u64) {
        let window = if window == NEVER {
            due.min(tick_after(now.saturating_add(self.max)))
        } else {
            window
        };
        let quiet = tick_after(now.saturating_add(self.quiet));
        (quiet.min(window), window)
    }
}

/// The end of each entry's debounce window: the tick beyond which no add can put its run off, or
/// `NEVER` outside a window. Allocates only in a debounced queue.
#[derive(Debug, Default)]
pub(crate) struct Windows(Vec<u64>);

impl Windows {
    /// Makes room for this many entries.
    pub(crate) fn grow(&mut self, entries: usize) {
        self.0.resize(entries, NEVER);
    }

    #[inline]
    pub(crate) fn end(&self, index: Index) -> u64 {
        self.0.get(index as usize).copied().unwrap_or(NEVER)
    }

    #[inline]
    pub(crate) fn set(&mut self, index: Index, end: u64) {
        if let Some(window) = self.0.get_mut(index as usize) {
            *window = end;
        }
    }
}
