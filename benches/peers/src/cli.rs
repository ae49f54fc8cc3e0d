//! The command line.

use clap::Parser;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};

use crate::workload;

/// Measures tollgate beside the crates that a user would pick instead, and judges what they admit.
///
/// Writes target/peers/report.md, report.json and plots. Fails if one of ours exceeds its quota,
/// loses a key, or misses its floor in every round.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Run fewer and shorter rounds: ends after about two minutes
    #[arg(long)]
    pub quick: bool,

    /// Measure only these workloads, or a group of them: "keyed" or "queue"
    #[arg(long, value_name = "NAME", hide_possible_values = true, value_parser = PossibleValuesParser::new(names()))]
    pub only: Vec<String>,

    /// Use at most this many threads [default: the available parallelism]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_024))]
    pub threads: Option<usize>,

    /// Also print the report to standard output, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Prefixes of names that `--only` takes for all workloads that begin with them.
const GROUPS: [&str; 2] = ["keyed", "queue"];

fn names() -> impl Iterator<Item = &'static str> {
    workload::ALL
        .iter()
        .map(|workload| workload.name)
        .chain(GROUPS)
}

impl Args {
    /// Whether `--only` selects this workload.
    pub fn wants(&self, workload: &str) -> bool {
        let named = |only: &String| {
            only == workload || GROUPS.contains(&only.as_str()) && workload.starts_with(only)
        };
        self.only.is_empty() || self.only.iter().any(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("peers").chain(words.iter().copied()))
    }

    #[test]
    fn everything_unless_told() {
        let args = parse(&[]).unwrap();
        assert!(
            workload::ALL
                .iter()
                .all(|workload| args.wants(workload.name))
        );
        let args = parse(&["--only", "queue", "--only", "admit"]).unwrap();
        assert!(args.wants("queue-cycle") && args.wants("admit") && !args.wants("deny"));
        assert!(!parse(&["--only", "keyed-1k"]).unwrap().wants("keyed-1m"));
    }

    #[test]
    fn bad_flags_are_refused() {
        for words in [
            &["--only", "nonsense"][..],
            &["--only"],
            &["--threads", "0"],
            &["--threads", "-1"],
            &["--threads", "2000"],
            &["--nonsense"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let error = parse(&["--only", "nonsense"]).unwrap_err().to_string();
        assert!(error.contains("queue-fill-drain"), "{error}");
    }
}
