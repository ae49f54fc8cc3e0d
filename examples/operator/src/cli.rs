//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use tollgate::{Quota, QuotaError};

/// Brings Database objects to their desired state, under an API budget that is never exceeded.
///
/// Without --kubeconfig or --context it starts an embedded API server on loopback, creates objects,
/// changes and deletes some, and checks that all of them converge.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Objects to create, besides the samples
    #[arg(long, default_value_t = 2_000, conflicts_with_all = ["kubeconfig", "context"],
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=100_000))]
    pub objects: usize,

    /// Probability, from 0 to 0.5, with which the embedded server fails a request of the operator
    #[arg(long, default_value_t = 0.0, value_parser = fault_rate, conflicts_with_all = ["kubeconfig", "context"])]
    pub fault_rate: f64,

    /// Seed of the embedded server's faults
    #[arg(long, default_value_t = 0, conflicts_with_all = ["kubeconfig", "context"])]
    pub seed: u64,

    /// API calls per second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub qps: u64,

    /// API calls in a burst
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub burst: u64,

    /// Objects reconciled concurrently
    #[arg(long, default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub workers: usize,

    /// Serve Prometheus metrics on this address, under /metrics
    #[arg(long, value_name = "ADDR")]
    pub metrics_addr: Option<SocketAddr>,

    /// Run on the cluster of this kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Run on the cluster of this context, of the default kubeconfig unless --kubeconfig names one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Install the CustomResourceDefinition first
    #[arg(long)]
    pub install_crd: bool,

    /// Give reconciles in flight this many seconds to finish when asked to stop
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub drain_timeout: Duration,
}

impl Args {
    /// Whether the flags select a real cluster.
    pub fn wants_cluster(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// The API budget.
    ///
    /// # Errors
    /// Never for values that the command line has accepted.
    pub fn quota(&self) -> Result<Quota, QuotaError> {
        Quota::per_second(self.qps)?.burst(self.burst)
    }
}

fn fault_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=0.5).contains(&rate) {
        Ok(rate)
    } else {
        Err("must be from 0 to 0.5".to_owned())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    if seconds <= 86_400 {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("must be at most 86400".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("operator").chain(words.iter().copied()))
    }

    #[test]
    fn defaults_are_valid() {
        let args = parse(&[]).unwrap();
        assert!(!args.wants_cluster());
        assert_eq!(args.quota().unwrap().to_string(), "1000/s burst 200");
    }

    #[test]
    fn invalid_flags_are_rejected() {
        for words in [
            &["--qps", "0"][..],
            &["--burst", "-1"],
            &["--workers", "0"],
            &["--workers", "18446744073709551616"],
            &["--fault-rate", "0.6"],
            &["--fault-rate", "NaN"],
            &["--objects", "100001"],
            &["--metrics-addr", "localhost"],
            &["--context", "a", "--objects", "3"],
            &["--nonsense"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
