//! Starting a key: pausing, and the tokens of the queue's limiter and of its groups'.

use crate::clock::Timestamp;
use crate::queue::core::bands::NextKey;
use crate::queue::core::groups::scheduler::GroupToken;
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
        let Some(groups) = self.machine.ready.groups_mut() else {
            return true;
        };
        let token = groups.take_token(next, now, &mut self.wakers);
        self.awaited = true;
        if let GroupToken::Closed { group, is_news } = token {
            self.limiter_closed |= is_news;
            // A closed queue waits for its ready keys to run; these never would.
            if self.machine.is_closed() {
                self.machine.return_group(group);
            }
        }
        token == GroupToken::Granted
    }

    /// Takes a token of the queue's limiter. It is taken at the start and not at the add, so that a
    /// coalesced add costs none.
    fn take_queue_token(&mut self, now: Timestamp, waits: bool) -> bool {
        let Some(throttle) = &mut self.throttle else {
            return true;
        };
        let was_closed = throttle.is_closed;
        let taken = throttle.take(now, waits, &mut self.wakers);
        let is_closed = throttle.is_closed;
        self.awaited |= !self.wakers.is_empty();
        self.limiter_closed |= is_closed && !was_closed;
        if is_closed && self.machine.is_closed() {
            self.machine.shut_down();
            // `settle` must wake the callers of `drain`.
            self.awaited = true;
        }
        taken
    }
}
