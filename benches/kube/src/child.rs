//! Child processes that answer each line with a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, bail};

/// A process that is ended when dropped.
pub struct Child {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts `command`.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        Ok(Self {
            process,
            input: input.context("no standard input")?,
            output: BufReader::new(output.context("no standard output")?),
        })
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("a child process ended: {}", self.process.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Its answer to one line.
    pub fn ask(&mut self, line: &str) -> anyhow::Result<String> {
        writeln!(self.input, "{line}")?;
        self.line()
    }

    /// Its answer as numbers.
    pub fn numbers<T: FromStr>(&mut self, line: &str) -> anyhow::Result<Vec<T>>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let answer = self.ask(line)?;
        let words = answer.split_whitespace();
        words
            .map(|word| word.parse().with_context(|| format!("{line}: {answer}")))
            .collect()
    }

    /// Its answer as one number.
    pub fn number<T: FromStr>(&mut self, line: &str) -> anyhow::Result<T>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.numbers(line)?
            .pop()
            .with_context(|| format!("no answer to {line}"))
    }

    /// A field of its status in bytes, such as `VmRSS`.
    pub fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with(field));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: u64 = kib.context("no such field")?.parse()?;
        Ok(kib * 1_024)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
