//! The contender's side of the measurement: what its reconciles call, and what it answers to the parent.
//!
//! `go/main.go` does the same for controller-runtime.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::now;

static WORK_MICROS: AtomicU64 = AtomicU64::new(0);
static SEEN: Mutex<Seen> = Mutex::new(Seen::new());

/// What the reconciles have seen.
struct Seen {
    /// Whether each object was reconciled since the last reset, by its number.
    objects: Vec<bool>,
    distinct: u64,
    reconciles: u64,
    /// When the last object was reconciled for the first time.
    newest: i64,
    /// When the first reconcile with each edit began; 0 before.
    edits: Vec<i64>,
}

impl Seen {
    const fn new() -> Self {
        Self {
            objects: Vec::new(),
            distinct: 0,
            reconciles: 0,
            newest: 0,
            edits: Vec::new(),
        }
    }

    fn begin(&mut self, object: usize, edit: usize) {
        self.reconciles += 1;
        if self.objects.len() <= object {
            self.objects.resize(object + 1, false);
        }
        if !std::mem::replace(&mut self.objects[object], true) {
            self.distinct += 1;
            self.newest = now();
        }
        if self.edits.len() <= edit {
            self.edits.resize(edit + 1, 0);
        }
        if edit > 0 && self.edits[edit] == 0 {
            self.edits[edit] = now();
        }
    }

    fn reset(&mut self) {
        self.objects.clear();
        self.distinct = 0;
        self.reconciles = 0;
    }
}

fn seen() -> MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records that a reconcile begins.
pub fn begin(name: &str, edit: Option<&String>) {
    let number = name
        .rsplit('-')
        .next()
        .and_then(|digits| digits.parse().ok());
    let edit = edit.and_then(|edit| edit.parse().ok());
    if let (Some(object), Some(edit)) = (number, edit) {
        seen().begin(object, edit);
    }
}

/// The work of a reconcile.
pub async fn work() {
    let micros = WORK_MICROS.load(Ordering::Relaxed);
    if micros > 0 {
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

/// Answers the parent's lines until it closes the pipe; `start` is called at the line that says so.
pub fn serve(start: impl FnOnce()) -> anyhow::Result<()> {
    let mut start = Some(start);
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["start", micros] => {
                WORK_MICROS.store(micros.parse()?, Ordering::Relaxed);
                let at = now();
                if let Some(start) = start.take() {
                    start();
                }
                at.to_string()
            }
            ["count"] => {
                let seen = seen();
                format!("{} {} {}", seen.distinct, seen.reconciles, seen.newest)
            }
            ["work", micros] => {
                WORK_MICROS.store(micros.parse()?, Ordering::Relaxed);
                "ok".to_owned()
            }
            ["reset"] => {
                seen().reset();
                "ok".to_owned()
            }
            ["edits", from, to] => {
                let (from, to): (usize, usize) = (from.parse()?, to.parse()?);
                let seen = seen();
                let times = (from..to).map(|edit| seen.edits.get(edit).unwrap_or(&0).to_string());
                times.collect::<Vec<_>>().join(" ")
            }
            _ => anyhow::bail!("unknown command: {line}"),
        };
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}
