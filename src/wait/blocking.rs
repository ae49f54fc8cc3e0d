//! Whether the calling thread may block.

/// Panics on a thread that drives a runtime: the wait may need a task of that runtime to end it.
#[track_caller]
pub(super) fn assert_may_block() {
    #[cfg(feature = "tokio")]
    assert!(
        may_block(),
        "`wait` would block a thread that drives a tokio runtime: `.await` the operation, or call `wait` in \
         `tokio::task::spawn_blocking`"
    );
}

/// Returns true if the calling thread drives no runtime, or is one that tokio lent for blocking.
///
/// tokio runs the same check before it blocks, and panics; it offers no other way to ask. Its panic
/// message is printed before the caller's.
#[cfg(feature = "tokio")]
fn may_block() -> bool {
    std::panic::catch_unwind(|| drop(tokio::sync::Mutex::new(()).blocking_lock())).is_ok()
}
