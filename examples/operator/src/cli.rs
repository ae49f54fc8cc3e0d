//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Parser, ValueEnum};
use tollgate::{Quota, QuotaError};
use tollgate_kube::election::{ConfigError, ElectionConfig};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::operator::Settings;

/// Brings Databases and Backups to their desired state, under an API budget that is never exceeded.
///
/// It runs on the cluster of --kubeconfig, --context, KUBECONFIG or the pod that it is in. Without any, or with
/// --demo, it starts an embedded API server on loopback, creates objects, changes and deletes some, and checks that
/// all of them converge.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Objects to create, besides the samples
    #[arg(long, default_value_t = 2_000, conflicts_with_all = ["kubeconfig", "context"],
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=100_000))]
    pub objects: usize,

    /// Probability, from 0 to 0.2, with which the embedded server fails a request of the operator
    #[arg(long, default_value_t = 0.0, value_parser = fault_rate, conflicts_with_all = ["kubeconfig", "context"])]
    pub fault_rate: f64,

    /// Seed of the embedded server's faults
    #[arg(long, default_value_t = 0, conflicts_with_all = ["kubeconfig", "context"])]
    pub seed: u64,

    /// Draw the demo run as SVG into this file: API calls against the budget, queue depth and converged objects
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    pub report: Option<PathBuf>,

    /// API calls per second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub qps: u64,

    /// API calls in a burst
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub burst: u64,

    /// Objects reconciled concurrently
    #[arg(long, default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub workers: usize,

    /// Serve probes (/healthz, /readyz), metrics (/metrics) and the queues (/debug) on this address
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Review Databases and Backups on this address, over HTTPS at /validate; a demo has a webhook of its own
    #[arg(
        long,
        value_name = "ADDR",
        requires = "webhook_certs",
        conflicts_with = "demo"
    )]
    pub webhook_listen: Option<SocketAddr>,

    /// The webhook's certificate: a folder with tls.crt and tls.key, which may be renewed at any time
    #[arg(
        long,
        value_name = "DIR",
        requires = "webhook_listen",
        conflicts_with = "demo"
    )]
    pub webhook_certs: Option<PathBuf>,

    /// Run against an embedded API server, whatever cluster is configured
    #[arg(long, conflicts_with_all = ["kubeconfig", "context"])]
    pub demo: bool,

    /// Watch these namespaces only, each with a fair share of the reconciles
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// The namespace of the lease that elects the leader; that of the pod or the context otherwise
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    pub lease_namespace: Option<String>,

    /// How long another replica waits before it takes over a lease that is not renewed
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub lease_duration: Duration,

    /// How long the leader works on after the last renewal of its lease; less than --lease-duration
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub renew_deadline: Duration,

    /// The time between two requests for the lease
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub retry_period: Duration,

    /// Work without an election: no other replica may run
    #[arg(long)]
    pub no_election: bool,

    /// Run on the cluster of this kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Run on the cluster of this context, of the default kubeconfig unless --kubeconfig names one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Install the CustomResourceDefinitions first
    #[arg(long, conflicts_with = "demo")]
    pub install_crd: bool,

    /// Print the CustomResourceDefinitions as YAML, and end
    #[arg(long)]
    pub print_crds: bool,

    /// End with an error if the cluster refuses what the operator needs for this many seconds from the start
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub start_timeout: Duration,

    /// The format of the log on stderr; RUST_LOG selects what is logged [default: json on a cluster, none in a demo]
    #[arg(long, value_name = "FORMAT")]
    pub log: Option<LogFormat>,

    /// Give reconciles in flight this many seconds to finish when asked to stop
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub drain_timeout: Duration,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A JSON object a line.
    Json,
    /// For people.
    Text,
    /// No log.
    None,
}

impl Args {
    /// Starts the log.
    pub fn start_log(&self) {
        let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
        let log = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(filter.from_env_lossy());
        let default = if self.wants_cluster() {
            LogFormat::Json
        } else {
            LogFormat::None
        };
        match self.log.unwrap_or(default) {
            LogFormat::Json => log.json().init(),
            LogFormat::Text => log.init(),
            LogFormat::None => {}
        }
    }

    /// Whether the flags or the environment select a real cluster.
    pub fn wants_cluster(&self) -> bool {
        let configured = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        self.kubeconfig.is_some()
            || self.context.is_some()
            || !self.demo && (configured("KUBECONFIG") || configured("KUBERNETES_SERVICE_HOST"))
    }

    /// What the controllers are given.
    pub fn settings(&self) -> Settings {
        let mut namespaces = self.namespaces.clone();
        namespaces.sort();
        namespaces.dedup();
        Settings {
            workers: self.workers,
            namespaces,
        }
    }

    /// The durations of the election.
    ///
    /// # Errors
    /// If they contradict each other.
    pub fn election(&self) -> Result<ElectionConfig, ConfigError> {
        let config = ElectionConfig {
            lease_duration: self.lease_duration,
            renew_deadline: self.renew_deadline,
            retry_period: self.retry_period,
        };
        config.validate().map(|()| config)
    }

    /// The API budget.
    ///
    /// # Errors
    /// Never for values that the command line has accepted.
    pub fn quota(&self) -> Result<Quota, QuotaError> {
        Quota::per_second(self.qps)?.burst(self.burst)
    }
}

/// The first flag on the command line that is for a demo only.
pub fn flag_of_a_demo(matches: &ArgMatches) -> Option<&'static str> {
    let flags = [
        ("objects", "--objects"),
        ("fault_rate", "--fault-rate"),
        ("seed", "--seed"),
        ("report", "--report"),
    ];
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    flags
        .into_iter()
        .find_map(|(id, flag)| given(id).then_some(flag))
}

fn fault_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=0.2).contains(&rate) {
        Ok(rate)
    } else {
        Err("must be from 0 to 0.2".to_owned())
    }
}

/// The name of a namespace: a DNS label.
fn namespace(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = text.starts_with('-') || text.ends_with('-');
    if (1..=63).contains(&text.len()) && text.bytes().all(fits) && !ends {
        Ok(text.to_owned())
    } else {
        Err("not the name of a namespace".to_owned())
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
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("operator").chain(words.iter().copied()))
    }

    #[test]
    fn defaults_are_valid() {
        let args = parse(&["--demo"]).unwrap();
        assert!(!args.wants_cluster());
        assert_eq!(args.quota().unwrap().to_string(), "1000/s burst 200");
        assert_eq!(args.election(), Ok(ElectionConfig::default()));
    }

    #[test]
    fn contradictory_durations_of_the_election_are_rejected() {
        let args = parse(&["--lease-duration", "5", "--renew-deadline", "5"]).unwrap();
        let line = args.election().unwrap_err().to_string();
        assert!(line.contains("must be below the lease duration"), "{line}");
    }

    #[test]
    fn flags_of_a_demo_are_told_from_their_defaults() {
        for (words, flag) in [
            (&["operator", "--qps", "5"][..], None),
            (&["operator", "--objects", "2000"], Some("--objects")),
            (&["operator", "--qps", "5", "--seed", "0"], Some("--seed")),
        ] {
            let matches = Args::command().try_get_matches_from(words).unwrap();
            assert_eq!(flag_of_a_demo(&matches), flag);
        }
    }

    #[test]
    fn a_namespace_counts_once() {
        let args = parse(&["--namespaces", "b,a,b"]).unwrap();
        assert_eq!(args.settings().namespaces, ["a", "b"]);
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
            &["--listen", "localhost"],
            &["--namespaces", "a,B"],
            &["--namespaces", "a,,b"],
            &["--namespaces=-a"],
            &["--demo", "--install-crd"],
            &["--demo", "--context", "a"],
            &["--report", "run.svg", "--context", "a"],
            &["--context", "a", "--objects", "3"],
            &["--webhook-listen", "127.0.0.1:9443"],
            &["--webhook-certs", "/etc/webhook"],
            &[
                "--demo",
                "--webhook-listen",
                "127.0.0.1:0",
                "--webhook-certs",
                "a",
            ],
            &["--nonsense"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
