//! Channels: the bound for a queue that ignores its keys.

use std::sync::Arc;
use std::time::Instant;

use super::{Awaited, Queue, Shared};

/// Implements the traits for both ends of a bounded channel. The crates differ in how they wait.
macro_rules! channels {
    ($($(#[$about:meta])* $name:ident = $channel:ident, $send:ident, $receive:ident;)*) => {$(
        $(#[$about])*
        pub struct $name {
            sender: $channel::Sender<String>,
            receiver: $channel::Receiver<String>,
        }

        impl Queue for $name {
            fn new(capacity: usize) -> Self {
                Shared::new(capacity)
            }

            #[inline]
            fn add(&mut self, key: String) {
                self.sender.try_send(key).expect("there is room");
            }

            #[inline]
            fn take(&mut self, look: impl FnOnce(&str)) {
                look(&self.receiver.try_recv().expect("a key was added"));
            }
        }

        impl Shared for $name {
            fn new(capacity: usize) -> Self {
                let (sender, receiver) = $channel::bounded(capacity);
                Self { sender, receiver }
            }

            fn add(&self, key: String) {
                self.sender.$send(key).expect("a receiver is here");
            }

            /// Sends each consumer an empty key as its end. crossbeam's channel closes only when
            /// its senders are gone, and one lives here.
            fn close(&self, consumers: usize) {
                (0..consumers).for_each(|_| Shared::add(self, String::new()));
            }

            fn consume(&self, work: impl Fn(&str)) -> Instant {
                while let Ok(key) = self.receiver.$receive()
                    && !key.is_empty()
                {
                    work(&key);
                }
                Instant::now()
            }
        }
    )*};
}

channels! {
    /// `crossbeam-channel`.
    Crossbeam = crossbeam_channel, send, recv;
    /// `async-channel`.
    Async = async_channel, send_blocking, recv_blocking;
}

impl Awaited for Async {
    async fn work(self: Arc<Self>, finished: impl Fn() + Send + Sync) {
        while self.receiver.recv().await.is_ok() {
            finished();
        }
    }
}
