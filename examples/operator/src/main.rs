//! `cargo run --release --bin operator`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use operator::cli::Args;
use operator::{cluster, crds, demo};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if args.print_crds {
        print!("{}", crds::yaml());
        return ExitCode::SUCCESS;
    }
    args.start_log();
    if args.wants_cluster() && args.report.is_some() {
        eprintln!("error: --report draws a demo run, and a cluster is configured; add --demo");
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
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
