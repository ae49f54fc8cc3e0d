//! Keys with a payload beside their identity: which of several equal keys a worker sees.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use proptest::prelude::*;
use tollgate::{ManualClock, Work, WorkQueue};

#[derive(Clone, Debug)]
struct Setting {
    id: u32,
    revision: u32,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Setting {}

impl Hash for Setting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

fn setting(revision: u32) -> Setting {
    Setting { id: 7, revision }
}

#[test]
fn keep_newest_hands_out_the_last_key_added() {
    let queue = WorkQueue::builder(8).keep_newest().build().unwrap();
    (1..=3).for_each(|revision| queue.try_add(setting(revision)).unwrap());
    let work = queue.try_get().unwrap();
    assert_eq!(work.revision, 3);
    (4..=5).for_each(|revision| queue.try_add(setting(revision)).unwrap());
    assert_eq!(work.revision, 3, "a key in flight is not replaced");
    work.done();
    let work = queue.try_get().unwrap();
    assert_eq!(work.revision, 5);
    queue.try_add(setting(6)).unwrap();
    assert!(queue.remove(&setting(0)));
    work.requeue();
    let returned = queue.shutdown_now().returned;
    assert_eq!(returned[0].revision, 5, "revision 6 was removed");
}

#[test]
fn without_keep_newest_the_first_key_stays() {
    let queue = WorkQueue::new(8).unwrap();
    (1..=3).for_each(|revision| queue.try_add(setting(revision)).unwrap());
    let work = queue.try_get().unwrap();
    queue.try_add(setting(4)).unwrap();
    assert_eq!(work.revision, 1);
    work.done();
    assert_eq!(queue.try_get().unwrap().revision, 1);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Add(u32),
    AddAfter(u32, u64),
    Get,
    Done(usize),
    Retry(usize),
    Remove(u32),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let id = || 0..4_u32;
    prop_oneof![
        4 => id().prop_map(Op::Add),
        2 => (id(), 0..20_u64).prop_map(|(id, millis)| Op::AddAfter(id, millis)),
        4 => Just(Op::Get),
        3 => any::<usize>().prop_map(Op::Done),
        2 => any::<usize>().prop_map(Op::Retry),
        1 => id().prop_map(Op::Remove),
        2 => (0..20_u64).prop_map(Op::Advance),
    ]
}

fn pick<T>(held: &mut Vec<T>, at: usize) -> Option<T> {
    (!held.is_empty()).then(|| held.swap_remove(at % held.len()))
}

proptest! {
    /// Each run sees the last key that was added, and a closed queue returns it.
    #[test]
    fn keep_newest_never_hands_out_an_older_key(ops in prop::collection::vec(op(), 1..80)) {
        let clock = ManualClock::new();
        let queue = WorkQueue::builder(8).keep_newest().clock(clock.clone()).build().unwrap();
        let (mut latest, mut held) = (HashMap::new(), Vec::<Work<_, _>>::new());
        for (revision, op) in (0..).zip(ops) {
            match op {
                Op::Add(id) => {
                    queue.try_add(Setting { id, revision }).unwrap();
                    latest.insert(id, revision);
                }
                Op::AddAfter(id, millis) => {
                    let delay = Duration::from_millis(millis);
                    queue.try_add_after(Setting { id, revision }, delay).unwrap();
                    latest.insert(id, revision);
                }
                Op::Get => {
                    let work = queue.try_get();
                    if let Some(work) = &work {
                        prop_assert_eq!(work.revision, latest[&work.id]);
                    }
                    held.extend(work);
                }
                Op::Done(at) => pick(&mut held, at).into_iter().for_each(Work::done),
                Op::Retry(at) => prop_assert!(pick(&mut held, at).and_then(Work::retry).is_none()),
                Op::Remove(id) => {
                    queue.remove(&Setting { id, revision });
                    // The key in flight stays.
                    if let Some(work) = held.iter().find(|work| work.id == id) {
                        latest.insert(id, work.revision);
                    }
                }
                Op::Advance(millis) => clock.advance(Duration::from_millis(millis)),
            }
        }
        held.into_iter().for_each(Work::requeue);
        for key in queue.shutdown_now().returned {
            prop_assert_eq!(key.revision, latest[&key.id]);
        }
    }
}
