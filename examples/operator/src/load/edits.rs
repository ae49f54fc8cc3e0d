//! Edits that must be refused: most by the webhook, and what the schema alone can tell by the schema.

use std::fmt;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{CONCURRENCY, Key, Load};
use crate::webhook::NAME;

/// One Database in so many is edited.
const EDITED: usize = 25;

/// How many edits were refused, of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    refused: usize,
    tried: usize,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.refused, self.tried)
    }
}

/// What became of the edits.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// Those that the webhook must refuse.
    pub by_webhook: Refused,
    /// Those that the schema must refuse, before the webhook sees them.
    pub by_schema: Refused,
    /// Those that were not refused by what must refuse them, in words.
    pub missing: Vec<String>,
}

impl Refusals {
    /// Whether all edits were refused as they must be.
    pub fn are_complete(&self) -> bool {
        self.missing.is_empty()
    }

    fn count(&mut self, edit: &str, by: Refuser, found: Option<Refuser>) {
        let refused = match by {
            Refuser::Webhook => &mut self.by_webhook,
            Refuser::Schema => &mut self.by_schema,
        };
        refused.tried += 1;
        match found {
            Some(found) if found == by => refused.refused += 1,
            Some(_) => self
                .missing
                .push(format!("{edit} was not refused by the {by}")),
            None => self.missing.push(format!("{edit} was taken")),
        }
    }
}

/// What refuses an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refuser {
    Webhook,
    Schema,
}

impl fmt::Display for Refuser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Webhook => "webhook",
            Self::Schema => "schema",
        })
    }
}

/// A field of the spec, the value that it must not take, and what refuses it.
type Edit = (&'static str, Value, Refuser);

impl Load {
    /// Tries edits that must be refused, on some of the objects.
    ///
    /// # Errors
    /// A request that failed otherwise.
    pub async fn try_forbidden(&self) -> Result<Refusals> {
        let of_databases = [
            ("engine", json!("oracle"), Refuser::Webhook),
            // The smallest has 1Gi.
            ("storage", json!("1023Mi"), Refuser::Webhook),
            ("storage", json!("lots"), Refuser::Webhook),
            ("replicas", json!(6), Refuser::Schema),
        ];
        let of_backups = [
            ("schedule", json!("every night at three"), Refuser::Webhook),
            ("database", json!("No_Name"), Refuser::Webhook),
        ];
        let mut refusals = Refusals::default();
        let databases: Vec<_> = self.objects.iter().step_by(EDITED).collect();
        self.try_edits(&databases, &of_databases, &mut refusals)
            .await?;
        let backups: Vec<_> = self.backups.iter().step_by(EDITED).collect();
        self.try_edits(&backups, &of_backups, &mut refusals).await?;
        Ok(refusals)
    }

    async fn try_edits<K>(
        &self,
        objects: &[&K],
        edits: &[Edit],
        refusals: &mut Refusals,
    ) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + fmt::Debug + DeserializeOwned,
    {
        let all = objects.iter().flat_map(|object| {
            let edits = edits.iter();
            edits.map(move |edit| (*object, edit))
        });
        let tried: Vec<_> = stream::iter(all)
            .map(|(object, edit)| self.try_edit(object, edit))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        for (edit, by, found) in tried {
            refusals.count(&edit, by, found);
        }
        Ok(())
    }

    /// The edit in words, what must refuse it, and what did.
    async fn try_edit<K>(
        &self,
        object: &K,
        (field, value, by): &Edit,
    ) -> Result<(String, Refuser, Option<Refuser>)>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + fmt::Debug + DeserializeOwned,
    {
        let key = Key::of(object);
        let edit = format!("the edit of {key} to {field} {value}");
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Merge(json!({ "spec": { *field: value } }));
        let patched = api
            .patch(&object.name_any(), &PatchParams::default(), &patch)
            .await;
        let found = match patched {
            Ok(_) => None,
            Err(kube::Error::Api(status)) if status.code == 422 => {
                let denied = format!("admission webhook {NAME:?} denied the request: ");
                match status.message.starts_with(&denied) {
                    true => Some(Refuser::Webhook),
                    false => Some(Refuser::Schema),
                }
            }
            Err(error) => return Err(error).with_context(|| format!("{edit} failed")),
        };
        Ok((edit, *by, found))
    }
}
