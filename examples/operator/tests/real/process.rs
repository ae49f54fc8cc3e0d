//! Processes that end with the test, however it ends.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts "$@", and kills it once standard input ends: at the drop of its [`Process`], or at the end of the test's
/// process. Then it removes the folder in $1, if there is one.
const WRAPPER: &str = r#"
trap '' INT TERM
folder="$1"; shift
"$@" </dev/null &
cat >/dev/null
kill -KILL $!
wait $! 2>/dev/null
[ -z "$folder" ] || rm -rf "$folder"
"#;

/// A process that is killed when this is dropped.
pub struct Process(Child);

impl Process {
    /// Starts `program` with its output in `log`. `remove` is a folder to remove after its end.
    pub fn start(program: &Path, flags: &[String], log: &Path, remove: Option<&Path>) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(log);
        let log = log.expect("the log can be written");
        let child = Command::new("sh")
            .args(["-c", WRAPPER, "sh"])
            .arg(remove.unwrap_or(Path::new("")))
            .arg(program)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log)
            .spawn();
        Self(child.expect("a shell can be started"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

/// Ports that nothing listens on.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All are bound at once, so that they differ.
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}
