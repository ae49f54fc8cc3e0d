//! The orders in which the threads of a loom model begin, and the search for an interleaving that
//! explains their answers.

/// Puts each thread first once. Loom remembers only the last access to a word, and may not try a read
/// after a write if it saw them in the other order.
pub(crate) fn in_turns<T: Clone>(threads: &[T]) -> impl Iterator<Item = Vec<T>> {
    (0..threads.len()).map(|first| {
        let mut threads = threads.to_vec();
        threads.rotate_left(first);
        threads
    })
}

/// Whether some interleaving of the threads' operations leads from `state` to a state that `ends`
/// accepts. `after` returns the states that an operation with its answer can lead to.
pub(crate) fn explained<S, D>(
    state: &S,
    threads: &[&[D]],
    after: &impl Fn(&S, &D) -> Vec<S>,
    ends: &impl Fn(&S) -> bool,
) -> bool {
    if threads.iter().all(|thread| thread.is_empty()) {
        return ends(state);
    }
    (0..threads.len()).any(|i| {
        let Some((done, rest)) = threads[i].split_first() else {
            return false;
        };
        let mut threads = threads.to_vec();
        threads[i] = rest;
        let mut states = after(state, done).into_iter();
        states.any(|state| explained(&state, &threads, after, ends))
    })
}
