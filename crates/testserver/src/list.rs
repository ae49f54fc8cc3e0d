//! Paged lists; all pages show one revision.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;

use super::resource::ResourceType;
use super::selector::Selector;
use super::status::Status;
use super::store::{Key, Object, Store};

/// The parameters of a list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// The selected objects.
    pub selector: Selector,
    /// The page size; `None` for all objects.
    pub limit: Option<usize>,
    /// The continue token: where the previous page ended.
    pub continue_token: Option<String>,
    /// The requested revision; 0 for any.
    pub resource_version: u64,
    /// Whether it must be exactly that revision.
    pub exact: bool,
}

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    /// The selected objects in order.
    pub items: Vec<Arc<Object>>,
    /// The revision that the list shows.
    pub revision: u64,
    /// The continue token of the next page.
    pub continue_token: Option<String>,
}

impl Store {
    /// Lists objects of one type.
    pub fn list(&self, ty: &'static ResourceType, query: &ListQuery) -> Result<Page, Status> {
        let (revision, after) = self.list_start(ty, query)?;
        let limit = query.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut last = None;
        for (key, object) in self.at(ty, revision, &query.selector, after.as_ref())? {
            if !query.selector.may_select(key) || !query.selector.selects_labels(&object.value) {
                continue;
            }
            if items.len() == limit {
                return Ok(Page {
                    items,
                    revision,
                    continue_token: token(revision, last),
                });
            }
            items.push(object.clone());
            last = Some(key);
        }
        Ok(Page {
            items,
            revision,
            continue_token: None,
        })
    }

    /// The revision to show, and the key after which to begin.
    fn list_start(
        &self,
        ty: &'static ResourceType,
        query: &ListQuery,
    ) -> Result<(u64, Option<Key>), Status> {
        if let Some(token) = &query.continue_token {
            let (revision, key) = parse_token(token)
                .filter(|(revision, _)| *revision <= self.revision())
                .ok_or_else(|| Status::bad_request("continue key is not valid"))?;
            self.history(ty).check_start(revision).map_err(|_| {
                Status::expired(
                    "The provided continue parameter is too old to display a consistent list \
                     result. You must start a new list without the continue parameter.",
                )
            })?;
            return Ok((revision, Some(key)));
        }
        let wanted = query.resource_version;
        if wanted > self.revision() {
            return Err(Status::too_large_resource_version(wanted, self.revision()));
        }
        if query.exact && wanted > 0 {
            self.history(ty).check_start(wanted)?;
            return Ok((wanted, None));
        }
        Ok((self.revision(), None))
    }

    /// The objects as they were at a revision, in order, beginning after a key.
    fn at<'a>(
        &'a self,
        ty: &'static ResourceType,
        revision: u64,
        selector: &Selector,
        after: Option<&Key>,
    ) -> Result<impl Iterator<Item = (&'a Key, &'a Arc<Object>)>, Status> {
        // Going back from the newest event, the last event of a key has its state at that revision.
        let mut then = BTreeMap::new();
        let events = self.history(ty).after(revision);
        let events = events.map_err(|_| Status::expired("the resource version is too old"))?;
        for event in events.rev() {
            then.insert(&event.key, event.previous.as_ref());
        }
        let namespace = selector.namespace().map(str::to_owned);
        let first = after.cloned().map_or_else(
            || match &namespace {
                Some(namespace) => Bound::Included(Key::new(namespace, "")),
                None => Bound::Unbounded,
            },
            Bound::Excluded,
        );
        let old: Vec<_> = then
            .iter()
            .filter_map(|(key, object)| Some((*key, (*object)?)))
            .filter(|(key, _)| match &first {
                Bound::Included(first) => *key >= first,
                Bound::Excluded(first) => *key > first,
                Bound::Unbounded => true,
            })
            .collect();
        let live = self.objects(ty).range((first, Bound::Unbounded));
        let unchanged = live.filter(move |(key, _)| !then.contains_key(key));
        let merged = merge(unchanged, old.into_iter());
        Ok(merged.take_while(move |(key, _)| {
            namespace
                .as_ref()
                .is_none_or(|namespace| key.namespace == *namespace)
        }))
    }
}

/// Merges two sequences in order of key.
fn merge<'a, T: 'a>(
    one: impl Iterator<Item = (&'a Key, T)>,
    other: impl Iterator<Item = (&'a Key, T)>,
) -> impl Iterator<Item = (&'a Key, T)> {
    fn key_of<'a, T>(items: &mut Peekable<impl Iterator<Item = (&'a Key, T)>>) -> Option<&'a Key> {
        items.peek().map(|(key, _)| *key)
    }
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (key_of(&mut one), key_of(&mut other)) {
        (Some(left), Some(right)) if right < left => other.next(),
        (None, _) => other.next(),
        _ => one.next(),
    })
}

fn token(revision: u64, last: Option<&Key>) -> Option<String> {
    last.map(|key| format!("{revision}:{}/{}", key.namespace, key.name))
}

fn parse_token(token: &str) -> Option<(u64, Key)> {
    let (revision, key) = token.split_once(':')?;
    let (namespace, name) = key.split_once('/')?;
    Some((revision.parse().ok()?, Key::new(namespace, name)))
}

impl Page {
    /// The list object as JSON text, put together from the texts of its items.
    pub fn to_json(&self, ty: &ResourceType) -> Bytes {
        let mut metadata = json!({ "resourceVersion": self.revision.to_string() });
        if let Some(token) = &self.continue_token {
            metadata["continue"] = token.as_str().into();
        }
        let head = format!(
            "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
            ty.kind, ty.api_version
        );
        let length: usize = self.items.iter().map(|item| item.json.len() + 1).sum();
        let mut list = BytesMut::with_capacity(head.len() + length + 2);
        list.put_slice(head.as_bytes());
        for (position, item) in self.items.iter().enumerate() {
            if position > 0 {
                list.put_u8(b',');
            }
            list.put_slice(&item.json);
        }
        list.put_slice(b"]}");
        list.freeze()
    }
}
