//! A private PgBouncer before a PostgreSQL: its own folder and port, trust for loopback, gone with its value.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Postgres,
    postgres::StartError,
    process::{Guard, free_port, give, is_root},
    wait,
};

const PROGRAM: &str = "/usr/sbin/pgbouncer";
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running PgBouncer.
pub struct PgBouncer {
    _guard: Guard,
    _dir: TempDir,
    port: u16,
}

impl PgBouncer {
    /// Starts it before `server`, with pools of this many connections, shared by transactions.
    pub async fn start(server: &Postgres, pool_size: u32) -> Result<PgBouncer, StartError> {
        if !Path::new(PROGRAM).exists() {
            return Err(StartError::NotInstalled("pgbouncer".into()));
        }
        let dir = tempfile::Builder::new().prefix("tw-bouncer-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let port = free_port()?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::write(dir.path().join("users"), "\"postgres\" \"\"\n\"tidewatch\" \"\"\n")?;
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\nadmin_users = postgres\nstats_users = tidewatch\npool_mode = transaction\n\
             default_pool_size = {pool_size}\nlogfile = {}\npidfile = {}\nignore_startup_parameters = extra_float_digits\n",
            server.port(),
            at("users"),
            at("log"),
            at("pid")
        );
        fs::write(dir.path().join("ini"), settings)?;
        if is_root() {
            give(dir.path(), "postgres")?;
        }
        let mut command = if is_root() {
            let mut c = Command::new("setpriv");
            c.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--", PROGRAM]);
            c
        } else {
            Command::new(PROGRAM)
        };
        command.arg(at("ini")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = Guard::start(&mut command, Signal::INT)?;
        let url = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres connect_timeout=5");
        let answered = wait::until(START_TIMEOUT, async || {
            if guard.ended().is_some() {
                return Some(false);
            }
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.ok().map(|_| true)
        });
        if answered.await != Some(true) {
            return Err(StartError::Failed(fs::read_to_string(dir.path().join("log")).unwrap_or_default()));
        }
        Ok(PgBouncer { _guard: guard, _dir: dir, port })
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A session through it.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let url = format!("host=127.0.0.1 port={} user=postgres dbname={database} connect_timeout=5", self.port);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}
