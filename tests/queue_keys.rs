//! What the work queue does with the keys themselves: it tells them apart, and drops them.
#![cfg(not(tollgate_loom))]

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tollgate::WorkQueue;

#[test]
fn a_queue_that_goes_takes_its_keys_with_it() {
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
    // The guard keeps the queue, with all that is in it.
    assert_eq!(keys.each_ref().map(Arc::strong_count), [3, 2, 2, 1]);
    held.done();
    assert_eq!(keys.each_ref().map(Arc::strong_count), [1; 4]);
}

#[test]
fn handles_guards_and_futures_go_where_their_keys_may() {
    fn goes_anywhere<T: Send + Sync>(_: &T) {}
    fn goes<T: Send>(_: &T) {}
    let queue = WorkQueue::<String>::new(8).unwrap();
    goes_anywhere(&queue);
    goes_anywhere(&queue.get());
    goes_anywhere(&queue.get_batch(2));
    goes_anywhere(&queue.add(String::new()));
    goes_anywhere(&queue.resync());
    goes_anywhere(&queue.drain(Duration::ZERO));
    queue.try_add("key".into()).unwrap();
    let work = queue.try_get().unwrap();
    goes_anywhere(&work);
    goes_anywhere(&work.dirtied());
    goes_anywhere(&queue.try_get_batch(2));
    // A key that stays with one owner at a time is enough to share a queue of them.
    let cells = WorkQueue::<Owned>::new(8).unwrap();
    goes_anywhere(&cells);
    goes(&cells.try_get());
    work.done();
}

/// `Send`, and not `Sync`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Owned(u8, std::marker::PhantomData<std::cell::Cell<u8>>);

#[test]
fn keys_of_the_same_hash_are_told_apart() {
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
