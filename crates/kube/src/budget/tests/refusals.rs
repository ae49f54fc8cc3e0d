//! Answers by which the server asks for less.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refusal_pauses_all_and_the_request_is_sent_again() {
    let server = Server::new().answers([(429, Some("3"))]);
    let budget = budget("10/s burst 20");
    let mut refused = Box::pin(server.send(&budget, Method::PATCH, OBJECT));
    assert!(waits(&mut refused).await);
    let other = server.send(&budget, Method::GET, OBJECT);
    assert_eq!(futures::future::join(refused, other).await, (200, 200));
    // After the pause the tokens start at one.
    assert_eq!(server.times(), [0, 3_000, 3_100]);
    assert_eq!(server.lines(), ["PATCH {}", "PATCH {}", "GET {}"]);
    assert_eq!(budget.available(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_shorten_a_longer_pause() {
    let mut server = Server::new().answers([(429, Some("10")), (503, Some("1"))]);
    server.latency = Duration::from_millis(50); // so that both are under way
    let budget = budget("10/s burst 20");
    let sent = (0..2).map(|_| server.send(&budget, Method::GET, OBJECT));
    assert_eq!(futures::future::join_all(sent).await, [200, 200]);
    assert_eq!(server.times(), [0, 0, 10_050, 10_150]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_a_second_if_unnamed_and_five_minutes_at_most() {
    let server = Server::new().answers([(429, None), (429, Some("86400"))]);
    let budget = budget("10/s");
    assert_eq!(server.send(&budget, Method::GET, OBJECT).await, 200);
    assert_eq!(server.times(), [0, 1_000, 301_000]);
}

#[tokio::test(start_paused = true)]
async fn the_caller_gets_the_refusal_after_ten_retries() {
    let server = Server::new().answers([(429, Some("1")); 20]);
    let budget = budget("10/s");
    assert_eq!(server.send(&budget, Method::GET, OBJECT).await, 429);
    assert_eq!(
        server.times(),
        (0..=10).map(|s| s * 1_000).collect::<Vec<_>>()
    );
    let wait = budget.status().retry_after;
    assert_eq!(
        wait,
        Some(Duration::from_secs(1)),
        "the last one pauses too"
    );
}

#[tokio::test(start_paused = true)]
async fn other_answers_are_the_callers() {
    for status in [200, 403, 404, 409, 500, 503] {
        let (server, budget) = (Server::new().answers([(status, None)]), budget("10/s"));
        assert_eq!(server.send(&budget, Method::PATCH, OBJECT).await, status);
        assert_eq!((server.times().len(), budget.available()), (1, 9));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_cloned_is_sent_once() {
    let server = Server::new().answers([(200, None), (429, Some("3"))]);
    let budget = budget("10/s");
    let client = kube::Client::new(server.service(), "a");
    let stream = client
        .send(request(Method::GET, OBJECT))
        .await
        .unwrap()
        .into_body();
    assert!(stream.try_clone().is_none());
    let request = Request::put(OBJECT).body(stream).unwrap();
    assert_eq!(server.send_request(&budget, request).await, 429);
    assert_eq!(server.lines(), ["GET {}", "PUT plain text"]);
    assert_eq!(budget.status().retry_after, Some(Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn a_lease_waits_for_no_pause_and_causes_none() {
    let (server, budget) = (Server::new(), budget("10/s"));
    budget.pause_for(Duration::from_secs(60));
    assert_eq!(server.send(&budget, Method::PUT, LEASE).await, 200);
    assert_eq!(
        (server.now(), budget.status().retry_after),
        (0, Some(Duration::from_secs(60)))
    );

    let server = Server::new().answers([(429, Some("30"))]);
    let budget = super::budget("10/s");
    assert_eq!(server.send(&budget, Method::PUT, LEASE).await, 429);
    assert_eq!((server.times(), budget.available()), (vec![0], 10));
}

#[tokio::test(start_paused = true)]
async fn an_unlimited_budget_can_be_paused() {
    let server = Server::new().answers([(429, Some("2"))]);
    let budget = budget("unlimited");
    assert_eq!(server.send(&budget, Method::GET, OBJECT).await, 200);
    assert_eq!(server.times(), [0, 2_000]);
    budget.set_quota(Quota::unlimited()).unwrap();
    budget.pause_for(Duration::from_secs(1));
    assert_eq!(server.send(&budget, Method::GET, LIST).await, 200);
    assert_eq!(server.now() / 1_000, 3);
}
