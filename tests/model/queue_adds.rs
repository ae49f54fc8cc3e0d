//! The adds of the queue's property test, by every method.

use tollgate::{AddError, Merge};

use super::naive_queue::Room;
use super::{Op, Pair, options};

/// How a key is added.
#[derive(Clone, Copy, Debug)]
enum How {
    Try,
    Resync,
    /// By the worker of the key at this index of `held`.
    Related(usize),
}

impl Pair {
    /// Runs an operation that adds.
    pub(super) fn start_add(&mut self, op: Op) {
        match op {
            Op::Add(key) => self.add(key, (0, 0, Merge::Earlier), How::Try),
            Op::AddAfter(key, delay) => self.add(key, (0, delay, Merge::Earlier), How::Try),
            Op::AddWith(key, priority, delay, merge) => {
                self.add(key, (priority, delay, merge), How::Try);
            }
            Op::AddHolding(key, delay, holds) => {
                let with = options(0, delay, Merge::Earlier);
                let with = if holds {
                    with.hold_backoff()
                } else {
                    with.cut_backoff()
                };
                let got = self.queue.try_add_with(key, with);
                let options = (0, delay, Merge::Earlier);
                self.added(key, options, Some(holds), Room::Free, got);
            }
            Op::AddBatch(key, more, priority, delay) => {
                let keys = (0..=more % 4).map(|next| key ^ next).collect();
                self.add_batch(keys, priority, delay);
            }
            Op::AddOrResync(key, priority, delay) => {
                self.add(key, (priority, delay, Merge::Earlier), How::Resync);
            }
            Op::AddRelated(..) if self.held.is_empty() => {}
            Op::AddRelated(pick, key, priority) => {
                let worker = usize::from(pick) % self.held.len();
                self.add(key, (priority, 0, Merge::Earlier), How::Related(worker));
            }
            _ => unreachable!("{op:?} adds nothing"),
        }
    }

    fn add(&mut self, key: u8, (priority, delay, merge): (i8, u64, Merge), how: How) {
        let with = options(priority, delay, merge);
        let got = match how {
            How::Try => self.queue.try_add_with(key, with),
            How::Resync => self.queue.try_add_or_resync(key, with),
            How::Related(worker) => self.held[worker].add_related_with(key, with),
        };
        let room = match how {
            How::Try | How::Resync => Room::Free,
            How::Related(_) => Room::Reserve,
        };
        self.added(key, (priority, delay, merge), None, room, got);
        if matches!((how, got), (How::Resync, Err(AddError::Full(_)))) {
            self.model.missed += 1;
        }
    }

    /// Compares the result of an add.
    pub(super) fn added(
        &mut self,
        key: u8,
        (priority, delay, merge): (i8, u64, Merge),
        holds: Option<bool>,
        room: Room,
        got: Result<(), AddError<u8>>,
    ) {
        let options = (i32::from(priority), delay, merge);
        let expected = self.model.add(key, options, holds, room, self.now());
        assert_eq!(got, expected);
        if got.is_ok() {
            self.owed.insert(key);
        }
    }

    fn add_batch(&mut self, keys: Vec<u8>, priority: i8, delay: u64) {
        let with = options(priority, delay, Merge::Earlier);
        let refused = self.queue.try_add_batch(keys.iter().copied(), with);
        let mut refused = refused.into_iter().peekable();
        for key in keys {
            let refused = refused.next_if(|refused| refused.into_key() == key);
            let got = refused.map_or(Ok(()), Err);
            self.added(
                key,
                (priority, delay, Merge::Earlier),
                None,
                Room::Free,
                got,
            );
        }
        assert_eq!(refused.next(), None);
    }
}
