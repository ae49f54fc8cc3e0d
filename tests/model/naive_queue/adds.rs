//! What an add does in each state of its key.

use tollgate::{AddError, Merge};

use super::{MILLI, Model, Room, State};

impl Model {
    pub(in super::super) fn add(
        &mut self,
        key: u8,
        (priority, delay, merge): (i32, u64, Merge),
        holds: Option<bool>,
        room: Room,
        now: u64,
    ) -> Result<(), AddError<u8>> {
        if self.closed {
            return Err(AddError::Closed(key));
        }
        self.pass_time(now);
        let tick = (now + delay).div_ceil(MILLI);
        if !self.entries.contains_key(&key) {
            if !self.has_room(room) {
                return Err(AddError::Full(key));
            }
            self.insert(key, priority);
            match self.config.debounce {
                _ if delay > 0 => self.delay_or_ready(key, tick, None, now),
                Some(_) => {
                    let (tick, latest) = self.put_off(None, None, now);
                    self.delay_or_ready(key, tick, Some(latest), now);
                }
                None => self.set(key, State::Ready { since: now }),
            }
            return Ok(());
        }
        self.promote(key, priority);
        let holds = holds.unwrap_or(self.config.hold);
        let floor = if holds { self.backoff_of(key) } else { 0 };
        let debounced = self.config.debounce.is_some();
        match (delay, floor) {
            (0, 0) => self.add_live(key, 0, holds, now),
            (0, _) if debounced => self.add_live(key, floor, holds, now),
            (0, _) => self.add_live_later(key, floor, Merge::Earlier, now),
            _ => self.add_live_later(key, tick.max(floor), merge, now),
        }
        Ok(())
    }

    /// The tick at which the backoff of a delayed key ends; 0 without one.
    fn backoff_of(&self, key: u8) -> u64 {
        let entry = &self.entries[&key];
        match (entry.state, entry.until.div_ceil(MILLI)) {
            (State::Delayed { .. }, tick) if tick * MILLI > self.seen => tick,
            _ => 0,
        }
    }

    fn promote(&mut self, key: u8, priority: i32) {
        let entry = self.entries.get_mut(&key).expect("live");
        if entry.priority < priority {
            entry.priority = priority;
            if let State::Ready { .. } = entry.state {
                let state = entry.state;
                self.set(key, state);
            }
        }
    }

    /// When a debounced key that is added again is due, and the latest tick to which it may be put off: the
    /// time it had, or the maximum after the first of these adds.
    fn put_off(&self, due: Option<u64>, latest: Option<u64>, now: u64) -> (u64, u64) {
        let (quiet, max) = self.config.debounce.expect("debounced");
        let end = (now + max).div_ceil(MILLI);
        let latest = latest.unwrap_or(due.map_or(end, |due| due.min(end)));
        (latest.min((now + quiet).div_ceil(MILLI)), latest)
    }

    pub(super) fn delay_or_ready(&mut self, key: u8, tick: u64, latest: Option<u64>, now: u64) {
        if tick * MILLI <= self.seen {
            self.set(key, State::Ready { since: now });
        } else {
            self.delay(key, tick, latest);
        }
    }

    fn add_live(&mut self, key: u8, floor: u64, holds: bool, now: u64) {
        let debounced = self.config.debounce.is_some();
        match self.entries[&key].state {
            State::Ready { .. } => {}
            State::Delayed { tick, latest, .. } if debounced => {
                let (next, latest) = self.put_off(Some(tick), latest, now);
                let next = next.max(floor);
                if next != tick {
                    self.delay_or_ready(key, next, Some(latest), now);
                } else if let State::Delayed { latest: noted, .. } =
                    &mut self.entries.get_mut(&key).expect("live").state
                {
                    *noted = Some(latest);
                }
            }
            State::Delayed { .. } => self.set(key, State::Ready { since: now }),
            State::Running {
                since,
                dirty,
                held,
                delay,
                latest,
            } => {
                let asked = debounced.then(|| self.put_off(delay, latest, now));
                let state = State::Running {
                    since,
                    dirty: true,
                    held: holds && (held || !dirty),
                    delay: asked.map(|asked| asked.0),
                    latest: asked.map(|asked| asked.1),
                };
                self.set(key, state);
            }
        }
    }

    fn add_live_later(&mut self, key: u8, tick: u64, merge: Merge, now: u64) {
        let wins = |old: Option<u64>| match merge {
            Merge::Earlier => old.is_none_or(|old| tick < old),
            _ => old.is_none(),
        };
        match self.entries[&key].state {
            State::Delayed { tick: old, .. } if wins(Some(old)) => {
                self.delay_or_ready(key, tick, None, now);
            }
            State::Running {
                since,
                dirty: false,
                held,
                delay,
                latest,
            } if wins(delay) => {
                let state = State::Running {
                    since,
                    dirty: false,
                    held,
                    delay: Some(tick),
                    latest,
                };
                self.set(key, state);
            }
            _ => {}
        }
    }
}
