//! The operator on a real cluster.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tollgate::Observer;
use tollgate_kube::budget::Budget;
use tollgate_kube::election::ElectionOptions;
use tollgate_kube::{Operator, OperatorBuilder, OperatorError, explain};

use crate::MANAGED_BY;
use crate::cli::Args;
use crate::measure::Measure;
use crate::operator::{install_crds, set_up};
use crate::report;
use crate::webhook::certificates::RECHECK;
use crate::webhook::{self, Certificates, Webhook};

/// The time for the check of the namespaces; no probe is answered meanwhile.
const CHECK: Duration = Duration::from_secs(5);

/// Runs until a signal or a fatal error.
///
/// # Errors
/// A one-line message of what is wrong.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let mut signals = StopSignals::listen()?;
    let webhook = webhook(args).await?;
    let config = config(args).await?;
    println!(
        "running on {}; stop with SIGINT or SIGTERM",
        config.cluster_url
    );
    let mut operator = builder(args, config)?.build().await?;
    let settings = args.settings();
    let client = operator.client();
    let prepare = async {
        if args.install_crd {
            install_crds(&client).await.map_err(|line| anyhow!(line))?;
        }
        check_namespaces(&client, &settings.namespaces).await
    };
    // A server that does not answer may hold this up for longer than a pod has to end.
    tokio::select! {
        prepared = prepare => prepared?,
        signal = signals.first() => {
            println!("{signal}: stopped before the start");
            return Ok(ExitCode::SUCCESS);
        }
    }
    if let Some(address) = operator.address() {
        println!("probes, metrics and queues on http://{address}/");
    }
    // A replica that does not lead reviews too.
    let webhook = webhook.map(|webhook| {
        println!("webhook on https://{}{}", webhook.address(), webhook::PATH);
        webhook.start(args.drain_timeout)
    });
    let measure = Arc::new(Measure::new());
    let observer: Arc<dyn Observer> = measure.clone();
    set_up(&mut operator, &settings, &observer)?;
    let stop = async {
        println!("{}: draining", signals.first().await);
    };
    let left = operator.run_until(stop).await;
    // Until here the API server may still send reviews.
    if let Some(webhook) = webhook {
        webhook.stop().await?;
    }
    let left = left.map_err(|error| match error {
        OperatorError::NotServed(line) => anyhow!("{line}, which --install-crd does"),
        error => error.into(),
    })?;
    println!("{}", report::stopped(&left));
    println!("{}", report::table(&report::of_measure(&measure)));
    Ok(ExitCode::SUCCESS)
}

/// A namespace that does not exist looks empty, so a misspelled one would go unnoticed. One that may not be read is
/// left to the watches; so is a server that does not answer in time.
///
/// # Errors
/// Names a namespace that does not exist.
pub async fn check_namespaces(client: &Client, names: &[String]) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = names.iter().map(|name| namespaces.get_opt(name));
    let Ok(found) = timeout(CHECK, join_all(found)).await else {
        tracing::warn!("the namespaces were not checked: the API server does not answer");
        return Ok(());
    };
    for (name, found) in names.iter().zip(found) {
        match found {
            Ok(Some(_)) => {}
            Ok(None) => bail!("there is no namespace {name}"),
            Err(error) => {
                let error = explain(&error);
                tracing::warn!(%name, %error, "a namespace was not checked");
            }
        }
    }
    Ok(())
}

/// The options of the operator that the flags select.
///
/// # Errors
/// If the budget is invalid, or if the durations of the election contradict each other.
pub fn builder(args: &Args, config: Config) -> Result<OperatorBuilder> {
    let namespace = args.lease_namespace.clone();
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let mut builder = Operator::builder(config)
        .name(MANAGED_BY.1)
        .budget(Budget::new(args.quota()?)?)
        .start_timeout(args.start_timeout)
        .drain_timeout(args.drain_timeout);
    if !args.no_election {
        let mut election = ElectionOptions::new(namespace, MANAGED_BY.1);
        election.config = args.election()?;
        builder = builder.elect(election);
    }
    if let Some(address) = args.listen {
        builder = builder.listen(address);
    }
    Ok(builder)
}

/// The webhook that the flags select.
async fn webhook(args: &Args) -> Result<Option<Webhook>> {
    let (Some(folder), Some(address)) = (&args.webhook_certs, args.webhook_listen) else {
        return Ok(None);
    };
    let certificates = Certificates::from_folder(folder, RECHECK).await;
    let certificates = certificates.context("the webhook has no certificate")?;
    let webhook = Webhook::bind(address, certificates).await;
    let webhook = webhook.with_context(|| format!("the webhook cannot listen on {address}"))?;
    Ok(Some(webhook))
}

async fn config(args: &Args) -> Result<Config> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = match &args.kubeconfig {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await
        }
        None if args.context.is_some() => Config::from_kubeconfig(&options).await,
        // By KUBECONFIG, or by the service account of the pod.
        None => return Config::infer().await.context("no cluster is configured"),
    };
    config.context("the kubeconfig cannot be used")
}

/// SIGINT and SIGTERM. Each ends the process until [`listen`](Self::listen), which records it instead.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Call before the operator prints its first line, so that a signal after that line drains it.
    ///
    /// # Errors
    /// If no signal handler can be installed.
    pub fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Completes with the name of the first signal since [`listen`](Self::listen).
    pub async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
