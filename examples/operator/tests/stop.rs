//! The binary, told to stop at the worst moment: as soon as it says that it runs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

#[test]
fn a_signal_at_the_first_line_drains() -> Result<()> {
    for signal in ["-TERM", "-INT"].repeat(5) {
        let operator = Command::new(env!("CARGO_BIN_EXE_operator"))
            .stdout(Stdio::piped())
            .spawn()?;
        let said = stop_once_it_runs(operator, signal)?;
        assert!(said.contains("\nstopped: "), "{signal}: {said}");
    }
    Ok(())
}

/// What a process said that had to exit 0 after `signal`.
fn stop_once_it_runs(mut operator: Child, signal: &str) -> Result<String> {
    let out = operator.stdout.take().context("stdout is piped")?;
    let mut lines = BufReader::new(out);
    let mut said = String::new();
    lines.read_line(&mut said)?;
    let pid = operator.id().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &pid])
            .status()?
            .success()
    );
    lines.read_to_string(&mut said)?;
    let ended = operator.wait()?;
    assert!(ended.success(), "{signal}: {ended}, having said {said}");
    Ok(said)
}
