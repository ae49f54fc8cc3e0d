//! The Go contenders, in one process that lives as long as this one (`go/main.go`).
//!
//! The process runs the same loops in the same rounds and measures itself, so neither its start nor
//! the pipes count. Its garbage collector has its default settings, and has nothing to do between
//! two rounds.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;

const PROGRAM: &str = "target/peers/peers-go";
const ERRORS: &str = "target/peers/go-build.err";

/// How long the build may take: with nothing cached, Go downloads and compiles for a minute or two.
const PATIENCE: Duration = Duration::from_secs(300);

static GO: OnceLock<Go> = OnceLock::new();

/// The Go program, running.
pub struct Go(Mutex<Pipes>);

struct Pipes {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Go {
    /// Returns the program, if it takes part.
    pub fn running() -> Option<&'static Self> {
        GO.get()
    }

    /// Builds the program and starts it.
    ///
    /// # Errors
    /// Why Go or its modules cannot be had, in one line.
    pub fn start() -> anyhow::Result<()> {
        build()?;
        // It ends when this process does, which closes its input.
        let mut child = Command::new(PROGRAM)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {PROGRAM}"))?;
        let (input, output) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .context("no pipes")?;
        let output = BufReader::new(output);
        let _ = GO.set(Self(Mutex::new(Pipes { input, output })));
        Ok(())
    }

    /// Runs a workload with flags; returns the words that it answers.
    ///
    /// # Errors
    /// The process ended.
    pub fn ask(&self, request: &str) -> anyhow::Result<Vec<u64>> {
        let mut pipes = self.0.lock();
        pipes
            .ask(request)
            .with_context(|| format!("{PROGRAM} failed at {request:?}"))
    }
}

impl Pipes {
    fn ask(&mut self, request: &str) -> anyhow::Result<Vec<u64>> {
        writeln!(self.input, "{request}")?;
        let count = words(&mut self.output, 1)?[0];
        words(&mut self.output, usize::try_from(count)?)
    }
}

/// Reads words, little endian.
fn words(from: &mut impl Read, count: usize) -> anyhow::Result<Vec<u64>> {
    let mut bytes = vec![0; count * 8];
    from.read_exact(&mut bytes)?;
    let words = bytes.chunks_exact(8);
    Ok(words
        .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
        .collect())
}

fn build() -> anyhow::Result<()> {
    // A stale program of an earlier build must not take part.
    let _ = std::fs::remove_file(PROGRAM);
    let program = std::path::absolute(PROGRAM)?;
    let errors = File::create(ERRORS).with_context(|| format!("cannot write {ERRORS}"))?;
    let build = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
        .args(["-ldflags=-s -w", "-o"])
        .arg(program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
        // Neither a workspace around this one nor another version of Go takes part.
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .context("no `go`")?;
    ended(build, PATIENCE)?;
    Ok(())
}

/// Waits for a build to succeed.
fn ended(mut build: Child, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = build.try_wait()? {
            let errors = std::fs::read_to_string(ERRORS).unwrap_or_default();
            ensure!(status.success(), "`go build` failed: {}", reason(&errors));
            return Ok(());
        }
        if Instant::now() > deadline {
            build.kill()?;
            build.wait()?;
            bail!("`go build` took longer than {patience:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the line that says why a build failed: the last one that is neither progress nor advice.
fn reason(errors: &str) -> &str {
    let lines = errors.lines().map(str::trim);
    let mut said = lines.filter(|line| {
        !line.is_empty()
            && !["go: downloading", "go get ", "go mod "]
                .iter()
                .any(|it| line.starts_with(it))
    });
    said.next_back().unwrap_or("it does not say why")
}

/// Returns the versions of the modules that are contenders.
pub fn versions() -> Vec<String> {
    const MODULES: [&str; 3] = [
        "k8s.io/client-go",
        "sigs.k8s.io/controller-runtime",
        "golang.org/x/time",
    ];
    MODULES.into_iter().filter_map(version).collect()
}

fn version(module: &str) -> Option<String> {
    const PINNED: &str = include_str!("../go/go.mod");
    let (_, after) = PINNED.split_once(&format!("\t{module} v"))?;
    let version = after.split_whitespace().next()?;
    Some(format!("{} {version}", module.split_once('/')?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_a_version() {
        let versions = versions();
        assert_eq!(versions.len(), 3, "{versions:?}");
        assert!(versions[2].starts_with("x/time 0."), "{versions:?}");
    }

    #[test]
    fn words_are_read_whole_or_not_at_all() {
        let bytes = [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(words(&mut &bytes[..], 2).unwrap(), [1, 256]);
        assert!(words(&mut &bytes[..], 3).is_err());
    }

    #[test]
    fn the_reason_of_a_failed_build_is_one_line() {
        for (errors, said) in [
            (
                "go: downloading k8s.io/api v1\nx.go:1:2: undefined: y\n",
                "x.go:1:2: undefined: y",
            ),
            (
                "go: missing entry; to add:\n\tgo get k8s.io/api\n",
                "go: missing entry; to add:",
            ),
            ("", "it does not say why"),
        ] {
            assert_eq!(reason(errors), said);
        }
    }

    #[test]
    fn a_build_that_does_not_end_is_ended() {
        let sleeps = Command::new("sleep").arg("60").spawn().unwrap();
        let error = ended(sleeps, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("took longer"), "{error}");
    }
}
