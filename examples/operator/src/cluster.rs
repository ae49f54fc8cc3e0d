//! The operator on a real cluster.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tollgate::{AtomicTokenBucket, Observer};

use crate::cli::Args;
use crate::client;
use crate::measure::{Measure, Observers};
use crate::metrics_endpoint::Metrics;
use crate::operator::{self, Operator};
use crate::report;

/// Runs until a signal or a fatal error.
///
/// # Errors
/// A one-line message of what is wrong.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let budget = Arc::new(AtomicTokenBucket::new(args.quota()?)?);
    let client = client::throttled(config(args).await?, &budget)?;
    if args.install_crd {
        operator::install_crd(&client)
            .await
            .map_err(|line| anyhow!(line))?;
    }
    operator::check(&client)
        .await
        .map_err(|line| anyhow!(line))?;

    let measure = Arc::new(Measure::new());
    let (metrics, observer) = observe(args, &measure).await?;
    let operator = Operator::start(&client, args.workers, &observer);
    let mut signals = StopSignals::listen()?;
    println!("running; stop with SIGINT or SIGTERM");
    tokio::select! {
        line = operator.failed() => bail!(line),
        () = serve(metrics.as_ref(), &operator) => {}
        signal = signals.first() => println!("{signal}: draining"),
    }
    let left = operator.drain(args.drain_timeout).await;
    println!("{}", report::stopped(left));
    println!("{}", report::table(&report::of_measure(&measure)));
    Ok(ExitCode::SUCCESS)
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
        None => Config::from_kubeconfig(&options).await,
    };
    config.context("the kubeconfig cannot be used")
}

/// The observers that the flags select, as one observer.
///
/// # Errors
/// If the metrics' address cannot be bound.
pub async fn observe(
    args: &Args,
    measure: &Arc<Measure>,
) -> Result<(Option<Metrics>, Arc<dyn Observer>)> {
    let Some(address) = args.metrics_addr else {
        return Ok((None, measure.clone()));
    };
    let metrics = Metrics::install(address).await?;
    println!("metrics on http://{}/metrics", metrics.address()?);
    let observers = Observers(vec![measure.clone(), metrics.observer.clone()]);
    Ok((Some(metrics), Arc::new(observers)))
}

/// Serves metrics, if enabled, for as long as it is polled.
pub async fn serve(metrics: Option<&Metrics>, operator: &Operator) {
    match metrics {
        Some(metrics) => metrics.serve(operator).await,
        None => std::future::pending().await,
    }
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
