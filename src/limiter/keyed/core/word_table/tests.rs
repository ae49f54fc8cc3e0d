//! Room, growth and eviction of the word table.

use super::*;
use crate::limiter::keyed::core::word_table::evict::{PROBE_BATCH, PROBES};

const fn hash(key: u64) -> u64 {
    let product = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product ^ product >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn flooded(
    keys: usize,
    sweep: impl Fn(&mut WordTable<u64>, u64, &mut Evicted<u64>),
) -> WordTable<u64> {
    let mut table = WordTable::new(keys);
    let mut evicted = Evicted::new();
    for key in 0..20 * keys as u64 {
        if table.is_full() {
            sweep(&mut table, hash(key), &mut evicted);
            evicted.clear();
        }
        assert!(!table.is_full(), "every bucket may go");
        table.make_room(|key| hash(*key));
        table.insert(hash(key), key, 0);
    }
    table
}

#[test]
fn a_flood_leaves_the_table_evenly_full() {
    const LIMIT: usize = 12_288;
    let by_hand = flooded(LIMIT, |table, _, evicted| table.sweep(|_| true, evicted));
    let near = flooded(LIMIT, |table, hash, evicted| {
        table.sweep_near(hash, |_| true, evicted);
        if evicted.is_empty() {
            table.sweep(|_| true, evicted);
        }
    });
    for table in [by_hand, near] {
        let buckets = table.entries.num_buckets();
        let taken = |from: usize| {
            let part = from..from + buckets / 16;
            part.filter(|index| table.entries.get_bucket(*index).is_some())
                .count()
        };
        for from in (0..buckets).step_by(buckets / 16) {
            let (taken, mean) = (taken(from), table.len() / 16);
            assert!(taken.abs_diff(mean) < mean / 8, "{taken} of {mean}");
        }
    }
}

#[test]
fn sweep_near_evicts_one_key_and_stores_the_other_words() {
    let mut table = WordTable::new(100);
    for key in 0..100 {
        table.make_room(|_| 7);
        table.insert(7, key, 0);
    }
    // All of one hash, they are side by side from there on.
    let there = |index| table.entries.get_bucket(index).unwrap().0;
    let there: [u64; PROBE_BATCH] = std::array::from_fn(|near| there(7 + near));
    let mut evicted = Evicted::new();
    let mut probes = 0;
    let third = |word: &mut u64| {
        *word += 1;
        probes += 1;
        probes == 3
    };
    table.sweep_near(7, third, &mut evicted);
    assert_eq!(evicted.as_slice(), [there[2]]);
    let changed = table.iter().filter(|(_, word)| *word > 0);
    let changed: Vec<u64> = changed.map(|(key, _)| *key).collect();
    assert_eq!(changed.len(), 2);
    assert!(there[..2].iter().all(|key| changed.contains(key)));
    evicted.clear();
    probes = 0;
    let none = |_: &mut u64| {
        probes += 1;
        false
    };
    table.sweep_near(7, none, &mut evicted);
    assert_eq!(
        (probes, evicted.len(), table.len()),
        (PROBE_BATCH - 1, 0, 99)
    );
}

#[test]
fn one_round_of_the_hand_visits_every_bucket() {
    for keys in [1, 7, 100, 5_000] {
        let mut table = WordTable::new(keys);
        for key in 0..keys as u64 {
            table.make_room(|key| hash(*key));
            table.insert(hash(key), key, 0);
        }
        let buckets = table.entries.num_buckets();
        for _ in 0..buckets.div_ceil(PROBES) {
            let seen = |word: &mut u64| {
                *word += 1;
                false
            };
            table.sweep(seen, &mut Evicted::new());
        }
        // Of a table smaller than a sweep some are seen again.
        let once = |word| word == 1 || word > 0 && buckets < PROBES;
        assert!(table.iter().all(|(_, word)| once(word)), "{keys}");
    }
}
