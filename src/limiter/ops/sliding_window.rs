//! The sliding window log.

use std::fmt;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp, saturating_nanos};
use crate::limiter::core::history::History;
use crate::limiter::core::window::{MAX_LIMIT, Window, WindowError};
use crate::limiter::ops::at::At;
use crate::limiter::ops::single::limiter;
use crate::limiter::shell::locked_line::LockedLine;

/// At most N tokens in any window of P, exactly: a sliding window log, for a server that counts so.
///
/// A token bucket of `60/min` can admit 60 from full and up to 60 more as it refills, all in one minute.
/// This limiter admits 60 in that minute, and more only as the first ones leave the window. A window is
/// half-open: what was admitted at t no longer counts at t + P. Where that difference does not matter, a
/// token bucket costs less time and memory.
///
/// - An older `now` counts as the time of the latest take.
/// - A reservation counts at its `ready_at`. It never stands in line, and takes fit around it.
/// - `refund` removes the newest admissions that still count, but no reservation that is still to come.
/// - `charge` puts what is above the limit into the windows to come, at most 65,536 entries; the rest is
///   cut.
/// - `acquire_many` of more than the limit is denied with
///   [`Denied::ExceedsBurst`](crate::Denied::ExceedsBurst).
///
/// # Waiting
/// Waiters are served by floor, then by arrival, as [every limiter](crate::RateLimiter#waiting) serves them, each
/// when the window has room for its tokens. A waiter holds nothing before its turn, so dropping it costs
/// nothing; a pause, another limit, a refund, a charge and `close` reach all waiters. A waiter that is not
/// polled blocks no other: once its turn has come, the next operation of any caller serves it, and its
/// tokens count in the window from then on.
///
/// # Cost
/// Every operation takes the lock. An admission takes 24 bytes while it counts, at the largest limit 24 MiB
/// in all. A take is a few binary searches; it is linear in the waiters ahead.
///
/// # Memory ordering
/// Every operation takes the lock, and so synchronises with every other on the same limiter.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tollgate::{ManualClock, RateLimiter, SlidingWindow};
///
/// let clock = ManualClock::new();
/// let window = SlidingWindow::with_clock(60, Duration::from_secs(60), clock.clone())?;
/// window.try_acquire(20)?;
/// clock.advance(Duration::from_secs(50));
/// window.try_acquire(40)?;
/// let wait = window.try_acquire(1).unwrap_err().retry_after();
/// assert_eq!(wait, Some(Duration::from_secs(10))); // until the first 20 leave
/// clock.advance(Duration::from_secs(10));
/// assert_eq!(window.available(), 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SlidingWindow<C = SystemClock> {
    shell: LockedLine<Window, C>,
}

impl SlidingWindow {
    /// Creates a limiter of at most `limit` tokens in any `period`, on the [`SystemClock`].
    ///
    /// # Errors
    /// [`WindowError`], with the bound that was broken.
    pub fn new(limit: u64, period: Duration) -> Result<Self, WindowError> {
        Self::with_clock(limit, period, SystemClock::new())
    }
}

impl<C> SlidingWindow<C> {
    /// The largest limit.
    pub const MAX_LIMIT: u64 = MAX_LIMIT;

    /// Same as [`new`](SlidingWindow::new), on the given clock.
    ///
    /// # Errors
    /// [`WindowError`], with the bound that was broken.
    pub fn with_clock(limit: u64, period: Duration, clock: C) -> Result<Self, WindowError> {
        let window = Window::new(limit, saturating_nanos(period))?;
        let shell = LockedLine::new(window, clock);
        Ok(Self { shell })
    }
}

impl<C: Clock> SlidingWindow<C> {
    fn ops(&self) -> &LockedLine<Window, C> {
        &self.shell
    }

    /// Changes the limit, for takes from now on. Reservations keep their instants; waiters are re-timed,
    /// and those that want more than the new limit end with
    /// [`Denied::ExceedsBurst`](crate::Denied::ExceedsBurst).
    ///
    /// With [`History::Kept`] a limit that goes back and forth mints nothing: the log keeps as many of the
    /// newest tokens as the largest limit since the history was last forgotten.
    ///
    /// # Errors
    /// [`WindowError`], with the bound that was broken; nothing was changed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{History, ManualClock, RateLimiter, SlidingWindow};
    ///
    /// let minute = Duration::from_secs(60);
    /// let window = SlidingWindow::with_clock(10, minute, ManualClock::new())?;
    /// window.try_acquire(8)?;
    /// window.set_limit(20, minute, History::Kept)?;
    /// assert_eq!(window.available(), 12);
    /// window.set_limit(20, minute, History::Forgotten)?;
    /// assert_eq!(window.available(), 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_limit(
        &self,
        limit: u64,
        period: Duration,
        history: History,
    ) -> Result<(), WindowError> {
        self.change_limit(limit, period, history, None)
    }

    fn change_limit(
        &self,
        limit: u64,
        period: Duration,
        history: History,
        now: Option<Timestamp>,
    ) -> Result<(), WindowError> {
        let period = saturating_nanos(period);
        self.shell.change_tokens(now, |window, now| {
            window.set_limit(limit, period, history, now)
        })
    }

    /// Leaves at most `remaining` tokens: the server said `X-RateLimit-Remaining`. It only tightens.
    pub fn sync_remaining(&self, remaining: u64) {
        self.shell.tighten_at(remaining, self.shell.clock.now());
    }
}

impl<C: Clock> At<'_, SlidingWindow<C>> {
    /// Same as [`SlidingWindow::set_limit`].
    ///
    /// # Errors
    /// [`WindowError`]; nothing was changed.
    pub fn set_limit(
        self,
        limit: u64,
        period: Duration,
        history: History,
    ) -> Result<(), WindowError> {
        self.limiter
            .change_limit(limit, period, history, Some(self.now))
    }

    /// Same as [`SlidingWindow::sync_remaining`].
    pub fn sync_remaining(self, remaining: u64) {
        self.limiter.shell.tighten_at(remaining, self.now);
    }
}

limiter!(SlidingWindow);

impl<C> fmt::Debug for SlidingWindow<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the lock: `Debug` never blocks.
        f.debug_struct("SlidingWindow").finish_non_exhaustive()
    }
}
