//! `cargo run --release --bin operator`: see `--help`.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use operator::cli::{Args, flag_of_a_demo};
use operator::report::one_line;
use operator::{cluster, crds, demo};

#[tokio::main]
async fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if args.print_crds {
        print!("{}", crds::yaml());
        return ExitCode::SUCCESS;
    }
    args.start_log();
    // A demo that was meant must not become an operator on the cluster of KUBECONFIG.
    if args.wants_cluster()
        && let Some(flag) = flag_of_a_demo(&matches)
    {
        eprintln!("error: {flag} is for a demo, and a cluster is configured; add --demo");
        return ExitCode::FAILURE;
    }
    let ended = if args.wants_cluster() {
        cluster::run(&args).await
    } else {
        demo::run(&args).await
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}
