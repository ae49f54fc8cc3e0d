//! The users of the demo: they create objects, change some and delete some, and keep the expected result.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::crd::{Database, DatabaseSpec};
use crate::reconcile::Key;

const SAMPLES: [&str; 3] = [
    include_str!("../config/samples/orders.yaml"),
    include_str!("../config/samples/sessions.yaml"),
    include_str!("../config/samples/ledger.yaml"),
];

const ENGINES: [&str; 4] = ["postgres", "mysql", "mariadb", "redis"];

/// Concurrent requests of the users.
const CONCURRENCY: usize = 8;

/// The expected state of an object.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It exists with this spec.
    Is(DatabaseSpec),
    /// It is deleted, with a snapshot if it had its finalizer by then.
    Gone {
        /// Whether a snapshot is expected.
        snapshot: bool,
    },
}

/// The expected state of each object ever created.
pub type Expected = BTreeMap<String, (Key, Fate)>;

/// The objects of a run.
pub struct Load {
    client: Client,
    objects: Vec<Database>,
    /// The expected state of all objects.
    pub expected: Expected,
}

impl Load {
    /// The samples and `generated` further objects.
    ///
    /// # Errors
    /// If a sample is no Database.
    pub fn new(client: Client, generated: usize) -> Result<Self> {
        let samples = SAMPLES
            .iter()
            .map(|text| serde_saphyr::from_str::<Database>(text));
        let mut objects = samples
            .collect::<Result<Vec<_>, _>>()
            .context("a sample is no Database")?;
        objects.extend((0..generated).map(generate));
        let expected = objects
            .iter()
            .map(|database| entry(database, Fate::Is(database.spec.clone())))
            .collect();
        Ok(Self {
            client,
            objects,
            expected,
        })
    }

    /// Creates all objects.
    ///
    /// # Errors
    /// The error of a request.
    pub async fn create(&self) -> Result<()> {
        self.each(&self.objects, async |api, database| {
            let params = PatchParams::apply("user");
            api.patch(&database.name_any(), &params, &Patch::Apply(database))
                .await
                .map(drop)
        })
        .await
        .map(drop)
    }

    /// Changes every seventh object and deletes every eleventh.
    ///
    /// # Errors
    /// The error of a request.
    pub async fn change(&mut self) -> Result<()> {
        let changed: Vec<_> = self
            .objects
            .iter()
            .step_by(7)
            .cloned()
            .map(change)
            .collect();
        self.each(&changed, async |api, database| {
            let patch = Patch::Merge(json!({ "spec": database.spec }));
            api.patch(&database.name_any(), &PatchParams::default(), &patch)
                .await
                .map(drop)
        })
        .await?;
        self.expected.extend(
            changed
                .iter()
                .map(|database| entry(database, Fate::Is(database.spec.clone()))),
        );

        let deleted: Vec<_> = self.objects.iter().step_by(11).cloned().collect();
        let fates = self.each(&deleted, async |api, database| {
            let answer = api
                .delete(&database.name_any(), &DeleteParams::default())
                .await?;
            // A delete of an object with a finalizer returns the object itself.
            Ok(entry(
                database,
                Fate::Gone {
                    snapshot: answer.is_left(),
                },
            ))
        });
        let fates = fates.await?;
        self.expected.extend(fates);
        Ok(())
    }

    async fn each<T>(
        &self,
        databases: &[Database],
        request: impl AsyncFn(Api<Database>, &Database) -> kube::Result<T>,
    ) -> Result<Vec<T>> {
        stream::iter(databases)
            .map(|database| {
                let namespace = database.namespace().unwrap_or_default();
                request(Api::namespaced(self.client.clone(), &namespace), database)
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
            .context("a user's request failed")
    }
}

fn entry(database: &Database, fate: Fate) -> (String, (Key, Fate)) {
    let key = Key::of(database);
    (key.to_string(), (key, fate))
}

fn generate(n: usize) -> Database {
    let spec = DatabaseSpec {
        engine: ENGINES[n % ENGINES.len()].to_owned(),
        replicas: i32::try_from(n % 5).unwrap_or(0) + 1,
        storage: format!("{}Gi", n % 50 + 1),
    };
    let mut database = Database::new(&format!("generated-{n:05}"), spec);
    database.metadata.namespace = Some(format!("team-{}", n % 10));
    database
}

fn change(mut database: Database) -> Database {
    database.spec.replicas = database.spec.replicas % 5 + 1;
    database
}
