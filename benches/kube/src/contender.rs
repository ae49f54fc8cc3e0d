//! The contenders: each runs one operator in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use kube::Config;
use tokio::runtime::Runtime;
use tollgate::Quota;
use tollgate_kube::budget::Budget;

use crate::child::Child;
use crate::{bench, operators};

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// `tollgate-kube`.
    Tollgate,
    /// `Controller` of `kube-runtime`.
    Kube,
    /// controller-runtime, in Go.
    Go,
}

/// How many requests `tollgate-kube` may send; the others have no limit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Limit {
    /// Its default: 20 a second with a burst of 30.
    Default,
    /// Any number.
    None,
}

pub const ALL: [Contender; 3] = [Contender::Tollgate, Contender::Kube, Contender::Go];

impl Contender {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tollgate => "tollgate-kube",
            Self::Kube => "kube `Controller`",
            Self::Go => "controller-runtime",
        }
    }

    /// Its `User-Agent`.
    pub fn agent(self) -> &'static str {
        match self {
            Self::Tollgate => "bench-tollgate",
            Self::Kube => "bench-kube",
            Self::Go => "bench-go",
        }
    }

    /// What a user wrote.
    pub fn user_code(self) -> &'static str {
        match self {
            Self::Tollgate => include_str!("operators/tollgate.rs"),
            Self::Kube => include_str!("operators/kube.rs"),
            Self::Go => include_str!("../go/operator.go"),
        }
    }

    /// Starts its process, which waits for the line that starts the operator.
    pub fn spawn(self, url: &str, limit: Limit) -> anyhow::Result<Child> {
        let limit = match limit {
            Limit::Default => "default",
            Limit::None => "none",
        };
        let mut command = match self {
            Self::Go => Command::new(go_program()?),
            Self::Tollgate => this_program("tollgate")?,
            Self::Kube => this_program("kube")?,
        };
        Child::start(command.args([url, limit]))
    }
}

fn this_program(contender: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["contender", contender]);
    Ok(command)
}

/// The program of the Go contender, beside this one.
fn go_program() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("kube-bench-go"))
}

/// Builds the program of the Go contender.
///
/// # Errors
/// Why Go or its modules cannot be had.
pub fn build_go() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-o"])
        .arg(go_program()?)
        .arg(".")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("no `go`")?;
    let errors = String::from_utf8_lossy(&built.stderr);
    let last = errors.lines().last().unwrap_or_default();
    ensure!(built.status.success(), "`go build` failed: {last}");
    Ok(())
}

/// Runs a contender that is in Rust, until the parent closes the pipe.
pub fn run(contender: Contender, url: &str, limit: Limit) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let mut config = Config::new(url.parse()?);
    bench::serve(|| {
        runtime.spawn(async move {
            let ended = match contender {
                Contender::Tollgate => match budget(limit) {
                    Ok(budget) => operators::tollgate::run(config, budget).await,
                    Err(error) => Err(error),
                },
                Contender::Kube => {
                    let agent = http::HeaderValue::from_static(Contender::Kube.agent());
                    config.headers.push((http::header::USER_AGENT, agent));
                    operators::kube::run(config).await
                }
                Contender::Go => Err(anyhow::anyhow!("it has a program of its own")),
            };
            eprintln!("{} ended: {ended:?}", contender.name());
            std::process::exit(1);
        });
    })
}

fn budget(limit: Limit) -> anyhow::Result<Budget> {
    let quota = match limit {
        Limit::Default => Quota::per_second(20)?.burst(30)?,
        Limit::None => Quota::unlimited(),
    };
    Ok(Budget::new(quota)?)
}
