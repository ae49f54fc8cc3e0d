//! Adds to a long queue whose workers are all busy.

use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;
use parking_lot::{Condvar, Mutex};

use super::rounds::{key, keys};
use crate::measure::Sample;
use crate::queue::Shared;
use crate::workload::Bench;
use crate::workload::drive::latencies;

/// The workers, each asleep in its work.
pub const WORKERS: usize = 100;

/// The adds of a round.
pub const ADDS: usize = 20_000;

/// Lets workers sleep until they are released.
#[derive(Default)]
struct Beds {
    asleep: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Beds {
    fn sleep(&self) {
        let mut state = self.asleep.lock();
        state.0 += 1;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| !state.1);
    }

    fn wait_for(&self, sleepers: usize) {
        let mut state = self.asleep.lock();
        self.changed
            .wait_while(&mut state, |state| state.0 < sleepers);
    }

    fn release(&self) {
        self.asleep.lock().1 = true;
        self.changed.notify_all();
    }
}

/// Times each add of a new key while many keys wait and no worker comes back.
pub fn adds<Q: Shared>(bench: &Bench) -> Sample {
    let waiting = bench.effort.many;
    let (queue, beds) = (Q::new(waiting + ADDS), Beds::default());
    keys(waiting).into_iter().for_each(|key| queue.add(key));
    let mut each = latencies();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| queue.consume(|_| beds.sleep()));
        }
        beds.wait_for(WORKERS);
        let new: Vec<_> = (waiting..waiting + ADDS).map(key).collect();
        let mut before = Instant::now();
        for key in new {
            queue.add(key);
            let after = Instant::now();
            each.saturating_record((after - before).as_nanos() as u64);
            before = after;
        }
        beds.release();
        queue.close(WORKERS);
    });
    of(each)
}

/// Returns the 99th percentile as the figure of a round.
pub fn of(each: Histogram<u64>) -> Sample {
    Sample {
        nanos: each.value_at_quantile(0.99) as f64,
        each: Some(each),
        ..Sample::default()
    }
}
