//! Adders that wait for room: their order, and which of them are woken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tollgate::{AddError, WorkQueue};

use crate::tasks::Polled;
use crate::wait::woken;
use crate::{millis, queue};

#[test]
fn blocked_adders_are_served_in_order() {
    let (queue, _) = queue(2);
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    let (first, second) = (Polled::pending(queue.add(3)), Polled::pending(queue.add(4)));
    // Adding a live key needs no room.
    assert_eq!(queue.add(1).wait(), Ok(()));
    queue.try_get().unwrap().done();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert_eq!(
        queue.try_add(5),
        Err(AddError::Full(5)),
        "the room is promised"
    );
    assert_eq!(first.ready(), Ok(()));
    assert!(queue.remove(&3));
    assert_eq!(second.ready(), Ok(()));
    let ready = [(); 2].map(|()| *queue.try_get().unwrap());
    assert_eq!(ready, [2, 4]);
}

#[test]
fn a_cancelled_adder_hands_its_room_on() {
    let (queue, _) = queue(1);
    queue.try_add(1).unwrap();
    let (first, second) = (Polled::pending(queue.add(2)), Polled::pending(queue.add(3)));
    queue.try_get().unwrap().done();
    drop(first);
    assert_eq!(second.woken(), 1);
    assert_eq!(second.ready(), Ok(()));
    // Without a next adder the room is free for any add.
    let third = Polled::pending(queue.add(4));
    queue.try_get().unwrap().done();
    drop(third);
    assert_eq!(queue.try_add(5), Ok(()));
}

#[test]
fn an_adder_whose_key_is_live_already_leaves_its_room_to_the_next() {
    let (queue, _) = queue(2);
    queue.try_add(1).unwrap();
    queue.try_add(2).unwrap();
    let waiting = [3, 3, 4].map(|key| Polled::pending(queue.add(key)));
    queue.try_get().unwrap().done();
    queue.try_get().unwrap().done();
    assert_eq!(woken(&waiting), [1, 1, 0]);
    let [first, same, other] = waiting;
    assert_eq!(
        (first.ready(), same.ready(), other.ready()),
        (Ok(()), Ok(()), Ok(()))
    );
    assert_eq!(queue.stats().ready, 2);
}

#[test]
fn a_blocked_adder_ends_when_its_key_is_added_by_another() {
    let queue = WorkQueue::<u64>::builder(3).reserve(2).build().unwrap();
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let waiting = [2, 3, 2, 4].map(|key| Polled::pending(queue.add(key)));
    // A worker adds the key into the reserve.
    work.add_related(2).unwrap();
    assert_eq!(woken(&waiting), [1, 0, 1, 0]);
    let [first, other, same, last] = waiting;
    assert_eq!((first.ready(), same.ready()), (Ok(()), Ok(())));
    work.add_related(3).unwrap();
    assert_eq!((other.woken(), last.woken()), (1, 0));
    assert_eq!(other.ready(), Ok(()));
    work.done();
    queue.try_get().unwrap().done();
    assert_eq!(last.woken(), 0, "an adder may not use the reserve");
    queue.try_get().unwrap().done();
    assert_eq!(last.ready(), Ok(()));
}

#[test]
fn an_adder_woken_in_vain_keeps_its_place() {
    let queue = WorkQueue::<u64>::builder(2).reserve(1).build().unwrap();
    queue.try_add(1).unwrap();
    let work = queue.try_get().unwrap();
    let mut first = Polled::pending(queue.add(2));
    let second = Polled::pending(queue.add(3));
    work.add_related(2).unwrap();
    assert!(queue.remove(&2));
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert!(first.poll().is_pending(), "its key was removed again");
    work.done();
    assert_eq!((first.woken(), second.woken()), (2, 0));
    assert_eq!(first.ready(), Ok(()));
}

#[test]
fn an_adder_polled_without_a_wake_up_keeps_its_place() {
    let (queue, _) = queue(1);
    queue.try_add(0).unwrap();
    let mut first = Polled::pending(queue.add(1));
    let second = Polled::pending(queue.add(2));
    assert!(first.poll().is_pending());
    queue.try_get().unwrap().done();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert_eq!(first.ready(), Ok(()));
}

#[test]
fn one_adder_and_one_consumer_do_not_cancel_out() {
    let (queue, _) = queue(1);
    queue.try_add(0).unwrap();
    let work = queue.try_get().unwrap();
    let getter = Polled::pending(queue.get());
    let adder = Polled::pending(queue.add(1));
    work.done();
    assert_eq!(adder.woken(), 1);
    assert_eq!(adder.ready(), Ok(()));
    assert_eq!(getter.woken(), 1);
    assert_eq!(*getter.ready().unwrap(), 1);
}

#[test]
fn polling_a_finished_add_does_not_add_again() {
    let (queue, _) = queue(2);
    let (mut add, mut context) = (queue.add(1), Context::from_waker(Waker::noop()));
    assert!(Pin::new(&mut add).poll(&mut context).is_ready());
    let again = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut add).poll(&mut context)));
    assert!(again.is_err());
    assert_eq!(queue.stats().ready, 1);
}

#[test]
fn an_add_with_a_timeout_gives_the_key_back() {
    let (queue, clock) = queue(1);
    queue.try_add(1).unwrap();
    let (mut late, next) = (
        Polled::pending(queue.add_timeout(2, millis(5))),
        Polled::pending(queue.add(3)),
    );
    clock.advance(millis(5));
    assert_eq!(late.poll(), Poll::Ready(Err(AddError::Full(2))));
    drop(late);
    queue.try_get().unwrap().done();
    assert_eq!(next.ready(), Ok(()));
}
