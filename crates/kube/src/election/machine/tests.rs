//! Single rules; the simulation in `tests/election` has their combinations.

use super::*;

const OWN: &str = "a";

fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(millis)
}

fn elector() -> Elector {
    Elector::new(ElectionConfig::default(), OWN, 1).unwrap()
}

fn record(holder: &str, seconds: i32, transitions: i32) -> Record {
    Record {
        holder: Some(holder.to_owned()),
        duration_seconds: Some(seconds),
        acquire_time: Some(1),
        renew_time: Some(1),
        transitions: Some(transitions),
    }
}

fn stored(record: Record, version: &str) -> Stored {
    let version = version.to_owned();
    Stored { record, version }
}

#[track_caller]
fn sent(step: Step) -> Request {
    match step {
        Step::Send(request) => request,
        step => panic!("sends nothing: {step:?}"),
    }
}

#[track_caller]
fn reads(elector: &mut Elector, now: Timestamp) -> RequestId {
    let request = sent(elector.poll(now, 0));
    assert_eq!(request.operation, Operation::Read);
    request.id
}

#[track_caller]
fn updates(elector: &mut Elector, now: Timestamp) -> (RequestId, Stored) {
    let request = sent(elector.poll(now, 0));
    match request.operation {
        Operation::Update(stored) => (request.id, stored),
        operation => panic!("does not update: {operation:?}"),
    }
}

/// Reads `stored` at `now`.
#[track_caller]
fn sees(elector: &mut Elector, now: Timestamp, seen: &Stored) {
    let id = reads(elector, now);
    assert!(elector.answer(id, Answer::Stored(seen.clone()), now));
}

/// Returns an elector that leads term 1 from 0 to 10 s; its record has version 2.
fn leader() -> Elector {
    let mut elector = elector();
    sees(&mut elector, at(0), &stored(record("", 1, 0), "1"));
    let (id, update) = updates(&mut elector, at(0));
    assert_eq!(update.version, "1");
    let answer = Answer::Stored(stored(update.record, "2"));
    assert!(elector.answer(id, answer, at(1_000)));
    assert_eq!(elector.valid_until(), Some((Term::new(1), at(10_000))));
    elector
}

#[test]
fn a_missing_lease_is_created() {
    let mut elector = elector();
    let id = reads(&mut elector, at(5_000));
    elector.answer(id, Answer::NotFound, at(5_100));
    let request = sent(elector.poll(at(5_200), 7));
    let Operation::Create(written) = request.operation else {
        panic!("{request:?}");
    };
    assert_eq!(written.holder(), Some(OWN));
    assert_eq!(
        (written.term(), written.duration_seconds),
        (Term::new(0), Some(15))
    );
    assert_eq!(
        (written.acquire_time, written.renew_time),
        (Some(7), Some(7))
    );
    elector.answer(request.id, Answer::Stored(stored(written, "1")), at(6_000));
    assert_eq!(elector.check(at(15_199)), Some(Term::new(0)));
    assert_eq!(elector.check(at(15_200)), None);
}

#[test]
fn a_holder_is_judged_by_the_duration_in_its_record() {
    for (seconds, wait) in [
        (40, 40_000),
        (3, 3_000),
        (0, 15_000),
        (-1, 15_000),
        (i32::MAX, 15_000),
    ] {
        let mut elector = elector();
        let seen = stored(record("b", seconds, 3), "9");
        let id = reads(&mut elector, at(0));
        // Counted from the answer: the record may have been written just before it.
        elector.answer(id, Answer::Stored(seen.clone()), at(700));
        let expires = 700 + wait;
        let mut now = at(0);
        let (request, update) = loop {
            match elector.poll(now, 0) {
                Step::Wait(until) => {
                    assert!(until > now && until <= at(expires), "{until}");
                    now = until;
                }
                Step::Send(Request {
                    id,
                    operation: Operation::Read,
                }) => {
                    elector.answer(id, Answer::Stored(seen.clone()), now);
                }
                Step::Send(Request {
                    id,
                    operation: Operation::Update(update),
                }) => break (id, update),
                step => panic!("{step:?}"),
            }
        };
        // Exactly at the expiry, without a read before it.
        assert_eq!((now, &*update.version), (at(expires), "9"), "{seconds} s");
        assert_eq!(update.record.term(), Term::new(4));
        elector.answer(request, Answer::Conflict, now);
        assert_eq!(elector.check(now), None);
        reads(&mut elector, now);
    }
}

#[test]
fn any_change_of_the_record_starts_the_wait_again() {
    let original = stored(record("b", 15, 3), "9");
    let changes: [fn(&mut Stored); 6] = [
        |seen| seen.version = "10".to_owned(),
        |seen| seen.record.holder = Some("c".to_owned()),
        |seen| seen.record.duration_seconds = Some(16),
        |seen| seen.record.acquire_time = None,
        |seen| seen.record.renew_time = Some(2),
        |seen| seen.record.transitions = Some(4),
    ];
    for change in changes {
        let mut elector = elector();
        sees(&mut elector, at(0), &original);
        let mut changed = original.clone();
        change(&mut changed);
        sees(&mut elector, at(14_000), &changed);
        sees(&mut elector, at(17_000), &changed);
        assert!(
            matches!(elector.poll(at(17_001), 0), Step::Wait(_)),
            "{changed:?}"
        );
    }
}

#[test]
fn a_free_record_is_taken_at_once() {
    let nobody = Record::default();
    for free in [record("", 1, 3), nobody, record(OWN, 15, 3)] {
        let mut elector = elector();
        let term = free.term().number() + 1;
        sees(&mut elector, at(100), &stored(free, "9"));
        let (_, update) = updates(&mut elector, at(100));
        assert_eq!(update.record.term(), Term::new(term));
    }
}

#[test]
fn a_renewal_counts_from_before_it_was_sent_and_keeps_the_term() {
    let mut elector = leader();
    let Step::Wait(next) = elector.poll(at(1_000), 0) else {
        panic!("renews early");
    };
    assert!(next >= at(2_000) && next <= at(2_400), "{next}");
    let (id, update) = updates(&mut elector, at(3_000));
    assert_eq!(
        (update.record.term(), &*update.version),
        (Term::new(1), "2")
    );
    assert_eq!(elector.check(at(9_999)), Some(Term::new(1)));
    elector.answer(id, Answer::Stored(stored(update.record, "3")), at(7_000));
    assert_eq!(elector.valid_until(), Some((Term::new(1), at(13_000))));
}

#[test]
fn a_term_that_has_lapsed_does_not_come_back() {
    let mut elector = leader();
    let (id, update) = updates(&mut elector, at(9_000));
    elector.answer(id, Answer::Stored(stored(update.record, "3")), at(10_000));
    assert_eq!(elector.check(at(10_000)), None);
    let (_, update) = updates(&mut elector, at(10_000));
    assert_eq!(
        (update.record.term(), &*update.version),
        (Term::new(2), "3")
    );
}

#[test]
fn the_answer_to_an_abandoned_request_changes_nothing() {
    let mut elector = leader();
    let (renewal, update) = updates(&mut elector, at(3_000));
    let read = reads(&mut elector, at(8_000));
    let success = Answer::Stored(stored(update.record, "3"));
    assert!(!elector.answer(renewal, success.clone(), at(8_100)));
    assert_eq!(elector.valid_until(), Some((Term::new(1), at(10_000))));
    assert!(elector.answer(read, success.clone(), at(8_200)));
    assert!(!elector.answer(read, success, at(8_300)));
    // The renewal was applied: its version is known from the read.
    let Step::Wait(until) = elector.poll(at(8_300), 0) else {
        panic!("sends early");
    };
    assert_eq!(until, at(10_000));
}

#[test]
fn requests_of_a_holder_in_an_outage_are_a_retry_period_apart() {
    let mut elector = leader();
    let (mut now, mut sent_at) = (at(1_000), Vec::new());
    while now < at(60_000) {
        match elector.poll(now, 0) {
            Step::Wait(until) => now = until,
            Step::Send(request) => {
                sent_at.push(now);
                elector.answer(request.id, Answer::Failed, now);
            }
            Step::Done(outcome) => panic!("{outcome:?}"),
        }
        assert_eq!(elector.check(now).is_some(), now < at(10_000), "{now}");
    }
    for pair in sent_at.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(
            apart >= Duration::from_secs(2) && apart <= Duration::from_millis(2_400),
            "{apart:?}"
        );
    }
}

#[test]
fn a_leader_that_sees_another_record_steps_down() {
    for other in [record("b", 15, 1), record(OWN, 15, 2), record("", 1, 1)] {
        let mut elector = leader();
        let (id, _) = updates(&mut elector, at(3_000));
        elector.answer(id, Answer::Conflict, at(3_100));
        assert_eq!(elector.check(at(3_100)), Some(Term::new(1)));
        sees(&mut elector, at(3_100), &stored(other, "7"));
        assert_eq!(elector.check(at(3_100)), None);
    }
}

#[test]
fn a_leader_whose_lease_was_annotated_renews_with_the_new_version() {
    let mut elector = leader();
    let (id, update) = updates(&mut elector, at(3_000));
    elector.answer(id, Answer::Conflict, at(3_100));
    assert_eq!(elector.valid_until(), Some((Term::new(1), at(10_000))));
    sees(&mut elector, at(3_100), &stored(update.record, "7"));
    let Step::Wait(next) = elector.poll(at(3_100), 0) else {
        panic!("renews early");
    };
    let (_, update) = updates(&mut elector, next);
    assert_eq!(update.version, "7");
    assert!(next <= at(5_500), "{next}");
}

#[test]
fn conflicts_without_end_cause_no_storm() {
    let mut elector = elector();
    let (mut now, mut requests, mut version) = (at(0), 0, 0);
    while now < at(60_000) {
        match elector.poll(now, 0) {
            Step::Wait(until) => now = until,
            Step::Send(Request { id, operation }) => {
                requests += 1;
                version += 1;
                now += Duration::from_millis(1);
                let answer = match operation {
                    Operation::Read => {
                        Answer::Stored(stored(Record::default(), &version.to_string()))
                    }
                    _ => Answer::Conflict,
                };
                elector.answer(id, answer, now);
            }
            Step::Done(outcome) => panic!("{outcome:?}"),
        }
    }
    // Each retry period: a regular read, an update, and the read after its conflict, with an update.
    assert!(requests <= 4 * 30 + 4, "{requests} requests");
}

#[test]
fn a_record_that_a_webhook_changed_gives_no_term() {
    let mut elector = elector();
    sees(&mut elector, at(0), &stored(Record::default(), "1"));
    let (id, update) = updates(&mut elector, at(0));
    let mut changed = update.record;
    changed.duration_seconds = Some(5);
    elector.answer(id, Answer::Stored(stored(changed, "2")), at(10));
    assert_eq!(elector.check(at(10)), None);
    assert!(matches!(elector.poll(at(10), 0), Step::Wait(_)));
}

#[test]
fn a_candidate_waits_before_it_creates_a_lease_that_was_deleted() {
    let mut elector = elector();
    sees(&mut elector, at(0), &stored(record("b", 40, 3), "9"));
    let mut now = at(3_000);
    let id = reads(&mut elector, now);
    elector.answer(id, Answer::NotFound, now);
    let created = loop {
        match elector.poll(now, 0) {
            Step::Wait(until) => now = until,
            Step::Send(Request {
                id,
                operation: Operation::Read,
            }) => {
                elector.answer(id, Answer::NotFound, now);
            }
            Step::Send(Request {
                operation: Operation::Create(created),
                ..
            }) => break created,
            step => panic!("{step:?}"),
        }
    };
    assert_eq!((now, created.term()), (at(43_000), Term::new(4)));
}

#[test]
fn a_leader_whose_lease_was_deleted_creates_it_with_its_term() {
    let mut elector = leader();
    let (id, _) = updates(&mut elector, at(3_000));
    elector.answer(id, Answer::NotFound, at(3_100));
    assert_eq!(elector.check(at(3_100)), Some(Term::new(1)));
    let request = sent(elector.poll(at(3_100), 0));
    let Operation::Create(created) = request.operation else {
        panic!("{request:?}");
    };
    assert_eq!(created.term(), Term::new(1));
    elector.answer(request.id, Answer::Stored(stored(created, "1")), at(3_200));
    assert_eq!(elector.valid_until(), Some((Term::new(1), at(13_100))));
}

#[test]
fn a_namespace_that_is_missing_is_asked_for_each_retry_period() {
    let mut elector = elector();
    let (mut now, mut requests) = (at(0), 0);
    while now < at(20_000) {
        match elector.poll(now, 0) {
            Step::Wait(until) => now = until,
            Step::Send(request) => {
                requests += 1;
                elector.answer(request.id, Answer::NotFound, now);
            }
            Step::Done(outcome) => panic!("{outcome:?}"),
        }
    }
    assert!((10..=22).contains(&requests), "{requests}");
}

#[test]
fn a_release_ends_the_term_before_it_is_sent() {
    let mut elector = leader();
    elector.release(at(2_000));
    assert_eq!(elector.check(at(2_000)), None);
    let (id, update) = updates(&mut elector, at(2_000));
    assert_eq!(
        (update.record.holder(), update.record.duration_seconds),
        (None, Some(1))
    );
    assert_eq!(
        (update.record.term(), &*update.version),
        (Term::new(1), "2")
    );
    elector.answer(id, Answer::Stored(stored(update.record, "3")), at(2_100));
    assert_eq!(elector.poll(at(2_100), 0), Step::Done(Outcome::Released));
}

#[test]
fn a_release_reads_first_if_a_write_is_outstanding() {
    let mut elector = leader();
    let (renewal, update) = updates(&mut elector, at(3_000));
    elector.release(at(3_100));
    let applied = stored(update.record, "3");
    assert!(!elector.answer(renewal, Answer::Stored(applied.clone()), at(3_100)));
    sees(&mut elector, at(3_100), &applied);
    let (_, update) = updates(&mut elector, at(3_100));
    assert_eq!(update.version, "3");
}

#[test]
fn a_release_gives_up_at_the_renew_deadline_and_leaves_others_alone() {
    let mut elector = leader();
    elector.release(at(2_000));
    updates(&mut elector, at(2_000));
    reads(&mut elector, at(7_000));
    assert_eq!(elector.poll(at(11_999), 0), Step::Wait(at(12_000)));
    assert_eq!(elector.poll(at(12_000), 0), Step::Done(Outcome::GaveUp));

    let mut follower = self::elector();
    sees(&mut follower, at(0), &stored(record("b", 15, 3), "9"));
    follower.release(at(100));
    assert_eq!(follower.poll(at(100), 0), Step::Done(Outcome::NotHeld));
    assert_eq!(follower.poll(at(99_000), 0), Step::Done(Outcome::NotHeld));
}

#[test]
fn invalid_options_are_errors() {
    let error = Elector::new(ElectionConfig::default(), "", 1).unwrap_err();
    assert_eq!(error, ConfigError::Empty("identity"));
    let config = ElectionConfig {
        renew_deadline: Duration::from_secs(20),
        ..ElectionConfig::default()
    };
    assert!(Elector::new(config, OWN, 1).is_err());
}
