//! Groups of keys: turns (deficit round robin), bounds and limits.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use tollgate::queue::Groups;
use tollgate::{
    AddError, AddOptions, CarryOver, KeyedLimiter, LockedTokenBucket, ManualClock, Priority,
    QueueError, RateLimiter, Work, WorkQueue,
};

use crate::groups_model::{self, Config, Key, Op};
use crate::tasks::Polled;

type Queue = WorkQueue<Key, ManualClock>;

const HOUR: Duration = Duration::from_hours(1);

fn by_tenant() -> Groups<Key, u8> {
    Groups::by(|key: &Key| key.0)
}

fn queue(capacity: usize, groups: Groups<Key, u8>) -> (Queue, ManualClock) {
    let clock = ManualClock::new();
    let builder = WorkQueue::builder(capacity).clock(clock.clone());
    (builder.groups(groups).build().unwrap(), clock)
}

fn add(queue: &Queue, group: u8, keys: std::ops::Range<u32>) {
    keys.for_each(|n| queue.try_add((group, n)).unwrap());
}

fn groups_of(queue: &Queue, keys: usize) -> Vec<u8> {
    let work = std::iter::from_fn(|| queue.try_get());
    let groups = work.take(keys).map(|work| {
        let group = work.0;
        work.done();
        group
    });
    groups.collect()
}

#[test]
fn a_thousand_keys_of_one_tenant_do_not_delay_another() {
    let (queue, _) = queue(10_000, by_tenant());
    add(&queue, b'a', 0..1_000);
    add(&queue, b'b', 0..1);
    assert_eq!(groups_of(&queue, 3), *b"aba");
    add(&queue, b'c', 0..2);
    assert_eq!(groups_of(&queue, 5), *b"acaca");
}

#[test]
fn a_turn_has_as_many_keys_as_its_group_weighs() {
    let weigh = |tenant: &u8| u32::from(*tenant - b'a');
    let (queue, _) = queue(1_000, by_tenant().weight(weigh));
    // The weight of `a` is 0, which counts as 1.
    (b'a'..=b'd').for_each(|group| add(&queue, group, 0..20));
    assert_eq!(groups_of(&queue, 14), *b"abccdddabccddd");
}

#[test]
fn a_group_at_its_bound_is_skipped_until_a_key_finishes() {
    let (queue, _) = queue(100, by_tenant().max_processing(2));
    add(&queue, b'a', 0..5);
    add(&queue, b'b', 0..1);
    let mut held: Vec<_> = std::iter::from_fn(|| queue.try_get()).collect();
    assert_eq!(held.iter().map(|work| work.0).collect::<Vec<_>>(), *b"aba");
    assert_eq!(queue.stats().ready, 3);
    let consumer = Polled::pending(queue.get());
    held.remove(0).requeue();
    let third = consumer.ready().unwrap();
    assert_eq!(third.1, 2);
    queue.remove(&(b'a', 1));
    assert!(queue.try_get().is_none());
    let returned = queue.shutdown_now().returned;
    assert_eq!(
        returned.len(),
        3,
        "keys of a group at its bound are returned"
    );
}

#[test]
fn priority_goes_before_the_turns_of_groups() {
    let (queue, _) = queue(100, by_tenant());
    add(&queue, b'a', 0..3);
    for n in 3..5 {
        queue.try_add_with((b'a', n), Priority::HIGH).unwrap();
    }
    queue.try_add_with((b'b', 0), Priority::HIGH).unwrap();
    // A promotion moves the key to another lane of its group.
    queue.try_add_with((b'a', 1), Priority::HIGH).unwrap();
    let order: Vec<_> = std::iter::from_fn(|| queue.try_get()).collect();
    let order: Vec<Key> = order.iter().map(|work| **work).collect();
    let expected = [
        (b'a', 3),
        (b'b', 0),
        (b'a', 4),
        (b'a', 1),
        (b'a', 0),
        (b'a', 2),
    ];
    assert_eq!(order, expected);
}

#[test]
fn max_live_keeps_a_tenant_from_filling_the_queue() {
    let (queue, _) = queue(10, by_tenant().max_live(3));
    add(&queue, b'a', 0..3);
    assert_eq!(queue.try_add((b'a', 3)), Err(AddError::Full((b'a', 3))));
    assert_eq!(queue.try_add((b'a', 0)), Ok(()), "a live key needs no room");
    add(&queue, b'b', 0..3);
    let work = queue.try_get().unwrap();
    assert_eq!(work.add_related((b'a', 3)), Err(AddError::Full((b'a', 3))));
    work.done();
    assert_eq!(queue.try_add((b'a', 3)), Ok(()));
    let refused = queue.try_add_batch((0..3).map(|n| (b'c', n + 7)), AddOptions::new());
    assert_eq!(refused, []);
}

#[test]
fn blocked_adders_take_turns_by_group() {
    let (queue, _) = queue(2, by_tenant());
    add(&queue, b'x', 0..2);
    let mut blocked: Vec<_> = [b'a', b'a', b'a', b'b', b'c', b'a']
        .into_iter()
        .zip(0..)
        .map(|key| (key, Polled::pending(queue.add(key))))
        .collect();
    // A cancelled adder has no turn.
    blocked.remove(1);
    let mut order = Vec::new();
    while !blocked.is_empty() {
        queue.try_get().unwrap().done();
        let at = blocked.iter().position(|(_, adder)| adder.woken() > 0);
        let (key, adder) = blocked.remove(at.expect("there is room"));
        assert_eq!(adder.ready(), Ok(()));
        order.push(key);
    }
    let expected = [(b'a', 0), (b'b', 3), (b'c', 4), (b'a', 2), (b'a', 5)];
    assert_eq!(order, expected);
}

#[test]
fn an_adder_of_a_full_group_does_not_block_others() {
    let (queue, _) = queue(3, by_tenant().max_live(2));
    add(&queue, b'a', 0..2);
    let mut of_a = [2, 3].map(|n| Polled::pending(queue.add((b'a', n))));
    // The queue has room.
    let mut of_b = Polled::pending(async {
        queue.add((b'b', 0)).await.unwrap();
        queue.add((b'b', 1)).await
    });
    let first = queue.try_get().unwrap();
    assert_eq!(first.0, b'a');
    first.done();
    assert!(
        of_b.poll().is_pending(),
        "the room is promised to the first adder"
    );
    assert_eq!(of_a.each_ref().map(Polled::woken), [1, 0]);
    assert_eq!(of_a[0].poll(), Poll::Ready(Ok(())));
    assert_eq!(groups_of(&queue, 1), *b"b");
    assert_eq!(of_a[1].woken(), 0, "its group is still full");
    assert_eq!(of_b.poll(), Poll::Ready(Ok(())));
    let _ = queue.remove(&(b'a', 1));
    let [_, last] = of_a;
    assert_eq!(last.woken(), 1);
    assert_eq!(last.ready(), Ok(()));
    assert_eq!(queue.group_snapshot::<u8>().unwrap().len(), 2);
}

#[test]
fn promised_room_of_a_cancelled_adder_goes_to_the_next_of_its_group() {
    let (queue, _) = queue(8, by_tenant().max_live(1));
    add(&queue, b'a', 0..1);
    let [first, second] = [1, 2].map(|n| Polled::pending(queue.add((b'a', n))));
    queue.try_get().unwrap().done();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert!(queue.try_add((b'a', 3)).is_err(), "the room is promised");
    drop(first);
    assert_eq!(second.ready(), Ok(()));
    queue.try_get().unwrap().done();
    assert_eq!(queue.group_snapshot::<u8>().unwrap(), []);
}

/// A queue whose tenants each have one token an hour, but for `-`, which has no limit; and the limiter.
fn limited(
    capacity: usize,
) -> (
    Queue,
    ManualClock,
    Arc<KeyedLimiter<u8, Hashers, ManualClock>>,
) {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder("1/h".parse().unwrap(), 100);
    let limits = Arc::new(
        builder
            .hasher(Hashers::new())
            .clock(clock.clone())
            .build()
            .unwrap(),
    );
    let of = Arc::clone(&limits);
    let limit = move |tenant: &u8| -> Option<Arc<dyn RateLimiter>> {
        (*tenant != b'-').then(|| Arc::new(of.owned_key(*tenant)) as _)
    };
    let groups = by_tenant().rate_limit(limit);
    let builder = WorkQueue::builder(capacity).clock(clock.clone());
    (builder.groups(groups).build().unwrap(), clock, limits)
}

type Hashers = std::hash::RandomState;

#[test]
fn a_group_without_tokens_is_skipped_until_it_has_one() {
    let (queue, clock, limits) = limited(100);
    add(&queue, b'a', 0..3);
    add(&queue, b'b', 0..2);
    add(&queue, b'-', 0..2);
    assert_eq!(groups_of(&queue, 9), *b"ab--");
    let mut consumer = Polled::pending(queue.get());
    let held = queue.group_snapshot::<u8>().unwrap();
    assert!(held.iter().all(|group| group.held_for == Some(HOUR)));
    clock.advance(HOUR - Duration::from_nanos(1));
    assert!(consumer.poll().is_pending());
    clock.advance(Duration::from_nanos(1));
    assert_eq!(consumer.ready().unwrap().0, b'a');
    assert_eq!(groups_of(&queue, 9), *b"b");
    // A raised quota wakes the consumer at once.
    let consumer = Polled::pending(queue.get());
    let seen = consumer.woken();
    let quota = "100/s burst 5".parse().unwrap();
    limits.key(&b'a').set_quota(quota, CarryOver::Full).unwrap();
    assert_eq!(consumer.woken(), seen + 1);
    consumer.ready().unwrap().done();
}

#[test]
fn a_blocked_adder_may_bring_a_new_limited_group() {
    let (queue, _, _) = limited(1);
    add(&queue, b'a', 0..1);
    let [first, second] = [0, 1].map(|n| Polled::pending(queue.add((b'b', n))));
    assert_eq!(groups_of(&queue, 1), *b"a");
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert_eq!(first.ready(), Ok(()));
    assert_eq!(second.woken(), 0, "the room is taken");
    assert_eq!(groups_of(&queue, 1), *b"b");
    assert_eq!(second.ready(), Ok(()));
}

#[test]
fn a_group_leaves_its_limiters_line_with_its_last_key() {
    let (queue, _, limits) = limited(100);
    add(&queue, b'a', 0..2);
    assert_eq!(groups_of(&queue, 9), *b"a");
    assert_eq!(limits.key(&b'a').status(1).waiting, 1);
    assert!(queue.remove(&(b'a', 1)));
    assert_eq!(limits.key(&b'a').status(1).waiting, 0);
    add(&queue, b'a', 2..3);
    assert!(queue.try_get().is_none());
    assert_eq!(limits.key(&b'a').status(1).waiting, 1);
    drop(queue);
    assert_eq!(limits.key(&b'a').status(1).waiting, 0);
}

#[test]
fn close_returns_the_keys_of_a_group_whose_limiter_is_closed() {
    let (queue, _, limits) = limited(100);
    add(&queue, b'a', 0..3);
    add(&queue, b'-', 0..2);
    assert_eq!(groups_of(&queue, 1), *b"a");
    limits.close();
    let drained = queue.close();
    assert_eq!((drained.returned.len(), drained.ready), (2, 2));
    assert_eq!(groups_of(&queue, 9), *b"--");
}

#[test]
fn no_token_of_the_queue_is_spent_while_no_group_may_run() {
    let clock = ManualClock::new();
    let bucket = |text: &str| {
        let quota = text.parse().unwrap();
        Arc::new(LockedTokenBucket::with_clock(quota, clock.clone()).unwrap())
    };
    let (all, tenant) = (bucket("5/h"), bucket("1/h"));
    let of = tenant.clone();
    let groups = by_tenant().rate_limit(move |_| Some(of.clone()));
    let builder = WorkQueue::builder(8).clock(clock.clone()).groups(groups);
    let queue = builder.rate_limit(all.clone()).build().unwrap();
    add(&queue, b'a', 0..3);
    assert_eq!(groups_of(&queue, 9), *b"a");
    assert_eq!(all.available(), 4);
    assert!(queue.try_get().is_none());
    assert_eq!(all.available(), 4);
    clock.advance(HOUR);
    assert_eq!(groups_of(&queue, 9), *b"a");
}

#[test]
fn a_bound_of_zero_is_an_error() {
    let zero = |groups| WorkQueue::<Key>::builder(8).groups(groups).build();
    let error = Some(QueueError::ZeroGroupBound);
    assert_eq!(zero(by_tenant().max_processing(0)).err(), error);
    assert_eq!(zero(by_tenant().max_live(0)).err(), error);
}

#[test]
fn a_panicking_limit_function_adds_no_key() {
    let groups = by_tenant().rate_limit(|_| panic!("no limit"));
    let (queue, _) = queue(8, groups);
    let added = || queue.try_add((b'a', 0));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(added));
    assert!(panicked.is_err());
    assert_eq!(
        (queue.stats().ready, queue.group_snapshot::<u8>().unwrap()),
        (0, vec![])
    );
}

fn op() -> impl Strategy<Value = Op> {
    let key = || (0..4_u8, 0..6_u32);
    prop_oneof![
        6 => (key(), -1..2_i8).prop_map(|(key, priority)| Op::Add(key, priority)),
        4 => Just(Op::Get),
        2 => any::<usize>().prop_map(Op::Done),
        1 => any::<usize>().prop_map(Op::Requeue),
        1 => key().prop_map(Op::Remove),
    ]
}

proptest! {
    #[test]
    fn groups_agree_with_the_list_model(
        ops in prop::collection::vec(op(), 1..120),
        weights in prop::array::uniform4(1..4_u32),
        processing in 1..4_u32,
        live in 1..7_usize,
    ) {
        groups_model::run(Config { weights, processing, live }, &ops);
    }

    /// A key starts exactly when its group's limiter has a token.
    #[test]
    fn only_groups_without_tokens_are_held_back(
        ops in prop::collection::vec((op(), 0..40_u64), 1..120),
    ) {
        let clock = ManualClock::new();
        let limiters: Vec<_> = (1..5_u64).map(|n| {
            let text = format!("1/{}ms burst {n}", 7 * n);
            let quota = text.parse().unwrap();
            Arc::new(LockedTokenBucket::with_clock(quota, clock.clone()).unwrap())
        }).collect();
        let of = limiters.clone();
        let limit = move |group: &u8| of.get(usize::from(*group)).map(|one| one.clone() as _);
        let builder = WorkQueue::builder(24).clock(clock.clone());
        let queue = builder.groups(by_tenant().rate_limit(limit)).build().unwrap();
        let mut held = Vec::<Work<Key, ManualClock>>::new();
        for (op, millis) in ops {
            match op {
                Op::Add(key, priority) => {
                    let options = Priority::new(priority.into()).unwrap();
                    queue.try_add_with(key, options).unwrap();
                }
                Op::Get => {
                    let tokens = || -> Vec<u64> {
                        limiters.iter().map(|limiter| limiter.available()).collect()
                    };
                    let ready: HashSet<u8> = queue.group_snapshot::<u8>().unwrap().into_iter()
                        .filter(|group| group.ready > 0).map(|group| group.group).collect();
                    // A token granted to a waiting group is kept, and counts as taken.
                    let free: Vec<u8> = (0..4).filter(|group| ready.contains(group)
                        && tokens()[usize::from(*group)] > 0).collect();
                    let work = queue.try_get();
                    prop_assert!(work.is_some() || free.is_empty(), "{free:?}");
                    held.extend(work);
                }
                Op::Done(at) if !held.is_empty() => held.swap_remove(at % held.len()).done(),
                Op::Requeue(at) if !held.is_empty() => held.swap_remove(at % held.len()).requeue(),
                Op::Remove(key) => drop(queue.remove(&key)),
                Op::Done(_) | Op::Requeue(_) => {}
            }
            clock.advance(Duration::from_millis(millis));
        }
    }
}
