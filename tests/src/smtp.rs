//! A real SMTP server (aiosmtpd) that keeps the mails it takes.

use std::{
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::process::Guard;

/// The script of the server: prints its port, then a JSON line for each mail.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../alerting/tests/whole/smtp_peer.py");

/// Runs until dropped.
pub struct Smtp {
    /// Where it listens, on loopback, without TLS or login.
    pub port: u16,
    mails: Arc<Mutex<Vec<Value>>>,
    _guard: Guard,
}

/// A Python that has aiosmtpd: the system's, or one made in `folder`; `None`: there is none and it can't be made.
fn python(folder: &Path) -> Option<PathBuf> {
    let runs = |command: &mut Command| command.output().is_ok_and(|o| o.status.success());
    let has = |python: &Path| runs(Command::new(python).args(["-c", "import aiosmtpd"]));
    let (system, own) = (PathBuf::from("python3"), folder.join("aiosmtpd/bin/python3"));
    if let Some(found) = [&system, &own].into_iter().find(|python| has(python)) {
        return Some(found.clone());
    }
    let made = runs(Command::new(&system).args(["-m", "venv"]).arg(folder.join("aiosmtpd")))
        && runs(Command::new(&own).args(["-m", "pip", "install", "-q", "aiosmtpd"]));
    made.then_some(own)
}

impl Smtp {
    /// Starts it; `folder` keeps the Python made for it. `None`: there is no aiosmtpd here.
    pub fn start(folder: &Path) -> io::Result<Option<Smtp>> {
        let Some(python) = python(folder) else { return Ok(None) };
        let mut command = Command::new(python);
        command.args([SCRIPT, "none", "", ""]).stdout(Stdio::piped()).stderr(Stdio::null());
        let (guard, out) = Guard::start_piped(&mut command, Signal::TERM)?;
        let mut lines = BufReader::new(out).lines();
        let first = lines.next().ok_or_else(|| io::Error::other("the SMTP server ended at once"))??;
        let port = first.parse().map_err(io::Error::other)?;
        let mails: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = mails.clone();
        std::thread::spawn(move || {
            for mail in lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
                if let Ok(mut kept) = kept.lock() {
                    kept.push(mail);
                }
            }
        });
        Ok(Some(Smtp { port, mails, _guard: guard }))
    }

    /// The mails so far: from, to, subject, text, html.
    pub fn mails(&self) -> Vec<Value> {
        self.mails.lock().map(|m| m.clone()).unwrap_or_default()
    }
}
