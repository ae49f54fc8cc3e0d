//! The thread that wakes the tasks that wait on a [`SystemClock`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use super::deadlines::{Alarm, DeadlineId, Deadlines};
use super::{Clock, SystemClock, Timestamp};
use crate::sync::{Mutex, thread};

/// The timer thread of a process, and the deadlines that it serves.
///
/// A child of `fork` has none of the parent's threads. It starts a helper of its own, linked from
/// the parent's, and takes no lock of the parent's, which the lost thread may hold for ever.
pub(super) struct Helper {
    /// Created before the thread, so that a fork after it is detected.
    guard: forkguard::Guard,
    deadlines: Mutex<Deadlines>,
    thread: OnceLock<thread::Thread>,
    /// The helper that a child process started; a chain, one link per generation of forks.
    child: OnceLock<Arc<Helper>>,
}

impl Helper {
    /// Returns the first helper of the chain, whose operations go to the running process's own.
    pub(super) fn shared() -> Arc<Self> {
        // If `start` panics the cell stays empty, and the next waiter tries again.
        static HELPER: OnceLock<Arc<Helper>> = OnceLock::new();
        HELPER.get_or_init(|| Helper::start(0)).clone()
    }

    /// Returns the helper of the running process.
    fn current(&self) -> &Self {
        let (mut helper, mut generation) = (self, 0);
        while let Some(child) = helper.child.get() {
            (helper, generation) = (child, generation + 1);
        }
        if helper.guard.clone().detected_fork() {
            helper.child.get_or_init(|| Helper::start(generation + 1))
        } else {
            helper
        }
    }

    fn start(generation: u64) -> Arc<Self> {
        let mut deadlines = Deadlines::default();
        // Arrivals are numbered apart, so that an id of the parent never removes a waker of the
        // child.
        deadlines.arrivals = generation << 40;
        let helper = Arc::new(Self {
            guard: forkguard::new(),
            deadlines: Mutex::new(deadlines),
            thread: OnceLock::new(),
            child: OnceLock::new(),
        });
        let runner = Arc::clone(&helper);
        thread::Builder::new()
            .name("tollgate-timer".into())
            .spawn(move || runner.run())
            .expect("cannot start the timer thread");
        helper
    }

    fn run(&self) {
        self.thread.get_or_init(thread::current);
        loop {
            let (due, next) = {
                let mut deadlines = self.deadlines.lock();
                // Read under the lock: a deadline inserted after it is either due at the next turn,
                // or `arm` sees that it is the earliest and unparks this thread.
                (deadlines.due(SystemClock::new().now()), deadlines.next())
            };
            // Caught: a waker that panics must not end the thread that serves all tasks.
            for waker in due {
                drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
            }
            // An unpark since the lock was released makes this return at once: no lost wake-up.
            SystemClock::new().park_until(next);
        }
    }
}

impl Alarm for Helper {
    fn arm(&self, deadline: Timestamp, waker: &Waker) -> Option<DeadlineId> {
        if SystemClock::new().now() >= deadline {
            return None;
        }
        let helper = self.current();
        let (id, earliest) = {
            let mut deadlines = helper.deadlines.lock();
            let earliest = deadlines.next().is_none_or(|next| deadline < next);
            (deadlines.insert(deadline, waker.clone()), earliest)
        };
        // No thread yet: it has not taken the lock for the first time, and will find this deadline.
        if earliest && let Some(thread) = helper.thread.get() {
            thread.unpark();
        }
        Some(id)
    }

    fn disarm(&self, id: DeadlineId) {
        let _removed = self.current().deadlines.lock().remove(id);
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::wait::block_on;
    use std::time::Duration;

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
