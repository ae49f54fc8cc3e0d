//! Starting a key: pausing, and the tokens of the queue's limiter and of its groups'.

use crate::clock::Timestamp;
use crate::queue::core::bands::NextKey;
use crate::queue::core::run::Started;
use crate::queue::core::waiting::queue_state::QueueState;

impl<K> QueueState<K> {
    /// Hands out the next key, if there is one that may start. A consumer that `waits` otherwise
    /// joins the line of the limiter that refuses.
    #[expect(clippy::inline_always, reason = "a call costs more than the body")]
    #[inline(always)]
    pub(crate) fn start(&mut self, now: Timestamp, waits: bool) -> Option<Started<K>> {
        self.machine.advance(now);
        if self.needs_general_start {
            return self.start_general(now, waits);
        }
        let next = self.machine.ready.bands.peek()?;
        Some(self.machine.start(next, now))
    }

    /// Same as [`start`](Self::start), for a queue with any features. Takes a token of the queue's
    /// limiter first and of the group's next; groups whose limiters refuse are passed over.
    #[inline(never)]
    fn start_general(&mut self, now: Timestamp, waits: bool) -> Option<Started<K>> {
        if self.paused {
            return None;
        }
        if self.throttle.is_none() && !self.has_limited_groups {
            let next = self.machine.ready.peek()?;
            return Some(self.machine.start(next, now));
        }
        self.pass_time(now);
        // One token of the queue's limiter serves for all groups that are tried.
        let mut has_token = self.throttle.is_none();
        while let Some(next) = self.machine.ready.peek() {
            if !has_token && !self.take_queue_token(now, waits) {
                return None;
            }
            has_token = true;
            if self.take_group_token(next, now) {
                return Some(self.machine.start(next, now));
            }
        }
        if has_token && let Some(throttle) = &mut self.throttle {
            throttle.give_back(&mut self.wakers);
            self.awaited = true;
        }
        None
    }

    /// Takes a token of the group of the next key; returns false if its limiter refuses.
    fn take_group_token(&mut self, next: NextKey, now: Timestamp) -> bool {
        let Some(groups) = &mut self.machine.ready.groups else {
            return true;
        };
        self.awaited = true;
        let group = groups.flows[next.flow].group;
        let Some(throttle) = &mut groups.groups.slots[group].throttle else {
            return true;
        };
        let taken = throttle.take(now, true, &mut self.wakers, &mut self.limiter_closed);
        if !taken {
            let (until, is_closed) = (throttle.refused_until, throttle.is_closed);
            groups.park(group, until.unwrap_or(now));
            // A closed queue waits for its ready keys to run; these never would.
            if is_closed && self.machine.is_closed() {
                self.machine.return_group(group);
            }
        }
        taken
    }

    /// Takes a token of the queue's limiter. It is taken at the start and not at the add, so that a
    /// coalesced add costs none.
    fn take_queue_token(&mut self, now: Timestamp, waits: bool) -> bool {
        let Some(throttle) = &mut self.throttle else {
            return true;
        };
        let taken = throttle.take(now, waits, &mut self.wakers, &mut self.limiter_closed);
        let is_closed = throttle.is_closed;
        self.awaited |= !self.wakers.is_empty();
        if is_closed && self.machine.is_closed() {
            self.machine.shut_down();
            // `settle` must wake the callers of `drain`.
            self.awaited = true;
        }
        taken
    }
}
