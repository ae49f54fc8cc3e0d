//! Lists page by page, and the tokens that continue them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::list::ListQuery;
use super::super::resource::by_plural;
use super::super::selector::Selector;
use super::super::store::{Key, Preconditions, Store};
use super::config_map;

fn create(store: &mut Store, namespace: &str, name: &str) {
    let ty = by_plural("configmaps").expect("served");
    store
        .create(ty, namespace, config_map(name), Timestamp::UNIX_EPOCH)
        .expect("valid");
}

fn delete(store: &mut Store, name: &str) {
    let ty = by_plural("configmaps").expect("served");
    let nothing = Preconditions::default();
    store
        .delete(ty, &Key::new("n", name), &nothing, Timestamp::UNIX_EPOCH)
        .expect("it exists");
}

fn query(namespace: Option<&str>, limit: usize, token: Option<String>) -> ListQuery {
    ListQuery {
        selector: Selector::parse(namespace, None, None).expect("valid"),
        limit: Some(limit),
        continue_token: token,
        ..ListQuery::default()
    }
}

/// One page: the names, the revision and the continue token, or the error code.
fn page(store: &Store, query: &ListQuery) -> Result<(Vec<String>, u64, Option<String>), u16> {
    let ty = by_plural("configmaps").expect("served");
    let page = store.list(ty, query).map_err(|status| status.code)?;
    let list: Value = serde_json::from_slice(&page.to_json(ty)).expect("valid JSON");
    assert_eq!(list["kind"], json!("ConfigMapList"));
    assert_eq!(
        list["metadata"]["resourceVersion"],
        json!(page.revision.to_string())
    );
    let items = list["items"].as_array().expect("a list");
    assert!(
        items
            .iter()
            .all(|item| item["kind"] == "ConfigMap" && item["apiVersion"] == "v1")
    );
    let names = items
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str());
    Ok((
        names.map(str::to_owned).collect(),
        page.revision,
        page.continue_token,
    ))
}

#[test]
fn all_pages_of_a_list_show_one_revision() {
    let mut store = Store::new(100);
    for name in ["a", "b", "c", "d", "e"] {
        create(&mut store, "n", name);
    }
    let revision = store.revision();
    let (names, shown, token) = page(&store, &query(None, 2, None)).expect("a page");
    assert_eq!(
        (names, shown),
        (vec!["a".to_owned(), "b".to_owned()], revision)
    );
    // A change between two pages is not in the list; a watch shows it.
    delete(&mut store, "d");
    create(&mut store, "n", "aa");
    create(&mut store, "n", "cc");
    delete(&mut store, "c");
    create(&mut store, "n", "d");
    delete(&mut store, "d");
    let (names, shown, token) = page(&store, &query(None, 2, token)).expect("a page");
    assert_eq!(
        (names, shown),
        (vec!["c".to_owned(), "d".to_owned()], revision)
    );
    let (names, shown, token) = page(&store, &query(None, 2, token)).expect("a page");
    assert_eq!(
        (names, shown, token),
        (vec!["e".to_owned()], revision, None)
    );
    let exact = ListQuery {
        resource_version: revision,
        exact: true,
        ..ListQuery::default()
    };
    assert_eq!(
        page(&store, &exact).expect("a page").0,
        ["a", "b", "c", "d", "e"]
    );
    let (names, shown, _) = page(&store, &query(None, 9, None)).expect("a page");
    assert_eq!(names, ["a", "aa", "b", "cc", "e"]);
    assert_eq!(shown, store.revision());
}

#[test]
fn a_list_of_a_namespace_has_only_its_objects() {
    let mut store = Store::new(100);
    for (namespace, name) in [("m", "x"), ("n", "a"), ("n", "b"), ("na", "c"), ("o", "d")] {
        create(&mut store, namespace, name);
    }
    let (names, _, token) = page(&store, &query(Some("n"), 1, None)).expect("a page");
    assert_eq!(names, ["a"]);
    delete(&mut store, "b");
    let (names, _, token) = page(&store, &query(Some("n"), 1, token)).expect("a page");
    assert_eq!((names, token), (vec!["b".to_owned()], None));
}

#[test]
fn expired_and_forged_continue_tokens_are_rejected() {
    let mut store = Store::new(2);
    for name in ["a", "b", "c"] {
        create(&mut store, "n", name);
    }
    let (_, _, token) = page(&store, &query(None, 1, None)).expect("a page");
    delete(&mut store, "a");
    assert!(page(&store, &query(None, 1, token.clone())).is_ok());
    create(&mut store, "n", "a");
    assert!(page(&store, &query(None, 1, token.clone())).is_ok());
    create(&mut store, "n", "d");
    assert_eq!(page(&store, &query(None, 1, token)).err(), Some(410));
    assert_eq!(
        page(&store, &query(None, 1, Some("?".into()))).err(),
        Some(400)
    );
    assert_eq!(
        page(&store, &query(None, 1, Some("99:n/a".into()))).err(),
        Some(400)
    );
    let future = ListQuery {
        resource_version: 99,
        ..ListQuery::default()
    };
    assert_eq!(page(&store, &future).err(), Some(504));
    let (_, _, token) = page(&store, &query(None, 1, None)).expect("a page");
    store.expire_history();
    assert_eq!(page(&store, &query(None, 1, token)).err(), Some(410));
}
