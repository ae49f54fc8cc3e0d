//! The machine, commit and versions of a report.

use std::process::{Command, Stdio};
use std::thread::available_parallelism;

/// The facts needed to compare a figure with another.
#[derive(Debug)]
pub struct Machine {
    /// The date and time, in UTC.
    pub date: String,
    /// The commit of this repository; marked if tracked files have changed since.
    pub commit: String,
    /// The processor's name, and its cores.
    pub processor: String,
    /// The compilers and what they compiled.
    pub versions: Vec<String>,
    /// The load of the last minute, by which a reader judges how alone the run was.
    pub load: String,
}

impl Machine {
    /// Describes this machine, now.
    pub fn here(go: bool) -> Self {
        let unknown = || "unknown".to_owned();
        let changes = output("git", &["status", "--porcelain", "--untracked-files=no"]);
        let changed = changes.is_some_and(|changes| !changes.is_empty());
        let commit = output("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(unknown);
        let cores = available_parallelism().map_or(1, usize::from);
        let mut versions: Vec<_> = [rustc(), version("kube-runtime"), version("tokio")]
            .into_iter()
            .flatten()
            .collect();
        if go {
            versions
                .extend(output("go", &["version"]).map(|line| line.replace(" version go", " ")));
            versions.extend(controller_runtime());
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            commit: if changed {
                commit + " and changes"
            } else {
                commit
            },
            processor: format!("{}, {cores} cores", processor().unwrap_or_else(unknown)),
            versions,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn rustc() -> Option<String> {
    let line = output("rustc", &["--version"])?;
    Some(line.split(" (").next()?.to_owned())
}

fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = info.lines().find(|line| line.starts_with("model name"))?;
    Some(name.split_once(':')?.1.trim().to_owned())
}

/// The version that the workspace is locked to.
fn version(name: &str) -> Option<String> {
    const LOCK: &str = include_str!("../../../Cargo.lock");
    let (_, after) = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(format!("{name} {}", after.split_once('"')?.0))
}

fn controller_runtime() -> Option<String> {
    const MODULE: &str = include_str!("../go/go.mod");
    let (_, after) = MODULE.split_once("sigs.k8s.io/controller-runtime v")?;
    Some(format!("controller-runtime {}", after.lines().next()?))
}
