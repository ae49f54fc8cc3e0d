//! Examples of each operation on a sliding window; random operations in `property_tests`.

mod naive_model;
mod property_tests;

use std::time::Duration;

use super::*;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::tokens::dated::{Composed, MAX_AHEAD};
use crate::limiter::core::tokens::{TokenCount, Tokens};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn window(limit: u64, period: u64) -> Window {
    Window::new(limit, period).unwrap()
}

fn not_yet(nanos: u64) -> Result<(), Denied> {
    let retry_after = Duration::from_nanos(nanos);
    Err(Denied::NotYet { retry_after })
}

const WAIT: Duration = Duration::from_nanos(1_000);

#[test]
fn a_window_is_half_open() {
    let mut window = window(3, 10);
    assert_eq!(window.take(1, 0, at(0)), Ok(()));
    assert_eq!(window.take(2, 0, at(4)), Ok(()));
    assert_eq!(window.take(1, 0, at(4)), not_yet(6));
    assert_eq!(window.take(1, 0, at(9)), not_yet(1));
    assert_eq!(window.take(1, 0, at(10)), Ok(()));
    assert_eq!(window.take(1, 0, at(10)), not_yet(4));
    assert_eq!(window.full_at(at(10)), Some(at(20)));
}

#[test]
fn a_limit_out_of_bounds_is_refused() {
    assert_eq!(Window::new(0, 1).unwrap_err(), WindowError::ZeroLimit);
    assert_eq!(Window::new(1, 0).unwrap_err(), WindowError::ZeroPeriod);
    assert!(Window::new(MAX_LIMIT, u64::MAX).is_ok());
    let mut window = Window::new(2, 5).unwrap();
    let refused = window.set_limit(MAX_LIMIT + 1, 5, History::Kept, at(0));
    assert_eq!(refused, Err(WindowError::LimitTooLarge));
    assert_eq!(window.burst(), 2);
}

#[test]
fn zero_tokens_always_pass_and_more_than_the_limit_never() {
    let mut window = window(2, 10);
    assert_eq!(window.take(2, 0, at(0)), Ok(()));
    assert_eq!(window.take(0, u64::MAX, at(0)), Ok(()));
    assert_eq!(
        window.wait_after([], 0, u64::MAX, at(0)),
        Ok(Duration::ZERO)
    );
    let burst = |burst| Err(Denied::ExceedsBurst { burst });
    assert_eq!(window.take(3, 0, at(0)), burst(2));
    assert_eq!(window.take(2, 1, at(0)), burst(1));
    assert_eq!(window.take(1, 3, at(0)), burst(0));
    assert_eq!(window.wait_after([], 1, 2, at(0)).err(), burst(0).err());
}

#[test]
fn a_stale_now_counts_as_the_latest() {
    let mut window = window(2, 10);
    assert_eq!(window.take(1, 0, at(15)), Ok(()));
    assert_eq!(window.take(1, 0, at(3)), Ok(()));
    // Had it counted at 3, there would be room at 13.
    assert_eq!(window.take(1, 0, at(24)), not_yet(1));
    assert_eq!(window.take(2, 0, at(25)), Ok(()));
}

#[test]
fn a_denial_writes_nothing() {
    let mut window = window(2, 10);
    assert_eq!(window.take(2, 0, at(0)), Ok(()));
    assert_eq!(window.take(1, 0, at(9)), not_yet(1));
    assert!(window.reserve(1, Duration::ZERO, at(9)).is_err());
    assert_eq!(window.latest, at(0));
}

#[test]
fn a_take_is_judged_in_every_window_that_holds_it() {
    let mut window = window(3, 10);
    assert_eq!(window.take(3, 0, at(0)), Ok(()));
    assert_eq!(window.reserve(2, WAIT, at(0)), Ok(at(10)));
    assert_eq!(window.take(1, 0, at(9)), not_yet(1));
    assert_eq!(window.refund(3, at(9)), ());
    // The window that ends at 10 has room for one beside what is reserved.
    assert_eq!(window.available(at(5)), 1);
    assert_eq!(window.take(2, 0, at(5)), not_yet(15));
    assert_eq!(window.take(2, 0, at(0)), Ok(()));
}

#[test]
fn a_cancellation_gives_back_what_was_reserved_and_no_more() {
    let mut window = window(3, 10);
    assert_eq!(window.take(3, 0, at(0)), Ok(()));
    let ready_at = window.reserve(1, WAIT, at(0)).unwrap();
    assert_eq!(window.reserve(1, WAIT, at(0)), Ok(ready_at));
    assert_eq!(window.take(1, 0, ready_at), Ok(()));
    assert_eq!(window.available(at(11)), 0);
    window.cancel(ready_at, 1);
    window.cancel(at(3), 1);
    assert_eq!(window.available(at(11)), 1);
    window.cancel(ready_at, 7);
    assert_eq!(window.available(at(11)), 2);
    window.cancel(ready_at, 1);
    assert_eq!(window.available(at(11)), 2);
}

#[test]
fn a_refund_skips_reservations_still_to_come() {
    let mut window = window(3, 10);
    assert_eq!(window.take(2, 0, at(0)), Ok(()));
    assert_eq!(window.take(1, 0, at(5)), Ok(()));
    assert_eq!(window.reserve(2, WAIT, at(5)), Ok(at(10)));
    window.refund(1, at(5));
    window.refund(9, at(5));
    assert_eq!(window.available(at(5)), 1);
    assert_eq!(window.log.len(), 1);
    window.refund(1, at(10));
    assert_eq!(window.available(at(10)), 2);
}

#[test]
fn a_charge_above_the_limit_stands_as_future_entries() {
    let mut window = window(3, 10);
    assert_eq!(window.take(1, 0, at(0)), Ok(()));
    assert_eq!(window.take(1, 0, at(4)), Ok(()));
    window.charge(6, at(5));
    // 1 at 5, 10, 14, 15, 20 and 24.
    assert_eq!(window.log.len(), 8);
    assert_eq!(window.take(1, 0, at(5)), not_yet(20));
    window.refund(2, at(5));
    assert_eq!(window.take(1, 0, at(5)), not_yet(15));
    assert_eq!(window.take(1, 0, at(20)), Ok(()));
}

#[test]
fn debt_saturates_at_its_bound() {
    let mut window = window(1, 10);
    window.charge(u64::MAX, at(0));
    let last = 10 * u64::try_from(MAX_AHEAD).unwrap();
    assert_eq!(window.take(1, 0, at(0)), not_yet(last + 10));
    window.charge(1, at(0));
    assert_eq!(window.log.len(), MAX_AHEAD + 1);
    let retry_after = Duration::from_nanos(last + 10);
    let too_long = Err(Denied::TooLong { retry_after });
    assert_eq!(window.reserve(1, Duration::MAX, at(0)), too_long);
    assert_eq!(window.reserve(1, Duration::MAX, at(10)), Ok(at(last + 10)));
}

#[test]
fn refunds_do_not_shorten_a_pause() {
    let mut window = window(2, 10);
    assert_eq!(window.take(1, 0, at(0)), Ok(()));
    window.pause_until(at(7));
    window.pause_until(at(3));
    window.refund(1, at(0));
    assert_eq!(window.take(1, 0, at(2)), not_yet(5));
    assert_eq!(window.available(at(6)), 0);
    assert_eq!(window.take_up_to(5, at(6)), 0);
    assert_eq!(window.take_up_to(5, at(7)), 2);
}

#[test]
fn tighten_never_adds_a_token() {
    let mut window = window(5, 10);
    window.tighten(2, at(0));
    window.tighten(4, at(0));
    assert_eq!(window.available(at(9)), 2);
    assert_eq!(window.available(at(10)), 5);
}

#[test]
fn a_wait_behind_others_counts_the_room_that_is_left_over() {
    let window = window(10, 100);
    let behind = window.wait_after([(6, 0), (11, 0), (6, 0)], 6, 0, at(0));
    assert_eq!(behind, Ok(Duration::from_nanos(200)));
}

#[test]
fn a_limit_that_changes_back_and_forth_mints_nothing() {
    let mut window = window(3, 10);
    assert_eq!(window.take(3, 0, at(0)), Ok(()));
    window.set_limit(1, 1, History::Kept, at(0)).unwrap();
    assert_eq!(window.take(1, 0, at(1)), Ok(()));
    window.set_limit(3, 10, History::Kept, at(1)).unwrap();
    assert_eq!(window.take(1, 0, at(1)), not_yet(9));
    assert_eq!(window.available(at(10)), 2);
}

#[test]
fn a_forgotten_history_keeps_reservations() {
    let mut window = window(3, 10);
    window.charge(4, at(0));
    assert_eq!(window.reserve(1, WAIT, at(0)), Ok(at(10)));
    window.pause_until(at(50));
    window.set_limit(2, 10, History::Forgotten, at(0)).unwrap();
    assert_eq!(window.available(at(0)), 2);
    assert_eq!(window.available(at(1)), 1);
}

#[test]
fn the_log_is_bounded_by_the_limit() {
    let (mut taken, mut reserved) = (window(7, 1), window(7, 1));
    for now in 0..100 {
        assert_eq!(taken.take(1, 0, at(now)), Ok(()));
        assert_eq!(reserved.reserve(1, WAIT, at(now)), Ok(at(now)));
    }
    assert_eq!((taken.log.len(), reserved.log.len()), (7, 7));
}

#[test]
fn a_take_is_exhausted_if_the_clock_ends_first() {
    let mut window = window(1, 10);
    let last = u64::MAX - 3;
    assert_eq!(window.take(1, 0, at(last)), Ok(()));
    assert_eq!(window.take(1, 0, Timestamp::MAX), Err(Denied::Exhausted));
    assert_eq!(window.full_at(at(0)), None);
    window.charge(5, at(0));
    assert_eq!(window.log.len(), 1);
}
