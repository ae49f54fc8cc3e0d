use std::fmt;
use std::task::Waker;
use std::time::Duration;

use super::cell::{View, WordCell};
use super::lease::{carve, carve_as_before};
use super::ledger::Ledger;
use super::reservation::{Internal, Reservation, Taken};
use super::word::{Scale, TIME_MAX};
use super::{CarryOver, Denied, RateLimiter};
use crate::clock::{Clock, SystemClock, Timer, Timestamp};
use crate::quota::{Quota, QuotaError, Units};
use crate::sync::Mutex;
use crate::wait::{Progress, Step, Wait};

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
/// # Memory ordering
/// Taking a token synchronises with nothing: do not use it to publish data. A thread whose time is
/// older than what others have used is judged by its own time, which is never in its favour. What
/// lay before the base of the word, which follows the latest time at some distance (seconds at a
/// million a second, weeks at common rates), is forgotten: a thread with an even older time may be
/// denied what its own time would have allowed, never the reverse.
///
/// The generation in the word is 8 bits. A thread would have to sleep between reading the word and
/// replacing it through an exact multiple of 256 generations (changes of the quota, and moves of
/// the base, which are at least a millisecond apart and most of a day at common rates), and find
/// the same virtual time there, for a single decision to be judged by an old quota or base.
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
}

struct Slow {
    /// As it was set, without what is carved out of it.
    quota: Quota,
    ledger: Ledger,
}

impl AtomicTokenBucket {
    /// A full bucket on the [`SystemClock`].
    ///
    /// # Errors
    /// [`QuotaError::BeyondWord`], with the largest burst that fits, and [`QuotaError::ZeroBurst`].
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
            }),
        })
    }

    #[cfg(feature = "tower")]
    pub(crate) fn clock(&self) -> &C {
        &self.clock
    }

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`.
    pub(crate) fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Taken, Denied> {
        let ledger = &mut self.slow.lock().ledger;
        let (ready_at, cost, full_at) = self.cell.update(now.as_nanos(), |view| {
            let cost = cost(view, n)?;
            if cost == 0 {
                return Ok((view.time(), (now, 0, view.absolute(view.time()))));
            }
            let next = view.time().max(view.at).wrapping_add(cost);
            let retry_after = retry_after(next, view, now).ok_or(Denied::Exhausted)?;
            if retry_after > max_wait || next > TIME_MAX {
                return Err(Denied::TooLong { retry_after });
            }
            Ok((
                next,
                (now.saturating_add(retry_after), cost, view.absolute(next)),
            ))
        })?;
        Ok(Taken {
            ready_at,
            debt: ledger.open(cost.into(), full_at),
        })
    }

    /// Lets no more than `keep` tokens be there at `now`.
    fn tighten(&self, now: Timestamp, keep: u64) {
        let _: Result<(), ()> = self.cell.update(now.as_nanos(), |view| {
            let keep = keep
                .min(view.scale.units.burst)
                .wrapping_mul(view.scale.units.per_token);
            raise(
                view,
                view.at
                    .saturating_add(view.scale.depth)
                    .saturating_sub(keep),
            )
        });
    }
}

/// What `n` tokens cost. Up to the burst the product is at most the depth.
#[inline]
fn cost(view: &View, n: u64) -> Result<u64, Denied> {
    let Units {
        per_token, burst, ..
    } = view.scale.units;
    if n > burst {
        Err(Denied::ExceedsBurst { burst })
    } else {
        Ok(n.wrapping_mul(per_token))
    }
}

/// A later virtual time, or none.
fn raise(view: &View, to: u64) -> Result<(u64, ()), ()> {
    if to > view.time() {
        Ok((to, ()))
    } else {
        Err(())
    }
}

/// Denied at `now`, by how far the virtual time would go.
#[cold]
fn too_early(time: u64, view: &View, now: Timestamp) -> Denied {
    retry_after(time, view, now).map_or(Denied::Exhausted, |retry_after| Denied::NotYet {
        retry_after,
    })
}

/// How long after `now` what is taken up to a virtual time can be used; `None` if the clock ends
/// first.
fn retry_after(time: u64, view: &View, now: Timestamp) -> Option<Duration> {
    let ready_at = Timestamp::from_nanos(view.ready_at(time)?);
    Some(ready_at.saturating_since(now))
}

impl<C: Clock + Send + Sync> RateLimiter for AtomicTokenBucket<C> {
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn quota(&self) -> Quota {
        self.slow.lock().quota
    }

    #[inline]
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.cell.update(now.as_nanos(), |view| {
            let Units {
                per_token, burst, ..
            } = view.scale.units;
            if n > burst || floor > burst - n {
                return Err(Denied::ExceedsBurst {
                    burst: burst.saturating_sub(floor),
                });
            }
            let (cost, floor) = (n.wrapping_mul(per_token), floor.wrapping_mul(per_token));
            if cost == 0 {
                return Ok((view.time(), ()));
            }
            match view.scale.take(view.time(), view.at, cost, floor) {
                Ok(next) => Ok((next, ())),
                Err(wanted) => Err(too_early(wanted, view, now)),
            }
        })
    }

    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        let taken = self.cell.update(now.as_nanos(), |view| {
            let there = available(view).min(n);
            let cost = there.wrapping_mul(view.scale.units.per_token);
            if cost == 0 {
                Err(there)
            } else {
                Ok((view.time().max(view.at).wrapping_add(cost), there))
            }
        });
        // What costs nothing needs no write.
        taken.unwrap_or_else(|free| free)
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

    fn refund(&self, n: u64) {
        let ledger = &mut self.slow.lock().ledger;
        let back = self.cell.update(self.clock.now().as_nanos(), |view| {
            let cost = n
                .min(view.scale.units.burst)
                .wrapping_mul(view.scale.units.per_token);
            let back = cost.min(view.time().saturating_sub(view.at));
            if back == 0 {
                Err(())
            } else {
                Ok((view.time() - back, back))
            }
        });
        ledger.returned(back.unwrap_or(0).into());
    }

    fn sync_remaining_at(&self, remaining: u64, now: Timestamp) {
        self.tighten(now, remaining);
    }

    fn pause_until(&self, until: Timestamp) -> Result<(), Denied> {
        let now = self.clock.now();
        let paused = self.cell.update(now.as_nanos(), |view| {
            let units = view.scale.units;
            if units.per_token == 0 || until <= now {
                return Err(None);
            }
            let wait = until
                .as_nanos()
                .saturating_sub(view.base())
                .checked_mul(units.per_nano);
            // The first token is there at `until`.
            let to =
                wait.and_then(|at| at.checked_add(depth(view).saturating_sub(units.per_token)));
            let Some(to) = to.filter(|to| *to <= TIME_MAX) else {
                return Err(Some(Denied::TooLong {
                    retry_after: until.saturating_since(now),
                }));
            };
            raise(view, to).map_err(|()| None)
        });
        paused.or_else(|refused| refused.map_or(Ok(()), Err))
    }

    fn set_quota_at(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Timestamp,
    ) -> Result<(), QuotaError> {
        // Without leases it must fit, too.
        let whole = Scale::new(quota.units()?)?;
        let mut slow = self.slow.lock();
        let old = slow.quota;
        self.cell.configure(carry, now.as_nanos(), |scale| {
            let carved = carve_as_before(quota, old, scale.units)?;
            Ok::<_, QuotaError>(whole.with_burst(carved.burst))
        })?;
        slow.quota = quota;
        slow.ledger.reset();
        Ok(())
    }

    fn available_at(&self, now: Timestamp) -> u64 {
        self.cell.peek(now.as_nanos(), available)
    }
}

/// The whole burst in units, also where the view's depth is what of it has accrued.
fn depth(view: &View) -> u64 {
    view.scale
        .units
        .burst
        .wrapping_mul(view.scale.units.per_token)
}

fn available(view: &View) -> u64 {
    let missing = view.time().saturating_sub(view.at);
    view.scale
        .depth
        .saturating_sub(missing)
        .checked_div(view.scale.units.per_token)
        .unwrap_or(u64::MAX)
}

impl<C: Clock + Send + Sync> Internal for AtomicTokenBucket<C> {
    fn give_back(&self, taken: &Taken) {
        let ledger = &mut self.slow.lock().ledger;
        let refunded = self.cell.update(self.clock.now().as_nanos(), |view| {
            // The clock is read after the word, so that no taker seen in the word has used a later
            // time.
            let now =
                u128::from(self.clock.now().as_nanos()) * u128::from(view.scale.units.per_nano);
            let full_at = view.absolute(view.time());
            let refund = ledger
                .plan(taken.debt, full_at, now, depth(view).into())
                .ok_or(())?;
            let back = u64::try_from(refund.back).unwrap_or(u64::MAX);
            Ok((view.time().saturating_sub(back), refund))
        });
        if let Ok::<_, ()>(refund) = refunded {
            ledger.commit(taken.debt, refund);
        }
    }

    fn keep(&self, taken: &Taken) {
        self.slow.lock().ledger.close(taken.debt);
    }

    fn uncarved(&self) -> u64 {
        self.cell
            .peek(self.clock.now().as_nanos(), |view| view.scale.units.burst)
    }

    fn carve(&self, n: u64) -> Result<(), Denied> {
        let mut slow = self.slow.lock();
        self.cell
            .configure(CarryOver::Tokens, self.clock.now().as_nanos(), |scale| {
                Ok::<_, Denied>(scale.with_burst(carve(scale.units, n)?.burst))
            })?;
        slow.ledger.reset();
        Ok(())
    }

    fn restore(&self, n: u64) {
        let mut slow = self.slow.lock();
        let Ok(()) = self
            .cell
            .configure(CarryOver::Tokens, self.clock.now().as_nanos(), |scale| {
                Ok::<_, std::convert::Infallible>(
                    scale.with_burst(scale.units.burst.saturating_add(n)),
                )
            });
        slow.ledger.reset();
    }
}

impl<C: Timer + Send + Sync> AtomicTokenBucket<C> {
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
    /// use tollgate::{AtomicTokenBucket, Quota};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1_000)?.burst(1)?)?;
    /// for _ in 0..3 {
    ///     bucket.acquire(1).wait()?; // `bucket.acquire(1).await?` in a task
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(&self, n: u64) -> Wait<'_, AtomicAcquire<'_, C>, C> {
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
    pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<'_, AtomicAcquire<'_, C>, C> {
        Wait::new(
            &self.clock,
            AtomicAcquire {
                bucket: self,
                n,
                max_wait: timeout,
                owed: None,
            },
        )
    }
}

/// The operation of [`AtomicTokenBucket::acquire`].
#[derive(Debug)]
pub struct AtomicAcquire<'a, C: Clock + Send + Sync> {
    bucket: &'a AtomicTokenBucket<C>,
    n: u64,
    max_wait: Duration,
    /// Taken, and not yet handed over.
    owed: Option<Taken>,
}

impl<C: Clock + Send + Sync> Step for AtomicAcquire<'_, C> {
    type Output = Result<(), Denied>;

    fn step(&mut self, now: Timestamp, _: &Waker) -> Progress<Self::Output> {
        let owed = match self.owed {
            Some(owed) => owed,
            None => match self.bucket.try_acquire_at(self.n, now) {
                Err(Denied::NotYet { .. }) => match self.bucket.owe(self.n, self.max_wait, now) {
                    Ok(owed) => *self.owed.insert(owed),
                    Err(denied) => return Progress::Done(Err(denied)),
                },
                decided => return Progress::Done(decided),
            },
        };
        if owed.ready_at > now {
            return Progress::Waiting(Some(owed.ready_at));
        }
        self.owed = None;
        self.bucket.keep(&owed);
        Progress::Done(Ok(()))
    }
}

impl<C: Clock + Send + Sync> Drop for AtomicAcquire<'_, C> {
    fn drop(&mut self) {
        if let Some(owed) = self.owed.take() {
            self.bucket.give_back(&owed);
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
