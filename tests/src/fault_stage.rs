//! Where faults are injected: a PostgreSQL with a streaming replica and a MariaDB with a replica, a shop on both primaries,
//! one `tidewatch up` that watches all four, and a receiver of its messages.

use std::time::Duration;

use anyhow::Context;
use mysql_async::prelude::Queryable;
use tempfile::TempDir;

use crate::{
    MariaDb, Postgres,
    disk::Disk,
    process::{free_port, give, is_root},
    program::{Api, Program},
    receiver::Receiver,
    shop::{self, Clients},
    wait,
};

/// Rows of history in each shop.
const ORDERS: i64 = 60_000;
/// Customers at once, on each primary.
const CLIENTS: usize = 3;
/// Size of the file system that fills.
const DISK_BYTES: u64 = 240 << 20;
/// How long replicas and first readings may take.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
/// Readings a statement needs before it can be seen to change.
const BASELINE_READINGS: f64 = 5.0;

/// Instances as messages name them.
pub const POSTGRES: &str = "pg-primary";
/// The streaming replica.
pub const POSTGRES_REPLICA: &str = "pg-replica";
/// MariaDB's primary.
pub const MARIADB: &str = "mariadb-primary";
/// MariaDB's replica.
pub const MARIADB_REPLICA: &str = "mariadb-replica";

/// Everything at work; gone when dropped.
pub struct Stage {
    /// Asks the server.
    pub api: Api,
    /// Gets its messages.
    pub receiver: Receiver,
    /// PostgreSQL's primary.
    pub postgres: Postgres,
    /// Its replica.
    pub postgres_replica: Postgres,
    /// Where its tablespace `archive` is; `None`: we are not root.
    pub disk: Option<Disk>,
    /// MariaDB's primary.
    pub mariadb: MariaDb,
    /// Its replica.
    pub mariadb_replica: MariaDb,
    program: Program,
    load: (Clients, Clients),
    _folder: TempDir,
}

impl Stage {
    /// Starts all of it and waits until every server is seen and statements have a past.
    pub async fn start() -> anyhow::Result<Stage> {
        let logging = [
            "logging_collector=on",
            "log_directory=log",
            "log_filename=postgresql.log",
            "log_file_mode=0644",
            "log_line_prefix=%m [%p] user=%u,db=%d,app=%a ",
            "log_lock_waits=on",
            "log_checkpoints=on",
        ];
        let own = ["shared_preload_libraries=pg_stat_statements", "track_io_timing=on", "max_connections=60"];
        let options: Vec<&str> = own.into_iter().chain(logging).collect();
        let postgres = Postgres::start(&options).await?;
        let disk = if is_root() { Some(Disk::mount(DISK_BYTES)?) } else { None };
        let tables = disk.as_ref().map(|d| d.point().join("tables"));
        if let Some(tables) = &tables {
            std::fs::create_dir(tables)?;
            give(tables, "postgres")?;
            let create = format!("CREATE TABLESPACE archive LOCATION '{}'", tables.display());
            postgres.connect("postgres").await?.batch_execute(&create).await?;
        }
        let postgres_replica = Postgres::replica_of(&postgres, "replica1", tables.as_deref(), &options).await?;
        let common = ["--log-bin", "--innodb-print-all-deadlocks=ON", "--plugin-load-add=metadata_lock_info"];
        let with = |id| common.into_iter().chain([id]).collect::<Vec<_>>();
        let mariadb = MariaDb::start(&with("--server-id=1")).await?;
        let mariadb_replica = MariaDb::start(&[with("--server-id=2"), vec!["--read-only=ON"]].concat()).await?;
        mariadb_replica.follow(&mariadb).await?;
        let mut session = mariadb.connect("root").await?;
        session.query_drop("CREATE USER crm@localhost").await?;
        session.disconnect().await?;
        tokio::try_join!(shop::open_postgres(&postgres, ORDERS), shop::open_mariadb(&mariadb, ORDERS))?;
        let load =
            tokio::try_join!(shop::buy_from_postgres(&postgres, CLIENTS), shop::buy_from_mariadb(&mariadb, CLIENTS))?;
        let receiver = Receiver::start().await?;
        let folder = tempfile::Builder::new().prefix("tidewatch-faults-").tempdir()?;
        let http = format!("127.0.0.1:{}", free_port()?);
        let grpc = format!("127.0.0.1:{}", free_port()?);
        let data = folder.path().join("data").display().to_string();
        let config = folder.path().join("tidewatch.yaml");
        std::fs::write(&config, config_of(receiver.url()))?;
        let pg = |s: &Postgres, name| format!("postgres://postgres@127.0.0.1:{}/postgres?instance={name}", s.port());
        let my = |s: &MariaDb, name| format!("mysql://root@127.0.0.1:{}/?instance={name}", s.port());
        let postgres_urls = [pg(&postgres, POSTGRES), pg(&postgres_replica, POSTGRES_REPLICA)].join(",");
        let mariadb_urls = [my(&mariadb, MARIADB), my(&mariadb_replica, MARIADB_REPLICA)].join(",");
        let environment = [("TIDEWATCH_PG", postgres_urls.as_str()), ("TIDEWATCH_MYSQL", mariadb_urls.as_str())];
        let config = config.display().to_string();
        let words = ["up", "--config", &config, "--statements-every", "10", "--data-dir", &data];
        let words = words.into_iter().chain(["--http-listen", &http, "--grpc-listen", &grpc]);
        let mut program = Program::start("tidewatch", words, &environment, &folder.path().join("tidewatch.log"))?;
        let api = Api::new(format!("http://{http}"));
        program.ready(api.base()).await?;
        let stage = Stage {
            api,
            receiver,
            postgres,
            postgres_replica,
            disk,
            mariadb,
            mariadb_replica,
            program,
            load,
            _folder: folder,
        };
        stage.seen().await?;
        Ok(stage)
    }

    async fn seen(&self) -> anyhow::Result<()> {
        let up = format!("sum(up{{instance=~\"{POSTGRES}|{POSTGRES_REPLICA}|{MARIADB}|{MARIADB_REPLICA}\"}})");
        let past =
            format!("SELECT count(DISTINCT ts) FROM statement_stats WHERE instance = '{POSTGRES}' AND calls > 0");
        let found = wait::until(READY_TIMEOUT, async || {
            let all = self.api.number(&up).await.ok()?? >= 4.0;
            let rows = self.api.sql(&past).await.ok()?;
            (all && rows.first()?.first()?.as_f64()? >= BASELINE_READINGS).then_some(())
        });
        found.await.with_context(|| format!("the servers are not seen; tidewatch said:\n{}", self.program.output()))
    }

    /// What `tidewatch up` printed.
    pub fn output(&self) -> String {
        self.program.output()
    }

    /// Ends load and server in order.
    pub async fn stop(self) {
        self.program.stop();
        self.load.0.leave().await;
        self.load.1.leave().await;
    }
}

fn config_of(url: &str) -> String {
    format!(
        "alerting:\n  receivers:\n    - name: faults\n      webhooks:\n        - url: {url}\n  route:\n    receiver: faults\n    \
         group_by: [alertname, instance]\n    group_interval: 5s\n"
    )
}
