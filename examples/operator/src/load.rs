//! The users of the demo: they create objects, change some and delete some, and keep the expected result.

mod edits;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use crate::backup::{Backup, BackupSpec};
use crate::database::{Database, DatabaseSpec, snapshot_name};

pub use edits::Refusals;

const SAMPLES: [&str; 3] = [
    include_str!("../config/samples/orders.yaml"),
    include_str!("../config/samples/sessions.yaml"),
    include_str!("../config/samples/ledger.yaml"),
];

const ENGINES: [&str; 4] = ["postgres", "mysql", "mariadb", "redis"];

/// Concurrent requests of the users.
const CONCURRENCY: usize = 8;
/// One Database in so many is deleted.
const DELETED: usize = 11;
/// One Database in so many has a Backup.
const BACKED_UP: usize = 20;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    fn of(object: &impl Resource) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The expected state of an object.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It exists with this spec.
    Is(DatabaseSpec),
    /// It is deleted, with a snapshot if it had its finalizer by then.
    Gone {
        /// The name of the snapshot.
        snapshot: Option<String>,
    },
    /// It is a Backup, which has a schedule.
    Scheduled,
}

/// The expected state of each object ever created.
pub type Expected = BTreeMap<String, (Key, Fate)>;

/// The objects of a run.
pub struct Load {
    client: Client,
    objects: Vec<Database>,
    backups: Vec<Backup>,
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
        let spared = objects.iter().enumerate().filter(|(n, _)| n % DELETED != 0);
        let backups: Vec<_> = spared
            .step_by(BACKED_UP)
            .map(|(_, database)| backup_of(database))
            .collect();
        let databases = objects.iter();
        let databases = databases.map(|object| entry(object, Fate::Is(object.spec.clone())));
        let scheduled = backups.iter().map(|object| entry(object, Fate::Scheduled));
        let expected = databases.chain(scheduled).collect();
        Ok(Self {
            client,
            objects,
            backups,
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
        .await?;
        self.each(&self.backups, async |api, backup| {
            let params = PatchParams::apply("user");
            api.patch(&backup.name_any(), &params, &Patch::Apply(backup))
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

        let deleted: Vec<_> = self.objects.iter().step_by(DELETED).cloned().collect();
        let fates = self.each(&deleted, async |api, database| {
            let answer = api
                .delete(&database.name_any(), &DeleteParams::default())
                .await?;
            // A delete of an object with a finalizer returns the object itself.
            Ok(entry(
                database,
                Fate::Gone {
                    snapshot: answer.left().map(|object| {
                        snapshot_name(&object.name_any(), &object.uid().unwrap_or_default())
                    }),
                },
            ))
        });
        let fates = fates.await?;
        self.expected.extend(fates);
        Ok(())
    }

    async fn each<K, T>(
        &self,
        objects: &[K],
        request: impl AsyncFn(Api<K>, &K) -> kube::Result<T>,
    ) -> Result<Vec<T>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        stream::iter(objects)
            .map(|object| {
                let namespace = object.namespace().unwrap_or_default();
                request(Api::namespaced(self.client.clone(), &namespace), object)
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
            .context("a user's request failed")
    }
}

fn entry<K: Resource<DynamicType = ()>>(object: &K, fate: Fate) -> (String, (Key, Fate)) {
    let key = Key::of(object);
    (format!("{} {key}", K::kind(&())), (key, fate))
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

fn backup_of(database: &Database) -> Backup {
    let spec = BackupSpec {
        database: database.name_any(),
        schedule: "30 3 * * *".to_owned(),
        retention: 7,
    };
    let mut backup = Backup::new(&format!("{}-nightly", database.name_any()), spec);
    backup.metadata.namespace = database.namespace();
    backup
}

fn change(mut database: Database) -> Database {
    database.spec.replicas = database.spec.replicas % 5 + 1;
    database
}
