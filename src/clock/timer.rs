//! The thread that wakes the tasks that wait on a [`SystemClock`].

use std::sync::{Arc, OnceLock};
use std::task::Waker;

use super::deadlines::{Alarm, Deadlines, Place};
use super::{Clock, SystemClock, Timestamp};
use crate::sync::{Mutex, thread};
use crate::wake::wake_caught;

/// The thread that wakes tasks, and what it is told. A child of `fork` has none of its parent's threads:
/// it starts a helper of its own, and touches no lock of its parent's, which that thread may have held.
pub(super) struct Helper {
    /// Taken before the thread was started.
    guard: forkguard::Guard,
    deadlines: Mutex<Deadlines>,
    thread: OnceLock<thread::Thread>,
    /// The helper of a child process, or of a child of that one.
    child: OnceLock<Arc<Helper>>,
}

impl Helper {
    /// The first helper: it passes on to the one of the running process.
    pub(super) fn shared() -> Arc<Self> {
        // If it panics, the next to wait tries again.
        static HELPER: OnceLock<Arc<Helper>> = OnceLock::new();
        HELPER.get_or_init(|| Helper::start(0)).clone()
    }

    /// That of the running process.
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
        let helper = Arc::new(Self {
            guard: forkguard::new(),
            // A place in the parent's deadlines is none in these.
            deadlines: Mutex::new(Deadlines::numbered_from(generation << 40)),
            thread: OnceLock::new(),
            child: OnceLock::new(),
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
                (deadlines.due(SystemClock::new().now()), deadlines.next())
            };
            // One that panics must not take the timers of everyone else with it.
            due.for_each(|waker| drop(wake_caught(waker)));
            SystemClock::new().park_until(next);
        }
    }
}

impl Alarm for Helper {
    fn arm(&self, deadline: Timestamp, waker: &Waker) -> Option<Place> {
        if SystemClock::new().now() >= deadline {
            return None;
        }
        let helper = self.current();
        let (place, earliest) = {
            let mut deadlines = helper.deadlines.lock();
            let earliest = deadlines.next().is_none_or(|next| deadline < next);
            (deadlines.insert(deadline, waker.clone()), earliest)
        };
        // Before the thread has named itself it has not looked at the deadlines yet, and will see
        // this one.
        if earliest && let Some(thread) = helper.thread.get() {
            thread.unpark();
        }
        Some(place)
    }

    fn disarm(&self, place: Place) {
        let removed = self.current().deadlines.lock().remove(place);
        drop(removed);
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
