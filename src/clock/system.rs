//! The default clock: on x86-64 the time-stamp counter, elsewhere a clock of `quanta`.

use std::fmt;
use std::sync::OnceLock;

#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
use super::counter;
use super::deadlines::Sleep;
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
use super::timeline::{Source, Timeline};
use super::timer::Helper;
use super::{Clock, Timestamp};
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
use crate::sync::read_time_stamp_counter;

/// The default clock: on x86-64 the time-stamp counter (TSC) where it is invariant.
///
/// Elsewhere it is what the crate `quanta` selects: another counter of the processor, or the
/// operating system's monotonic clock.
///
/// The handle holds no data. All system clocks of a process share one origin, the first reading,
/// which also calibrates the counter and can take some milliseconds. Waiting threads park with a
/// timeout. Waiting tasks are woken by one timer thread per process, which starts when the first
/// task waits.
///
/// # Accuracy
/// On x86-64 the operating system's monotonic clock corrects the rate of the counter. From ten
/// seconds after the first reading on, the rate is within 5 parts in a million while the system's
/// own rate is steady; before, it may be off by a few hundred parts in a million. A correction
/// changes the rate only: readings never step. To agree with the operating system from the start
/// use [`MonotonicClock`](crate::MonotonicClock).
///
/// # Fork
/// A child of `fork` can wait: its first waiting task starts a timer thread of its own. At the fork
/// no thread except the parent's timer thread may be inside this crate, and the fork must be the C
/// library's: a bare `clone` runs no handlers.
///
/// # Not a fit
/// Under tokio's paused time (`tokio::time::pause`, `start_paused`) this clock advances in real
/// time while tokio's stands: a test that advances tokio's time by an hour finds no new token. Use
/// `TokioClock` (feature `tokio`) there.
///
/// # Panics
/// A task that waits panics if the operating system does not start the timer thread, or has no
/// memory for a handler of `pthread_atfork`.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let deadline = clock.now() + Duration::from_millis(1);
/// while clock.now() < deadline {
///     clock.park_until(Some(deadline)); // may return early
/// }
/// ```
#[derive(Clone, Copy, Default)]
pub struct SystemClock(());

impl SystemClock {
    /// Returns the clock of this process.
    pub const fn new() -> Self {
        Self(())
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Timestamp {
        #[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
        // The hot path: one Acquire load, the piece, the counter, one multiplication.
        if let Some(nanos) = TIMELINE.read(read_time_stamp_counter) {
            return Timestamp::from_nanos(nanos);
        }
        Timestamp::from_nanos(by_backend())
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        Sleep::on(Helper::shared(), deadline)
    }
}

impl fmt::Debug for SystemClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SystemClock").field(&self.now()).finish()
    }
}

/// Not started before the first reading, nor where the counter is not usable: `read` is then
/// `None`.
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
static TIMELINE: Timeline = Timeline::new();

static BACKEND: OnceLock<Backend> = OnceLock::new();

enum Backend {
    #[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
    Timeline,
    /// The clock, and its reading at the origin.
    Quanta(quanta::Clock, u64),
}

/// Serves the first reading, every reading where the counter is not usable, and the readings at the
/// end of a piece, which correct the counter.
#[cfg_attr(all(target_arch = "x86_64", not(tollgate_loom)), cold)]
fn by_backend() -> u64 {
    match BACKEND.get_or_init(calibrated) {
        #[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
        Backend::Timeline => TIMELINE.settle(&counter::Tsc),
        Backend::Quanta(clock, origin) => clock.delta_as_nanos(*origin, clock.raw()),
    }
}

fn calibrated() -> Backend {
    let clock = quanta::Clock::new();
    #[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
    if let Some(tick) = counter::tick_of(&clock) {
        // Runs once, inside `get_or_init`: `Timeline::start` must not be called twice.
        TIMELINE.start(counter::Tsc.sample(), tick);
        return Backend::Timeline;
    }
    let origin = clock.raw();
    Backend::Quanta(clock, origin)
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::wait::block_on;
    use std::time::Duration;

    #[test]
    fn sleeps_never_end_early_and_all_end() {
        let clock = SystemClock::new();
        let start = clock.now();
        let sleeps = [3, 1, 2].map(|ms| start.saturating_add(Duration::from_millis(ms)));
        for deadline in sleeps {
            block_on(clock.sleep_until(deadline));
            assert!(clock.now() >= deadline);
        }
    }
}
