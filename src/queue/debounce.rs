use std::time::Duration;

use super::entry::{NEVER, tick_after};
use crate::clock::Timestamp;

/// How long a key must have been quiet before it is ready, and how long at most that can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Debounce {
    pub(super) quiet: Duration,
    pub(super) max: Duration,
}

impl Debounce {
    /// When a key is ready that was added now and is due at `due` already, if at all: the tick, and
    /// the one beyond which it cannot be put off.
    pub(super) fn next(self, due: u64, window: u64, now: Timestamp) -> (u64, u64) {
        let window = if window == NEVER {
            due.min(tick_after(now.saturating_add(self.max)))
        } else {
            window
        };
        let quiet = tick_after(now.saturating_add(self.quiet));
        (quiet.min(window), window)
    }
}
