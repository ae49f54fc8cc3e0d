//! The validating webhook: writes wait for its answer before they are stored.
//!
//! The store's lock is not held during a call. The write runs up to the point where the object would be stored, leaves
//! there what is to be reviewed, and stops; after the review it runs again, and is stored if that is still the change
//! that was reviewed. Otherwise another write came between, and the new change is reviewed.

mod call;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::resource::{self, ResourceType};
use super::shell::Shell;
use super::status::Status;
use super::store::{Key, Object, Store};
use super::{ApiServer, meta};
use call::{Caller, Verdict};

/// A validating webhook, as a `ValidatingWebhookConfiguration` registers it. Its failure policy is `Ignore`.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The name that refusals show.
    pub name: String,
    /// Where it answers: an `https` URL.
    pub url: http::Uri,
    /// The certificates of the authorities that it is trusted by, in PEM.
    pub ca_pem: String,
    /// The plurals of the types whose creates and updates it reviews. Writes of a status are not reviewed.
    pub resources: Vec<String>,
    /// A call that takes longer has failed.
    pub timeout: Duration,
}

/// What came of the calls of a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reviews {
    /// Writes that it allowed.
    pub allowed: usize,
    /// Writes that it denied.
    pub denied: usize,
    /// Calls that failed. The failure policy lets their writes pass.
    pub failed: usize,
}

impl ApiServer {
    /// Calls a webhook before each create and update of its resources, patches and applies among them, until another
    /// one is registered. [`create`](Self::create) and [`merge`](Self::merge) pass it by.
    ///
    /// # Errors
    ///
    /// If the URL is not one of `https`, or the certificates cannot be read.
    ///
    /// # Panics
    ///
    /// If the server knows no type of one of the plurals.
    pub fn admit_with(&self, webhook: Webhook) -> Result<(), String> {
        let registered = Arc::new(Registered::new(webhook)?);
        self.shell.register(registered);
        Ok(())
    }

    /// What has come of the calls of the webhook that is registered.
    pub fn reviews(&self) -> Reviews {
        let registered = self.shell.webhook();
        registered.map_or_else(Reviews::default, |registered| registered.counted())
    }

    /// The last failure of the webhook that is registered.
    pub fn webhook_failure(&self) -> Option<String> {
        self.shell.webhook()?.caller.last_failure()
    }
}

/// A webhook that is called.
#[derive(Debug)]
pub struct Registered {
    caller: Caller,
    types: Vec<usize>,
    allowed: AtomicUsize,
    denied: AtomicUsize,
    failed: AtomicUsize,
}

impl Registered {
    fn new(webhook: Webhook) -> Result<Registered, String> {
        let plurals = webhook.resources.iter();
        Ok(Registered {
            types: plurals
                .map(|plural| resource::known(plural).index)
                .collect(),
            caller: Caller::new(webhook)?,
            allowed: AtomicUsize::new(0),
            denied: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        })
    }

    fn counted(&self) -> Reviews {
        Reviews {
            allowed: self.allowed.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// The webhook's answer; a failed call allows the change.
    async fn review(&self, change: &Change) -> Result<(), Status> {
        let (counter, answer) = match self.caller.call(change).await {
            Verdict::Allowed => (&self.allowed, Ok(())),
            Verdict::Denied(status) => (&self.denied, Err(status)),
            Verdict::Failed => (&self.failed, Ok(())),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

/// A write as it is about to be stored.
#[derive(Debug)]
pub struct Change {
    ty: &'static ResourceType,
    key: Key,
    old: Option<Arc<Object>>,
    new: Value,
}

impl Change {
    /// Whether this is a change of the same version of the object to the same new one.
    fn is(&self, old: Option<&Arc<Object>>, new: &Value) -> bool {
        let version =
            |object: &Arc<Object>| meta::text(&object.value, "resourceVersion").to_owned();
        self.old.as_ref().map(version) == old.map(version) && self.new == *new
    }
}

/// How far the review of one write has come. The shell sets it for as long as that write has the lock.
#[derive(Debug, Default)]
pub struct Review {
    reviewed: Option<Change>,
    pending: Option<Change>,
}

impl Store {
    /// Stops a write that has to be reviewed, unless it has been. Comes after the validation of the object.
    pub(super) fn check_review(
        &mut self,
        ty: &'static ResourceType,
        key: &Key,
        old: Option<&Arc<Object>>,
        new: &Value,
    ) -> Result<(), Status> {
        let Some(review) = &mut self.review else {
            return Ok(());
        };
        let reviewed = review.reviewed.take();
        if reviewed.is_some_and(|change| change.is(old, new)) {
            return Ok(());
        }
        review.pending = Some(Change {
            ty,
            key: key.clone(),
            old: old.cloned(),
            new: new.clone(),
        });
        Err(Status::internal("the write waits for its review"))
    }
}

/// Carries out a write of an object, or of its status, once the webhook has allowed it. The write runs again whenever
/// the object has changed during the review.
pub async fn write<T>(
    shell: &Shell,
    ty: &ResourceType,
    status: bool,
    write: impl Fn(&mut Store, Timestamp) -> Result<T, Status>,
) -> Result<T, Status> {
    let registered = shell.webhook();
    let called = registered.filter(|webhook| !status && webhook.types.contains(&ty.index));
    let Some(webhook) = called else {
        return shell.write(write);
    };
    let mut reviewed = None;
    loop {
        let (result, review) = shell.write(|store, now| {
            store.review = Some(Review {
                reviewed: reviewed.take(),
                pending: None,
            });
            (write(store, now), store.review.take())
        });
        let Some(change) = review.and_then(|review| review.pending) else {
            return result;
        };
        webhook.review(&change).await?;
        reviewed = Some(change);
    }
}
