//! Our own programs as a user runs them: found beside the test's own binary, started, watched, stopped or killed.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{process::Guard, wait};

/// How long a program may take until its HTTP port answers.
const READY_TIMEOUT: Duration = Duration::from_secs(180);

/// A program of ours that runs, its output in a file.
pub struct Program {
    guard: Guard,
    output: PathBuf,
}

/// The path of a program built in the same target folder: `tidewatch`, `tidewatch-collector`.
pub fn path(name: &str) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut folder = own.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") {
        folder = folder.parent().unwrap_or(folder);
    }
    let program = folder.join(name);
    if program.exists() {
        return Ok(program);
    }
    Err(io::Error::other(format!("{} is not built; run: cargo build --bins", program.display())))
}

impl Program {
    /// Starts `name` with `arguments` and `environment`; what it prints goes, after what is there, to `output`.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
        output: &Path,
    ) -> io::Result<Program> {
        let file = File::options().create(true).append(true).open(output)?;
        let mut command = Command::new(path(name)?);
        command.args(arguments).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Program { guard: Guard::start(&mut command, Signal::TERM)?, output: output.to_owned() })
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.guard.signal(signal);
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.guard.ended().is_some()
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill(mut self) {
        self.guard.signal(Signal::KILL);
        self.guard.stop();
    }

    /// Asks it to end and waits.
    pub fn stop(mut self) {
        self.guard.stop();
    }

    /// Waits until `base` says it is ready; an error holds what the program printed.
    pub async fn ready(&mut self, base: &str) -> io::Result<()> {
        let client = reqwest::Client::new();
        let url = format!("{base}/-/ready");
        let found = wait::until(READY_TIMEOUT, async || {
            if self.guard.ended().is_some() {
                return Some(false);
            }
            let answer = client.get(&url).timeout(Duration::from_secs(2)).send().await.ok()?;
            answer.status().is_success().then_some(true)
        });
        match found.await {
            Some(true) => Ok(()),
            Some(false) => Err(io::Error::other(format!("it ended at once:\n{}", self.output()))),
            None => Err(io::Error::other(format!("{url} never answered:\n{}", self.output()))),
        }
    }
}

/// Questions to a running server's HTTP API.
#[derive(Clone)]
pub struct Api {
    base: String,
    client: reqwest::Client,
}

impl Api {
    /// The server at `base`, such as `http://127.0.0.1:7400`.
    pub fn new(base: impl Into<String>) -> Api {
        Api { base: base.into(), client: reqwest::Client::new() }
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `data` of a GET; `Err` holds the server's words.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let request = self.client.get(format!("{}{path}", self.base)).query(query).timeout(Duration::from_secs(30));
        let answer = request.send().await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| e.to_string())?;
        let mut body: Value = serde_json::from_str(&text).map_err(|_| format!("{status}: {text}"))?;
        if body["status"] == "success" { Ok(body["data"].take()) } else { Err(format!("{status}: {text}")) }
    }

    /// The rows of a SQL query.
    pub async fn sql(&self, query: &str) -> Result<Vec<Vec<Value>>, String> {
        let data = self.get("/api/v1/sql", &[("q", query)]).await?;
        serde_json::from_value(data["rows"].clone()).map_err(|e| format!("{e}: {data}"))
    }

    /// The first value of an instant PromQL query; `None` if it is empty.
    pub async fn number(&self, query: &str) -> Result<Option<f64>, String> {
        let data = self.get("/api/v1/query", &[("query", query)]).await?;
        Ok(data["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok()))
    }
}
