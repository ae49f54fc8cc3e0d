use super::add::Room;
use super::*;
use crate::queue::core::bands::DEFAULT_AGING;
use crate::queue::core::entry::{KeyHash, TICK};
use crate::queue::core::options::AddOptions;
use crate::queue::core::run::Outcome;

fn machine<K>(capacity: usize, debounce: Option<Debounce>) -> Machine<K> {
    let config = QueueConfig {
        capacity,
        debounce,
        ..QueueConfig::default()
    };
    Machine::new(config, ReadyKeys::new(DEFAULT_AGING, None))
}

fn add<K: Eq>(machine: &mut Machine<K>, hash: KeyHash, key: K, now: Timestamp) {
    let (options, room) = (AddOptions::new(), Room::Unreserved);
    let added = machine.add::<false>(hash, &mut Some(key), options, room, now, None);
    added.expect("the key is live, or there is room");
}

#[test]
fn a_live_key_costs_at_most_64_bytes_besides_the_key_itself() {
    // As much as the index has for each between two doublings, and right after one.
    for capacity in [114_688_u64, 114_689, 200_000, 458_752, 458_753] {
        let mut machine = machine(capacity as usize, None);
        for n in 0..capacity {
            let hash = KeyHash::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            add(&mut machine, hash, [n; 3], Timestamp::ZERO);
        }
        // The state of a key's slot is one byte.
        let beside = size_of::<KeyEntry>() + 1;
        assert!(machine.entries.capacity() <= capacity as usize);
        let index = machine.index.allocation_size().div_ceil(capacity as usize);
        println!("{capacity} keys: {beside} bytes for each, {index} in the index");
        assert!(beside + index <= 64, "{capacity}: {beside} + {index}");
    }
}

#[test]
fn a_key_that_returns_gets_its_slot_again_unless_it_was_reused() {
    let mut machine = machine(2, None);
    let mut run = |key: u32| {
        let hash = KeyHash::new(key.into());
        add(&mut machine, hash, key, Timestamp::ZERO);
        let next = machine.ready.peek().expect("it is ready");
        let (key, _) = machine.start(next, Timestamp::ZERO);
        let slot = key.index();
        assert!(machine.finish_done(&mut Some(key)).is_some());
        (slot, machine.index.len())
    };
    assert_eq!([run(7), run(8)], [(0, 1), (1, 2)]);
    assert_eq!([run(7), run(8), run(7)], [(0, 2), (1, 2), (0, 2)]);
    // Other keys reuse the slot that was freed last, and the index has one entry per slot.
    for key in 10..1_000 {
        assert_eq!(run(key), (0, 2));
    }
    assert_eq!([run(8), run(7)], [(1, 2), (1, 2)]);
}

#[test]
fn a_reused_slot_has_no_debounce_window() {
    let at = |milli| Timestamp::from_nanos(milli * TICK);
    let debounce = Debounce {
        quiet: Duration::from_millis(50),
        max: Duration::from_millis(100),
    };
    let (mut machine, hash) = (machine(1, Some(debounce)), KeyHash::new(0));
    add(&mut machine, hash, "a", at(0));
    assert_eq!(machine.remove(hash, "a"), (true, Some("a")));
    machine.advance(at(1_000));
    // The clock of this add is behind: the quiet time is over at once.
    add(&mut machine, hash, "b", at(10));
    let next = machine.ready.peek().expect("it is ready");
    let (key, _) = machine.start(next, at(1_000));
    add(&mut machine, hash, "b", at(1_000));
    let finished = machine.finish(key, Outcome::Done, at(1_000));
    assert!(finished.forgotten.is_none());
    let lens = (machine.wheel.len, machine.ready.len());
    assert_eq!(lens, (1, 0), "quiet first");
}
