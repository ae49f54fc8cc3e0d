//! `cargo run --release -p kube-bench`: tollgate-kube beside kube's own `Controller` and controller-runtime.

mod bench;
mod child;
mod clock;
mod contender;
mod machine;
mod operators;
mod report;
mod server;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use clap::{Parser, Subcommand};

use contender::{Contender, Limit};
use machine::Machine;
use report::{Measured, Report};
use workload::Size;

/// Runs one reconcile body as an operator on tollgate-kube, on kube's own Controller and on controller-runtime (Go),
/// each in a process of its own, against one embedded API server, and prints a report in Markdown.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    /// How many objects there are
    #[arg(long, value_name = "N", default_value = "50000", value_parser = RangedU64ValueParser::<usize>::new().range(500..=1_000_000))]
    objects: usize,

    /// Run on 500 objects with an outage of 5 s: ends within two minutes
    #[arg(long)]
    quick: bool,

    /// Run only these workloads
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(workload::ALL.map(|workload| workload.name)))]
    only: Vec<String>,

    #[command(subcommand)]
    role: Option<Role>,
}

/// The child processes.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Role {
    #[command(hide = true)]
    Server { fault_rate: f64 },
    #[command(hide = true)]
    Contender {
        contender: Contender,
        url: String,
        limit: Limit,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match &args.role {
        None => run(&args),
        Some(Role::Server { fault_rate }) => server::run(*fault_rate),
        Some(Role::Contender {
            contender,
            url,
            limit,
        }) => contender::run(*contender, url, *limit),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let objects = if args.quick { 500 } else { args.objects };
    let size = Size {
        objects,
        live_edits: 200,
        counted_edits: objects.min(1_000),
        faulty_edits: objects.min(2_000),
        outage: Duration::from_secs(if args.quick { 5 } else { 60 }),
    };
    let go = contender::build_go();
    let without_go = go
        .err()
        .map(|error| format!("controller-runtime did not take part: {error:#}"));
    if let Some(line) = &without_go {
        eprintln!("{line}");
    }
    let mut report = Report {
        machine: Machine::here(without_go.is_none()),
        size,
        without_go,
        measured: Vec::new(),
    };
    let takes_part =
        |contender: &Contender| *contender != Contender::Go || report.without_go.is_none();
    let contenders: Vec<_> = contender::ALL.into_iter().filter(takes_part).collect();
    for workload in &workload::ALL {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == workload.name) {
            continue;
        }
        for contender in &contenders {
            eprintln!("{}: {}", workload.name, contender.name());
            let figures = (workload.run)(*contender, &size);
            let figures =
                figures.with_context(|| format!("{} in {}", contender.name(), workload.name))?;
            report.measured.push(Measured {
                workload: workload.name,
                contender: *contender,
                figures,
            });
        }
    }
    print!("{report}");
    Ok(())
}
