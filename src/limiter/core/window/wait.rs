//! How long a take of a window waits: alone, in parts, and behind others.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::window::Window;
use crate::limiter::core::window::log::Log;

impl Window {
    /// How long after `now` `n` tokens can be had above `floor`, if nothing else is taken. More than
    /// can be had at once are taken in parts, each as early and as large as it can be.
    ///
    /// That they can be had at that instant does not mean that they can be had later: an entry ahead
    /// may be in the way then.
    ///
    /// # Errors
    /// [`Denied::ExceedsBurst`] if the floor leaves nothing, [`Denied::Exhausted`] if the clock ends
    /// first.
    pub(crate) fn wait_for(&self, n: u128, floor: u64, now: Timestamp) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        self.check_burst(1, floor)?;
        let at = match u64::try_from(n) {
            Ok(n) if self.check_burst(n, floor).is_ok() => self.fit(n, floor, now),
            _ => {
                let nothing = Log::default();
                self.windows(&nothing, floor)
                    .fit_in_parts(n, self.open_from(now))
            }
        };
        Ok(self.wait_until(at.ok_or(Denied::Exhausted)?, now))
    }

    /// How long after `now` `n` tokens can be had above `floor`, once the waiters `ahead` have
    /// theirs, first come, first served. A waiter is its number of tokens and its floor; one that
    /// asks for more than it can ever have is passed over.
    ///
    /// [`wait_for`](Self::wait_for) their sum is too short: three takes of 6 from a limit of 10 need
    /// three windows, and 18 in parts need two.
    ///
    /// # Errors
    /// [`Denied::ExceedsBurst`], or [`Denied::Exhausted`] if the clock ends first.
    pub(crate) fn wait_behind(
        &self,
        ahead: impl IntoIterator<Item = (u64, u64)>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<Duration, Denied> {
        if n == 0 {
            return Ok(Duration::ZERO);
        }
        self.check_burst(n, floor)?;
        let mut planned = Log::default();
        let mut at = self.open_from(now);
        for (n, floor) in ahead {
            if n > 0 && self.check_burst(n, floor).is_ok() {
                let windows = self.windows(&planned, floor);
                at = windows.fit(n, at).ok_or(Denied::Exhausted)?;
                planned.add(at, n, 0);
            }
        }
        let at = self.windows(&planned, floor).fit(n, at);
        Ok(self.wait_until(at.ok_or(Denied::Exhausted)?, now))
    }
}
