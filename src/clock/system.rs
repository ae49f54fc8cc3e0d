use std::fmt;
use std::sync::OnceLock;

#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
use super::counter;
use super::deadlines::Sleep;
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
use super::timeline::{Source as _, Timeline};
use super::timer::Helper;
use super::{Clock, Timestamp};
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
use crate::sync::read_time_stamp_counter;

/// The default clock: the time-stamp counter of x86-64 where it is invariant; elsewhere what the crate
/// `quanta` takes, another counter of the processor or the operating system's monotonic clock.
///
/// A handle without data. All clocks of a process share one origin, the instant of the first reading,
/// which also calibrates the counter: it can take some milliseconds. Threads that wait park with a
/// timeout. Tasks are woken by one helper thread a process, which starts when the first task waits and
/// never before.
///
/// On x86-64 the counter's rate is corrected by the operating system's monotonic clock as the process
/// goes: from ten seconds after the first reading on it is within 5 parts in a million, while the
/// system's own rate is steady. Before, it may be off by a few hundred parts in a million. The
/// correction changes the rate only: readings never step. To agree with that clock from the start,
/// take [`MonotonicClock`](crate::MonotonicClock).
///
/// A child of `fork` can wait too: its first task that does so starts a helper thread of its own. No
/// thread but the parent's helper may be inside this crate at the fork, and it has to be the C
/// library's: a bare `clone` runs no handlers.
///
/// Under tokio's paused time (`tokio::time::pause`, `start_paused`) this clock goes on in real time,
/// while tokio's stands: a test that advances tokio's time by an hour finds no token more. `TokioClock`
/// of the feature `tokio` stands and goes with it.
///
/// # Panics
/// A task that waits, if the operating system does not start that thread, or has no memory for a
/// handler of `pthread_atfork`.
///
/// ```
/// use tollgate::{Clock, SystemClock};
///
/// let (one, two) = (SystemClock::new(), SystemClock::new());
/// let earlier = one.now();
/// assert!(two.now() >= earlier);
/// ```
#[derive(Clone, Copy)]
pub struct SystemClock(());

impl SystemClock {
    /// The clock of this process.
    ///
    /// ```
    /// use tollgate::{Clock, SystemClock};
    ///
    /// static CLOCK: SystemClock = SystemClock::new();
    /// assert!(CLOCK.now() <= CLOCK.now());
    /// ```
    pub const fn new() -> Self {
        Self(())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Timestamp {
        #[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
        if let Some(nanos) = TIMELINE.read(read_time_stamp_counter) {
            return Timestamp::from_nanos(nanos);
        }
        Timestamp::from_nanos(by_source())
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

/// Not started where the counter does not serve, and before the first reading.
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
static TIMELINE: Timeline = Timeline::new();

static SOURCE: OnceLock<Source> = OnceLock::new();

enum Source {
    #[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
    Timeline,
    Quanta {
        clock: quanta::Clock,
        origin: u64,
    },
}

/// The first reading, any where the counter does not serve, and those that correct the counter.
#[cfg_attr(all(target_arch = "x86_64", not(tollgate_loom)), cold)]
fn by_source() -> u64 {
    match SOURCE.get_or_init(calibrated) {
        #[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
        Source::Timeline => TIMELINE.settle(&counter::Tsc),
        Source::Quanta { clock, origin } => clock.delta_as_nanos(*origin, clock.raw()),
    }
}

fn calibrated() -> Source {
    let clock = quanta::Clock::new();
    #[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
    if let Some(tick) = counter::tick_of(&clock) {
        TIMELINE.start(counter::Tsc.sample(), tick);
        return Source::Timeline;
    }
    let origin = clock.raw();
    Source::Quanta { clock, origin }
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
