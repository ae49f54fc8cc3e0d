//! A server that is down or hangs, seen by its clients.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{PostParams, WatchEvent, WatchParams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::super::{ApiServer, Options};
use super::{PATIENCE, arrived, code, database, databases, start, typed};

/// How long nothing must happen.
const SILENCE: Duration = Duration::from_millis(100);

/// Sends one request on a connection of its own, and reads until the server closes it.
async fn answer(server: &ApiServer) -> String {
    let address = server.url().authority().expect("an authority").to_string();
    let mut stream = TcpStream::connect(address).await.expect("accepted");
    let request =
        "GET /version HTTP/1.1\r\nhost: h\r\nuser-agent: raw\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut text)).await;
    // A reset is an end too.
    let _ = read.expect("an end");
    text
}

#[tokio::test]
async fn an_outage_breaks_every_connection_and_answers_none() {
    let server = start(Options::default()).await;
    let api = databases(&server);
    server
        .create("databases", "ns", database("db"))
        .expect("valid");
    api.get("db").await.expect("there");
    let stream = api.watch(&WatchParams::default(), "0").await.expect("open");
    let mut stream = stream.boxed();
    let first = stream.try_next().await.expect("no fault");
    assert!(matches!(first, Some(WatchEvent::Added(_))));

    server.set_available(false);
    let broken = timeout(PATIENCE, stream.next()).await.expect("an end");
    assert!(!matches!(broken, Some(Ok(_))), "{broken:?}");
    assert_eq!(code(api.get("db").await), 0);
    for count in 1..=3 {
        assert_eq!(answer(&server).await, "");
        assert_eq!(server.requests("raw"), count);
    }
    server.set_available(true);
    api.get("db").await.expect("there again");
    let answer = answer(&server).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_request_in_flight_when_the_server_goes_down_is_not_carried_out() {
    let server = start(Options {
        latency: Duration::from_millis(200),
        ..Options::default()
    })
    .await;
    let api = databases(&server);
    let object = typed(database("db"));
    let post = PostParams::default();
    let create = async { code(api.create(&post, &object).await) };
    let outage = async {
        arrived(&server, 1).await;
        server.set_available(false);
    };
    assert_eq!(tokio::join!(create, outage).0, 0);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(server.count("databases"), 0);
}

#[tokio::test]
async fn a_hung_server_answers_when_it_goes_on() {
    let server = start(Options::default()).await;
    let api = databases(&server);
    let stream = api.watch(&WatchParams::default(), "0").await.expect("open");
    let mut stream = stream.boxed();
    server.hang(true);
    server
        .create("databases", "ns", database("db"))
        .expect("valid");
    let mut get = std::pin::pin!(api.get("db"));
    assert!(timeout(SILENCE, get.as_mut()).await.is_err());
    assert!(timeout(SILENCE, stream.next()).await.is_err());
    arrived(&server, 2).await;
    server.hang(false);
    timeout(PATIENCE, get)
        .await
        .expect("an answer")
        .expect("there");
    let event = timeout(PATIENCE, stream.next()).await.expect("an event");
    assert!(matches!(event, Some(Ok(WatchEvent::Added(_)))), "{event:?}");
}
