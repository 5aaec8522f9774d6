//! A private MariaDB: its own folder, its own port, an account `root` without password on loopback, gone with its value.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use collector::config::{Address, DatabaseConfig, Engine};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    postgres::StartError,
    process::{Guard, free_port, give, is_root},
    wait,
};

const SERVER: &str = "/usr/sbin/mariadbd";
const INSTALL: &str = "/usr/bin/mariadb-install-db";
/// How long a server may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server.
pub struct MariaDb {
    guard: Option<Guard>,
    dir: TempDir,
    port: u16,
    options: Vec<String>,
}

impl MariaDb {
    /// Starts it with performance_schema; `options` are further arguments such as `--log-bin`.
    pub async fn start(options: &[&str]) -> Result<MariaDb, StartError> {
        let mut server = MariaDb::installed(options)?;
        server.run().await?;
        Ok(server)
    }

    /// A server with its first data, not yet started.
    pub fn installed(options: &[&str]) -> Result<MariaDb, StartError> {
        let server = MariaDb::folder(options)?;
        let mut install = Command::new(INSTALL);
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        install.arg(format!("--datadir={}", server.data_dir().display()));
        install.arg(format!("--tmpdir={}", server.dir.path().join("tmp").display()));
        if is_root() {
            install.arg("--user=mysql");
        }
        let out = install.output()?;
        if !out.status.success() {
            return Err(StartError::Failed(String::from_utf8_lossy(&out.stderr).into_owned()));
        }
        Ok(server)
    }

    /// A copy of this one's data, on another port, not yet started; this one stands still.
    pub fn copied(&self) -> Result<MariaDb, StartError> {
        let copy = MariaDb::folder(&[])?;
        let copied = Command::new("cp").arg("-a").arg(self.data_dir()).arg(copy.dir.path()).status()?;
        if !copied.success() {
            return Err(StartError::Failed(format!("cp: {copied}")));
        }
        Ok(copy)
    }

    /// Its arguments from the next start on.
    pub fn set_options(&mut self, options: Vec<String>) {
        self.options = options;
    }

    /// A folder and a port, nothing in it yet.
    fn folder(options: &[&str]) -> Result<MariaDb, StartError> {
        if !Path::new(SERVER).exists() {
            return Err(StartError::NotInstalled("mariadb-server".into()));
        }
        let dir = tempfile::Builder::new().prefix("tw-my-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(dir.path().join("data"))?;
        // Servers that share a folder for temporary files delete those of one another when they start.
        fs::create_dir(dir.path().join("tmp"))?;
        if is_root() {
            give(dir.path(), "mysql")?;
        }
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        Ok(MariaDb { guard: None, port: free_port()?, options, dir })
    }

    /// Starts it again after [`MariaDb::stop`], on the same port and data.
    pub async fn run(&mut self) -> Result<(), StartError> {
        let mut command = Command::new(SERVER);
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--performance-schema=ON"]);
        command.args(["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--max-connections=60"]);
        command.arg(format!("--port={}", self.port));
        command.arg(format!("--datadir={}", self.data_dir().display()));
        command.arg(format!("--tmpdir={}", self.dir.path().join("tmp").display()));
        command.arg(format!("--socket={}", self.socket().display()));
        command.arg(format!("--log-error={}", self.error_log().display()));
        command.arg(format!("--pid-file={}", self.dir.path().join("mariadb.pid").display()));
        if is_root() {
            command.arg("--user=mysql");
        }
        command.args(&self.options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.guard = Some(Guard::start(&mut command, Signal::TERM)?);
        let answered = wait::until(START_TIMEOUT, async || {
            if self.guard.as_mut().is_some_and(|g| g.ended().is_some()) {
                return Some(false);
            }
            let connection = self.connect("root").await.ok()?;
            connection.disconnect().await.ok().map(|()| true)
        });
        match answered.await {
            Some(true) => Ok(()),
            _ => Err(StartError::Failed(self.output())),
        }
    }

    /// Stops it as an operator would.
    pub fn stop(&mut self) {
        self.guard = None;
    }

    /// Kills it at once, as a power cut would.
    pub fn crash(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.signal(Signal::KILL);
            guard.stop();
        }
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) {
        self.guard.iter().for_each(|g| g.signal(signal));
    }

    /// What the server wrote to its error log.
    pub fn output(&self) -> String {
        fs::read_to_string(self.error_log()).unwrap_or_default()
    }

    /// Its error log.
    pub fn error_log(&self) -> PathBuf {
        self.dir.path().join("error.log")
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("mariadb.sock")
    }

    /// What a collector needs to read it as `root`, over its socket.
    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig::new(Engine::Mariadb, Address::Socket { path: self.socket(), port: 0 }, "root")
    }

    /// The id of its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.guard.as_ref().map(Guard::pid)
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A session of an account without password, over the socket.
    pub async fn connect(&self, user: &str) -> Result<Conn, mysql_async::Error> {
        let options = OptsBuilder::default().user(Some(user)).socket(Some(self.socket().display().to_string()));
        Conn::new(options.prefer_socket(false)).await
    }

    /// Makes this server a replica of `primary`, which logs its changes, from the first of them.
    pub async fn follow(&self, primary: &MariaDb) -> Result<(), mysql_async::Error> {
        let mut session = primary.connect("root").await?;
        session.query_drop("CREATE USER repl@'127.0.0.1' IDENTIFIED BY 'repl'").await?;
        session.query_drop("GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'").await?;
        session.disconnect().await?;
        let mut session = self.connect("root").await?;
        let port = primary.port();
        let change = format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='repl', MASTER_PASSWORD='repl', \
             MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=5"
        );
        session.query_drop(change).await?;
        session.query_drop("START SLAVE").await?;
        session.disconnect().await
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.guard = None;
    }
}
