//! Servers, `tidewatch` with the pack, and collectors: what the states are made on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use rustix::process::Signal;
use tempfile::TempDir;

use super::board::Board;
use crate::{
    MariaDb, Postgres,
    process::{Guard, free_port},
    program::{self, Api, Program},
    wait,
};

/// Options of the PostgreSQL primary and its replica: they must agree.
pub const SHOP_OPTIONS: [&str; 9] = [
    "shared_preload_libraries=pg_stat_statements",
    "max_connections=60",
    "max_prepared_transactions=5",
    "archive_mode=on",
    "max_slot_wal_keep_size=64MB",
    "max_wal_size=64MB",
    "min_wal_size=32MB",
    "autovacuum_naptime=3600",
    "max_standby_streaming_delay=500ms",
];

/// Everything that runs.
pub struct Stage {
    /// Holds configs, data and logs.
    pub folder: TempDir,
    /// PostgreSQL with the shop's data, instance `shop`; it has a replica, `shop-replica`.
    pub shop: Postgres,
    /// Its replica.
    pub shop_replica: Postgres,
    /// PostgreSQL near the end of its ids and with a damaged page, instance `aged`.
    pub aged: Postgres,
    /// PostgreSQL to be stopped, instance `fragile`.
    pub fragile: Postgres,
    /// MariaDB, instance `store`; it has a replica, `store-replica`.
    pub store: MariaDb,
    /// Its replica.
    pub store_replica: MariaDb,
    /// MariaDB to be stopped, instance `brittle`.
    pub brittle: MariaDb,
    /// The server's HTTP address, `127.0.0.1:port`.
    pub http: String,
    /// Where its collectors connect.
    pub grpc: String,
    /// A port nobody listens on, of the receiver that can't be reached.
    pub receiver_port: u16,
    /// Asks the server.
    pub api: Api,
    /// What came of the states.
    pub board: Board,
    server: Option<Program>,
    collectors: BTreeMap<&'static str, Guard>,
}

impl Stage {
    /// Starts the servers and `tidewatch`; collectors are started by [`Stage::collect`].
    pub async fn start(overrides: &[super::rules::Override]) -> anyhow::Result<Stage> {
        let folder = tempfile::Builder::new().prefix("tidewatch-states-").tempdir()?;
        std::fs::create_dir(folder.path().join("rules"))?;
        let rules = super::rules::write(&folder.path().join("rules"), overrides)?;
        println!("{rules} rules of the pack, waits shortened");
        let aged_options = ["autovacuum_freeze_max_age=2000000000", "autovacuum_multixact_freeze_max_age=2000000000"];
        let store_options = [
            "--log-bin",
            "--server-id=1",
            "--max-connections=400",
            "--table-open-cache-instances=1",
            "--max-prepared-stmt-count=100",
            "--performance-schema-digests-size=300",
            "--rpl-semi-sync-master-enabled=ON",
            "--rpl-semi-sync-master-timeout=1000",
        ];
        let replica_options =
            ["--server-id=2", "--read-only=ON", "--rpl-semi-sync-slave-enabled=ON", "--relay-log=relay", "--log-bin"];
        let (shop, aged, fragile) =
            (Postgres::start(&SHOP_OPTIONS).await?, Postgres::start(&aged_options).await?, Postgres::start(&[]).await?);
        shop.connect("postgres")
            .await?
            .batch_execute("SELECT pg_create_physical_replication_slot('replica', true)")
            .await?;
        let shop_replica = shop.follower("replica", &SHOP_OPTIONS).await?;
        let (store, store_replica, brittle) = (
            MariaDb::start(&store_options).await?,
            MariaDb::start(&replica_options).await?,
            MariaDb::start(&[]).await?,
        );
        println!("4 PostgreSQL and 3 MariaDB servers run");
        let (http, grpc) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
        let api = Api::new(format!("http://{http}"));
        let mut stage = Stage {
            board: Board::new(api.clone()),
            folder,
            shop,
            shop_replica,
            aged,
            fragile,
            store,
            store_replica,
            brittle,
            http,
            grpc,
            receiver_port: free_port()?,
            api,
            server: None,
            collectors: BTreeMap::new(),
        };
        stage.write_server_config()?;
        stage.run_server().await?;
        Ok(stage)
    }

    /// A path in the stage's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_server_config(&self) -> anyhow::Result<()> {
        let config = format!(
            "data_dir: {data}\nhttp: {{listen: {http}}}\ngrpc: {{listen: {grpc}}}\n\
             storage: {{flush_age: 10s, on_damage: skip, limits: {{label_value_bytes_max: 110}}}}\n\
             alerting:\n  builtin_rules: false\n  rules: ['rules/*.yaml']\n  receivers:\n    - name: away\n      webhooks:\n        \
             - {{url: 'http://127.0.0.1:{port}/alerts', timeout: 2s}}\n  route: {{receiver: away, group_by: [alertname], \
             routes: []}}\n",
            data = self.path("data").display(),
            http = self.http,
            grpc = self.grpc,
            port = self.receiver_port,
        );
        Ok(std::fs::write(self.path("tidewatch.yaml"), config)?)
    }

    /// Starts the server, again after [`Stage::kill_server`].
    pub async fn run_server(&mut self) -> anyhow::Result<()> {
        let config = self.path("tidewatch.yaml").display().to_string();
        let mut server = Program::start("tidewatch", ["serve", "--config", &config], &[], &self.path("tidewatch.log"))?;
        server.ready(self.api.base()).await?;
        self.server = Some(server);
        Ok(())
    }

    /// Kills it at once.
    pub fn kill_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Stops it in order.
    pub fn stop_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// What it printed, the last lines.
    pub fn server_log(&self) -> String {
        let text = std::fs::read_to_string(self.path("tidewatch.log")).unwrap_or_default();
        text.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Starts a collector with the YAML of its host and databases; `before` are words put before its command, such as
    /// `unshare`.
    pub fn collect(&mut self, name: &'static str, body: &str, before: &[&str]) -> anyhow::Result<()> {
        let config = self.path(&format!("{name}.yaml"));
        let head = format!(
            "server: {{address: 'http://{}'}}\nid: {name}\ndata_dir: {}\n",
            self.grpc,
            self.path(&format!("{name}-data")).display()
        );
        std::fs::write(&config, head + body)?;
        let program = program::path("tidewatch-collector")?;
        let mut words: Vec<String> = before.iter().map(|w| (*w).to_owned()).collect();
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("--config").arg(&config).stdin(Stdio::null());
        let log = std::fs::File::options().create(true).append(true).open(self.path(&format!("{name}.log")))?;
        command.stdout(log.try_clone()?).stderr(log);
        self.collectors.insert(name, Guard::start(&mut command, Signal::TERM)?);
        Ok(())
    }

    /// Stops a collector, by SIGKILL if asked so.
    pub fn stop_collector(&mut self, name: &str, kill: bool) {
        if let Some(mut guard) = self.collectors.remove(name) {
            if kill {
                guard.signal(Signal::KILL);
            }
            guard.stop();
        }
    }

    /// Watches every database, and this host.
    pub fn collect_all(&mut self) -> anyhow::Result<()> {
        let mut body = "host: {instance: this-host, interval: 5s}\ndatabases:\n".to_owned();
        for (name, user, port) in [
            ("shop", "postgres", self.shop.port()),
            ("shop-replica", "postgres", self.shop_replica.port()),
            ("aged", "plain", self.aged.port()),
            ("fragile", "postgres", self.fragile.port()),
        ] {
            body += &format!(
                "  - {{name: {name}, engine: postgresql, address: '127.0.0.1:{port}', user: {user}, database: postgres, \
                 intervals: {{statements: 10s}}, logs: {{mode: 'off'}}}}\n"
            );
        }
        for (name, server) in
            [("store", &self.store), ("store-replica", &self.store_replica), ("brittle", &self.brittle)]
        {
            body += &format!(
                "  - {{name: {name}, engine: mariadb, address: '{}', user: root, intervals: {{statements: 10s}}, \
                 logs: {{mode: 'off'}}}}\n",
                server.socket().display()
            );
        }
        self.collect("all", &body, &[])
    }

    /// Stops and starts the collector of the databases, so that what is read every five minutes is read now.
    pub fn read_slow_things_now(&mut self) -> anyhow::Result<()> {
        self.stop_collector("all", false);
        self.collect_all()
    }

    /// Waits until a PromQL query gives a value.
    pub async fn until_query(&self, query: &str, limit: Duration) -> anyhow::Result<f64> {
        let look = async || self.api.number(query).await.ok().flatten();
        wait::until(limit, look).await.with_context(|| format!("{query} never gave a value"))
    }

    /// Makes the server read its rules again; whether they were taken.
    pub async fn reload(&self) -> bool {
        let client = reqwest::Client::new();
        let answer =
            client.post(format!("http://{}/-/reload", self.http)).timeout(Duration::from_secs(20)).send().await;
        answer.is_ok_and(|a| a.status().is_success())
    }
}

/// Runs a program of the system; an error holds what it said.
pub fn command(words: &[&str]) -> anyhow::Result<()> {
    let out = Command::new(words[0]).args(&words[1..]).output().with_context(|| words.join(" "))?;
    anyhow::ensure!(out.status.success(), "{}: {}", words.join(" "), String::from_utf8_lossy(&out.stderr));
    Ok(())
}

/// Writes zeros over a file's beginning, or a new file of them.
pub fn zeros(path: &Path, bytes: usize) -> anyhow::Result<()> {
    Ok(std::fs::write(path, vec![0; bytes])?)
}
