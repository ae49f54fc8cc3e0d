//! The binary, stopped by a signal as soon as it prints its first line.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

#[test]
fn a_signal_after_the_first_line_drains_the_operator() -> Result<()> {
    for signal in ["-TERM", "-INT"].repeat(5) {
        let operator = Command::new(env!("CARGO_BIN_EXE_operator"))
            .stdout(Stdio::piped())
            .spawn()?;
        let output = stop_after_first_line(operator, signal)?;
        assert!(output.contains("\nstopped: "), "{signal}: {output}");
    }
    Ok(())
}

/// Sends `signal` after the first line of output, requires exit code 0, and returns the output.
fn stop_after_first_line(mut operator: Child, signal: &str) -> Result<String> {
    let out = operator.stdout.take().context("stdout is piped")?;
    let mut lines = BufReader::new(out);
    let mut output = String::new();
    lines.read_line(&mut output)?;
    let pid = operator.id().to_string();
    assert!(
        Command::new("kill")
            .args([signal, &pid])
            .status()?
            .success()
    );
    lines.read_to_string(&mut output)?;
    let ended = operator.wait()?;
    assert!(ended.success(), "{signal}: {ended}, with output {output}");
    Ok(output)
}
