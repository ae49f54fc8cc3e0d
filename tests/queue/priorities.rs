//! Priority bands and aging.

use tollgate::Priority;

use crate::features::take_all;
use crate::{Queue, builder, queue};

#[test]
fn a_promoted_key_goes_to_the_tail_of_its_new_band_and_keeps_its_priority() {
    let (queue, _) = queue(8);
    for (key, priority) in [
        (1, Priority::LOW),
        (2, Priority::HIGH),
        (3, Priority::DEFAULT),
    ] {
        queue.try_add_with(key, priority).unwrap();
    }
    queue.try_add_with(1, Priority::HIGH).unwrap();
    queue.try_add_with(1, Priority::MIN).unwrap();
    queue.try_get().unwrap().requeue();
    assert_eq!(take_all(&queue), [1, 2, 3]);
    queue.try_add_with(1, Priority::LOW).unwrap();
    assert_eq!(
        queue.try_get().unwrap().priority(),
        Priority::LOW,
        "the key was absent, so the new priority applies"
    );
}

#[test]
fn aging_serves_one_key_in_n_and_zero_is_strict_priority() {
    let position_of_low_key = |one_in: u32| {
        let (builder, _) = builder(100);
        let queue = builder.aging(one_in).build().unwrap();
        queue.try_add_with(0, Priority::LOW).unwrap();
        assert!(queue.try_add_batch(1..40, Priority::HIGH).is_empty());
        let order = take_all(&queue);
        1 + order.iter().position(|&key| key == 0).unwrap()
    };
    assert_eq!(position_of_low_key(16), 16);
    assert_eq!(position_of_low_key(4), 4);
    assert_eq!(position_of_low_key(0), 40);
}

#[test]
fn aging_by_one_lets_priorities_take_turns() {
    let (builder, _) = builder(100);
    let queue = builder.aging(1).build().unwrap();
    queue.try_add_with(0, Priority::HIGH).unwrap();
    assert!(queue.try_add_batch(10..20, Priority::LOW).is_empty());
    queue.try_add_with(1, Priority::HIGH).unwrap();
    let order = take_all(&queue);
    assert_eq!(order[..4], [0, 10, 1, 11]);
}

/// Adds and takes `DEFAULT` keys until aging serves a key of another band, which is returned.
fn next_by_age(queue: &Queue) -> u64 {
    for key in 1_000..1_100 {
        queue.try_add(key).unwrap();
        let work = queue.try_get().unwrap();
        let handed_out = *work;
        work.done();
        if handed_out < 1_000 {
            return handed_out;
        }
    }
    panic!("aging serves no other band")
}

#[test]
fn aging_serves_the_band_whose_head_has_waited_longest() {
    let (queue, _) = queue(2_000);
    queue.try_add_with(100, Priority::LOW).unwrap();
    queue.try_add_with(101, Priority::LOW).unwrap();
    for key in 1_000..1_005 {
        queue.try_add(key).unwrap();
        queue.try_get().unwrap().done();
    }
    queue.try_add_with(200, Priority::MIN).unwrap();
    assert_eq!(next_by_age(&queue), 100);
    // 101 is the head of its band only from now on, after 200.
    assert_eq!(next_by_age(&queue), 200);
    queue.try_add_with(102, Priority::LOW).unwrap();
    queue.try_add_with(201, Priority::MIN).unwrap();
    for key in 1_000..1_003 {
        queue.try_add(key).unwrap();
        queue.try_get().unwrap().done();
    }
    queue.remove(&101);
    assert_eq!(next_by_age(&queue), 201);
}

#[test]
fn aging_does_not_let_later_bands_overtake() {
    let (queue, _) = queue(2_000);
    queue.try_add_with(100, Priority::LOW).unwrap();
    // Lower bands, before any key is handed out.
    for band in 1..=16 {
        let lower = Priority::new(-16 - band).unwrap();
        queue
            .try_add_with(200 + u64::try_from(band).unwrap(), lower)
            .unwrap();
    }
    assert_eq!(next_by_age(&queue), 100);
}
