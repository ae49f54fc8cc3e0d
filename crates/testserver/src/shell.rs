//! The shell around the sequential core: locks, notifications, clock.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::Options;
use super::account::Account;
use super::faults::Faults;
use super::flow::Flow;
use super::outage::Outage;
use super::resource::{ResourceType, TYPES};
use super::store::Store;
use super::webhook::Registered;

/// The number of objects that the garbage collector checks under one lock.
const GARBAGE_BATCH: usize = 32;

/// Everything the tasks of a server share.
#[derive(Debug)]
pub struct Shell {
    /// The options of the server.
    pub options: Options,
    /// The origin of arrival times.
    pub started: Instant,
    /// Arrivals, recorded before any other decision.
    pub account: Account,
    /// The number of open watch streams.
    pub watches: AtomicUsize,
    /// Changes to break all open watch streams.
    pub cuts: watch::Sender<u64>,
    /// Whether the server is down or hangs.
    pub outage: Outage,
    /// The requests in flight.
    pub flow: Flow,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    webhook: Mutex<Option<Arc<Registered>>>,
    newest: Vec<watch::Sender<u64>>,
    garbage: Notify,
}

impl Shell {
    /// The shell of an empty server.
    pub fn new(options: Options) -> Shell {
        Shell {
            started: Instant::now(),
            account: Account::default(),
            watches: AtomicUsize::new(0),
            cuts: watch::Sender::new(0),
            outage: Outage::none(),
            flow: Flow::new(options.max_in_flight),
            store: Mutex::new(Store::new(options.history)),
            faults: Mutex::new(Faults::new(
                options.fault_rate,
                options.seed,
                &options.faults_for,
            )),
            webhook: Mutex::new(None),
            newest: TYPES.iter().map(|_| watch::Sender::new(0)).collect(),
            garbage: Notify::new(),
            options,
        }
    }

    /// The source of faults.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The webhook that reviews writes.
    pub fn webhook(&self) -> Option<Arc<Registered>> {
        let webhook = self.webhook.lock().unwrap_or_else(PoisonError::into_inner);
        webhook.clone()
    }

    /// Reviews later writes by this webhook, in place of another.
    pub fn register(&self, webhook: Arc<Registered>) {
        *self.webhook.lock().unwrap_or_else(PoisonError::into_inner) = Some(webhook);
    }

    /// Reads the store.
    pub fn read<T>(&self, reader: impl FnOnce(&Store) -> T) -> T {
        reader(&self.lock())
    }

    /// Changes the store, and wakes the waiting watchers.
    pub fn write<T>(&self, writer: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let mut store = self.lock();
        let result = writer(&mut store, Timestamp::now());
        for (sender, ty) in self.newest.iter().zip(&TYPES) {
            let newest = store.history(ty).newest();
            sender.send_if_modified(|known| std::mem::replace(known, newest) != newest);
        }
        if store.has_suspects() {
            self.garbage.notify_one();
        }
        result
    }

    /// Changes with each new event of a type.
    pub fn subscribe(&self, ty: &ResourceType) -> watch::Receiver<u64> {
        self.newest[ty.index].subscribe()
    }

    /// Collects garbage as it appears, for as long as it is polled.
    pub async fn collect_garbage(&self) {
        loop {
            self.garbage.notified().await;
            while self.write(|store, now| store.collect_garbage(GARBAGE_BATCH, now)) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
