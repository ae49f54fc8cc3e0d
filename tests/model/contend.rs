//! In which orders threads begin in a model, and whether what they saw has an explanation.

/// Each thread in its turn as the first: loom remembers only the last access to a word, and may not
/// try a read after a write if it has seen them in the other order.
pub(crate) fn in_turns<T: Clone>(threads: &[T]) -> impl Iterator<Item = Vec<T>> {
    (0..threads.len()).map(|first| {
        let mut threads = threads.to_vec();
        threads.rotate_left(first);
        threads
    })
}

/// Whether some interleaving of what the threads did, each in its own order, leads from `state` to
/// one that `ends`. What was done leads to any of the states that `after` returns.
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
