use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::deadlines::Sleep;
use super::timer::Helper;
use super::{Clock, Timestamp};
use crate::sync::UnmodelledU64;

/// The default clock: the time-stamp counter of x86-64 where it is invariant; elsewhere what the crate
/// `quanta` takes, another counter of the processor or the operating system's monotonic clock.
///
/// A handle without data. All clocks of a process share one origin, the instant of the first reading,
/// which also calibrates the counter: it can take some milliseconds. Threads that wait park with a
/// timeout. Tasks are woken by one helper thread a process, which starts when the first task waits and
/// never before.
///
/// # Panics
/// A task that waits, if the operating system does not start that thread.
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
        // Acquire pairs with the Release in `Process::source`: the origin is there with the tick.
        let tick = PROCESS.tick.load(Ordering::Acquire);
        let ticks = match tick {
            0 => None,
            _ => counter().checked_sub(PROCESS.origin.load_relaxed()),
        };
        Timestamp::from_nanos(match ticks {
            Some(ticks) => scaled(ticks, tick),
            None => PROCESS.by_source(),
        })
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

static PROCESS: Process = Process {
    tick: UnmodelledU64::new(0),
    origin: UnmodelledU64::new(0),
    source: OnceLock::new(),
};

/// What all clocks of the process share.
struct Process {
    /// How many 2^-64 ns a tick of the [`counter`] is. 0 before the first reading, and for ever where
    /// the source does not go by the counter: one test for both.
    tick: UnmodelledU64,
    /// The counter at the origin, if there is a tick.
    origin: UnmodelledU64,
    source: OnceLock<Source>,
}

struct Source {
    clock: quanta::Clock,
    /// A raw reading of `clock`.
    origin: u64,
}

impl Process {
    /// The first reading, any where the counter does not serve, and one that is less than at the
    /// origin, as that of another core may be.
    #[cfg_attr(target_arch = "x86_64", cold)]
    fn by_source(&self) -> u64 {
        let source = self.source();
        let raw = source.clock.raw();
        source.clock.delta_as_nanos(source.origin, raw)
    }

    fn source(&self) -> &Source {
        self.source.get_or_init(|| {
            let clock = quanta::Clock::new();
            let origin = clock.raw();
            self.origin.store_relaxed(origin);
            // Release pairs with the Acquire in `now`.
            self.tick.store(tick_of(&clock), Ordering::Release);
            Source { clock, origin }
        })
    }
}

/// The time-stamp counter, without asking the source for its kind each time.
#[inline]
fn counter() -> u64 {
    #[cfg(target_arch = "x86_64")]
    return safe_arch::read_timestamp_counter();
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// How many 2^-64 ns a tick of `clock` is, if it reads the [`counter`]: no other source has ticks
/// of less than a nanosecond. Else 0.
fn tick_of(clock: &quanta::Clock) -> u64 {
    if cfg!(target_arch = "x86_64") && clock.delta_as_nanos(0, 1 << 32) < 1 << 32 {
        clock.delta_as_nanos(0, 1 << 63) * 2
    } else {
        0
    }
}

/// Ticks in nanoseconds, as `delta_as_nanos` has them. That shifts by a number of bits that it looks
/// up, which takes two nanoseconds more.
#[inline]
const fn scaled(ticks: u64, tick: u64) -> u64 {
    ((ticks as u128 * tick as u128) >> 64) as u64
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

    #[test]
    fn ticks_are_as_many_nanoseconds_as_their_source_says() {
        let Source { clock, origin } = PROCESS.source();
        let tick = PROCESS.tick.load_relaxed();
        let elapsed = |raw: u64| clock.delta_as_nanos(*origin, raw);
        if tick == 0 {
            let long = !cfg!(target_arch = "x86_64") || elapsed(origin + (1 << 32)) >= 1 << 32;
            assert!(long, "a tick is a nanosecond or more");
            return;
        }
        let (before, raw, after) = (counter(), clock.raw(), counter());
        // By so much at most is the counter of a core to which this thread is moved behind.
        let apart = 1 << 32;
        assert!(
            before < raw + apart && raw < after + apart,
            "another counter"
        );
        for n in 0..10_000_u64 {
            // Of every magnitude, up to centuries.
            let ticks = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n % 60 + 1);
            let expected = elapsed(origin + ticks);
            assert!(scaled(ticks, tick).abs_diff(expected) <= 1, "{ticks}");
        }
    }
}
