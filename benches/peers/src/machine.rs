//! The machine, commit and date of a report.

use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use serde::Serialize;

/// The facts needed to compare a figure with another.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The date and time, in UTC.
    pub date: String,
    /// The commit of this repository; marked if tracked files have changed since.
    pub commit: String,
    /// The processor's name.
    pub processor: String,
    /// The available parallelism.
    pub cores: usize,
    /// The operating system.
    pub system: String,
    /// The compiler.
    pub rustc: String,
    /// The profile of this build: `release`, or `fat` with link-time optimization of the whole program.
    pub build: String,
    /// Go's version, if it took part.
    pub go: Option<String>,
    /// The peers' versions.
    pub versions: Vec<String>,
}

const PEERS: [&str; 9] = [
    "governor",
    "better-bucket",
    "leaky-bucket",
    "ratelimit",
    "tower",
    "kube-runtime",
    "tokio-util",
    "crossbeam-channel",
    "async-channel",
];

impl Machine {
    /// Describes this machine, now.
    pub fn here(go: bool) -> Self {
        let unknown = || "unknown".to_owned();
        let dirty = output("git", &["status", "--porcelain", "--untracked-files=no"])
            .is_some_and(|changes| !changes.is_empty());
        Self {
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            commit: output("git", &["rev-parse", "--short", "HEAD"])
                .map(|commit| {
                    if dirty {
                        commit + " and changes"
                    } else {
                        commit
                    }
                })
                .unwrap_or_else(unknown),
            processor: processor().unwrap_or_else(unknown),
            cores: available_parallelism().map_or(1, usize::from),
            system: output("uname", &["-sr"]).unwrap_or_else(unknown),
            rustc: output("rustc", &["--version"]).unwrap_or_else(unknown),
            build: build().unwrap_or_else(unknown),
            go: output("go", &["version"]).filter(|_| go),
            versions: PEERS
                .iter()
                .filter_map(|name| version(name))
                .chain(go.then(crate::go::versions).into_iter().flatten())
                .collect(),
        }
    }
}

/// Returns the name of the folder that Cargo built into: that of the profile.
fn build() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?.file_name()?;
    Some(folder.to_string_lossy().into_owned())
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

fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = info.lines().find(|line| line.starts_with("model name"))?;
    Some(name.split_once(':')?.1.trim().to_owned())
}

/// Returns the version that the workspace is locked to.
fn version(name: &str) -> Option<String> {
    const LOCK: &str = include_str!("../../../Cargo.lock");
    let (_, after) = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(format!("{name} {}", after.split_once('"')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_version() {
        assert_eq!(Machine::here(false).versions.len(), PEERS.len());
        assert_eq!(Machine::here(true).versions.len(), PEERS.len() + 3);
    }
}
