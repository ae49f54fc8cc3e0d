//! Outages: a server that is down, and one that hangs.

use tokio::sync::watch;

/// Whether the server is down or hangs.
#[derive(Debug)]
pub struct Outage {
    down: watch::Sender<bool>,
    hung: watch::Sender<bool>,
}

impl Outage {
    /// A server that answers.
    pub fn none() -> Outage {
        Outage {
            down: watch::Sender::new(false),
            hung: watch::Sender::new(false),
        }
    }

    /// Begins or ends the time without a server.
    pub fn set_down(&self, down: bool) {
        self.down.send_replace(down);
    }

    /// Whether the server is down.
    pub fn is_down(&self) -> bool {
        *self.down.borrow()
    }

    /// Begins or ends a hang.
    pub fn set_hung(&self, hung: bool) {
        self.hung.send_replace(hung);
    }

    /// Waits for the end of a hang; returns at once without one.
    pub async fn hang_ended(&self) {
        // Without a subscription, which takes a lock, where there is no hang: every event of a watch passes here.
        let hung = *self.hung.borrow();
        if hung {
            // The sender lives as long as `self`, so this cannot fail.
            let _ = self.hung.subscribe().wait_for(|hung| !hung).await;
        }
    }

    /// A receiver for [`next_outage`] that does not see the present state.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.down.subscribe()
    }
}

/// Waits until the server goes down. A connection that was accepted in an outage stays until it makes a request, so
/// that its arrival is recorded.
pub async fn next_outage(mut down: watch::Receiver<bool>) {
    while down.changed().await.is_ok() {
        if *down.borrow_and_update() {
            return;
        }
    }
}
