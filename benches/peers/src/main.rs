//! `cargo run --release --bin peers`: tollgate beside the crates that a user would pick instead.

mod cli;
mod clock;
mod floors;
mod go;
mod judge;
mod keyed;
mod limiter;
mod machine;
mod measure;
mod memory;
mod progress;
mod queue;
mod quota;
mod report;
mod stats;
mod subject;
mod sync;
mod workload;

use std::io::{ErrorKind, Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::Context;
use clap::Parser;

use cli::Args;
use go::Go;
use machine::Machine;
use measure::Effort;
use progress::Progress;
use report::Report;
use workload::Bench;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(report) if report.failures.is_empty() => ExitCode::SUCCESS,
        Ok(report) => {
            report
                .failures
                .iter()
                .for_each(|failure| eprintln!("failed: {failure}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<Report> {
    let folder = Path::new("target/peers");
    // Fails before the measurement, not after minutes of it.
    Report::prepare(folder)?;
    let go = Go::start();
    if let Err(error) = &go {
        eprintln!("without Go's limiter and queues: {error:#}");
    }
    let mut report = Report {
        machine: Machine::here(go.is_ok()),
        effort: if args.quick { "quick" } else { "full" },
        skipped: go
            .err()
            .map(|error| format!("Go's limiter and queues: {error:#}"))
            .into_iter()
            .collect(),
        tables: Vec::new(),
        targets: Vec::new(),
        failures: Vec::new(),
    };
    let wanted = workload::ALL
        .iter()
        .filter(|workload| args.wants(workload.name));
    let cores = available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(cores);
    let crowded = threads > cores;
    if crowded {
        eprintln!("{threads} threads on {cores} cores: floors are not enforced");
    }
    let progress = Progress::new(wanted.clone().count());
    let bench = Bench {
        effort: if args.quick {
            Effort::QUICK
        } else {
            Effort::FULL
        },
        threads,
        progress: &progress,
    };
    for workload in wanted {
        progress.begin(workload.name);
        let tables = (workload.run)(&bench).with_context(|| format!("in {}", workload.name))?;
        report.tables.extend(tables);
        progress.end();
    }
    progress.clear();
    report.compare();
    report.failures = floors::broken(&report.tables, crowded, Go::running().is_some());
    for path in report.write(folder)? {
        eprintln!("wrote {}", path.display());
    }
    if args.json {
        let printed = writeln!(stdout(), "{}", serde_json::to_string_pretty(&report)?);
        match printed {
            // The reader closed the pipe, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            printed => printed.context("cannot print the report")?,
        }
    }
    Ok(report)
}
