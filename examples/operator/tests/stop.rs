//! How the binary ends: by a signal, or by what contradicts itself.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

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

/// Its lists and checks would wait for half a minute each.
#[test]
fn a_signal_ends_an_operator_whose_server_does_not_answer() -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = kubeconfig(folder.path(), &format!("http://{}", silent.local_addr()?))?;
    for flags in [
        &["--install-crd"][..],
        &["--namespaces", "shop,finance"],
        &[],
    ] {
        let started = Instant::now();
        let operator = Command::new(env!("CARGO_BIN_EXE_operator"))
            .args(["--log", "none", "--renew-deadline", "3", "--kubeconfig"])
            .arg(&kubeconfig)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()?;
        stop_after_first_line(operator, "-TERM")?;
        assert!(started.elapsed() < Duration::from_secs(15), "{flags:?}");
    }
    Ok(())
}

#[test]
fn a_demo_does_not_become_an_operator_on_the_cluster_that_is_configured() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = kubeconfig(folder.path(), "http://127.0.0.1:1")?;
    for flag in [
        "--objects=3",
        "--fault-rate=0",
        "--seed=0",
        "--report=a.svg",
    ] {
        let line = refused(
            Command::new(env!("CARGO_BIN_EXE_operator"))
                .arg(flag)
                .env("KUBECONFIG", &kubeconfig),
        )?;
        assert!(line.contains("add --demo"), "{line}");
    }
    Ok(())
}

#[test]
fn a_demo_refuses_what_it_cannot_do() -> Result<()> {
    for (flag, said) in [
        ("--namespaces=shop", "leaves out"),
        ("--install-crd", "of use on a cluster only"),
    ] {
        let line = refused(
            Command::new(env!("CARGO_BIN_EXE_operator"))
                .arg(flag)
                .env_remove("KUBECONFIG")
                .env_remove("KUBERNETES_SERVICE_HOST"),
        )?;
        assert!(line.contains(said), "{line}");
    }
    Ok(())
}

/// Runs a command that must fail with one line, and returns the line.
fn refused(command: &mut Command) -> Result<String> {
    let Output { status, stderr, .. } = command.output()?;
    let errors = String::from_utf8(stderr)?;
    assert!(!status.success(), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    Ok(errors)
}

fn kubeconfig(folder: &Path, server: &str) -> Result<std::path::PathBuf> {
    let file = folder.join("kubeconfig");
    let config = serde_json::json!({
        "clusters": [{ "name": "c", "cluster": { "server": server } }],
        "users": [{ "name": "u", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    std::fs::write(&file, config.to_string())?;
    Ok(file)
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
