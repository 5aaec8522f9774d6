//! The three servers, each in a private folder on a free loopback port, as a user would start it but for bounds that the sizes
//! here would hit.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::{
    measure::{cpu_s, directory_bytes},
    wire::Body,
};

/// Requests on their way to one server at a time, as of so many shards of a sender.
const IN_FLIGHT_MAX: usize = 8;
/// Series that a question may touch: with the defaults one about all of a million, and their alerts, is refused.
const ASKED_SERIES_MAX: u32 = 10_000_000;
/// How long a server may take to answer first, to stop, or to settle.
const PATIENCE: Duration = Duration::from_secs(300);
/// Time between two looks at a state.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Whose program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Maker {
    /// Ours.
    Tidewatch,
    /// Debian's `victoria-metrics`.
    VictoriaMetrics,
    /// Debian's `prometheus`.
    Prometheus,
}

impl Maker {
    /// All, in the order of columns.
    pub const ALL: [Maker; 3] = [Maker::Tidewatch, Maker::VictoriaMetrics, Maker::Prometheus];

    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Maker::Tidewatch => "Tidewatch",
            Maker::VictoriaMetrics => "VictoriaMetrics",
            Maker::Prometheus => "Prometheus",
        }
    }

    fn program(self) -> Result<PathBuf> {
        Ok(match self {
            // built into the same folder as this program
            Maker::Tidewatch => std::env::current_exe()?.with_file_name("tidewatch"),
            Maker::VictoriaMetrics => "victoria-metrics".into(),
            Maker::Prometheus => "prometheus".into(),
        })
    }

    /// What the program says of its version, one line; Debian's VictoriaMetrics says nothing.
    pub fn version(self) -> Result<String> {
        let argument = if self == Maker::VictoriaMetrics { "-version" } else { "--version" };
        let program = self.program()?;
        let output = Command::new(&program).arg(argument).output().with_context(|| program.display().to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok(text.lines().find(|line| !line.trim().is_empty()).unwrap_or("says no version").to_owned())
    }
}

/// How a server is started.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How far an instant selector looks back, milliseconds (with the default VictoriaMetrics finds out by itself).
    pub lookback_ms: i64,
    /// Ours: rows are flushed to parts once this old, milliseconds; `None`: as by default.
    pub flush_age_ms: Option<i64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { lookback_ms: 300_000, flush_age_ms: None }
    }
}

/// A running server; a drop kills it.
pub struct Server {
    /// Whose.
    pub maker: Maker,
    /// Where it answers, as `http://127.0.0.1:PORT`.
    pub base: String,
    /// Ours: where collectors connect.
    pub grpc: String,
    dir: PathBuf,
    child: Child,
    client: reqwest::Client,
    /// CPU of lives that ended, seconds.
    spent_cpu_s: f64,
}

impl Server {
    /// Starts a server with the data of `dir` and waits until it answers.
    pub async fn start(maker: Maker, dir: &Path, settings: Settings) -> Result<Server> {
        fs::create_dir_all(dir)?;
        let (port, grpc_port) = (free_port()?, free_port()?);
        let child = command(maker, dir, settings, port, grpc_port)?;
        let client = reqwest::Client::builder().no_gzip().no_zstd().pool_max_idle_per_host(64).build()?;
        let mut server = Server {
            maker,
            base: format!("http://127.0.0.1:{port}"),
            grpc: format!("http://127.0.0.1:{grpc_port}"),
            dir: dir.to_owned(),
            child,
            client,
            spent_cpu_s: 0.0,
        };
        server.until_ready().await?;
        Ok(server)
    }

    /// Its process id.
    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// CPU it has used in all its lives, seconds.
    pub fn cpu_s(&self) -> Result<f64> {
        Ok(self.spent_cpu_s + cpu_s(&self.pid())?)
    }

    async fn until_ready(&mut self) -> Result<()> {
        let path = if self.maker == Maker::VictoriaMetrics { "/health" } else { "/-/ready" };
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.dir.join("output.log")).unwrap_or_default();
                bail!("{} ended at once ({status}):\n{log}", self.maker.name());
            }
            let asked = self.client.get(format!("{}{path}", self.base)).timeout(Duration::from_secs(2)).send();
            if asked.await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!("{} never answered", self.maker.name());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Kills it (SIGKILL) and starts it again on the same data.
    pub async fn kill_and_start(&mut self, settings: Settings) -> Result<()> {
        self.spent_cpu_s = self.cpu_s()?;
        self.child.kill()?;
        self.child.wait()?;
        self.start_again(settings).await
    }

    /// Asks it to end, waits, and starts it again on the same data.
    pub async fn restart(&mut self, settings: Settings) -> Result<()> {
        self.spent_cpu_s = self.cpu_s()?;
        self.end().await?;
        self.start_again(settings).await
    }

    async fn start_again(&mut self, settings: Settings) -> Result<()> {
        let (port, grpc_port) = (free_port()?, free_port()?);
        self.child = command(self.maker, &self.dir, settings, port, grpc_port)?;
        self.base = format!("http://127.0.0.1:{port}");
        self.grpc = format!("http://127.0.0.1:{grpc_port}");
        self.until_ready().await
    }

    async fn end(&mut self) -> Result<()> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM); // it may have ended by itself
        }
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= end {
                bail!("{} did not end", self.maker.name());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Sends requests, some at a time; every one must be taken whole.
    pub async fn write(&self, bodies: &[Body]) -> Result<()> {
        let send = |body: Body| async move {
            let request = self.client.post(format!("{}/api/v1/write", self.base)).body(body.bytes);
            let request = request.header("content-type", "application/x-protobuf").header("content-encoding", "snappy");
            let answer = request.header("x-prometheus-remote-write-version", "0.1.0").send().await?;
            if !answer.status().is_success() {
                bail!("{}: {}: {}", self.maker.name(), answer.status(), answer.text().await?);
            }
            Ok(())
        };
        stream::iter(bodies.iter().cloned()).map(send).buffer_unordered(IN_FLIGHT_MAX).try_collect().await
    }

    /// The body of a GET; an error holds what the server said.
    pub async fn get(&self, path: &str, form: &[(&str, &str)]) -> Result<Vec<u8>> {
        let answer = self.client.get(format!("{}{path}", self.base)).query(form).timeout(PATIENCE).send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if !status.is_success() {
            bail!("{} {path} {form:?}: {status}: {}", self.maker.name(), String::from_utf8_lossy(&body));
        }
        Ok(body.to_vec())
    }

    /// The first number of an instant query; `None` if nothing is found.
    pub async fn number(&self, query: &str, at_ms: i64) -> Result<Option<f64>> {
        let time = format!("{}", at_ms as f64 / 1000.0);
        let body = self.get("/api/v1/query", &[("query", query), ("time", &time), ("nocache", "1")]).await?;
        let answer: serde_json::Value = serde_json::from_slice(&body)?;
        Ok(answer["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok()))
    }

    /// A metric of its own, all label sets together; 0 if it has none.
    pub async fn own_metric(&self, name: &str) -> Result<f64> {
        let text = String::from_utf8(self.get("/metrics", &[]).await?)?;
        let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
        Ok(text.lines().filter(is_it).filter_map(value).sum())
    }

    /// Has what was taken shown to questions: VictoriaMetrics waits a second or so otherwise.
    pub async fn show(&self) -> Result<()> {
        if self.maker == Maker::VictoriaMetrics {
            self.get("/internal/force_flush", &[]).await?;
        }
        Ok(())
    }

    /// Has everything written to its last place, merged as it would be once a day is over, and gives the bytes of that: index
    /// included, write-ahead logs and caches not. Our own and VictoriaMetrics' are merged; Prometheus writes its head as a block.
    pub async fn settle(&mut self, settings: Settings) -> Result<u64> {
        match self.maker {
            Maker::Tidewatch => {
                // once more, for a flush that rows pressed for holds up merges until the next start, or for a minute
                for _ in 0..2 {
                    self.restart(Settings { flush_age_ms: Some(1), ..settings }).await?;
                    self.until_still(&["tidewatch_storage_parts", "tidewatch_storage_part_bytes"]).await?;
                }
                self.restart(settings).await?;
                Ok(directory_bytes(&self.dir.join("data/parts"))?)
            }
            Maker::VictoriaMetrics => {
                self.get("/internal/force_flush", &[]).await?;
                self.get("/internal/force_merge", &[]).await?;
                self.until_still(&["vm_active_merges", "vm_parts", "vm_pending_rows"]).await?;
                Ok(directory_bytes(&self.dir.join("data/data"))? + directory_bytes(&self.dir.join("data/indexdb"))?)
            }
            Maker::Prometheus => {
                let answer = self.client.post(format!("{}/api/v1/admin/tsdb/snapshot", self.base)).send().await?;
                let body: serde_json::Value = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
                let name = body["data"]["name"].as_str().context("a snapshot has a name")?;
                let dir = self.dir.join("data/snapshots").join(name);
                let bytes = directory_bytes(&dir)?;
                fs::remove_dir_all(dir)?;
                Ok(bytes)
            }
        }
    }

    /// Until these metrics have not changed, and next to no CPU was used, for longer than a round of maintenance: a merge changes them at its end.
    async fn until_still(&self, names: &[&str]) -> Result<()> {
        const STILL_FOR: Duration = Duration::from_millis(6_500);
        /// Of one core.
        const STILL_CPU_MAX: f64 = 0.2;
        let end = Instant::now() + PATIENCE;
        let (mut last, mut since, mut cpu_s) = (Vec::new(), Instant::now(), self.cpu_s()?);
        loop {
            let mut now = Vec::new();
            for name in names {
                now.push(self.own_metric(name).await?);
            }
            let spent_s = self.cpu_s()? - cpu_s;
            if now != last || spent_s > STILL_CPU_MAX * since.elapsed().as_secs_f64() {
                (last, since) = (now, Instant::now());
                cpu_s += spent_s;
            }
            if since.elapsed() >= STILL_FOR || Instant::now() >= end {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL * 10).await;
        }
    }

    /// Kills it and removes its data.
    pub fn remove(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        fs::remove_dir_all(&self.dir)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn command(maker: Maker, dir: &Path, settings: Settings, port: u16, grpc_port: u16) -> Result<Child> {
    let data = dir.join("data");
    let listen = format!("127.0.0.1:{port}");
    let mut command = Command::new(maker.program()?);
    match maker {
        Maker::Tidewatch => {
            let config = dir.join("tidewatch.yaml");
            let flush = settings.flush_age_ms.map_or(String::new(), |ms| format!("  flush_age: {ms}ms\n"));
            let text = format!(
                "data_dir: data\nhttp: {{listen: \"{listen}\"}}\ngrpc: {{listen: \"127.0.0.1:{grpc_port}\"}}\nstorage:\n  \
                 on_damage: stop\n{flush}query: {{lookback: {}ms, series_max: {ASKED_SERIES_MAX}}}\n",
                settings.lookback_ms
            );
            fs::write(&config, text)?;
            command.args(["--log", "warn", "serve", "--config"]).arg(config);
        }
        Maker::VictoriaMetrics => {
            command.arg(format!("-storageDataPath={}", data.display())).arg(format!("-httpListenAddr={listen}"));
            command.args(["-retentionPeriod=3", "-loggerLevel=WARN", "-search.maxQueryDuration=5m"]);
            command.arg(format!("-search.maxUniqueTimeseries={ASKED_SERIES_MAX}"));
            command.arg(format!("-search.maxSeries={ASKED_SERIES_MAX}"));
            if settings.lookback_ms != Settings::default().lookback_ms {
                command.arg(format!("-search.maxLookback={}ms", settings.lookback_ms));
            }
        }
        Maker::Prometheus => {
            let config = dir.join("prometheus.yml");
            fs::write(&config, "global: {scrape_interval: 15s}\n")?;
            command.arg(format!("--config.file={}", config.display()));
            command.arg(format!("--storage.tsdb.path={}", data.display()));
            command.arg(format!("--web.listen-address={listen}"));
            command.arg(format!("--query.lookback-delta={}ms", settings.lookback_ms));
            command.args(["--web.enable-remote-write-receiver", "--web.enable-admin-api", "--log.level=error"]);
            command.args(["--storage.tsdb.retention.time=90d", "--query.timeout=5m"]);
        }
    }
    let log = File::options().create(true).append(true).open(dir.join("output.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("{}: is it installed? `tests/setup.sh peers`", maker.name()))
}
