//! The layout of the word, and its bounds.

use super::*;
use crate::quota::Quota;

#[test]
fn a_word_survives_packing_and_is_not_held() {
    for (generation, time) in [(0, 0), (127, TIME_MAX), (7, 1 << 40)] {
        let word = Word { generation, time };
        assert_eq!(Word::unpack(word.pack()), word);
        assert_eq!(Word::unpack(word.pack() | HELD), word);
        assert_eq!(word.pack() & HELD, 0);
        assert!(word.is_of(generation) && word.is_of(generation + DISTINCT));
        assert!(!word.is_of(generation + 1));
    }
}

#[test]
fn the_hot_path_does_not_decide_by_a_held_word() {
    let quota = WordQuota::new(Units {
        per_nano: 1,
        per_token: 1,
        burst: 5,
    })
    .unwrap();
    for generation in [0, 1, 126, 127] {
        let hot = HotGeneration::new(generation, 0, quota);
        for time in [0, 1, TIME_MAX] {
            let word = Word { generation, time }.pack();
            assert!(hot.take(word, 1, 0, QUARTER).is_some());
            assert!(hot.take(word | HELD, 1, 0, QUARTER).is_none());
        }
    }
}

#[test]
fn the_max_burst_of_the_error_fits_and_one_more_does_not() {
    let fit = |quota: Quota| WordQuota::new(quota.units().unwrap());
    let quota = Quota::per_second(999_983).unwrap();
    let Err(QuotaError::BeyondWord { max_burst }) = fit(quota.burst(1_000_000_000).unwrap()) else {
        panic!("10^9 tokens of 10^9 units do not fit")
    };
    assert!(fit(quota.burst(max_burst).unwrap()).is_ok());
    assert_eq!(
        fit(quota.burst(max_burst + 1).unwrap()).unwrap_err(),
        QuotaError::BeyondWord { max_burst }
    );
}

#[test]
fn a_new_base_is_always_later() {
    for rate in [1, 7, 999_983, 999_999_937, 1_000_000_000_000] {
        let quota = WordQuota::new(
            Quota::per_second(rate)
                .unwrap()
                .burst(1)
                .unwrap()
                .units()
                .unwrap(),
        )
        .unwrap();
        let now = quota.horizon.saturating_add(1);
        assert!(quota.base_at(now) > 0, "{rate}");
        assert!(quota.base_at(now) <= now);
    }
}

#[test]
fn a_torn_read_admits_nothing_by_a_word_of_another_generation() {
    let units = Units {
        per_nano: 999_983,
        per_token: 1_000_000_000,
        burst: 1,
    };
    let torn = WordQuota {
        units,
        depth: QUARTER,
        horizon: QUARTER,
    };
    let hot = HotGeneration::new(0, 0, torn);
    for generation in 1..DISTINCT {
        let word = Word {
            generation,
            time: 1 << 50,
        };
        for at in [1 << 36, 1_000_000_000_000, QUARTER] {
            let taken = hot.take(word.pack(), 1, 0, at);
            assert!(!matches!(taken, Some(Ok(_))), "{generation}");
        }
    }
}

#[test]
fn a_take_never_carries_into_the_generation() {
    let quota = WordQuota::new(Units {
        per_nano: 1,
        per_token: QUARTER,
        burst: 1,
    })
    .unwrap();
    for generation in [0, 1, 126, 127] {
        let hot = HotGeneration::new(generation, 0, quota);
        let take = |word| hot.take(word, 1, 0, quota.horizon);
        let full = hot.zero + QUARTER;
        assert_eq!(take(hot.zero).unwrap().unwrap(), Some(full + QUARTER));
        assert_eq!(take(full).unwrap().unwrap(), Some(full + QUARTER));
        // In debt, however deep: never admitted.
        for time in [QUARTER + 1, TIME_MAX - QUARTER + 1, TIME_MAX] {
            let Some(Err(TooEarly { short, .. })) = take(hot.zero + time) else {
                panic!("{time} is in debt")
            };
            assert_eq!(short, time - QUARTER);
        }
        // Words of the generations before and after.
        assert!(take(hot.zero.wrapping_sub(1)).is_none());
        assert!(take(hot.zero.wrapping_add(2 * (TIME_MAX + 1))).is_none());
    }
}
