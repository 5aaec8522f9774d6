//! A real S3 server (moto) with one bucket.

use std::{
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::process::Guard;

/// Makes the bucket and prints its port; ends when its input does.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../storage/src/store/s3_peer.py");
/// Its bucket.
pub const BUCKET: &str = "tidewatch";

/// Runs until dropped.
pub struct S3 {
    /// Where it listens, on loopback, without TLS; any key opens it.
    pub endpoint: String,
    guard: Guard,
}

/// A Python that has moto: the system's, or one made in `folder`; `None`: there is none and it can't be made.
fn python(folder: &Path) -> Option<PathBuf> {
    let runs = |command: &mut Command| command.output().is_ok_and(|o| o.status.success());
    let has = |python: &Path| runs(Command::new(python).args(["-c", "import moto.server, flask"]));
    let (system, own) = (PathBuf::from("python3"), folder.join("moto/bin/python3"));
    if let Some(found) = [&system, &own].into_iter().find(|python| has(python)) {
        return Some(found.clone());
    }
    let made = runs(Command::new(&system).args(["-m", "venv"]).arg(folder.join("moto")))
        && runs(Command::new(&own).args(["-m", "pip", "install", "-q", "moto[server]"]));
    made.then_some(own)
}

impl S3 {
    /// Starts it; `folder` keeps the Python made for it. `None`: there is no moto here.
    pub fn start(folder: &Path) -> io::Result<Option<S3>> {
        let Some(python) = python(folder) else { return Ok(None) };
        let mut command = Command::new(python);
        command.args([SCRIPT, BUCKET]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let (guard, out) = Guard::start_piped(&mut command, Signal::TERM)?;
        let first = BufReader::new(out).lines().next().ok_or_else(|| io::Error::other("moto ended at once"))??;
        let port: u16 = first.parse().map_err(io::Error::other)?;
        Ok(Some(S3 { endpoint: format!("http://127.0.0.1:{port}"), guard }))
    }

    /// Takes requests and answers none, until [`S3::resume`].
    pub fn halt(&self) {
        self.guard.signal(Signal::STOP);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.guard.signal(Signal::CONT);
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.resume(); // else it would not hear that it is to end
    }
}
