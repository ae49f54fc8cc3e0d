//! The model's snapshot and running times.

use tollgate::queue::KeyState;

use super::{MILLI, Model, State};

/// A live key, its state and priority, the time until it is due, its age in this state, and its failures.
pub(in super::super) type Shown = (u8, KeyState, i32, Option<u64>, Option<u64>, u32);

impl Model {
    /// Processing keys in the given order, ready keys in line, delayed keys by name.
    pub(in super::super) fn snapshot(&self, processing: &[u8], now: u64) -> Vec<Shown> {
        let ready = self.ready.values().rev().flatten();
        let mut shown: Vec<_> = processing.iter().chain(ready).copied().collect();
        let delayed = self.entries.keys().filter(|key| !shown.contains(key));
        let delayed: Vec<_> = delayed.copied().collect();
        shown.extend(delayed);
        shown.iter().map(|&key| self.shown(key, now)).collect()
    }

    fn shown(&self, key: u8, now: u64) -> Shown {
        let entry = self.entries[&key];
        let due_in = |tick: u64| (tick * MILLI).saturating_sub(now);
        let (state, due_in, age) = match entry.state {
            State::Ready { since } => (KeyState::Ready, None, Some(now - since)),
            State::Delayed { tick, .. } => (KeyState::Delayed, Some(due_in(tick)), None),
            State::Running {
                since,
                dirty,
                delay,
                ..
            } => {
                let state = if dirty {
                    KeyState::Dirty
                } else {
                    KeyState::Processing
                };
                (state, delay.map(due_in), Some(now - since))
            }
        };
        (key, state, entry.priority, due_in, age, entry.failures)
    }

    /// The longest running time of the keys in flight, and the sum of all.
    pub(in super::super) fn running_for(&self, now: u64) -> (u64, u64) {
        let running = |state: State| match state {
            State::Running { since, .. } => Some(now - since),
            _ => None,
        };
        let running = self
            .entries
            .values()
            .filter_map(|entry| running(entry.state));
        running.fold((0, 0), |(longest, all), age| (longest.max(age), all + age))
    }
}
