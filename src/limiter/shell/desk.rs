//! What the buckets share: a lock, behind it a [`Line`], and, for an
//! [`AtomicTokenBucket`](crate::AtomicTokenBucket), the word that takers go by while nobody waits.
//!
//! While the line is not idle, the word is held and the fill is in the line. A reservation, a refund
//! or a change of the quota beside takers changes the word where that is enough.

use crate::limiter::core::fill::Held;
use crate::limiter::shell::bucket_fill::BucketFill;
use std::convert::Infallible;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::account::Account;
use crate::limiter::core::bounds::Bounds;
use crate::limiter::core::bounds::carved;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::fill::Beyond;
use crate::limiter::core::fill::Fill;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::View;
use crate::limiter::core::saved::Saved;
use crate::limiter::core::status::Status;
use crate::limiter::core::taken::Debit;
use crate::limiter::core::taken::Taken;
use crate::limiter::core::tokens::Tokens;
use crate::limiter::core::turn::Turn;
use crate::limiter::core::word::Scale;
use crate::limiter::shell::cell::{NeedsWriter, WordCell};
use crate::limiter::shell::gate::Gate;
use crate::quota::{Quota, QuotaError, Units};
use crate::sync::{Mutex, MutexGuard, const_unless_modelled};
use crate::unwind::Panics;
use crate::wait::Progress;
use crate::wake::Wakers;

pub(crate) struct Desk<C> {
    state: Mutex<State>,
    pub(crate) clock: C,
    pub(crate) gate: Gate,
}

pub(crate) struct State {
    pub(crate) line: Line,
    /// As it was set, without what is carved out of it.
    quota: Quota,
    /// Whether the fill is in the line.
    is_held: bool,
}

impl<C> Desk<C> {
    const_unless_modelled! {
        /// Of a quota and its units.
        pub(crate) fn new((quota, units): (Quota, Units), clock: C, has_word: bool) -> Self {
            let state = State {
                line: Line::new(units),
                quota,
                is_held: !has_word,
            };
            Self {
                state: Mutex::new(state),
                clock,
                gate: Gate::new(),
            }
        }
    }

    #[inline]
    pub(crate) const fn with_word<'a>(&'a self, word: Option<&'a WordCell>) -> Counter<'a, C> {
        Counter { word, desk: self }
    }

    pub(crate) fn bounds_mut(&mut self) -> &mut Bounds {
        &mut self.state.get_mut().line.bounds
    }

    /// Whether nothing can be given back any more.
    #[cfg(all(test, not(tollgate_loom)))]
    pub(crate) fn has_settled(&self) -> bool {
        self.state.lock().line.tokens.account.ledger.is_settled()
    }
}

/// The operations of a bucket.
pub(crate) struct Counter<'a, C> {
    word: Option<&'a WordCell>,
    desk: &'a Desk<C>,
}

impl<C> Clone for Counter<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Counter<'_, C> {}

impl<C: Clock> Counter<'_, C> {
    /// Runs `op` with the fill in the line, at the caller's time or at one that is read there, so
    /// that no taker before has used a later one. Then serves those whose turn has come, and has
    /// the first of the others look at its timer.
    fn in_line<T>(
        self,
        now: Option<Timestamp>,
        op: impl FnOnce(&mut State, Timestamp, &mut Wakers) -> T,
    ) -> T {
        self.in_line_at(|_| now.unwrap_or_else(|| self.desk.clock.now()), op)
    }

    /// As [`in_line`](Self::in_line), for what leaves the line: it goes also if the caller's clock
    /// panics, by the latest time that is known there. Else it would stand there for ever.
    fn leave_line<T>(
        self,
        now: Option<Timestamp>,
        op: impl FnOnce(&mut State, Timestamp, &mut Wakers) -> T,
    ) -> T {
        // Goes on once all is done.
        let mut panics = Panics::default();
        let read = |state: &State| {
            let now = now.or_else(|| panics.catch(|| self.desk.clock.now()));
            now.unwrap_or(state.line.tokens.held.known)
        };
        self.in_line_at(read, op)
    }

    fn in_line_at<T>(
        self,
        now: impl FnOnce(&State) -> Timestamp,
        op: impl FnOnce(&mut State, Timestamp, &mut Wakers) -> T,
    ) -> T {
        // Woken when the lock is released.
        let mut wakers = Wakers::default();
        let output = {
            let mut state = self.desk.state.lock();
            self.hold(&mut state);
            let now = now(&state);
            let output = op(&mut state, now, &mut wakers);
            state.line.serve(now, &mut wakers);
            self.release(&mut state, now);
            output
        };
        drop(wakers);
        output
    }

    /// Runs `op` on the line that holds the fill, once those whose turn has come have been served.
    #[inline]
    fn on_line<T>(
        self,
        mut state: MutexGuard<'_, State>,
        now: Timestamp,
        op: impl FnOnce(&mut Line) -> T,
    ) -> T {
        if state.line.is_idle() {
            let output = op(&mut state.line);
            self.release(&mut state, now);
            return output;
        }
        self.on_busy_line(state, now, op)
    }

    #[cold]
    fn on_busy_line<T>(
        self,
        state: MutexGuard<'_, State>,
        now: Timestamp,
        op: impl FnOnce(&mut Line) -> T,
    ) -> T {
        // Woken when the lock is released; a parameter would be dropped last.
        let mut wakers = Wakers::default();
        let mut state = state;
        state.line.serve(now, &mut wakers);
        let output = op(&mut state.line);
        self.release(&mut state, now);
        drop(state);
        drop(wakers);
        output
    }

    fn hold(self, state: &mut State) {
        if let Some(word) = self.word
            && !state.is_held
        {
            state.line.tokens.held = word.hold();
            state.is_held = true;
        }
    }

    /// Lets takers go by the word again, if nobody waits and it is enough.
    fn release(self, state: &mut State, now: Timestamp) {
        if let Some(word) = self.word
            && state.is_held
            && state.line.is_idle()
        {
            state.is_held = word.release(&state.line.tokens.held, now).is_err();
        }
    }

    /// Runs `op` on the fill, wherever it is; in the line if a word is too small for it.
    fn on_fill<T>(
        self,
        now: Option<Timestamp>,
        op: impl Fn(&mut Account, &mut BucketFill<'_>, &dyn Fn() -> Timestamp) -> Result<T, Beyond>,
    ) -> T {
        if let Some(word) = self.word {
            let mut state = self.desk.state.lock();
            if !state.is_held {
                let now = || now.unwrap_or_else(|| self.desk.clock.now());
                let done = op(
                    &mut state.line.tokens.account,
                    &mut BucketFill::Word(word),
                    &now,
                );
                if let Ok(output) = done {
                    return output;
                }
            }
        }
        self.in_line(now, |state, now, _| {
            let op = |account: &mut Account, held: &mut Held| {
                op(account, &mut BucketFill::Held(held), &|| now)
            };
            state.line.on_fill(op)
        })
    }

    /// Takes `n` tokens if `floor` remain, where the hot path does not serve.
    #[cold]
    pub(crate) fn take_by_word(
        self,
        word: &WordCell,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        if n == 0 {
            // Not even the base moves.
            return Ok(());
        }
        self.beside_the_line(
            word,
            now,
            |view, now| view.take(n, floor, now),
            |line| line.take(n, floor, now),
        )
    }

    /// Decides by the word, or by the line if that holds the fill.
    fn beside_the_line<T>(
        self,
        word: &WordCell,
        now: Timestamp,
        decide: impl Fn(&View, Timestamp) -> crate::limiter::core::rate::Decided<T>,
        in_line: impl FnOnce(&mut Line) -> Result<T, Denied>,
    ) -> Result<T, Denied> {
        let mut reach = 1;
        loop {
            match word.try_update(|| now, reach, &decide) {
                Ok(decided) => return decided,
                Err(NeedsWriter::Far) => match self.desk.state.try_lock() {
                    Some(state) if !state.is_held => word.move_base(now),
                    Some(_) => {}
                    // The writer at work is not waited for: words reach three times as far.
                    None if reach == 1 => reach = 3,
                    None => drop(self.desk.state.lock()),
                },
                Err(NeedsWriter::Held | NeedsWriter::Beyond) => {
                    let state = self.desk.state.lock();
                    if state.is_held {
                        return self.on_line(state, now, in_line);
                    }
                }
            }
        }
    }

    /// As [`take_by_word`](Self::take_by_word), behind the lock.
    #[inline]
    pub(crate) fn take_locked(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        let mut state = self.desk.state.lock();
        if state.line.is_idle() {
            return state.line.take_idle(n, floor, now);
        }
        drop(state);
        self.take_busy(n, floor, now)
    }

    #[cold]
    fn take_busy(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.on_line(self.desk.state.lock(), now, |line| line.take(n, floor, now))
    }

    pub(crate) fn take_up_to(self, n: u64, now: Timestamp) -> u64 {
        let in_line = |line: &mut Line| Ok(line.take_up_to(n, now));
        let taken = match self.word {
            Some(word) => {
                let decide = |view: &View, now| Ok(view.take_up_to(n, now));
                self.beside_the_line(word, now, decide, in_line)
            }
            None => self.on_line(self.desk.state.lock(), now, in_line),
        };
        taken.unwrap_or(0)
    }

    /// What `read` makes of the bucket, as a newcomer finds it.
    fn peek<T>(
        self,
        now: Timestamp,
        by_word: impl Fn(&View) -> T,
        in_line: impl Fn(&Line) -> T,
    ) -> T {
        loop {
            if let Some(word) = self.word
                && let Some(output) = word.peek(&by_word)
            {
                return output;
            }
            let state = self.desk.state.lock();
            if state.is_held {
                return self.on_line(state, now, |line| in_line(line));
            }
        }
    }

    /// What [`take_locked`](Self::take_locked) would say.
    pub(crate) fn ask(self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.peek(
            now,
            |view| view.take(n, floor, now).map(drop),
            |line| line.ask(n, floor, now),
        )
    }

    pub(crate) fn available(self, now: Timestamp) -> u64 {
        self.peek(
            now,
            |view| view.available(now),
            |line| line.tokens.held.view().available(now),
        )
    }

    pub(crate) fn status(self, n: u64, now: Timestamp) -> Status {
        self.peek(
            now,
            |view| Status::of(view, n, now),
            |line| line.status(n, now),
        )
    }

    pub(crate) fn take_with_status(self, n: u64, now: Timestamp) -> (Result<(), Denied>, Status) {
        let in_line = |line: &mut Line| {
            let taken = line.take(n, 0, now);
            Ok((taken, line.status(n, now)))
        };
        let decide = |view: &View, now| {
            let (full_at, taken) = match view.take(n, 0, now) {
                Ok((full_at, ())) => (full_at, Ok(())),
                Err(denied) => (view.full_at, Err(denied)),
            };
            let status = Status::of(&View { full_at, ..*view }, n, now);
            Ok((full_at, (taken, status)))
        };
        let decided = match self.word {
            Some(word) => self.beside_the_line(word, now, decide, in_line),
            None => self.on_line(self.desk.state.lock(), now, in_line),
        };
        decided.unwrap_or_else(|denied| (Err(denied), self.status(n, now)))
    }

    pub(crate) fn uncarved(self) -> u64 {
        self.peek(
            Timestamp::ZERO,
            |view| view.rate.units.burst,
            |line| line.units().burst,
        )
    }

    pub(crate) fn quota(self) -> Quota {
        self.desk.state.lock().quota
    }

    pub(crate) fn reserve(
        self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Taken, Denied> {
        if let Some(word) = self.word {
            let mut state = self.desk.state.lock();
            if !state.is_held {
                let account = &mut state.line.tokens.account;
                if let Ok(owed) = account.owe(&mut BucketFill::Word(word), n, max_wait, now) {
                    return owed;
                }
            }
        }
        let (mut panics, mut reserved) = (Panics::default(), None);
        panics.catch(|| {
            self.in_line(Some(now), |state, now, _| {
                reserved = Some(state.line.reserve(n, max_wait, now));
            });
        });
        // Another's waker has panicked, and nobody will know of it.
        if !panics.is_empty()
            && let Some(Ok(taken)) = &reserved
        {
            self.give_back(taken, Some(now));
        }
        drop(panics);
        reserved.expect("it ran to its end")
    }

    pub(crate) fn give_back(self, taken: &Taken, now: Option<Timestamp>) {
        match taken.debt {
            Some(Debit::Entry(debt)) => {
                let mut panics = Panics::default();
                panics.catch(|| {
                    self.on_fill(now, |account, fill, now| account.give_back(fill, debt, now));
                });
                if !panics.is_empty() {
                    // Without a time nothing can come back: it counts as used.
                    self.desk.state.lock().line.tokens.keep(Debit::Entry(debt));
                }
            }
            _ => self.leave_line(now, |state, now, _| state.line.give_back(taken, now)),
        }
    }

    pub(crate) fn keep(self, taken: &Taken) {
        match taken.debt {
            Some(debt) => self.desk.state.lock().line.tokens.keep(debt),
            None => self.leave_line(None, |state, _, _| state.line.keep(taken)),
        }
    }

    pub(crate) fn refund(self, n: u64, now: Timestamp) {
        self.on_fill(Some(now), |account, fill, now| account.refund(fill, n, now));
    }

    pub(crate) fn charge(self, n: u64, now: Timestamp) {
        self.settle_booked_if_held(now);
        self.on_fill(Some(now), |_, fill, now| Account::charge(fill, n, now()));
    }

    pub(crate) fn tighten(self, remaining: u64, now: Timestamp) {
        self.settle_booked_if_held(now);
        self.on_fill(Some(now), |_, fill, now| {
            Account::tighten(fill, remaining, now())
        });
    }

    pub(crate) fn pause_until(self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.settle_booked_if_held(now);
        self.on_fill(Some(now), |account, fill, now| {
            account.pause_until(fill, until, now())
        })
    }

    /// Reservations in line keep their instants: their tokens are taken before what would move their
    /// turns back.
    fn settle_booked_if_held(self, now: Timestamp) {
        let mut state = self.desk.state.lock();
        if state.is_held {
            state.line.settle_all_booked(now);
        }
    }

    pub(crate) fn set_quota(
        self,
        quota: Quota,
        carry: CarryOver,
        now: Option<Timestamp>,
    ) -> Result<(), QuotaError> {
        let whole = quota.units()?;
        if self.word.is_some() {
            // Without leases it must fit, too.
            Scale::new(whole)?;
        }
        self.configure(now, |state, fill, now| {
            let leased = state.quota.max_burst() - fill.read(|view| view.rate.units.burst);
            let burst = carved(whole.burst, leased).map_err(|_| QuotaError::ZeroBurst)?;
            let units = Units { burst, ..whole };
            let account = &mut state.line.tokens.account;
            let changed = account.configure(fill, units, (carry, leased), now);
            Ok(changed.map(|()| state.quota = quota))
        })
    }

    /// Changes the burst, for a lease that comes or goes.
    pub(crate) fn resize<E>(&self, burst: impl Fn(u64) -> Result<u64, E>) -> Result<(), E> {
        self.configure(None, |state, fill, now| {
            let mut units = fill.read(|view| view.rate.units);
            units.burst = burst(units.burst)?;
            Ok(state.line.tokens.account.resize(fill, units, now))
        })
    }

    /// Changes what the bucket counts by, at a time that is read once nobody can take unseen.
    fn configure<E>(
        self,
        now: Option<Timestamp>,
        change: impl Fn(
            &mut State,
            &mut BucketFill<'_>,
            &dyn Fn() -> Timestamp,
        ) -> Result<Result<(), Beyond>, E>,
    ) -> Result<(), E> {
        if let Some(word) = self.word {
            let mut state = self.desk.state.lock();
            if !state.is_held {
                let now = || now.unwrap_or_else(|| self.desk.clock.now());
                if change(&mut state, &mut BucketFill::Word(word), &now)?.is_ok() {
                    return Ok(());
                }
            }
        }
        self.in_line(now, |state, now, _| {
            state.line.settle_all_booked(now);
            let mut held = state.line.tokens.held;
            let changed = change(state, &mut BucketFill::Held(&mut held), &|| now)?;
            debug_assert!(changed.is_ok(), "only a word is too small");
            state.line.tokens.held = held;
            Ok(())
        })
    }

    pub(crate) fn save(self, wall: SystemTime) -> Saved {
        let now = self.desk.clock.now();
        let state = self.desk.state.lock();
        let (quota, paused) = (state.quota, state.line.tokens.account.paused);
        let read = |view: &View| {
            let carved = quota.max_burst() - view.rate.units.burst;
            let missing = view.full_at.saturating_sub(view.rate.at(now));
            missing + view.rate.cost(carved)
        };
        let missing = match self.word {
            Some(word) if !state.is_held => BucketFill::Word(word).read(read),
            _ => read(&state.line.tokens.held.view()),
        };
        Saved::new(quota, missing, paused.saturating_since(now), wall)
    }

    pub(crate) fn restore(self, saved: &Saved, wall: SystemTime) {
        let now = self.desk.clock.now();
        self.settle_booked_if_held(now);
        self.on_fill(Some(now), |_, fill, now| {
            let decide = |view: &View, now| {
                let full_at = view.full_at.max(saved.full_at(&view.rate, now, wall));
                Ok::<_, Infallible>((full_at, ()))
            };
            fill.update(now, decide)
        })
        .unwrap_or_else(|never| match never {});
        let until = now.saturating_add(saved.paused(wall));
        // Where nothing ever accrues, there is no pause.
        let _ = self.pause_until(until, now);
    }

    pub(crate) fn close(self) {
        self.in_line(None, |state, now, _| state.line.close(now));
    }

    pub(crate) fn is_closed(self) -> bool {
        self.desk.state.lock().line.is_closed()
    }

    pub(crate) fn poll_turn(
        self,
        turn: &mut Turn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        // Woken, and dropped, once the lock is released.
        let (mut wakers, mut replaced) = (Wakers::default(), None);
        let progress = {
            let mut state = self.desk.state.lock();
            self.hold(&mut state);
            let line = &mut state.line;
            let progress = match line.poll(turn, now, waker, &mut wakers, &mut replaced) {
                Some(decided) => Progress::Done(decided),
                None => Progress::Waiting(line.arm(turn, now)),
            };
            wakers.extend(line.nudge_first(now));
            self.release(&mut state, now);
            progress
        };
        drop(wakers);
        drop(replaced);
        progress
    }

    pub(crate) fn leave(self, turn: &mut Turn) {
        let left = self.leave_line(None, |state, now, wakers| {
            let (left, behind) = state.line.leave(turn, now);
            wakers.extend(behind);
            left
        });
        drop(left);
    }
}
