//! A private PostgreSQL: its own folder, its own port, trust for loopback, gone with its value.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use collector::config::{Address, DatabaseConfig, Engine};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    process::{Guard, free_port, give, is_root},
    wait,
};

/// Where Debian puts the programs of each major version.
const ROOT: &str = "/usr/lib/postgresql";
/// How long a server may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(40);

/// A running server.
pub struct Postgres {
    guard: Option<Guard>,
    dir: TempDir,
    bin: PathBuf,
    port: u16,
    options: Vec<String>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The package is not installed.
    #[error("skipped: {0} is not installed")]
    NotInstalled(String),
    /// It is installed and did not start.
    #[error("{0}")]
    Failed(String),
    /// The system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Postgres {
    /// Starts the newest installed version; `options` are lines `name=value` of its configuration.
    pub async fn start(options: &[&str]) -> Result<Postgres, StartError> {
        let mut versions: Vec<u32> = fs::read_dir(ROOT)
            .map_err(|_| StartError::NotInstalled("postgresql".into()))?
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        versions.sort_unstable();
        let newest = versions.last().ok_or_else(|| StartError::NotInstalled("postgresql".into()))?;
        Postgres::start_from(&Path::new(ROOT).join(newest.to_string()).join("bin"), options).await
    }

    /// Starts the programs of a folder.
    pub async fn start_from(bin: &Path, options: &[&str]) -> Result<Postgres, StartError> {
        let mut server = Postgres::folder(bin, options)?;
        let data = server.data_dir().display().to_string();
        server.tool(
            "initdb",
            &["-D", &data, "-U", "postgres", "-A", "trust", "-N", "-k", "-E", "UTF8", "--locale", "C.UTF-8"],
        )?;
        server.run().await?;
        Ok(server)
    }

    /// A replica that streams from this one through a slot of its.
    pub async fn follower(&self, slot: &str, options: &[&str]) -> Result<Postgres, StartError> {
        let mut server = Postgres::folder(&self.bin, options)?;
        let (data, port) = (server.data_dir().display().to_string(), self.port.to_string());
        server.tool(
            "pg_basebackup",
            &["-D", &data, "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-S", slot, "-c", "fast"],
        )?;
        server.run().await?;
        Ok(server)
    }

    /// A replica made of a copy of this one's files, for programs that come without `pg_basebackup`; this one is
    /// stopped meanwhile.
    pub async fn copied_follower(&mut self, slot: &str, options: &[&str]) -> Result<Postgres, StartError> {
        let mut server = Postgres::folder(&self.bin, options)?;
        self.stop();
        let copied = Command::new("cp").arg("-a").arg(self.data_dir()).arg(server.dir.path()).status()?;
        if !copied.success() {
            return Err(StartError::Failed(format!("cp: {copied}")));
        }
        let follow = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user=postgres application_name={slot}'\nprimary_slot_name = '{slot}'\n",
            self.port
        );
        fs::write(server.data_dir().join("standby.signal"), "")?;
        let mut settings = fs::File::options().append(true).open(server.data_dir().join("postgresql.auto.conf"))?;
        settings.write_all(follow.as_bytes())?;
        if is_root() {
            give(server.dir.path(), "postgres")?;
        }
        self.run().await?;
        server.run().await?;
        Ok(server)
    }

    /// A folder and a port, nothing in it yet.
    fn folder(bin: &Path, options: &[&str]) -> Result<Postgres, StartError> {
        let dir = tempfile::Builder::new().prefix("tw-pg-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(dir.path().join("sock"))?;
        fs::DirBuilder::new().mode(0o700).create(dir.path().join("data"))?;
        if is_root() {
            give(dir.path(), "postgres")?;
        }
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        Ok(Postgres { guard: None, bin: bin.to_owned(), port: free_port()?, options, dir })
    }

    /// Runs one of the server's programs, as the server's account, and waits for it.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> Result<(), StartError> {
        let out = self.program(name).args(arguments).output()?;
        if out.status.success() {
            return Ok(());
        }
        Err(StartError::Failed(format!("{name}: {}", String::from_utf8_lossy(&out.stderr))))
    }

    /// Starts a streaming replica of a running server of the same version, over a slot of this name. A tablespace at `moved`
    /// gets a folder of the replica's own: both live on one host.
    pub async fn replica_of(
        primary: &Postgres,
        slot: &str,
        moved: Option<&Path>,
        options: &[&str],
    ) -> Result<Postgres, StartError> {
        let dir = tempfile::Builder::new().prefix("tw-pg-replica-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(dir.path().join("sock"))?;
        if is_root() {
            give(dir.path(), "postgres")?;
        }
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        let mut server = Postgres { guard: None, bin: primary.bin.clone(), port: free_port()?, options, dir };
        let mut copy = server.program("pg_basebackup");
        copy.args(["-D", &server.data_dir().display().to_string(), "-d", &primary.url("postgres", "postgres")]);
        copy.args(["-R", "-X", "stream", "-c", "fast", "-C", "-S", slot]);
        if let Some(moved) = moved {
            copy.arg("-T").arg(format!("{}={}", moved.display(), server.dir.path().join("tables").display()));
        }
        let out = copy.output()?;
        if !out.status.success() {
            return Err(StartError::Failed(String::from_utf8_lossy(&out.stderr).into_owned()));
        }
        server.run().await?;
        Ok(server)
    }

    /// Starts it again after [`Postgres::stop`] or [`Postgres::crash`], on the same port and data.
    pub async fn run(&mut self) -> Result<(), StartError> {
        let log = fs::File::create(self.dir.path().join("postgres.out"))?;
        let mut command = self.program("postgres");
        command.args(["-D", &self.data_dir().display().to_string(), "-p", &self.port.to_string()]);
        command.args(["-k", &self.socket_dir().display().to_string(), "-h", "127.0.0.1", "-F"]);
        for option in ["max_connections=40", "shared_buffers=32MB", "log_min_messages=warning"] {
            command.args(["-c", option]);
        }
        for option in &self.options {
            command.args(["-c", option]);
        }
        command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
        self.guard = Some(Guard::start(&mut command, Signal::INT)?);
        let answered = wait::until(START_TIMEOUT, async || {
            if self.guard.as_mut().is_some_and(|g| g.ended().is_some()) {
                return Some(false);
            }
            tokio_postgres::connect(&self.url("postgres", "postgres"), tokio_postgres::NoTls).await.ok().map(|_| true)
        });
        match answered.await {
            Some(true) => Ok(()),
            _ => Err(StartError::Failed(self.output())),
        }
    }

    /// Stops it as an operator would (fast shutdown).
    pub fn stop(&mut self) {
        self.guard = None;
    }

    /// Kills every one of its processes at once, as a power cut would.
    pub fn crash(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.signal(Signal::QUIT);
            guard.stop();
        }
    }

    fn program(&self, name: &str) -> Command {
        let path = self.bin.join(name);
        let mut command = if is_root() {
            // setpriv execs in place, so that the pid we hold is the server's own.
            let mut c = Command::new("setpriv");
            c.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(path);
            c
        } else {
            Command::new(path)
        };
        command.current_dir(self.dir.path());
        command.env_remove("PGOPTIONS").env("LC_ALL", "C.UTF-8");
        command
    }

    /// What the server wrote to stderr.
    pub fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("postgres.out")).unwrap_or_default()
    }

    /// The id of its first process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.guard.as_ref().map(Guard::pid)
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a collector needs to read it as `postgres`, over its port.
    pub fn config(&self) -> DatabaseConfig {
        let address = Address::Tcp { host: "127.0.0.1".into(), port: self.port };
        DatabaseConfig::new(Engine::Postgresql, address, "postgres")
    }

    /// Folder of its Unix socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A connection string in libpq's words.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("host=127.0.0.1 port={} user={user} dbname={database} connect_timeout=5", self.port)
    }

    /// A session of the superuser.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        self.connect_as("postgres", database).await
    }

    /// A session of a role.
    pub async fn connect_as(
        &self,
        user: &str,
        database: &str,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(user, database), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.guard = None;
    }
}
