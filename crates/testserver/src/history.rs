//! The bounded history of events of one resource type.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::status::Status;
use super::store::{Key, Object};

/// The type of a watch event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It was deleted.
    Deleted,
}

impl EventType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
        }
    }

    /// The line of a watch stream for this event of an object.
    pub fn line(self, object: &Object) -> Bytes {
        event_line(self.as_str(), &object.json)
    }
}

/// One line of a watch stream.
pub fn event_line(event_type: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + event_type.len() + 24);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(event_type.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// The change's place in the order of all changes; the object's resource version after it.
    pub revision: u64,
    /// The type of the change.
    pub event_type: EventType,
    /// The changed object.
    pub key: Key,
    /// The object after the change; for a deletion, its last state.
    pub object: Arc<Object>,
    /// The object before the change.
    pub previous: Option<Arc<Object>>,
    /// The line on the wire, shared by all watchers.
    pub line: Bytes,
}

/// A watcher fell behind the history: events that it has not seen were dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost;

/// The latest events of one type, oldest first.
#[derive(Debug)]
pub struct History {
    events: VecDeque<Arc<Event>>,
    capacity: usize,
    /// Revision of the newest dropped event.
    lost: u64,
    /// The lowest revision from which a watch may start.
    compacted: u64,
}

impl History {
    /// An empty history that keeps this many events.
    pub fn new(capacity: usize) -> History {
        History {
            events: VecDeque::new(),
            capacity: capacity.max(1),
            lost: 0,
            compacted: 0,
        }
    }

    /// Adds the newest event.
    pub fn push(&mut self, event: Event) {
        self.events.push_back(Arc::new(event));
        if self.events.len() > self.capacity {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.lost = event.revision;
            self.compacted = self.compacted.max(event.revision);
        }
    }

    /// Drops all events before `revision`.
    pub fn compact(&mut self, revision: u64) {
        while self
            .events
            .front()
            .is_some_and(|event| event.revision < revision)
        {
            self.forget_oldest();
        }
        self.compacted = self.compacted.max(revision);
    }

    /// Revision of the newest event; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.events.back().map_or(self.lost, |event| event.revision)
    }

    /// Whether a watch may start here, because all events after `revision` are kept.
    pub fn check_start(&self, revision: u64) -> Result<(), Status> {
        if revision < self.compacted {
            let oldest = self.compacted;
            return Err(Status::expired(format!(
                "too old resource version: {revision} ({oldest})"
            )));
        }
        Ok(())
    }

    /// The events after `revision`, oldest first.
    pub fn after(
        &self,
        revision: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, Lost> {
        if revision < self.lost {
            return Err(Lost);
        }
        let start = self
            .events
            .partition_point(|event| event.revision <= revision);
        Ok(self.events.range(start..))
    }
}
