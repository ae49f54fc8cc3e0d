//! Watches over HTTP: their events, bookmarks, and what a watcher does when they break.

use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use serde_json::json;

use super::super::{ApiServer, Options};
use super::{database, databases, start, typed};

async fn create(api: &Api<DynamicObject>, name: &str) -> DynamicObject {
    api.create(&PostParams::default(), &typed(database(name)))
        .await
        .expect("new")
}

async fn label(api: &Api<DynamicObject>, name: &str, value: Option<&str>) {
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "l": value } } }));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .expect("there");
}

/// Reads a watch to its end, each event as one word.
async fn read(api: &Api<DynamicObject>, params: &WatchParams, version: &str) -> Vec<String> {
    let stream = api.watch(params, version).await.expect("a stream");
    let word = |event: Result<WatchEvent<DynamicObject>, kube::Error>| match event {
        Ok(WatchEvent::Added(object)) => format!("+{}", object.metadata.name.expect("a name")),
        Ok(WatchEvent::Modified(object)) => format!("~{}", object.metadata.name.expect("a name")),
        Ok(WatchEvent::Deleted(object)) => format!("-{}", object.metadata.name.expect("a name")),
        Ok(WatchEvent::Bookmark(bookmark)) => {
            let end = bookmark
                .metadata
                .annotations
                .contains_key("k8s.io/initial-events-end");
            format!(
                "{}{}",
                if end { "end@" } else { "@" },
                bookmark.metadata.resource_version
            )
        }
        Ok(WatchEvent::Error(status)) => format!("!{}", status.code),
        Err(error) => panic!("{error}"),
    };
    stream.map(word).collect().await
}

fn current(server: &ApiServer) -> String {
    server.shell.read(|store| store.revision()).to_string()
}

#[tokio::test]
async fn a_watch_delivers_the_events_after_its_version() {
    let server = start(Options::default()).await;
    let api = databases(&server);
    let first = create(&api, "a")
        .await
        .metadata
        .resource_version
        .expect("a version");
    create(&api, "b").await;
    label(&api, "a", Some("x")).await;
    api.delete("b", &Default::default()).await.expect("there");
    let params = WatchParams::default().timeout(1);
    let end = format!("@{}", current(&server));
    // Every watch here ends by its timeout, with a bookmark.
    let (all, labelled, named, streamed, unset) = tokio::join!(
        read(&api, &params, &first),
        async { read(&api, &params.clone().labels("l=x"), &first).await },
        async { read(&api, &params.clone().fields("metadata.name=a"), &first).await },
        async { read(&api, &params.clone().initial_events(), "0").await },
        read(&api, &params, "0"),
    );
    assert_eq!(all, ["+b", "~a", "-b", &end]);
    assert_eq!(labelled, ["+a", &end]);
    assert_eq!(named, ["~a", &end]);
    assert_eq!(streamed, ["+a", &format!("end{end}"), &end]);
    assert_eq!(unset, ["+a", &end]);
    label(&api, "a", None).await;
    let end = format!("@{}", current(&server));
    let labelled = read(&api, &params.clone().labels("l=x"), &first).await;
    assert_eq!(labelled, ["+a", "-a", &end]);
}

#[tokio::test]
async fn a_watch_from_before_the_history_gets_a_410() {
    let server = start(Options {
        history: 2,
        ..Options::default()
    })
    .await;
    let api = databases(&server);
    let first = create(&api, "a")
        .await
        .metadata
        .resource_version
        .expect("a version");
    for name in ["b", "c", "d"] {
        create(&api, name).await;
    }
    assert_eq!(read(&api, &WatchParams::default(), &first).await, ["!410"]);
    let latest = current(&server);
    server.expire_history();
    assert_eq!(read(&api, &WatchParams::default(), &latest).await, ["!410"]);
}

#[tokio::test]
async fn bookmarks_come_on_an_interval_and_show_changes_elsewhere() {
    let bookmark_every = std::time::Duration::from_millis(1);
    let server = start(Options {
        bookmark_every,
        ..Options::default()
    })
    .await;
    let api = databases(&server);
    let version = create(&api, "a")
        .await
        .metadata
        .resource_version
        .expect("a version");
    let stream = api
        .watch(&WatchParams::default(), &version)
        .await
        .expect("a stream");
    let mut stream = std::pin::pin!(stream);
    server.expire_history();
    let newest = current(&server);
    loop {
        match stream.try_next().await.expect("no faults").expect("no end") {
            WatchEvent::Bookmark(b) if b.metadata.resource_version == newest => break,
            WatchEvent::Bookmark(b) => assert_eq!(b.metadata.resource_version, version),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_listing_watcher_survives_cuts_and_lost_history() {
    survive(watcher::Config::default().page_size(3)).await;
}

#[tokio::test]
async fn a_streaming_watcher_survives_cuts_and_lost_history() {
    survive(watcher::Config::default().streaming_lists()).await;
}

async fn survive(config: watcher::Config) {
    let server = start(Options::default()).await;
    let api = databases(&server);
    for index in 0..7 {
        create(&api, &format!("db-{index}")).await;
    }
    let mut stream = std::pin::pin!(watcher(api.clone(), config));
    let mut next = async || stream.next().await.expect("no end");
    let mut started = 0;
    while !matches!(next().await, Ok(watcher::Event::InitDone)) {
        started += 1;
    }
    assert_eq!(started, 8, "the start and each object");
    // A change that arrives proves that the watch is open.
    label(&api, "db-0", Some("x")).await;
    assert!(matches!(next().await, Ok(watcher::Event::Apply(_))));
    assert_eq!(server.cut_watches(), 1);
    label(&api, "db-1", Some("x")).await;
    loop {
        match next().await {
            Ok(watcher::Event::Apply(object)) => {
                assert_eq!(object.metadata.name.as_deref(), Some("db-1"));
                break;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    }
    // A watch cannot start before the history, so the watcher lists again.
    server.expire_history();
    assert_eq!(server.cut_watches(), 1);
    let mut restarts = 0;
    loop {
        match next().await {
            Ok(watcher::Event::Init) => restarts += 1,
            Ok(watcher::Event::InitDone) => break,
            _ => {}
        }
    }
    assert_eq!(restarts, 1);
}
