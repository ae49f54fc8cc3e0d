//! The start and the end of a run.

use super::super::{BASE, MAX, MILLI, Outcome, PER_TOKEN};
use super::{Entry, Model, Start, State};

impl Entry {
    /// Counts a failure, or clears the failures.
    fn note_outcome(&mut self, outcome: Outcome, since: u64, now: u64) {
        match outcome {
            Outcome::Retry | Outcome::RetryAfter(_) | Outcome::Fail | Outcome::Drop => {
                // A run that began during the backoff does not count as a further failure.
                self.failures += u32::from(since >= self.until);
                self.until = match outcome {
                    Outcome::RetryAfter(0) => 0,
                    Outcome::RetryAfter(delay) => now + delay,
                    _ => now + backoff(self.failures),
                };
            }
            Outcome::Defer(_) => {}
            Outcome::Done | Outcome::Requeue | Outcome::RequeueAfter(_) => {
                (self.failures, self.until) = (0, 0);
            }
        }
    }
}

impl Model {
    pub(in super::super) fn get(&mut self, now: u64) -> Option<Start> {
        if !self.can_start(now) {
            return None;
        }
        if self.config.rate_limited {
            self.credit = (self.credit(now) - PER_TOKEN, now);
        }
        let key = self.next()?;
        let entry = self.entries[&key];
        let State::Ready { since } = entry.state else {
            panic!("{key} is in a line but not ready")
        };
        self.set(
            key,
            State::Running {
                since: now,
                dirty: false,
                held: false,
                delay: None,
                latest: None,
            },
        );
        Some(Start {
            key,
            queued: now - since,
            failures: entry.failures,
            priority: entry.priority,
        })
    }

    /// Finishes a run; returns whether the key was given up.
    pub(in super::super) fn finish(&mut self, key: u8, outcome: Outcome, now: u64) -> bool {
        self.pass_time(now);
        let entry = self.entries.get_mut(&key).expect("held");
        let State::Running {
            since,
            dirty,
            held,
            delay,
            latest,
        } = entry.state
        else {
            panic!("{key} is not in flight")
        };
        entry.note_outcome(outcome, since, now);
        let until = entry.until.div_ceil(MILLI);
        let attempts = self.config.attempts.map(u32::from);
        let last = match outcome {
            Outcome::Retry | Outcome::RetryAfter(_) => {
                attempts.is_some_and(|attempts| entry.failures >= attempts)
            }
            _ => matches!(outcome, Outcome::Fail),
        };
        let wanted = match outcome {
            _ if last => None,
            Outcome::Done | Outcome::Fail => None,
            Outcome::Requeue | Outcome::RequeueAfter(0) | Outcome::Defer(0) => Some(0),
            Outcome::RequeueAfter(delay) | Outcome::Defer(delay) => {
                Some((now + delay).div_ceil(MILLI))
            }
            Outcome::Retry | Outcome::RetryAfter(_) | Outcome::Drop => Some(until),
        };
        // A dirty key is due at its debounced time, or at once without debounce.
        let asked = if dirty { delay.or(Some(0)) } else { delay };
        let holds = if dirty { held } else { self.config.hold };
        let asked = asked.map(|tick| if holds { tick.max(until) } else { tick });
        let tick = asked.into_iter().chain(wanted).min();
        match tick {
            None => drop(self.entries.remove(&key)),
            Some(tick) => {
                let latest = latest.filter(|_| asked == Some(tick));
                self.delay_or_ready(key, tick, latest, now);
            }
        }
        if self.shut {
            self.return_ready();
        }
        last && tick.is_none()
    }
}

/// 5 ms doubled with each failure, at most a minute.
fn backoff(failures: u32) -> u64 {
    let delay = BASE.as_nanos() << failures.saturating_sub(1).min(40);
    u64::try_from(delay.min(MAX.as_nanos())).expect("at most a minute")
}
