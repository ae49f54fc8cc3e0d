use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use super::deadlines::{Alarm, Deadlines, Place, Sleep};
use super::{Clock, Timestamp};
use crate::sync::{Mutex, thread};
use crate::wake::wake_caught;

/// The default clock: the time-stamp counter of x86-64 where it is invariant; elsewhere what the crate
/// `quanta` takes, another counter of the processor or the operating system's monotonic clock.
///
/// All clocks of a process share one origin: the instant when the first was made. Threads that wait
/// park with a timeout. Tasks are woken by one helper thread a process, which starts when the first
/// task waits and never before.
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
#[derive(Clone)]
pub struct SystemClock {
    source: quanta::Clock,
    /// A raw reading of `source`.
    origin: u64,
    /// How many 2^-64 ns a tick of the [`counter`] is, if `source` goes by it; else 0.
    tick: u64,
}

impl SystemClock {
    /// The clock of this process. The first call calibrates the counter, which can take some
    /// milliseconds.
    ///
    /// ```
    /// use tollgate::{Clock, SystemClock};
    ///
    /// let clock = SystemClock::new();
    /// assert!(clock.now() <= clock.now());
    /// ```
    pub fn new() -> Self {
        static FIRST: OnceLock<SystemClock> = OnceLock::new();
        FIRST
            .get_or_init(|| {
                let source = quanta::Clock::new();
                let origin = source.raw();
                let tick = tick_of(&source);
                Self {
                    source,
                    origin,
                    tick,
                }
            })
            .clone()
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
        let ticks = match self.tick {
            0 => None,
            _ => counter().checked_sub(self.origin),
        };
        Timestamp::from_nanos(match ticks {
            Some(ticks) => scaled(ticks, self.tick),
            None => self.by_source(),
        })
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        Sleep::on(Helper::shared(), deadline)
    }
}

impl SystemClock {
    /// Where the counter does not serve, or reads less than at the origin, as that of another core
    /// may.
    #[cfg_attr(target_arch = "x86_64", cold)]
    fn by_source(&self) -> u64 {
        self.source.delta_as_nanos(self.origin, self.source.raw())
    }
}

/// The time-stamp counter, without asking `source` for its kind each time.
#[inline]
fn counter() -> u64 {
    #[cfg(target_arch = "x86_64")]
    return safe_arch::read_timestamp_counter();
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// How many 2^-64 ns a tick of `source` is, if it reads the [`counter`]: no other source has ticks
/// of less than a nanosecond. Else 0.
fn tick_of(source: &quanta::Clock) -> u64 {
    if cfg!(target_arch = "x86_64") && source.delta_as_nanos(0, 1 << 32) < 1 << 32 {
        source.delta_as_nanos(0, 1 << 63) * 2
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

impl fmt::Debug for SystemClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SystemClock").field(&self.now()).finish()
    }
}

/// The thread that wakes tasks.
struct Helper {
    clock: SystemClock,
    deadlines: Mutex<Deadlines>,
    thread: OnceLock<thread::Thread>,
}

impl Helper {
    fn shared() -> Arc<Self> {
        // If it panics, the next to wait tries again.
        static HELPER: OnceLock<Arc<Helper>> = OnceLock::new();
        HELPER.get_or_init(Helper::start).clone()
    }

    fn start() -> Arc<Self> {
        let helper = Arc::new(Self {
            clock: SystemClock::new(),
            deadlines: Mutex::new(Deadlines::default()),
            thread: OnceLock::new(),
        });
        let runner = Arc::clone(&helper);
        thread::Builder::new()
            .name("tollgate-timer".into())
            .spawn(move || runner.run())
            .expect("the operating system starts a thread");
        helper
    }

    fn run(&self) {
        self.thread.get_or_init(thread::current);
        loop {
            let (due, next) = {
                let mut deadlines = self.deadlines.lock();
                (deadlines.due(self.clock.now()), deadlines.next())
            };
            // One that panics must not take the timers of everyone else with it.
            due.for_each(|waker| drop(wake_caught(waker)));
            self.clock.park_until(next);
        }
    }
}

impl Alarm for Helper {
    fn arm(&self, deadline: Timestamp, waker: &Waker) -> Option<Place> {
        if self.clock.now() >= deadline {
            return None;
        }
        let (place, earliest) = {
            let mut deadlines = self.deadlines.lock();
            let earliest = deadlines.next().is_none_or(|next| deadline < next);
            (deadlines.insert(deadline, waker.clone()), earliest)
        };
        // Before the thread has named itself it has not looked at the deadlines yet, and will see
        // this one.
        if earliest && let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        Some(place)
    }

    fn disarm(&self, place: Place) {
        let removed = self.deadlines.lock().remove(place);
        drop(removed);
    }
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
        let SystemClock {
            source,
            origin,
            tick,
        } = SystemClock::new();
        let elapsed = |raw: u64| source.delta_as_nanos(origin, raw);
        if tick == 0 {
            let long = !cfg!(target_arch = "x86_64") || elapsed(origin + (1 << 32)) >= 1 << 32;
            assert!(long, "a tick is a nanosecond or more");
            return;
        }
        let (before, raw, after) = (counter(), source.raw(), counter());
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

    #[test]
    fn a_panicking_waker_does_not_stop_the_helper() {
        struct Bomb;
        impl std::task::Wake for Bomb {
            fn wake(self: Arc<Self>) {
                std::panic::resume_unwind(Box::new("bomb"));
            }
        }
        let clock = SystemClock::new();
        let bomb = Waker::from(Arc::new(Bomb));
        // On a busy machine the instant may have passed before the alarm is set.
        let soon = loop {
            let soon = clock.now().saturating_add(Duration::from_millis(1));
            if Helper::shared().arm(soon, &bomb).is_some() {
                break soon;
            }
        };
        block_on(clock.sleep_until(soon.saturating_add(Duration::from_millis(1))));
    }
}
