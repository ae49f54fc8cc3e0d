use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use super::carry::Change;
use super::cell::WordCell;
use super::debt::{Acquire, Lender};
use super::gate::Gate;
use super::lease::{carve, carve_as_before};
use super::ledger::Ledger;
use super::rate::{Instant, Rate, View};
use super::reservation::{Internal, Reservation, Taken};
use super::word::{MISSING_MAX, Scale};
use super::{CarryOver, Denied, RateLimiter};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::quota::{Quota, QuotaError, Units};
use crate::sync::Mutex;
use crate::wait::Wait;

/// An exact token bucket in one atomic word: acquire and deny take no lock, allocate nothing, and
/// never wait for another thread, also while the quota changes beside them.
///
/// Waiters are served in the order in which they came, since each takes its tokens at once, into
/// debt, and then sleeps until they are there.
///
/// # Limits
/// Burst and rate must fit 56 bits of *units* (a token and a nanosecond are both whole numbers of
/// them).
/// [`new`](Self::new) says so when they do not; a [`LockedTokenBucket`](super::LockedTokenBucket)
/// takes every quota. A wait or a pause for which those bits do not suffice is refused with
/// [`Denied::TooLong`].
///
/// # Contention
/// A taker whom another has beaten to the word tries again at once, and pauses for some hundred
/// nanoseconds when it is done, so that others are not held up in turn. A
/// [`lease`](RateLimiter::lease) keeps away from the word altogether. Whoever is denied one token for
/// some microseconds leaves a note of it, by which others are denied meanwhile: they only read.
///
/// # Memory ordering
/// Taking a token synchronises with nothing: do not use it to publish data. A thread whose time is
/// older than what others have used is judged by its own time, which is never in its favour. What
/// lay before the base of the word, which follows the latest time at some distance (seconds at
/// 999,983 a second, weeks at common rates), is forgotten: a thread with an even older time may be
/// denied what its own time would have allowed, never the reverse.
///
/// The generation in the word is 8 bits. A thread would have to sleep in the middle of a decision
/// through an exact multiple of 256 generations (changes of the quota, leases that come or go, and
/// moves of the base, which are at least a millisecond apart and days at common rates), for
/// that single decision to be judged by an old quota, burst or base.
///
/// # Examples
/// ```
/// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter};
///
/// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
/// assert!(bucket.try_acquire(3).is_ok());
/// assert!(matches!(bucket.try_acquire(1), Err(Denied::NotYet { .. })));
/// assert_eq!(bucket.try_acquire(4), Err(Denied::ExceedsBurst { burst: 3 }));
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub struct AtomicTokenBucket<C = SystemClock> {
    cell: WordCell,
    clock: C,
    /// What acquire and deny do without.
    slow: Mutex<Slow>,
    gate: Gate,
}

struct Slow {
    /// As it was set, without what is carved out of it.
    quota: Quota,
    ledger: Ledger,
    /// A server's word that no token is to be had before: nothing that comes back ends it.
    paused: Timestamp,
}

impl AtomicTokenBucket {
    /// A full bucket on the [`SystemClock`].
    ///
    /// # Errors
    /// [`QuotaError::BeyondWord`], with the largest burst that fits, and [`QuotaError::ZeroBurst`].
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, QuotaError, RateLimiter};
    ///
    /// assert_eq!(AtomicTokenBucket::new(Quota::per_second(5)?)?.available(), 5);
    /// let nothing = AtomicTokenBucket::new(Quota::per_second(0)?);
    /// assert_eq!(nothing.unwrap_err(), QuotaError::ZeroBurst);
    /// # Ok::<(), QuotaError>(())
    /// ```
    pub fn new(quota: Quota) -> Result<Self, QuotaError> {
        Self::with_clock(quota, SystemClock::new())
    }
}

impl<C> AtomicTokenBucket<C> {
    /// A full bucket on the given clock.
    ///
    /// # Errors
    /// As [`new`](AtomicTokenBucket::new).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter};
    ///
    /// let clock = ManualClock::new();
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(10)?.burst(1)?, clock.clone())?;
    /// assert!(bucket.try_acquire(1).is_ok());
    /// clock.advance(Duration::from_millis(100));
    /// assert!(bucket.try_acquire(1).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn with_clock(quota: Quota, clock: C) -> Result<Self, QuotaError> {
        let scale = Scale::new(quota.units()?)?;
        Ok(Self {
            cell: WordCell::new(&scale),
            clock,
            slow: Mutex::new(Slow {
                quota,
                ledger: Ledger::default(),
                paused: Timestamp::ZERO,
            }),
            gate: Gate::new(),
        })
    }

    #[cfg(feature = "tower")]
    pub(crate) fn clock(&self) -> &C {
        &self.clock
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`.
    pub(crate) fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Taken, Denied> {
        let ledger = &mut self.slow.lock().ledger;
        let (cost, ready_at, full_at) = self.cell.update(now.as_nanos(), |view| {
            let (full_at, (cost, ready_at)) = view.owe(n, max_wait, now)?;
            Ok((full_at, (cost, ready_at, full_at)))
        })?;
        let debt = ledger.open(cost, full_at);
        Ok(Taken { ready_at, debt })
    }

    /// A change that nothing can refuse.
    fn change<T>(&self, now: Timestamp, decide: impl Fn(&View) -> (Instant, T)) -> T {
        let decide = |view: &View| Ok::<_, Infallible>(decide(view));
        let Ok(output) = self.cell.update(now.as_nanos(), decide);
        output
    }

    /// Takes `n` tokens if `floor` remain, where the hot path does not serve.
    #[cold]
    fn take_by_word(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            // Not even the base moves.
            return Ok(());
        }
        self.cell
            .update(now.as_nanos(), |view| view.take(n, floor, now))
    }
}

impl<C: Clock> RateLimiter for AtomicTokenBucket<C> {
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn quota(&self) -> Quota {
        self.slow.lock().quota
    }

    #[expect(clippy::inline_always, reason = "a call would cost a third of it")]
    #[inline(always)]
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        match self.cell.take(n, floor, now) {
            Some(taken) => taken,
            None => self.take_by_word(n, floor, now),
        }
    }

    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        self.change(now, |view| view.take_up_to(n, now))
    }

    fn reserve_at(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Reservation<'_>, Denied> {
        self.owe(n, max_wait, now)
            .map(|taken| Reservation::new(self, taken))
    }

    fn refund_at(&self, n: u64, now: Timestamp) {
        let slow = &mut *self.slow.lock();
        let back = self.change(now, |view| view.refund(n, slow.paused, now));
        slow.ledger.returned(back);
    }

    fn sync_remaining_at(&self, remaining: u64, now: Timestamp) {
        self.change(now, |view| (view.tighten(remaining, now), ()));
    }

    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        let slow = &mut *self.slow.lock();
        self.cell
            .update(now.as_nanos(), |view| view.pause_until(until, now))?;
        slow.paused = slow.paused.max(until);
        Ok(())
    }

    fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.set_quota_by(quota, carry, || self.clock.now())
    }

    fn set_quota_at(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Timestamp,
    ) -> Result<(), QuotaError> {
        self.set_quota_by(quota, carry, || now)
    }

    fn available_at(&self, now: Timestamp) -> u64 {
        self.cell.peek(|view| view.available(now))
    }
}

impl<C: Clock> Internal for AtomicTokenBucket<C> {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.cell.peek(|view| view.take(n, floor, now).map(drop))
    }

    fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Taken, Denied> {
        AtomicTokenBucket::owe(self, n, max_wait, now)
    }

    fn give_back(&self, taken: &Taken, now: Option<Timestamp>) {
        let Slow { ledger, paused, .. } = &mut *self.slow.lock();
        let now = || now.unwrap_or_else(|| self.clock.now());
        let refunded = self.cell.update(now().as_nanos(), |view| {
            // The clock is read after the word, so that no taker seen in the word has used a later
            // time.
            view.give_back(ledger, taken.debt, *paused, now()).ok_or(())
        });
        if let Ok(refund) = refunded {
            ledger.commit(taken.debt, refund);
        }
    }

    fn keep(&self, taken: &Taken) {
        self.slow.lock().ledger.close(taken.debt);
    }

    fn uncarved(&self) -> u64 {
        self.cell.peek(|view| view.rate.units.burst)
    }

    fn carve(&self, n: u64) -> Result<(), Denied> {
        self.resize(|units| Ok(carve(units, n)?.burst))
    }

    fn restore(&self, n: u64) {
        let Ok(()) = self.resize(|units| Ok::<_, Infallible>(units.burst.saturating_add(n)));
    }
}

impl<C: Clock> AtomicTokenBucket<C> {
    fn set_quota_by(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), QuotaError> {
        // Without leases it must fit, too.
        let whole = Scale::new(quota.units()?)?;
        let slow = &mut *self.slow.lock();
        let uncarved = self.cell.peek(|view| view.rate.units);
        let units = carve_as_before(quota, slow.quota, uncarved)?;
        if carry == CarryOver::Full {
            slow.paused = Timestamp::ZERO;
        }
        let change = Change {
            carry,
            carved: whole.units.burst - units.burst,
            paused: slow.paused,
        };
        // Takers add no debt, and who does waits for the lock: it does not grow any more.
        let (at, rate) = (now(), Rate::new(units));
        let missing = self.cell.peek(|view| {
            let full_at = change.full_at(view, &rate, at);
            full_at - rate.at(view.since(at))
        });
        if missing > MISSING_MAX.into() {
            return Err(QuotaError::DebtBeyondWord);
        }
        let Ok(()) = self.cell.configure(
            change,
            || now().as_nanos(),
            |_| Ok::<_, Infallible>(whole.with_burst(units.burst)),
        );
        slow.quota = quota;
        slow.ledger.reset();
        Ok(())
    }

    /// Changes the burst to what `burst` makes of it, for a lease that comes or goes.
    fn resize<E>(&self, burst: impl FnOnce(Units) -> Result<u64, E>) -> Result<(), E> {
        let slow = &mut *self.slow.lock();
        let mut carved = 0;
        self.cell.configure(
            // Tokens neither come nor go, so a pause stays what it is.
            Change::new(CarryOver::Tokens),
            || self.clock.now().as_nanos(),
            |scale| {
                let resized = scale.with_burst(burst(scale.units)?);
                carved = i128::from(scale.depth) - i128::from(resized.depth);
                Ok(resized)
            },
        )?;
        slow.ledger.carve(carved);
        Ok(())
    }
}

impl<C: Clock> AtomicTokenBucket<C> {
    /// Takes `n` tokens and waits until they are there: `.await` it, or `.wait()` for it on a
    /// thread.
    ///
    /// First come, first served. Each waiter has one timer; none wakes another. A change of the
    /// quota leaves the instants of those who wait already.
    ///
    /// # Errors
    /// At once, with nothing taken: [`Denied::ExceedsBurst`], [`Denied::Exhausted`], and
    /// [`Denied::TooLong`] where the debt does not fit the word.
    ///
    /// # Cancel safety
    /// Dropping the future gives back what no later taker has built on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1_000)?.burst(1)?)?;
    /// let start = bucket.now();
    /// for _ in 0..3 {
    ///     bucket.acquire(1).wait()?; // `bucket.acquire(1).await?` in a task
    /// }
    /// assert!(bucket.now().saturating_since(start) >= Duration::from_millis(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(&self, n: u64) -> Wait<AtomicAcquire<'_, C>> {
        self.acquire_timeout(n, Duration::MAX)
    }

    /// As [`acquire`](Self::acquire), if the tokens are there within `timeout` from the first poll;
    /// if they will not be, it fails at once.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Denied::TooLong`]; nothing was taken.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Denied, Quota};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(1)?)?;
    /// assert!(bucket.acquire_timeout(1, Duration::ZERO).wait().is_ok());
    /// let denied = bucket.acquire_timeout(1, Duration::from_secs(1)).wait(); // does not wait a second
    /// assert!(matches!(denied, Err(Denied::TooLong { .. })));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<AtomicAcquire<'_, C>> {
        Wait::new(Acquire::new(self, n, timeout))
    }
}

/// The operation of [`AtomicTokenBucket::acquire`].
///
/// ```
/// use tollgate::limiter::AtomicAcquire;
/// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, SystemClock, Wait};
///
/// struct Call<'a> {
///     path: &'static str,
///     turn: Wait<AtomicAcquire<'a, SystemClock>>,
/// }
///
/// let bucket = AtomicTokenBucket::new(Quota::per_hour(1)?)?;
/// let call = Call { path: "/users", turn: bucket.acquire(1) };
/// assert_eq!((call.path, bucket.available()), ("/users", 1)); // nothing happens before it is polled
/// call.turn.wait()?;
/// assert_eq!(bucket.available(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type AtomicAcquire<'a, C> = Acquire<&'a AtomicTokenBucket<C>>;

impl<C: Clock> Lender for &AtomicTokenBucket<C> {
    /// `None`: they were there, and will not come back.
    type Debt = Option<Taken>;

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    fn lend(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Self::Debt, Denied> {
        match self.try_acquire_at(n, now) {
            Ok(()) => Ok(None),
            Err(Denied::NotYet { .. }) => self.owe(n, max_wait, now).map(Some),
            Err(denied) => Err(denied),
        }
    }

    fn ready_at(debt: &Self::Debt) -> Timestamp {
        debt.map_or(Timestamp::ZERO, |taken| taken.ready_at)
    }

    fn settle(&self, debt: Self::Debt) {
        if let Some(taken) = debt {
            self.keep(&taken);
        }
    }

    fn give_back(&self, debt: Self::Debt) {
        if let Some(taken) = debt {
            Internal::give_back(*self, &taken, None);
        }
    }
}

impl<C> fmt::Debug for AtomicTokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the quota, which is behind a lock: `Debug` never blocks.
        f.debug_struct("AtomicTokenBucket")
            .field("cell", &self.cell)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::future::{Future, IntoFuture};
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::ManualClock;

    #[test]
    fn what_is_used_is_not_remembered() {
        let (quota, clock) = (Quota::per_second(5).unwrap(), ManualClock::new());
        let bucket = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
        drop(bucket.reserve(1, Duration::MAX).unwrap());
        assert!(bucket.slow.lock().ledger.is_settled());
        bucket.drain();
        let mut waiting = bucket.acquire(1).into_future();
        let context = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut waiting).poll(context).is_pending());
        assert!(!bucket.slow.lock().ledger.is_settled());
        clock.advance(Duration::from_secs(1));
        assert!(Pin::new(&mut waiting).poll(context).is_ready());
        assert!(bucket.slow.lock().ledger.is_settled());
    }
}
