//! The embedded API server in a process of its own, controlled by lines on standard input.

use std::collections::BTreeMap;
use std::io::{BufRead, Write, stdin, stdout};

use serde_json::{Value, json};
use testserver::{ApiServer, Options};
use tokio::runtime::Runtime;

use crate::clock::now;

/// Serves until standard input is closed. The first line on standard output is the address.
pub fn run(fault_rate: f64) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let options = Options {
        fault_rate,
        seed: 1,
        faults_for: "bench-".to_owned(),
        ..Options::default()
    };
    let mut control = Control {
        server: runtime.block_on(ApiServer::start(options))?,
        objects: 0,
        touches: 0,
        edits: BTreeMap::new(),
    };
    writeln!(stdout(), "{}", control.server.url())?;
    for line in stdin().lock().lines() {
        let answer = control.answer(&line?)?;
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

struct Control {
    server: ApiServer,
    objects: usize,
    touches: usize,
    /// The object of each edit.
    edits: BTreeMap<usize, usize>,
}

impl Control {
    fn answer(&mut self, line: &str) -> anyhow::Result<String> {
        let words: Vec<&str> = line.split(' ').collect();
        Ok(match words[..] {
            ["load", n] => {
                self.objects = n.parse()?;
                for object in 0..self.objects {
                    self.load(object)?;
                }
                "ok".to_owned()
            }
            ["edit", object, edit] => {
                let (object, edit) = (object.parse()?, edit.parse()?);
                self.edits.insert(edit, object);
                let at = now();
                self.merge(object, json!({ "data": { "edit": edit.to_string() } }))?;
                at.to_string()
            }
            ["touch"] => {
                // Clients see nothing of it but a list of objects that have all changed.
                self.server.set_available(false);
                self.touches += 1;
                for object in 0..self.objects {
                    let touch = self.touches.to_string();
                    self.merge(object, json!({ "data": { "touch": touch } }))?;
                }
                self.server.expire_history();
                self.server.set_available(true);
                now().to_string()
            }
            ["available", available] => {
                self.server.set_available(available.parse()?);
                now().to_string()
            }
            ["calls", agent] => {
                let calls = self.server.calls(agent);
                let mut text = self.server.requests(agent).to_string();
                for ((verb, _), times) in calls {
                    text += &format!(" {verb:?}={times}").to_lowercase();
                }
                text
            }
            ["pending"] => {
                let edits = self.edits.iter();
                let pending = edits.filter(|(edit, object)| !self.is_written(**object, **edit));
                pending.count().to_string()
            }
            _ => anyhow::bail!("unknown command: {line}"),
        })
    }

    fn load(&self, object: usize) -> anyhow::Result<()> {
        let (namespace, name) = place(object);
        let map = json!({
            "metadata": {
                "name": name,
                "labels": {
                    "app.kubernetes.io/name": "shop",
                    "app.kubernetes.io/instance": format!("shop-{}", object % 100),
                    "app.kubernetes.io/managed-by": "bench",
                },
                "annotations": { "example.com/edit": "0" },
            },
            "data": { "edit": "0", "touch": "0", "config": format!("replicas: {}\nengine: postgres\n", object % 5) },
        });
        let created = self.server.create("configmaps", &namespace, map);
        created.map(drop).map_err(refused)
    }

    fn merge(&self, object: usize, patch: Value) -> anyhow::Result<()> {
        let (namespace, name) = place(object);
        let merged = self.server.merge("configmaps", &namespace, &name, patch);
        merged.map(drop).map_err(refused)
    }

    fn is_written(&self, object: usize, edit: usize) -> bool {
        let (namespace, name) = place(object);
        let map = self.server.get("configmaps", &namespace, &name);
        let edit = edit.to_string();
        map.is_some_and(|map| map["metadata"]["annotations"]["example.com/edit"] == edit)
    }
}

/// The namespace and the name of an object.
fn place(object: usize) -> (String, String) {
    (format!("team-{}", object % 10), format!("map-{object}"))
}

fn refused(status: Value) -> anyhow::Error {
    anyhow::anyhow!("the server refused a write: {status}")
}
