//! A run against the embedded API server, and its verdict.

mod hook;

use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tollgate::Observer;

use crate::MANAGED_BY;
use crate::cli::Args;
use crate::cluster::{StopSignals, builder};
use crate::database::DatabaseSpec;
use crate::load::{Expected, Fate, Key, Load, Refusals};
use crate::measure::Measure;
use crate::operator::{Controllers, set_up};
use crate::progress::{Moment, Progress};
use crate::report::timeline::Timeline;
use crate::report::{self, svg};
use testserver::account::largest_excess;
use testserver::{ApiServer, Options};

/// Allowance for jitter between the limiter's decision and the arrival at the server.
pub const SLACK: Duration = Duration::from_millis(50);
/// How often progress is shown and convergence checked.
const TICK: Duration = Duration::from_millis(250);
/// A run without progress for this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The `User-Agent` of the operator.
pub const OPERATOR_AGENT: &str = MANAGED_BY.1;
/// The `User-Agent` of the demo's users.
const USERS_AGENT: &str = "tollgate-load";

/// Runs the operator against an embedded server until all objects have converged, or a signal.
///
/// # Errors
/// A one-line message of what is wrong.
pub async fn run(args: &Args) -> Result<ExitCode> {
    for (given, flag) in [
        (args.webhook_certs.is_some(), "--webhook-certs"),
        (args.install_crd, "--install-crd"),
    ] {
        if given {
            bail!("{flag} is of use on a cluster only, and none is configured");
        }
    }
    let options = Options {
        fault_rate: args.fault_rate,
        seed: args.seed,
        faults_for: OPERATOR_AGENT.to_owned(),
        ..Options::default()
    };
    let server = ApiServer::start(options)
        .await
        .context("the embedded API server cannot start")?;
    let timeline = Timeline::start();
    // Before the run, so that none is lost to a file that cannot be written.
    let drawing = args.report.as_deref().map(create).transpose()?;
    let mut signals = StopSignals::listen()?;
    println!("API server on {}, budget {}", server.url(), args.quota()?);

    let mut load = Load::new(users(&server)?, args.objects)?;
    check_namespaces(&load.expected, &args.namespaces)?;
    let measure = Arc::new(Measure::new());
    let mut operator = builder(args, Config::new(server.url()))?.build().await?;
    let webhook = hook::start(&server, args.drain_timeout).await?;
    if let Some(address) = operator.address() {
        println!("probes, metrics and queues on http://{address}/");
    }
    let observer: Arc<dyn Observer> = measure.clone();
    let controllers = set_up(&mut operator, &args.settings(), &observer)?;
    let (stop, stopping) = oneshot::channel::<()>();
    let mut running = tokio::spawn(operator.run_until(async move { drop(stopping.await) }));

    let started = Instant::now();
    let mut run = Run {
        server: &server,
        controllers: &controllers,
        measure: &measure,
        progress: Progress::new(args.qps),
        total: load.expected.len(),
        refusals: Refusals::default(),
        timeline,
    };
    let stopped = tokio::select! {
        ended = &mut running => { ended??; bail!("the operator ended by itself") }
        signal = signals.first() => Some(signal),
        converged = run.converge(&mut load) => { converged?; None }
    };
    let took = started.elapsed();
    let (timeline, total, refusals) = (run.timeline, run.total, run.refusals);
    if let Some(signal) = stopped {
        println!("{signal}: draining");
    }
    // The receiver waits in the operator.
    let _ = stop.send(());
    let left = running.await??;
    webhook.stop().await?;
    let judgement = Judgement::of(&server, &load.expected, args, refusals);
    if let Some(mut file) = drawing {
        let arrivals = server.arrivals(OPERATOR_AGENT);
        let picture = svg::draw(&timeline, &arrivals, total, (args.qps, args.burst));
        file.write_all(picture.as_bytes())
            .context("the report cannot be written")?;
    }
    let mut rows = vec![
        ("objects created / deleted", objects(&load.expected)),
        ("run time", format!("{took:.1?}")),
    ];
    rows.extend(report::of_measure(&measure));
    rows.extend(judgement.rows(args, took));
    println!("{}", report::stopped(&left));
    println!("{}", report::table(&rows));
    if stopped.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(judgement.verdict())
}

/// An object outside the namespaces that are watched would never converge.
fn check_namespaces(expected: &Expected, watched: &[String]) -> Result<()> {
    let mut keys = expected.values().map(|(key, _)| key);
    match keys.find(|key| !watched.is_empty() && !watched.contains(&key.namespace)) {
        Some(Key { namespace, .. }) => {
            bail!("--namespaces leaves out {namespace}, in which the demo has objects")
        }
        None => Ok(()),
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

/// A client without a budget.
fn users(server: &ApiServer) -> Result<Client> {
    let mut config = Config::new(server.url());
    let agent = HeaderValue::from_static(USERS_AGENT);
    config.headers.push((USER_AGENT, agent));
    Client::try_from(config).context("the users' client cannot be set up")
}

fn objects(expected: &Expected) -> String {
    let deleted = expected
        .values()
        .filter(|(_, fate)| matches!(fate, Fate::Gone { .. }))
        .count();
    format!("{} / {deleted}", expected.len())
}

/// The ticks at which progress is shown. Late ticks are delayed, so that they do not slow the run down.
fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A running demo.
struct Run<'a> {
    server: &'a ApiServer,
    controllers: &'a Controllers,
    measure: &'a Measure,
    progress: Progress,
    total: usize,
    refusals: Refusals,
    timeline: Timeline,
}

impl Run<'_> {
    /// Lets the users create objects, try what must be refused, change and delete some once half have converged, and
    /// waits for the rest.
    async fn converge(&mut self, load: &mut Load) -> Result<()> {
        self.show_while(&load.expected, load.create()).await?;
        if self.until(&load.expected, self.total / 2).await {
            let before = load.expected.clone();
            self.refusals = self.show_while(&before, load.try_forbidden()).await?;
            if !self.refusals.are_complete() {
                // What was taken has no expected state to converge to.
                self.progress.finish();
                return Ok(());
            }
            self.show_while(&before, load.change()).await?;
            self.until(&load.expected, self.total).await;
        }
        self.progress.finish();
        Ok(())
    }

    /// Shows progress until `work` is done.
    async fn show_while<T>(&mut self, expected: &Expected, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut tick = ticks();
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => drop(self.show(expected)),
            }
        }
    }

    /// Shows progress until `enough` objects have converged; returns false after [`PATIENCE`] without progress.
    async fn until(&mut self, expected: &Expected, enough: usize) -> bool {
        let mut tick = ticks();
        let mut best = (0, Instant::now());
        loop {
            tick.tick().await;
            let converged = self.show(expected);
            if converged >= enough {
                return true;
            }
            if converged > best.0 {
                best = (converged, Instant::now());
            }
            if best.1.elapsed() > PATIENCE {
                return false;
            }
        }
    }

    fn show(&mut self, expected: &Expected) -> usize {
        let converged = self.total - unconverged(self.server, expected).len();
        let [databases, backups] = [
            self.controllers.databases.queue.stats(),
            self.controllers.backups.queue.stats(),
        ];
        let ready = databases.ready + backups.ready;
        let delayed = databases.delayed + backups.delayed;
        self.timeline.add(ready, delayed, converged);
        self.progress.show(Moment {
            converged,
            total: self.total,
            reconciles: self.measure.reconciles.load(Ordering::Relaxed),
            depth: ready,
            delayed,
            calls: self.server.requests(OPERATOR_AGENT),
        });
        converged
    }
}

/// The objects that differ from their expected state.
pub fn unconverged(server: &ApiServer, expected: &Expected) -> Vec<Key> {
    let wrong = expected.values().filter(|(key, fate)| match fate {
        Fate::Is(spec) => !is_converged(server, key, spec),
        Fate::Gone { snapshot } => !is_gone(server, key, snapshot.as_deref()),
        Fate::Scheduled => !is_scheduled(server, key),
    });
    wrong.map(|(key, _)| key.clone()).collect()
}

fn is_converged(server: &ApiServer, key: &Key, spec: &DatabaseSpec) -> bool {
    let get = |plural: &str| server.get(plural, &key.namespace, &key.name);
    let (Some(database), Some(config), Some(instances), Some(service)) = (
        get("databases"),
        get("configmaps"),
        get("statefulsets"),
        get("services"),
    ) else {
        return false;
    };
    let status = &database["status"];
    is_ready(status)
        && database["spec"] == json!(spec)
        && status["observedGeneration"] == database["metadata"]["generation"]
        && status["readyReplicas"] == spec.replicas
        && config["data"]["engine"] == *spec.engine
        && config["data"]["storage"] == *spec.storage
        && instances["spec"]["replicas"] == spec.replicas
        && instances["status"]["readyReplicas"] == spec.replicas
        && service["spec"]["clusterIP"] == "None"
}

fn is_ready(status: &Value) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether a Backup has its CronJob.
fn is_scheduled(server: &ApiServer, key: &Key) -> bool {
    let get = |plural: &str| server.get(plural, &key.namespace, &key.name);
    let (Some(backup), Some(cron)) = (get("backups"), get("cronjobs")) else {
        return false;
    };
    is_ready(&backup["status"]) && cron["spec"]["schedule"] == backup["spec"]["schedule"]
}

/// Whether an object and its children are deleted, and its snapshot exists if it should.
fn is_gone(server: &ApiServer, key: &Key, snapshot: Option<&str>) -> bool {
    let exists = |plural: &str, name: &str| server.get(plural, &key.namespace, name).is_some();
    let rest = ["databases", "configmaps", "services", "statefulsets"];
    !rest.iter().any(|plural| exists(plural, &key.name))
        && snapshot.is_none_or(|snapshot| exists("configmaps", snapshot))
}

/// The server's account of a run.
struct Judgement {
    unconverged: Vec<Key>,
    calls: usize,
    faults: usize,
    excess: i64,
    refusals: Refusals,
}

impl Judgement {
    fn of(server: &ApiServer, expected: &Expected, args: &Args, refusals: Refusals) -> Self {
        let arrivals = server.arrivals(OPERATOR_AGENT);
        Self {
            unconverged: unconverged(server, expected),
            calls: arrivals.len(),
            faults: server.faults_injected(),
            excess: largest_excess(&arrivals, args.burst, args.qps, SLACK),
            refusals,
        }
    }

    fn rows(&self, args: &Args, took: Duration) -> Vec<report::Row> {
        let allowed = u128::from(args.burst) + u128::from(args.qps) * took.as_millis() / 1000;
        let used = self.calls as u128 * 100 / allowed.max(1);
        let slack = SLACK.as_millis();
        vec![
            ("faults injected", self.faults.to_string()),
            ("API calls", self.calls.to_string()),
            (
                "budget used",
                format!("{used}% of {}/s burst {}", args.qps, args.burst),
            ),
            (
                "largest excess over budget",
                format!("{} ({slack} ms allowed for jitter)", self.excess.max(0)),
            ),
            (
                "refused by the webhook",
                self.refusals.by_webhook.to_string(),
            ),
            ("refused by the schema", self.refusals.by_schema.to_string()),
            ("not converged or lost", self.unconverged.len().to_string()),
        ]
    }

    fn verdict(&self) -> ExitCode {
        for edit in self.refusals.missing.iter().take(10) {
            eprintln!("error: {edit}");
        }
        for key in self.unconverged.iter().take(10) {
            eprintln!("error: {key} has not converged");
        }
        if self.excess > 0 {
            eprintln!("error: the budget was exceeded by {} calls", self.excess);
        }
        if self.refusals.are_complete() && self.unconverged.is_empty() && self.excess <= 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
