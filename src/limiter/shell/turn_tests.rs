use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::turn::{TURN, Turn};

/// A clock that each reading advances by a nanosecond.
struct Readings(AtomicU64);

impl Readings {
    /// Returns how long a call after a contended take rests, in another thread if `is_other`.
    fn rest(&self, turn: &Turn, is_other: bool) -> u64 {
        let nanos = || self.0.fetch_add(1, Ordering::Relaxed);
        let call = || {
            let start = self.0.load(Ordering::Relaxed);
            turn.contended(TURN, nanos);
            // One reading is no rest.
            self.0.load(Ordering::Relaxed) - start - 1
        };
        if !is_other {
            return call();
        }
        thread::scope(|scope| scope.spawn(call).join().unwrap())
    }
}

#[test]
fn a_thread_rests_through_the_turn_of_another_and_has_the_next() {
    for start in [0, 1, u64::MAX / 3] {
        let (turn, time) = (Turn::new(), Readings(AtomicU64::new(start)));
        assert_eq!(time.rest(&turn, false), 0, "the first begins a turn");
        assert_eq!(time.rest(&turn, false), 0, "its own turn");
        let rest = time.rest(&turn, true);
        assert!(rest > TURN - 10 && rest <= TURN, "{rest}");
        let rest = time.rest(&turn, false);
        assert!(rest > TURN - 10 && rest <= TURN, "alternates: {rest}");
    }
}

#[test]
fn a_turn_that_has_ended_holds_no_thread_up() {
    let (turn, time) = (Turn::new(), Readings(AtomicU64::new(0)));
    assert_eq!(time.rest(&turn, false), 0);
    time.0.fetch_add(TURN, Ordering::Relaxed);
    assert_eq!(time.rest(&turn, true), 0);
    // Beyond what the word holds of a time.
    time.0.store(u64::MAX / 2, Ordering::Relaxed);
    assert_eq!(time.rest(&turn, false), 0);
}
