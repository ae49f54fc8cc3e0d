//! The work queue against a naive model: the same results, order and counts; no key lost, no key held twice,
//! never more keys than the capacity.

use proptest::prelude::*;
use tollgate::Merge;

use crate::queue_model::{self, Config, Op, Outcome};

/// Delays, mostly of a few ticks, so that keys are due together.
fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0),
        3 => (0..5u64).prop_map(|millis| millis * 1_000_000),
        2 => 0..5_000_000u64,
        2 => 0..1u64 << 34,
        1 => 0..1u64 << 54,
    ]
}

fn merge() -> impl Strategy<Value = Merge> {
    prop_oneof![Just(Merge::Earlier), Just(Merge::Keep)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done),
        Just(Outcome::Requeue),
        nanos().prop_map(Outcome::RequeueAfter),
        Just(Outcome::Retry),
        Just(Outcome::Retry),
        Just(Outcome::Fail),
        nanos().prop_map(Outcome::Defer),
        nanos().prop_map(Outcome::RetryAfter),
        Just(Outcome::Drop),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..8u8;
    prop_oneof![
        60 => key.clone().prop_map(Op::Add),
        60 => (key.clone(), nanos()).prop_map(|(key, delay)| Op::AddAfter(key, delay)),
        40 => (key.clone(), -2..3i8, nanos(), merge())
            .prop_map(|(key, priority, delay, merge)| Op::AddWith(key, priority, delay, merge)),
        20 => (key.clone(), -2..3i8, nanos())
            .prop_map(|(key, priority, delay)| Op::AddOrResync(key, priority, delay)),
        10 => (key.clone(), any::<u8>(), -2..3i8, nanos())
            .prop_map(|(key, more, priority, delay)| Op::AddBatch(key, more, priority, delay)),
        20 => (any::<u8>(), key.clone(), -2..3i8)
            .prop_map(|(pick, key, priority)| Op::AddRelated(pick, key, priority)),
        20 => (key.clone(), nanos(), any::<bool>())
            .prop_map(|(key, delay, holds)| Op::AddHolding(key, delay, holds)),
        20 => Just(Op::Resync),
        80 => Just(Op::Get),
        20 => any::<u8>().prop_map(Op::DoneAndGet),
        10 => any::<u8>().prop_map(Op::GetBatch),
        10 => any::<u8>().prop_map(Op::RunBatch),
        20 => Just(Op::WaitGet),
        10 => any::<u8>().prop_map(Op::WaitGetBatch),
        30 => (key.clone(), -2..3i8, nanos(), prop::option::of(nanos()))
            .prop_map(|(key, priority, delay, timeout)| {
                Op::WaitAdd(key, priority, delay, timeout)
            }),
        1 => nanos().prop_map(Op::WaitDrain),
        10 => Just(Op::WaitResync),
        20 => any::<u8>().prop_map(Op::Cancel),
        20 => any::<u8>().prop_map(Op::LeaveUnpolled),
        10 => Just(Op::PollAgain),
        2 => Just(Op::Pause),
        6 => Just(Op::Resume),
        80 => (any::<u8>(), outcome()).prop_map(|(pick, outcome)| Op::Finish(pick, outcome)),
        20 => key.prop_map(Op::Remove),
        60 => nanos().prop_map(Op::Advance),
        20 => nanos().prop_map(Op::ReadClockLate),
        1 => Just(Op::Close),
        1 => Just(Op::Drain),
        1 => Just(Op::ShutdownNow),
    ]
}

/// Mostly waiting consumers, some of which are not polled, and a few keys.
fn waiting_op() -> impl Strategy<Value = Op> {
    let key = 0..8u8;
    let nanos = || 0..4_000_000u64;
    prop_oneof![
        6 => Just(Op::WaitGet),
        2 => any::<u8>().prop_map(Op::WaitGetBatch),
        4 => any::<u8>().prop_map(Op::LeaveUnpolled),
        1 => Just(Op::PollAgain),
        1 => any::<u8>().prop_map(Op::Cancel),
        4 => key.clone().prop_map(Op::Add),
        4 => (key, nanos()).prop_map(|(key, delay)| Op::AddAfter(key, delay)),
        2 => Just(Op::Get),
        4 => (any::<u8>(), outcome()).prop_map(|(pick, outcome)| Op::Finish(pick, outcome)),
        8 => nanos().prop_map(Op::Advance),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
    ]
}

/// A queue without options.
fn plain(capacity: usize) -> Config {
    Config {
        capacity,
        ..Config::default()
    }
}

/// Each option is off in half of the queues, so that some queues have none.
fn config() -> impl Strategy<Value = Config> {
    const MILLI: u64 = 1_000_000;
    let debounce = prop::option::of((0..20 * MILLI, 1..40 * MILLI));
    let attempts = prop::option::of(1..4u16);
    let reserve = prop::option::of(0..8usize);
    let flags = (any::<bool>(), any::<bool>());
    (1..9usize, reserve, debounce, attempts, flags).prop_map(
        |(capacity, reserve, debounce, attempts, (rate_limited, hold))| Config {
            capacity,
            reserve: reserve.unwrap_or(0) % capacity,
            debounce,
            attempts,
            rate_limited,
            hold,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn agrees_with_the_naive_model(
        capacity in 1..9usize,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        queue_model::run(plain(capacity), &ops);
    }

    #[test]
    fn agrees_with_the_naive_model_in_every_configuration(
        config in config(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        queue_model::run(config, &ops);
    }

    #[test]
    fn unpolled_consumers_delay_others_by_at_most_5_ms(
        rate_limited in any::<bool>(),
        ops in prop::collection::vec(waiting_op(), 1..120),
    ) {
        queue_model::run(Config { rate_limited, ..plain(8) }, &ops);
    }
}

#[test]
fn the_key_that_was_due_first_is_handed_out_first() {
    // No call came between the two: the delayed key has been ready since 5 ms nevertheless.
    let add = [
        Op::AddAfter(1, 5_000_000),
        Op::Advance(10_000_000),
        Op::Add(2),
        Op::Get,
    ];
    queue_model::run(plain(8), &add);
    let finish = [
        Op::Add(2),
        Op::Get,
        Op::AddAfter(1, 5_000_000),
        Op::Advance(10_000_000),
        Op::Finish(0, Outcome::Requeue),
        Op::Get,
    ];
    queue_model::run(plain(8), &finish);
}

#[test]
fn remove_returns_false_for_a_key_that_is_only_processing() {
    queue_model::run(plain(8), &[Op::Add(1), Op::Get, Op::Remove(1)]);
    queue_model::run(
        plain(8),
        &[
            Op::Add(1),
            Op::Get,
            Op::AddAfter(1, 1),
            Op::Remove(1),
            Op::Remove(1),
        ],
    );
}

#[test]
fn a_later_consumer_does_not_lead_before_earlier_ones() {
    // No consumer leads when the last of these comes, behind two others. At the advance two keys are due,
    // for two of the three.
    let ops = [
        Op::WaitGetBatch(1),
        Op::WaitGet,
        Op::AddAfter(1, 1_000_000),
        Op::Advance(1_000_000),
        Op::WaitGet,
        Op::AddAfter(2, 2_000_000),
        Op::AddAfter(3, 2_000_000),
        Op::WaitAdd(4, 0, 0, Some(1_000_000)),
        Op::Advance(3_000_000),
    ];
    queue_model::run(plain(3), &ops);
}

/// A consumer that inherits the key of a dropped one has no more time for it than the first had left.
#[test]
fn an_inherited_key_is_delayed_no_longer_in_all() {
    // In a rate-limited queue one consumer is woken at a time.
    let limited = [
        Op::WaitGet,
        Op::WaitGet,
        Op::WaitGet,
        Op::WaitGet,
        Op::LeaveUnpolled(0),
        Op::Add(1),
        Op::LeaveUnpolled(2),
        Op::Add(2),
        // No call reads the clock before the first is dropped.
        Op::Advance(2_500_000),
        Op::Advance(2_400_000),
        Op::Cancel(0),
        Op::Advance(100_000),
    ];
    let config = Config {
        rate_limited: true,
        ..plain(8)
    };
    queue_model::run(config, &limited);
    // No consumer polls when key 2 is due, and key 1 is ready before that.
    let due = [
        Op::WaitGet,
        Op::WaitGet,
        Op::WaitGet,
        Op::WaitGet,
        Op::LeaveUnpolled(0),
        Op::Add(1),
        Op::AddAfter(2, 1_000_000),
        Op::LeaveUnpolled(1),
        Op::Advance(2_500_000),
        Op::AddAfter(3, 3_000_000_000),
        Op::Advance(2_400_000),
        Op::Cancel(0),
        Op::Advance(1_100_000),
    ];
    queue_model::run(plain(8), &due);
}
