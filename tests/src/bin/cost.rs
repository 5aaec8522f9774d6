//! What the collector costs beside Debian's postgres_exporter, mysqld_exporter and node_exporter at the same interval, on
//! equal servers at the same time: CPU and memory of the readers, CPU and statements on the databases, and which of the
//! collector's statements take the servers' time. `make cost`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use collector::{config::Engine, databases::grants};
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use tests::{
    MariaDb, Postgres,
    process::{Guard, free_port},
    program::Api,
    wait::until,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time between two readings of both ways.
const INTERVAL: Duration = Duration::from_secs(10);
/// Settled before it is measured.
const WARM_UP: Duration = Duration::from_secs(30);
const TABLES: u32 = 100;
/// Statements each second on every server, the same on all.
const STATEMENTS_PER_S: u64 = 20;
const READY: Duration = Duration::from_secs(60);
/// Statements of the collector that are shown of each server, and how much of their text.
const SHOWN: usize = 12;
const TEXT_CHARS: usize = 110;
/// What is asked for: of one core, and bytes.
const CPU_MAX: f64 = 0.01;
const MEMORY_MAX: u64 = 40 << 20;

/// What follows this heading in the file was written by hand and stays.
const KEPT: &str = "\n## What was made cheaper";

/// Calls and seconds by statement.
type ByStatement = BTreeMap<String, (f64, f64)>;

/// One PostgreSQL and one MariaDB with the same tables and load.
struct Pair {
    postgres: Postgres,
    mariadb: MariaDb,
}

impl Pair {
    async fn start() -> Result<Pair> {
        let options = ["shared_preload_libraries=pg_stat_statements", "autovacuum=off"];
        let pair = Pair { postgres: Postgres::start(&options).await?, mariadb: MariaDb::start(&[]).await? };
        let client = pair.postgres.connect("postgres").await?;
        client.batch_execute("create extension pg_stat_statements").await?;
        client.batch_execute("create database shop").await?;
        client.batch_execute("create role exporter login; grant pg_monitor to exporter").await?;
        client.batch_execute(&grants(Engine::Postgresql, "tidewatch")).await?;
        let shop = pair.postgres.connect("shop").await?;
        for i in 0..TABLES {
            let sql = format!(
                "create table t{i} (id int primary key, v int); create index on t{i} (v); insert into t{i} select g, g from generate_series(1, 100) g; analyze t{i}"
            );
            shop.batch_execute(&sql).await?;
        }
        let mut conn = pair.mariadb.connect("root").await?;
        conn.query_drop("create database shop").await?;
        for i in 0..TABLES {
            conn.query_drop(format!("create table shop.t{i} (id int primary key, v int, key (v))")).await?;
            conn.query_drop(format!("insert into shop.t{i} select seq, seq from shop.seq_1_to_100")).await?;
        }
        conn.query_drop("create user exporter").await?;
        conn.query_drop("grant process, replication client, select on *.* to exporter").await?;
        conn.query_drop("grant slave monitor on *.* to exporter").await?;
        let script = grants(Engine::Mariadb, "tidewatch").replace("IDENTIFIED BY '…choose one…' ", "");
        for statement in script.lines().filter(|l| !l.starts_with("--") && !l.trim().is_empty()) {
            conn.query_drop(statement).await?;
        }
        Ok(pair)
    }

    /// The same load for as long as the program runs.
    async fn load(&self) -> Result<()> {
        let shop = self.postgres.connect("shop").await?;
        let mut conn = self.mariadb.connect("root").await?;
        tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(1000 / STATEMENTS_PER_S));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for i in 0u64.. {
                ticks.tick().await;
                let table = i % u64::from(TABLES);
                let sql = format!("select count(*) from {}t{table} where v > {}", "", i % 97);
                let there = shop.batch_execute(&sql).await.is_ok();
                if !there || conn.query_drop(sql.replace(" t", " shop.t")).await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// CPU seconds of each server so far.
    fn cpu(&self) -> Result<(f64, f64)> {
        let pid = |pid: Option<u32>| pid.context("a server ended");
        Ok((tree_cpu(pid(self.postgres.pid())?)?, tree_cpu(pid(self.mariadb.pid())?)?))
    }

    /// Statements of an account and the seconds they took, on each server.
    async fn statements(&self, account: &str) -> Result<[(f64, f64); 2]> {
        let client = self.postgres.connect("postgres").await?;
        let sql =
            "select coalesce(sum(calls), 0)::float8, coalesce(sum(total_exec_time + total_plan_time), 0)::float8 / 1000
                   from pg_stat_statements s join pg_roles r on r.oid = s.userid where rolname = $1";
        let row = client.query_one(sql, &[&account]).await?;
        let mut conn = self.mariadb.connect("root").await?;
        let sql = format!(
            "select coalesce(sum(count_star), 0) + 0e0, coalesce(sum(sum_timer_wait), 0) / 1e12 from \
             performance_schema.events_statements_summary_by_user_by_event_name where user = '{account}'"
        );
        let of_mariadb: Option<(f64, f64)> = conn.query_first(sql).await?;
        Ok([(row.get(0), row.get(1)), of_mariadb.unwrap_or_default()])
    }

    /// What the collector ran on each server. MariaDB keeps digests of no account: of all there are those of the load and of
    /// this program are left out.
    async fn by_statement(&self) -> Result<[ByStatement; 2]> {
        let client = self.postgres.connect("postgres").await?;
        let sql = "select query, sum(calls)::float8, sum(total_exec_time + total_plan_time)::float8 / 1000
                   from pg_stat_statements s join pg_roles r on r.oid = s.userid where rolname = 'tidewatch' group by 1";
        let rows = client.query(sql, &[]).await?;
        let of_postgres = rows.iter().map(|r| (r.get(0), (r.get(1), r.get(2)))).collect();
        let mut conn = self.mariadb.connect("root").await?;
        let sql = "select digest_text, sum(count_star) + 0e0, sum(sum_timer_wait) / 1e12 \
                   from performance_schema.events_statements_summary_by_digest where digest_text not like '%`shop`%' \
                   and digest_text not like '%by_user_by_event_name%' and digest_text not like 'CREATE %' \
                   and digest_text not like 'GRANT %' group by 1";
        let rows: Vec<(String, f64, f64)> = conn.query(sql).await?;
        Ok([of_postgres, rows.into_iter().map(|(text, calls, s)| (text, (calls, s))).collect()])
    }
}

/// User and system seconds of a process and of those that ended below it.
fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    let after = &stat[stat.rfind(')').context("no name")? + 1..];
    let ticks = |n: usize| after.split_ascii_whitespace().nth(n).and_then(|w| w.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((11..15).map(ticks).sum::<f64>() / 100.0)
}

/// The same with every process below it that runs.
fn tree_cpu(pid: u32) -> Result<f64> {
    let mut sum = cpu(pid)?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_ascii_whitespace().filter_map(|w| w.parse().ok()) {
        sum += tree_cpu(child).unwrap_or(0.0);
    }
    Ok(sum)
}

/// Resident bytes now and at most.
fn memory(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    (of("VmRSS:"), of("VmHWM:"))
}

struct Exporter {
    name: &'static str,
    guard: Guard,
    url: String,
}

fn exporters(pair: &Pair) -> Result<Vec<Exporter>> {
    let of_postgres = format!("postgresql://exporter@127.0.0.1:{}/postgres?sslmode=disable", pair.postgres.port());
    let of_mariadb = format!("exporter:@(127.0.0.1:{})/", pair.mariadb.port());
    let mut all = Vec::new();
    for (name, source) in [
        ("prometheus-postgres-exporter", of_postgres),
        ("prometheus-mysqld-exporter", of_mariadb),
        ("prometheus-node-exporter", String::new()),
    ] {
        let port = free_port()?;
        let mut command = Command::new(name);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).env("DATA_SOURCE_NAME", source);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let guard = Guard::start(&mut command, Signal::TERM).with_context(|| format!("{name} is not installed"))?;
        all.push(Exporter { name, guard, url: format!("http://127.0.0.1:{port}/metrics") });
    }
    Ok(all)
}

/// Names of the metrics of a page, without those the exporter has about itself.
fn names_of(page: &str) -> BTreeSet<String> {
    let own = [
        "go_",
        "process_",
        "promhttp_",
        "pg_exporter_",
        "mysql_exporter_",
        "postgres_exporter_",
        "mysqld_exporter_",
        "node_exporter_",
        "node_scrape_",
        "pg_scrape_",
    ];
    page.lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
        .filter_map(|l| l.split(['{', ' ']).next())
        .filter(|n| !own.iter().any(|o| n.starts_with(o)))
        .map(str::to_owned)
        .collect()
}

struct Arguments {
    minutes: u64,
    programs: PathBuf,
    write: Option<PathBuf>,
}

fn arguments() -> Result<Arguments> {
    let own = std::env::current_exe()?;
    let mut found = Arguments { minutes: 10, programs: own.parent().unwrap_or(Path::new(".")).to_owned(), write: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--minutes" => found.minutes = value.parse()?,
            "--programs" => found.programs = value.into(),
            "--write" => found.write = Some(value.into()),
            other => bail!("{other}: allowed: --minutes N, --programs FOLDER, --write FILE"),
        }
    }
    Ok(found)
}

/// Starts a program of ours.
fn start(programs: &Path, name: &str, words: &[String], log: &Path) -> Result<Guard> {
    let file = fs::File::create(log)?;
    let beside = programs.join(name);
    // The server is not measured: one of any build will do.
    let mut command = Command::new(if beside.exists() { beside } else { tests::program::path(name)? });
    command.args(words).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Guard::start(&mut command, Signal::TERM).with_context(|| format!("{name} in {}", programs.display()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = arguments()?;
    let dir = tempfile::tempdir()?;
    let (alone, read, scraped) = (Pair::start().await?, Pair::start().await?, Pair::start().await?);
    let (http, grpc) = (free_port()?, free_port()?);
    let at = |name: &str| dir.path().join(name);
    fs::write(at("tidewatch.yaml"), "{}\n")?;
    let words = [
        "serve",
        "--config",
        &at("tidewatch.yaml").display().to_string(),
        "--data-dir",
        &at("data").display().to_string(),
        "--http-listen",
        &format!("127.0.0.1:{http}"),
        "--grpc-listen",
        &format!("127.0.0.1:{grpc}"),
    ]
    .map(str::to_owned);
    let _server = start(&arguments.programs, "tidewatch", &words, &at("server.log"))?;
    let file = format!(
        "server: {{address: 'http://127.0.0.1:{grpc}'}}\ndata_dir: {}\nhost: {{interval: 10s}}\ndatabases:\n  \
         - {{name: pg, engine: postgresql, address: '127.0.0.1:{}'}}\n  - {{name: my, engine: mariadb, address: '127.0.0.1:{}'}}\n",
        at("collector").display(),
        read.postgres.port(),
        read.mariadb.port()
    );
    fs::write(at("collector.yaml"), file)?;
    let words = ["--config".to_owned(), at("collector.yaml").display().to_string()];
    let collector = start(&arguments.programs, "tidewatch-collector", &words, &at("collector.log"))?;
    let exporters = exporters(&scraped)?;
    for pair in [&alone, &read, &scraped] {
        pair.load().await?;
    }
    let api = Api::new(format!("http://127.0.0.1:{http}"));
    let both = async || (api.number("count(up{instance=~\"pg|my\"} == 1)").await.ok()? == Some(2.0)).then_some(());
    until(READY, both).await.with_context(|| fs::read_to_string(at("collector.log")).unwrap_or_default())?;

    let client = reqwest::Client::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pages = BTreeSet::new();
    let mut before = None;
    let began = Instant::now();
    let end = began + WARM_UP + Duration::from_secs(arguments.minutes * 60);
    while Instant::now() < end {
        ticks.tick().await;
        for exporter in &exporters {
            let page = client.get(&exporter.url).send().await?.text().await?;
            pages.extend(names_of(&page));
        }
        if before.is_none() && began.elapsed() >= WARM_UP {
            before = Some(Reading::take(&alone, &read, &scraped, &collector, &exporters).await?);
        }
    }
    let before = before.context("too short")?;
    let after = Reading::take(&alone, &read, &scraped, &collector, &exporters).await?;
    let ours = api.get("/api/v1/label/__name__/values", &[]).await.map_err(anyhow::Error::msg)?;
    let ours: BTreeSet<String> = serde_json::from_value(ours)?;
    let text = report(&before, &after, &exporters, &pages, &ours);
    println!("{text}");
    if let Some(path) = &arguments.write {
        let old = fs::read_to_string(path).unwrap_or_default();
        let kept = old.find(KEPT).map_or("", |at| &old[at..]);
        fs::write(path, format!("{text}{kept}"))?;
    }
    let core = (after.collector_cpu - before.collector_cpu) / (after.at - before.at).as_secs_f64();
    if core > CPU_MAX || after.collector_memory.1 > MEMORY_MAX {
        bail!("over what is allowed: {:.2} % of a core, {} MiB", core * 100.0, after.collector_memory.1 >> 20);
    }
    Ok(())
}

struct Reading {
    at: Instant,
    alone: (f64, f64),
    read: (f64, f64),
    scraped: (f64, f64),
    read_statements: [(f64, f64); 2],
    scraped_statements: [(f64, f64); 2],
    by_statement: [ByStatement; 2],
    collector_cpu: f64,
    collector_memory: (u64, u64),
    exporters: Vec<(f64, (u64, u64))>,
}

impl Reading {
    async fn take(
        alone: &Pair,
        read: &Pair,
        scraped: &Pair,
        collector: &Guard,
        exporters: &[Exporter],
    ) -> Result<Reading> {
        let mut of_exporters = Vec::new();
        for exporter in exporters {
            of_exporters.push((cpu(exporter.guard.pid())?, memory(exporter.guard.pid())));
        }
        Ok(Reading {
            at: Instant::now(),
            alone: alone.cpu()?,
            read: read.cpu()?,
            scraped: scraped.cpu()?,
            collector_cpu: cpu(collector.pid())?,
            collector_memory: memory(collector.pid()),
            exporters: of_exporters,
            read_statements: read.statements("tidewatch").await?,
            scraped_statements: scraped.statements("exporter").await?,
            by_statement: read.by_statement().await?,
        })
    }
}

/// Of each server the collector's statements that took most of its time.
fn dearest(before: &Reading, after: &Reading, seconds: f64) -> String {
    let mut text = "\nThe collector's statements by the time they took:\n\n".to_owned();
    text += "| server | statement | a minute | ms each | ms a second |\n|---|---|---|---|---|\n";
    for (i, name) in ["PostgreSQL", "MariaDB"].iter().enumerate() {
        let mut all: Vec<(f64, f64, &str)> = Vec::new();
        for (sql, (calls, took)) in &after.by_statement[i] {
            let (calls_before, took_before) = before.by_statement[i].get(sql).copied().unwrap_or_default();
            if calls - calls_before > 0.0 {
                all.push((took - took_before, calls - calls_before, sql));
            }
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (took, calls, sql) in all.iter().take(SHOWN) {
            let line: String = sql.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            let short: String = line.replace("/* tidewatch */ ", "").chars().take(TEXT_CHARS).collect();
            let (each, rate) = (took / calls * 1000.0, took / seconds * 1000.0);
            let _ = writeln!(text, "| {name} | `{short}` | {:.1} | {each:.2} | {rate:.3} |", calls / seconds * 60.0);
        }
        let (rest, count) = all.iter().skip(SHOWN).fold((0.0, 0), |(s, n), a| (s + a.0, n + 1));
        let _ = writeln!(text, "| {name} | {count} others | | | {:.3} |", rest / seconds * 1000.0);
    }
    text
}

fn report(
    before: &Reading,
    after: &Reading,
    exporters: &[Exporter],
    pages: &BTreeSet<String>,
    ours: &BTreeSet<String>,
) -> String {
    let seconds = (after.at - before.at).as_secs_f64();
    let percent = |a: f64, b: f64| (b - a) / seconds * 100.0;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "# What the collector costs\n\nBeside Debian's exporters, both every {} s, over {:.1} minutes, on equal servers (one PostgreSQL, one MariaDB, {TABLES} tables \
         and {STATEMENTS_PER_S} statements a second each) at the same time. Repeat it with `make cost`.\n\nThe collector's numbers hold masking, the spool on disk and \
         sending; it reads sessions every 5 s, statements, plans and indexes too. The exporters are scraped with their defaults; what stores their pages is not counted.\n",
        INTERVAL.as_secs(),
        seconds / 60.0
    );
    let _ = writeln!(text, "| reader | CPU, % of a core | memory, MiB (most) |\n|---|---|---|");
    let collector = percent(before.collector_cpu, after.collector_cpu);
    let _ = writeln!(
        text,
        "| tidewatch-collector | {collector:.3} | {:.1} ({:.1}) |",
        mib(after.collector_memory.0),
        mib(after.collector_memory.1)
    );
    let (mut sum, mut memory_sum, mut memory_most) = (0.0, 0, 0);
    for (i, exporter) in exporters.iter().enumerate() {
        let (cpu, (now, most)) = (percent(before.exporters[i].0, after.exporters[i].0), after.exporters[i].1);
        let _ = writeln!(text, "| {} | {cpu:.3} | {:.1} ({:.1}) |", exporter.name, mib(now), mib(most));
        sum += cpu;
        memory_sum += now;
        memory_most += most;
    }
    let _ = writeln!(text, "| the three together | {sum:.3} | {:.1} ({:.1}) |", mib(memory_sum), mib(memory_most));
    let ratio = |a: f64, b: f64| if b > 0.0 { format!("{:.2}", a / b) } else { "-".into() };
    let _ = writeln!(
        text,
        "| collector ÷ the three | {} | {} |\n",
        ratio(collector, sum),
        ratio(mib(after.collector_memory.1), mib(memory_most))
    );
    let _ = writeln!(
        text,
        "| server | read by | CPU, % of a core | over that alone | statements a second | their time, ms a second |\n|---|---|---|---|---|---|"
    );
    for (i, name) in ["PostgreSQL", "MariaDB"].iter().enumerate() {
        let of = |r: &(f64, f64)| if i == 0 { r.0 } else { r.1 };
        let alone = percent(of(&before.alone), of(&after.alone));
        let _ = writeln!(text, "| {name} | nobody | {alone:.3} | | | |");
        let rate = |b: f64, a: f64| (a - b) / seconds;
        for (who, b, a, sb, sa) in [
            ("collector", &before.read, &after.read, &before.read_statements, &after.read_statements),
            ("exporter", &before.scraped, &after.scraped, &before.scraped_statements, &after.scraped_statements),
        ] {
            let cpu = percent(of(b), of(a));
            let _ = writeln!(
                text,
                "| {name} | {who} | {cpu:.3} | {:.3} | {:.2} | {:.2} |",
                cpu - alone,
                rate(sb[i].0, sa[i].0),
                rate(sb[i].1, sa[i].1) * 1000.0
            );
        }
    }
    text += &dearest(before, after, seconds);
    let missing: Vec<&String> = pages.difference(ours).collect();
    let _ = writeln!(
        text,
        "\nOf {} names of metrics on the exporters' pages the collector publishes {}; it publishes {} names in all.",
        pages.len(),
        pages.len() - missing.len(),
        ours.len()
    );
    for (begin, what) in
        [("pg_settings", "pg_settings_*"), ("mysql_", "mysql_*"), ("node_", "node_*"), ("pg_", "pg_* but settings")]
    {
        let of: Vec<&str> = missing
            .iter()
            .map(|n| n.as_str())
            .filter(|n| n.starts_with(begin) && !(begin == "pg_" && n.starts_with("pg_settings")))
            .collect();
        if !of.is_empty() {
            let shown: Vec<&str> = of.iter().take(40).copied().collect();
            let _ = writeln!(text, "\nNot published, {what}: {} ({})", of.len(), shown.join(", "));
        }
    }
    text
}
