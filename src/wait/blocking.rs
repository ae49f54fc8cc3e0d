//! Whether the calling thread may block.

/// Panics on a thread that drives a runtime, unless tokio lent it for blocking: the wait may need a
/// task of that runtime to end it.
///
/// tokio runs the same check before it blocks, and panics; it offers no other way to ask. Its panic
/// message is printed before this one.
#[track_caller]
pub(super) fn assert_may_block() {
    #[cfg(feature = "tokio")]
    assert!(
        std::panic::catch_unwind(|| drop(tokio::sync::Mutex::new(()).blocking_lock())).is_ok(),
        "`wait` would block a thread that drives a tokio runtime: `.await` the operation, or call `wait` in \
         `tokio::task::spawn_blocking`"
    );
}
