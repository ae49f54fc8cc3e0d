//! Keys as values: equality, moves, drops, size and thread safety.

#[path = "../model/keys.rs"]
mod keys_model;

use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use keys_model::{Call, Config, End, Op};
use proptest::prelude::*;
use tollgate::WorkQueue;

#[test]
fn dropping_a_queue_drops_its_keys() {
    let queue = WorkQueue::new(8).unwrap();
    let keys = [1, 2, 3, 4].map(Arc::new);
    for key in &keys[..2] {
        queue.try_add(Arc::clone(key)).unwrap();
    }
    let held = queue.try_get().unwrap();
    queue
        .try_add_after(Arc::clone(&keys[2]), Duration::from_millis(5))
        .unwrap();
    queue.try_add(Arc::clone(&keys[3])).unwrap();
    queue.remove(&keys[3]);
    drop(queue);
    // The guard keeps the queue alive, and with it all keys.
    assert_eq!(keys.each_ref().map(Arc::strong_count), [2, 2, 2, 1]);
    held.done();
    assert_eq!(keys.each_ref().map(Arc::strong_count), [1; 4]);
}

#[test]
fn handles_guards_and_futures_are_send_and_sync_if_their_keys_are() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    let queue = WorkQueue::<String>::new(8).unwrap();
    is_send_and_sync(&queue);
    is_send_and_sync(&queue.get());
    is_send_and_sync(&queue.get_batch(2));
    is_send_and_sync(&queue.add(String::new()));
    is_send_and_sync(&queue.resync());
    is_send_and_sync(&queue.drain(Duration::ZERO));
    queue.try_add("key".into()).unwrap();
    let work = queue.try_get().unwrap();
    is_send_and_sync(&work);
    is_send_and_sync(&work.dirtied());
    is_send_and_sync(&queue.try_get_batch(2));
    work.done();
}

#[test]
fn a_queue_may_hold_keys_that_are_not_send() {
    let queue = WorkQueue::<Rc<str>>::new(8).unwrap();
    queue.try_add("key".into()).unwrap();
    let work = queue.try_get().unwrap();
    assert_eq!(&**work, "key");
    work.done();
}

/// Neither `Clone` nor `Copy`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Unique(u8);

#[test]
fn keys_are_never_cloned_or_moved() {
    let queue = WorkQueue::builder(8).max_attempts(1).build().unwrap();
    queue.try_add(Unique(1)).unwrap();
    queue.try_add(Unique(2)).unwrap();
    let first = queue.try_get().unwrap();
    // Adding the key again and growing the queue do not move it.
    let address = std::ptr::from_ref(&*first);
    for key in 1..=8 {
        queue.try_add(Unique(key)).unwrap();
    }
    assert_eq!(std::ptr::from_ref(&*first), address);
    first.requeue();
    let mut runs = 0;
    let mut next = queue.try_get();
    while let Some(work) = next {
        if *work == Unique(1) {
            assert_eq!(std::ptr::from_ref(&*work), address);
        }
        runs += 1;
        next = work.done_and_get();
    }
    assert_eq!(runs, 8);
    queue.try_add(Unique(9)).unwrap();
    assert_eq!(queue.try_get().unwrap().retry(), Some(Unique(9)));
}

#[test]
fn keys_of_any_size_and_alignment_keep_their_values() {
    fn all<K: Hash + Eq + Debug>(key: impl Fn(u16) -> K, count: u16) {
        let queue = WorkQueue::new(count.into()).unwrap();
        for n in 0..count {
            queue.try_add(key(n)).unwrap();
        }
        let held: Vec<_> = std::iter::from_fn(|| queue.try_get()).collect();
        assert_eq!(held.len(), count.into());
        for (n, work) in (0..).zip(&held) {
            assert_eq!(**work, key(n));
        }
    }
    #[repr(align(256))]
    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Wide(u16);
    all(|_| (), 1);
    all(u64::from, 100);
    all(Wide, 1_000);
    all(|n| n.to_string(), 1_000);
}

#[test]
fn keys_with_equal_hashes_are_distinct() {
    #[derive(Default)]
    struct Same;
    impl Hasher for Same {
        fn finish(&self) -> u64 {
            7
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let hasher = BuildHasherDefault::<Same>::default();
    let queue = WorkQueue::<u64>::builder(8).hasher(hasher).build().unwrap();
    for key in 1..=4 {
        queue.try_add(key).unwrap();
    }
    queue.try_add(4).unwrap();
    assert!(queue.remove(&3) && !queue.remove(&3));
    let left = std::iter::from_fn(|| queue.try_get());
    let left: Vec<u64> = left.map(|work| (*work, work.done()).0).collect();
    assert_eq!(left, [1, 2, 4]);
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..6_u8;
    let call = prop::sample::select(vec![Call::Eq, Call::Hash, Call::Clone, Call::Drop]);
    prop_oneof![
        8 => name().prop_map(Op::Add),
        2 => (name(), 0..9_u8).prop_map(|(name, delay)| Op::AddAfter(name, delay)),
        1 => any::<u8>().prop_map(Op::AddMany),
        1 => (any::<usize>(), name()).prop_map(|(pick, name)| Op::AddRelated(pick, name)),
        6 => Just(Op::Get),
        1 => any::<u8>().prop_map(Op::GetBatch),
        1 => any::<u8>().prop_map(Op::RunBatch),
        6 => (any::<usize>(), end()).prop_map(|(pick, end)| Op::End(pick, end)),
        1 => (any::<usize>(), end()).prop_map(|(pick, end)| Op::EndElsewhere(pick, end)),
        1 => any::<usize>().prop_map(Op::Leak),
        2 => name().prop_map(Op::Remove),
        1 => (name(), name()).prop_map(|(first, second)| Op::Beside(first, second)),
        4 => (call, 0..6_u8).prop_map(|(call, after)| Op::Trap(call, after)),
        2 => (0..60_u8).prop_map(Op::Advance),
        1 => prop::sample::select(vec![Op::Snapshot, Op::NewQueue, Op::NewQueue, Op::Close, Op::ShutDown]),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Done),
        1 => Just(End::DoneAndGet),
        1 => Just(End::Requeue),
        1 => (0..9_u8).prop_map(End::RequeueAfter),
        1 => Just(End::Retry),
        1 => Just(End::Fail),
        1 => Just(End::Drop),
    ]
}

proptest! {
    #[test]
    fn a_key_is_dropped_once_and_stays_while_it_is_held(
        capacity in prop::sample::select(vec![1_usize, 3, 64, 65, 200]),
        [keeps_newest, remembers, has_interval, is_grouped, collides] in any::<[bool; 5]>(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let config = Config {
            capacity,
            keeps_newest,
            remembers,
            has_interval,
            is_grouped,
            collides,
        };
        keys_model::run(config, &ops);
    }
}
