//! Watch streams: events as lines of JSON, from the history to the connection.
//!
//! A stream reads from the history only when the connection takes more, so a slow client costs no memory. A
//! client that falls behind the history gets a 410.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::faults::Cutter;
use super::history::{Event, EventType, event_line};
use super::list::ListQuery;
use super::query::Query;
use super::resource::ResourceType;
use super::route::ResourceRequest;
use super::selector::Selector;
use super::shell::Shell;
use super::status::Status;
use super::store::{Object, Store};

/// The number of events read from the history at a time.
const BATCH: usize = 256;

/// The timeout of a watch without one of its own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1_800);

/// The longest timeout, so that no sum of times overflows.
const LONGEST_TIMEOUT_S: u64 = 86_400;

/// Opens a watch stream. Each item is one line; an error breaks the connection.
pub fn open(
    shell: &Arc<Shell>,
    request: &ResourceRequest,
    cutter: Option<Cutter>,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Status> {
    let query = &request.query;
    let selector = query.selector(&request.namespace)?;
    // Subscribe before the first read of the store, so that no change is missed.
    let (changes, cuts) = (shell.subscribe(request.ty), shell.cuts.subscribe());
    let start = shell.read(|store| Start::at(store, request.ty, query, &selector))?;
    let timeout = query.timeout_seconds.filter(|seconds| *seconds > 0);
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, |seconds| {
        Duration::from_secs(seconds.min(LONGEST_TIMEOUT_S))
    });
    let now = Instant::now();
    let watcher = Watcher {
        ty: request.ty,
        selector,
        cursor: start.cursor,
        initial: start.objects.into(),
        initial_end: start.announce_end,
        lines: start.refusal.iter().map(error_line).collect(),
        finished: start.refusal.is_some(),
        changes,
        cuts,
        bookmarks: query.allow_watch_bookmarks,
        next_bookmark: now + shell.options.bookmark_every,
        deadline: now + timeout,
        cutter,
        open: Open::new(shell),
    };
    Ok(stream::unfold(watcher, |mut watcher| async move {
        let line = watcher.next().await?;
        Some((line, watcher))
    }))
}

/// Where a watch begins.
#[derive(Default)]
struct Start {
    cursor: u64,
    objects: Vec<Arc<Object>>,
    announce_end: bool,
    refusal: Option<Status>,
}

impl Start {
    fn at(
        store: &Store,
        ty: &'static ResourceType,
        query: &Query,
        selector: &Selector,
    ) -> Result<Start, Status> {
        let wanted = query.resource_version.unwrap_or(0);
        if wanted > store.revision() {
            return Err(Status::too_large_resource_version(wanted, store.revision()));
        }
        let not_older = query.resource_version_match.as_deref() == Some("NotOlderThan");
        if query.send_initial_events == Some(true) && !not_older {
            let message = "resourceVersionMatch must be NotOlderThan with sendInitialEvents";
            return Err(Status::bad_request(message));
        }
        if query.send_initial_events.unwrap_or(wanted == 0) {
            let list = ListQuery {
                selector: selector.clone(),
                ..ListQuery::default()
            };
            let page = store.list(ty, &list)?;
            let announce_end = query.send_initial_events.is_some();
            return Ok(Start {
                cursor: page.revision,
                objects: page.items,
                announce_end,
                refusal: None,
            });
        }
        let cursor = if wanted == 0 {
            store.revision()
        } else {
            wanted
        };
        // Report too old a start inside the stream: clients expect it there and list again, whereas they repeat a
        // failed request.
        let refusal = store.history(ty).check_start(cursor).err();
        Ok(Start {
            cursor,
            refusal,
            ..Start::default()
        })
    }
}

/// One open watch stream.
struct Watcher {
    ty: &'static ResourceType,
    selector: Selector,
    /// All events up to this revision were delivered, or are in `initial` and `lines`.
    cursor: u64,
    initial: VecDeque<Arc<Object>>,
    initial_end: bool,
    lines: VecDeque<Bytes>,
    finished: bool,
    changes: watch::Receiver<u64>,
    cuts: watch::Receiver<u64>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    cutter: Option<Cutter>,
    open: Open,
}

impl Watcher {
    /// The next line, once there is one; `None` at the end.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            self.open.shell.outage.hang_ended().await;
            if self.cuts.has_changed().unwrap_or(true) {
                return Some(self.cut());
            }
            if let Some(line) = self.ready_line() {
                if self.cutter.as_mut().is_some_and(Cutter::cuts_now) {
                    self.open.shell.faults().count();
                    return Some(self.cut());
                }
                return Some(Ok(line));
            }
            if self.finished {
                return None;
            }
            self.refill();
            if self.lines.is_empty() {
                self.wait().await;
            }
        }
    }

    fn ready_line(&mut self) -> Option<Bytes> {
        if let Some(object) = self.initial.pop_front() {
            return Some(EventType::Added.line(&object));
        }
        if std::mem::take(&mut self.initial_end) {
            return Some(self.bookmark(true));
        }
        self.lines.pop_front()
    }

    fn cut(&mut self) -> io::Result<Bytes> {
        self.finished = true;
        self.initial.clear();
        self.initial_end = false;
        self.lines.clear();
        self.cuts.mark_unchanged();
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    }

    /// Reads the next events from the history, and queues a due bookmark.
    fn refill(&mut self) {
        self.changes.mark_unchanged();
        let shell = self.open.shell.clone();
        shell.read(|store| self.take_events(store));
        if !self.lines.is_empty() {
            return;
        }
        let now = Instant::now();
        let ends = now >= self.deadline;
        if self.bookmarks && (ends || now >= self.next_bookmark) {
            self.next_bookmark = now + shell.options.bookmark_every;
            let line = self.bookmark(false);
            self.lines.push_back(line);
        }
        self.finished |= ends;
    }

    fn take_events(&mut self, store: &Store) {
        let history = store.history(self.ty);
        let Ok(events) = history.after(self.cursor) else {
            let oldest = history.newest();
            let message = format!("too old resource version: {} ({oldest})", self.cursor);
            self.lines.push_back(error_line(&Status::expired(message)));
            self.finished = true;
            return;
        };
        let mut taken = 0;
        for event in events.take(BATCH) {
            taken += 1;
            self.cursor = event.revision;
            self.lines.extend(line_for(&self.selector, event));
        }
        // All events were read, so the stream is at the revision of the store.
        if taken < BATCH {
            self.cursor = store.revision();
        }
    }

    async fn wait(&mut self) {
        if self.finished || self.changes.has_changed().unwrap_or(true) {
            return;
        }
        let due = match self.bookmarks {
            true => self.deadline.min(self.next_bookmark),
            false => self.deadline,
        };
        // The caller checks everything again, whichever branch ends the wait.
        tokio::select! {
            _ = self.changes.changed() => {}
            _ = self.cuts.changed() => self.cuts.mark_changed(),
            () = sleep_until(due) => {}
        }
    }

    fn bookmark(&self, ends_initial: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": self.cursor.to_string() });
        if ends_initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = json!({
            "kind": self.ty.kind,
            "apiVersion": self.ty.api_version,
            "metadata": metadata,
        });
        value_line("BOOKMARK", &object)
    }
}

/// The line of an event for one watcher. An object that enters or leaves the selection is added or deleted.
fn line_for(selector: &Selector, event: &Event) -> Option<Bytes> {
    if !selector.may_select(&event.key) {
        return None;
    }
    if selector.is_whole() {
        return Some(event.line.clone());
    }
    let before = event
        .previous
        .as_ref()
        .is_some_and(|old| selector.selects_labels(&old.value));
    let after =
        event.event_type != EventType::Deleted && selector.selects_labels(&event.object.value);
    let seen_as = match (before, after) {
        (false, false) => return None,
        (false, true) => EventType::Added,
        (true, true) => EventType::Modified,
        (true, false) => EventType::Deleted,
    };
    Some(match seen_as == event.event_type {
        true => event.line.clone(),
        false => seen_as.line(&event.object),
    })
}

fn error_line(status: &Status) -> Bytes {
    value_line("ERROR", &status.to_json())
}

fn value_line(event_type: &str, object: &Value) -> Bytes {
    event_line(event_type, object.to_string().as_bytes())
}

/// Counts an open stream until it is dropped.
struct Open {
    shell: Arc<Shell>,
}

impl Open {
    fn new(shell: &Arc<Shell>) -> Open {
        shell.watches.fetch_add(1, Ordering::Relaxed);
        Open {
            shell: shell.clone(),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shell.watches.fetch_sub(1, Ordering::Relaxed);
    }
}
