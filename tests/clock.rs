//! The clocks, by what a caller sees of them.

use tollgate::{Clock, SystemClock};

static CLOCK: SystemClock = SystemClock::new();

#[test]
fn the_system_clock_is_a_handle_without_data_and_can_be_static() {
    assert_eq!(size_of::<SystemClock>(), 0);
    let earlier = CLOCK.now();
    let later = std::thread::spawn(|| SystemClock::new().now()).join();
    assert!(later.unwrap() >= earlier, "one origin for all");
}
