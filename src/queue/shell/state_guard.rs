//! The lock's guard, which settles the state before it unlocks.

use std::mem;

use crate::queue::core::waiting::queue_state::QueueState;
use crate::sync::MutexGuard;
use crate::wake::Wakers;

/// The locked state during a change.
///
/// However the change ends, also by a panic of the caller's `Eq`, the state is
/// [settled](QueueState::settle) under the lock, and waiters are woken after it is released. Without that
/// a panic would lose wake-ups.
pub(crate) struct StateGuard<'a, K>(
    /// `None` once it is unlocked.
    pub(super) Option<MutexGuard<'a, QueueState<K>>>,
);

impl<K> StateGuard<'_, K> {
    #[inline]
    pub(crate) fn state(&mut self) -> &mut QueueState<K> {
        match &mut self.0 {
            Some(state) => state,
            None => unreachable!("unlocking consumes the guard"),
        }
    }

    /// Settles the state and unlocks it, as dropping does, but faster.
    #[expect(clippy::inline_always, reason = "mostly it is no more than the unlock")]
    #[inline(always)]
    pub(crate) fn unlock(mut self) {
        let state = self.0.take();
        // Nothing is left to drop, and the destructor would be a call.
        mem::forget(self);
        match state {
            // No waiter: nothing to settle.
            Some(state) if state.is_quiet() => drop(state),
            state => settle(state),
        }
    }
}

impl<K> Drop for StateGuard<'_, K> {
    fn drop(&mut self) {
        settle(self.0.take());
    }
}

/// Settles the state, unlocks it, and wakes. Out of line: mostly there is no waiter.
#[inline(never)]
fn settle<K>(state: Option<MutexGuard<'_, QueueState<K>>>) {
    // Declared before the lock guard, so dropped after it: wakers run the caller's code, which may
    // use the queue.
    let mut wakers = Wakers::default();
    if let Some(mut state) = state {
        state.settle(&mut wakers);
    }
}
