use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex};

use super::slots::FIRST;
use super::*;

fn keys<K>(limit: usize) -> Keys<K> {
    let mut keys = Keys::new(limit);
    let len = (0..8).map(|_| keys.grow()).last();
    assert_eq!(len, Some(limit));
    keys
}

/// Leaves the chunk of a key to a worker for ever. A leak checker finds its address here, and takes it for
/// reachable.
fn leaks<K>(key: &K) {
    static LEAKED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    LEAKED.lock().unwrap().push(ptr::from_ref(key).addr());
}

fn refused<T>(what: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(what)).is_err());
}

#[test]
fn the_slots_grow_to_their_limit() {
    let full = 3 * FIRST;
    for limit in [
        1,
        FIRST - 1,
        FIRST,
        FIRST + 1,
        full - 1,
        full,
        full + 1,
        5_000,
    ] {
        let mut keys = Keys::new(limit);
        for chunks in 1..9 {
            let slots = (FIRST << chunks) - FIRST;
            assert_eq!(keys.grow(), slots.min(limit));
        }
        for index in 0..limit as Index {
            keys.insert(index, index.to_string());
        }
        for index in 0..limit as Index {
            assert_eq!(keys.get(index), Some(&index.to_string()));
        }
    }
}

#[test]
fn a_borrowed_key_keeps_its_address() {
    let mut keys = Keys::new(4 * FIRST);
    keys.grow();
    keys.insert(7, String::from("key"));
    let borrowed = keys.borrow(7);
    assert_eq!((keys.grow(), keys.grow()), (3 * FIRST, 4 * FIRST));
    let moved = keys;
    assert!(ptr::eq(&raw const *borrowed, moved.get(7).unwrap()));
    assert_eq!(*borrowed, "key");
    let mut keys = moved;
    assert_eq!(keys.release(borrowed), 7);
    let borrowed = keys.borrow(7);
    assert_eq!(keys.release(borrowed), 7);
    assert_eq!(keys.remove(7), "key");
    assert_eq!(keys.get(7), None);
}

#[test]
fn a_borrowed_key_is_neither_replaced_nor_removed() {
    let (mut keys, mut others) = (keys(2), keys(2));
    keys.insert(0, 'a');
    others.insert(0, 'b');
    refused(|| keys.insert(0, 'c'));
    refused(|| keys.remove(1));
    refused(|| keys.borrow(1));
    refused(|| keys.insert(2, 'd'));
    refused(|| keys.get(2));
    let borrowed = keys.borrow(0);
    refused(|| keys.borrow(0));
    refused(|| keys.remove(0));
    refused(|| keys.replace(0, 'c'));
    refused(|| keys.insert(0, 'c'));
    let other = others.borrow(0);
    leaks(&*other);
    refused(|| keys.release(other));
    assert_eq!(
        (*borrowed, keys.get(0), others.get(0)),
        ('a', Some(&'a'), Some(&'b'))
    );
    assert_eq!(keys.release(borrowed), 0);
    assert_eq!(keys.remove(0), 'a');
}

#[test]
fn a_zero_sized_key_is_released_only_by_its_container() {
    /// One may mean anything, such as leave to do something that nothing else does meanwhile.
    #[derive(Debug)]
    struct Token;
    let (mut keys, mut others) = (keys(2), keys(2));
    keys.insert(1, Token);
    others.insert(1, Token);
    let (borrowed, other) = (keys.borrow(1), others.borrow(1));
    leaks(&*other);
    // Taking this key out would leave `borrowed` with a key that is owned elsewhere.
    refused(|| keys.release(other));
    assert_eq!(keys.release(borrowed), 1);
}

#[test]
fn each_key_is_dropped_once_unless_it_is_borrowed() {
    let key = Arc::new(());
    let mut all = keys(40);
    for index in 0..40 {
        all.insert(index, Arc::clone(&key));
    }
    drop(all.remove(3));
    assert_eq!(Arc::strong_count(&key), 40);
    drop(all);
    assert_eq!(Arc::strong_count(&key), 1);
    let mut all = keys(40);
    all.insert(20, Arc::clone(&key));
    all.insert(21, Arc::clone(&key));
    let borrowed = all.borrow(20);
    leaks(&*borrowed);
    drop(all);
    assert!(ptr::eq(Arc::as_ptr(&borrowed), Arc::as_ptr(&key)));
    assert_eq!(Arc::strong_count(&key), 2);
}

#[test]
fn a_key_that_panics_when_it_is_dropped_leaves_no_other_behind() {
    struct Bomb {
        _counted: Arc<()>,
        armed: bool,
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.armed, "on purpose");
        }
    }
    let key = Arc::new(());
    let mut all = keys(3 * FIRST);
    for index in 0..3 * FIRST as Index {
        let (_counted, armed) = (Arc::clone(&key), index == 2);
        all.insert(index, Bomb { _counted, armed });
    }
    refused(|| drop(all));
    assert_eq!(Arc::strong_count(&key), 1);
}
