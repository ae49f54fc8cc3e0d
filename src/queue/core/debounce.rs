use std::time::Duration;

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::entry::{NEVER, tick_after};

/// How long a key must have been quiet before it is ready, and how long at most that can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Debounce {
    pub(crate) quiet: Duration,
    pub(crate) max: Duration,
}

impl Debounce {
    /// When a key is ready that was added now and is due at `due` already, if at all: the tick, and
    /// the one beyond which it cannot be put off.
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

/// Of each entry of a debounced queue the tick beyond which no further add can put it off, or
/// `NEVER`. Other queues have none.
#[derive(Debug, Default)]
pub(crate) struct Windows(Vec<u64>);

impl Windows {
    /// Makes room for so many entries.
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
