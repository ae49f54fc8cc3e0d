//! Simulations of the election in virtual time: up to five candidates, a server, and a network.
//!
//! Each seed is one run. `TOLLGATE_ELECTION_SEEDS` sets how many each test makes (500 by default),
//! `TOLLGATE_ELECTION_SEED` repeats one.

mod candidate;
mod network;
mod random;
mod server;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::{Counts, Profile, World};

const SEEDS: u64 = 500;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {value}")),
    )
}

/// Runs each seed, says which one failed, and returns what happened in all of them.
fn run(profile: Profile) -> Counts {
    let seeds = match variable("TOLLGATE_ELECTION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("TOLLGATE_ELECTION_SEEDS").unwrap_or(SEEDS),
    };
    let mut counts = Counts::default();
    for seed in seeds {
        let run = AssertUnwindSafe(|| World::new(seed, profile).run());
        match catch_unwind(run) {
            Ok(of_seed) => counts.add(&of_seed),
            Err(panic) => {
                eprintln!("{profile:?}: repeat with TOLLGATE_ELECTION_SEED={seed}");
                resume_unwind(panic);
            }
        }
    }
    println!("{profile:?}: {counts:?}");
    counts
}

/// Skips the checks of what happened if a single seed is repeated.
fn many() -> bool {
    variable("TOLLGATE_ELECTION_SEED").is_none()
        && variable("TOLLGATE_ELECTION_SEEDS").is_none_or(|seeds| seeds >= 100)
}

#[test]
fn no_two_candidates_lead_at_any_instant() {
    let counts = run(Profile::Rough);
    if many() {
        // Not vacuous: each of these has happened, and often.
        for (what, count) in [
            ("terms", counts.terms),
            ("lapses", counts.lapses),
            ("conflicts", counts.conflicts),
            ("late answers", counts.late_answers),
            ("releases", counts.releases),
            ("stops of a leader", counts.stopped_leaders),
            ("writes", counts.writes),
            ("refused writes", counts.refused_writes),
        ] {
            assert!(count > 100, "{what}: {count}");
        }
    }
}

#[test]
fn a_new_leader_appears_in_time() {
    let counts = run(Profile::Quick);
    if many() {
        for (what, count) in [
            ("terms", counts.terms),
            ("takeovers in time", counts.takeovers),
            ("takeovers of a released lease", counts.released_takeovers),
        ] {
            assert!(count > 100, "{what}: {count}");
        }
    }
}
