use std::time::Duration;

use futures::FutureExt;
use tollgate::ManualClock;

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(seconds)
}

fn setup() -> (ManualClock, Reporter<ManualClock>, Leadership<ManualClock>) {
    let clock = ManualClock::new();
    let reporter = Reporter::new(clock.clone());
    let leadership = reporter.leadership();
    (clock, reporter, leadership)
}

#[test]
fn check_fails_at_the_deadline_without_the_task() {
    let (clock, reporter, leadership) = setup();
    assert_eq!((leadership.check(), leadership.deadline()), (None, None));
    reporter.publish(Some((Term::new(5), at(10))), None);
    clock.set(Timestamp::from_nanos(at(10).as_nanos() - 1));
    assert_eq!(leadership.check(), Some(Term::new(5)));
    assert_eq!(leadership.deadline(), Some(at(10)));
    clock.set(at(10));
    assert_eq!((leadership.check(), leadership.deadline()), (None, None));
    assert_eq!(leadership.role(), Role::Leading(Term::new(5)));
}

#[test]
fn a_renewal_extends_the_term_and_is_no_change_of_role() {
    let (clock, reporter, mut leadership) = setup();
    reporter.publish(Some((Term::new(5), at(10))), None);
    let role = leadership.changed().now_or_never();
    assert_eq!(role, Some(Some(Role::Leading(Term::new(5)))));
    reporter.publish(Some((Term::new(5), at(12))), None);
    clock.set(at(11));
    assert_eq!(leadership.check(), Some(Term::new(5)));
    assert_eq!(leadership.changed().now_or_never(), None);
}

#[tokio::test]
async fn lost_completes_at_the_extended_deadline() {
    let (clock, reporter, leadership) = setup();
    let term = Term::new(5);
    reporter.publish(Some((term, at(10))), None);
    let mut lost = std::pin::pin!(leadership.lost(term));
    assert_eq!(lost.as_mut().now_or_never(), None);
    reporter.publish(Some((term, at(12))), None);
    clock.set(at(11));
    assert_eq!(lost.as_mut().now_or_never(), None);
    assert_eq!(clock.next_deadline(), Some(at(12)));
    clock.set(at(12));
    lost.await;
}

#[tokio::test]
async fn lost_completes_when_the_term_ends_early_or_another_begins() {
    let (_clock, reporter, leadership) = setup();
    reporter.publish(Some((Term::new(5), at(10))), None);
    let mut lost = std::pin::pin!(leadership.lost(Term::new(5)));
    assert_eq!(lost.as_mut().now_or_never(), None);
    reporter.publish(Some((Term::new(6), at(10))), None);
    lost.await;
    let mut lost = std::pin::pin!(leadership.lost(Term::new(6)));
    assert_eq!(lost.as_mut().now_or_never(), None);
    reporter.publish(None, Some("b"));
    lost.await;
    let holder = Some("b".to_owned());
    assert_eq!(leadership.role(), Role::Following { holder });
    leadership.lost(Term::new(7)).await;
}

#[tokio::test]
async fn the_end_of_the_election_ends_the_term_and_every_wait() {
    let (_clock, reporter, mut leadership) = setup();
    let term = Term::new(5);
    reporter.publish(Some((term, at(10))), None);
    assert_eq!(leadership.leading().await, Some(term));
    drop(reporter);
    assert_eq!(leadership.check(), None);
    leadership.lost(term).await;
    assert_eq!(leadership.leading().await, None);
    assert_eq!(
        leadership.changed().await,
        Some(Role::Following { holder: None })
    );
    assert_eq!(leadership.changed().await, None);
}
