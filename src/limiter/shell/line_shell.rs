//! What every shell with a lock and a [`Line`] behind it has in common: the order in which an
//! operation locks, serves the waiters, unlocks and wakes.
//!
//! Invariant: wakers are woken, and dropped, only after the lock is released, since they are the
//! caller's code and may call the limiter.

use std::task::Waker;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::acquire_turn::AcquireTurn;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::reserved_part::ReservedPart;
use crate::limiter::core::tokens::Tokens;
use crate::sync::MutexGuard;
use crate::unwind::Panics;
use crate::wait::Progress;
use crate::wake::Wakers;

/// A lock with a [`Line`] behind it.
pub(crate) trait LineShell {
    type Tokens: Tokens;

    /// What the lock protects: the line, and what the shell keeps beside it.
    type State: AsMut<Line<Self::Tokens>>;

    /// Reads the limiter's clock.
    fn clock_now(&self) -> Timestamp;

    /// Locks the state, wherever the fill is.
    fn lock(&self) -> MutexGuard<'_, Self::State>;

    /// Brings the fill into the line.
    fn hold(&self, state: &mut Self::State);

    /// Lets takers pass by the line again, if it is idle.
    fn release(&self, state: &mut Self::State, now: Timestamp);

    /// Returns the latest time that the state knows of, for an operation that has none.
    fn latest(state: &Self::State) -> Timestamp;

    /// Runs `op` with the fill in the line, at the caller's time or at one that is read there, so
    /// that no taker before has used a later one. Then serves the waiters whose turn has come, and
    /// has the first of the others set their timers anew.
    fn change<O>(
        &self,
        now: Option<Timestamp>,
        op: impl FnOnce(&mut Self::State, Timestamp, &mut Wakers) -> O,
    ) -> O {
        self.change_at(|_| now.unwrap_or_else(|| self.clock_now()), op)
    }

    /// Same as [`change`](Self::change), for what leaves the line. If the caller's clock panics, `op`
    /// runs at the latest known time: else the waiter would stand in line for ever.
    fn leave_line<O>(
        &self,
        now: Option<Timestamp>,
        op: impl FnOnce(&mut Self::State, Timestamp, &mut Wakers) -> O,
    ) -> O {
        // Resumes the panic when it is dropped, after all else.
        let mut panics = Panics::default();
        let read = |state: &Self::State| {
            let now = now.or_else(|| panics.catch(|| self.clock_now()));
            now.unwrap_or_else(|| Self::latest(state))
        };
        self.change_at(read, op)
    }

    fn change_at<O>(
        &self,
        now: impl FnOnce(&Self::State) -> Timestamp,
        op: impl FnOnce(&mut Self::State, Timestamp, &mut Wakers) -> O,
    ) -> O {
        // Before the guard, so that a panic, too, unlocks before it wakes.
        let mut wakers = Wakers::default();
        let mut state = self.lock();
        self.hold(&mut state);
        let now = now(&state);
        let output = op(&mut state, now, &mut wakers);
        state.as_mut().serve(now, &mut wakers);
        self.release(&mut state, now);
        drop(state);
        drop(wakers);
        output
    }

    /// Runs `op` on the line, which has the fill, after the waiters whose turn has come are served.
    #[inline]
    fn on_line<O>(
        &self,
        mut state: MutexGuard<'_, Self::State>,
        now: Timestamp,
        op: impl FnOnce(&mut Line<Self::Tokens>) -> O,
    ) -> O {
        if state.as_mut().is_idle() {
            let output = op(state.as_mut());
            self.release(&mut state, now);
            return output;
        }
        self.on_busy_line(state, now, op)
    }

    #[cold]
    fn on_busy_line<O>(
        &self,
        state: MutexGuard<'_, Self::State>,
        now: Timestamp,
        op: impl FnOnce(&mut Line<Self::Tokens>) -> O,
    ) -> O {
        let mut wakers = Wakers::default();
        // A parameter would be dropped last, and so unlock after the wake-ups.
        let mut state = state;
        state.as_mut().serve(now, &mut wakers);
        let output = op(state.as_mut());
        self.release(&mut state, now);
        drop(state);
        drop(wakers);
        output
    }

    /// Reserves `n` tokens by the line.
    fn reserve(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<ReservedPart, Denied> {
        let (mut panics, mut reserved) = (Panics::default(), None);
        panics.catch(|| {
            self.change(Some(now), |state, now, _| {
                reserved = Some(state.as_mut().reserve(n, max_wait, now));
            });
        });
        // Another caller's waker has panicked. The panic takes the place of the answer, so the
        // reservation would never be used nor given back.
        if !panics.is_empty()
            && let Some(Ok(part)) = &reserved
        {
            self.leave_line(Some(now), |state, now, _| {
                state.as_mut().give_back(part, now);
            });
        }
        drop(panics);
        reserved.expect("without a panic it ran to its end")
    }

    /// Marks reserved tokens as used: they do not come back.
    fn commit(&self, part: &ReservedPart) {
        match part.debit {
            // Nothing changes for the waiters, so the line need not have the fill.
            Some(_) => self.lock().as_mut().commit(part),
            None => self.leave_line(None, |state, _, _| state.as_mut().commit(part)),
        }
    }

    /// Ends all waits, and refuses all later takes.
    fn close(&self) {
        self.change(None, |state, now, _| state.as_mut().close(now));
    }

    fn is_closed(&self) -> bool {
        self.lock().as_mut().is_closed()
    }

    /// Polls a turn, which takes its tokens or waits in line for them.
    fn poll_turn(
        &self,
        turn: &mut AcquireTurn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        let (mut wakers, mut stale) = (Wakers::default(), None);
        let mut state = self.lock();
        self.hold(&mut state);
        let line = state.as_mut();
        let progress = line.poll_turn(turn, now, waker, &mut wakers, &mut stale);
        line.rearm(now, &mut wakers);
        self.release(&mut state, now);
        drop(state);
        drop(wakers);
        drop(stale);
        progress
    }

    /// Takes a turn out of the line.
    fn leave_turn(&self, turn: &mut AcquireTurn) {
        let left = self.leave_line(None, |state, now, _| state.as_mut().leave(turn, now));
        drop(left);
    }
}
