//! Resyncs: when they are due, for whom, and how many keys they make up for.

use tollgate::queue::Groups;
use tollgate::{AddError, AddOptions};

use crate::tasks::Polled;
use crate::{builder, queue};

#[test]
fn a_missed_key_causes_a_resync_once_there_is_room() {
    let (queue, _) = queue(1);
    let mut resync = Polled::pending(queue.resync());
    queue.try_add(1).unwrap();
    for key in [2, 3] {
        let missed = queue.try_add_or_resync(key, AddOptions::new());
        assert_eq!(missed, Err(AddError::Full(key)));
    }
    assert_eq!(resync.woken(), 0);
    // A blocked adder is served first.
    let adder = Polled::pending(queue.add(4));
    queue.try_get().unwrap().done();
    assert_eq!(adder.ready(), Ok(()));
    assert!(resync.poll().is_pending());
    queue.try_get().unwrap().done();
    assert_eq!(resync.woken(), 1);
    // The waiter leaves, and no other waits: the resync is kept for the next call.
    drop(resync);
    assert_eq!(Polled::pending(queue.get()).woken(), 0);
    assert_eq!(queue.resync().wait(), Some(2));
    assert_eq!(queue.try_resync(), None);
}

#[test]
fn a_full_group_causes_no_resync_before_room_comes_free_in_a_group() {
    let groups = Groups::by(|key: &u64| key % 2).max_live(1);
    let queue = builder(10).0.groups(groups).build().unwrap();
    queue.try_add(0).unwrap();
    let miss = || queue.try_add_or_resync(2, AddOptions::new());
    for _ in 0..2 {
        assert_eq!(miss(), Err(AddError::Full(2)));
        let resync = Polled::pending(queue.resync());
        assert_eq!((resync.woken(), queue.try_resync()), (0, None));
        queue.try_get().unwrap().done();
        assert_eq!(resync.woken(), 1);
        assert_eq!(resync.ready(), Some(1));
        queue.try_add(0).unwrap();
    }
}
