//! The demo: a private PostgreSQL and a private MariaDB under load, one `tidewatch up` on them, two real faults, their alerts,
//! and a limit that is announced before it is reached.
//!
//! `demo --once` runs unattended and exits 0 only if both alerts came with the right statement as evidence, and the limit was
//! foreseen. Without it the demo stays up until Ctrl-C. Either way nothing is left behind: every server runs in a private
//! folder and stops with us.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;
use tests::{
    MariaDb, Postgres,
    process::free_port,
    program::{Api, Program},
    receiver::Receiver,
    shop, wait,
};
use tokio::time::Instant;

/// Rows of history in the shop: enough that losing an index hurts.
const ORDERS: i64 = 300_000;
/// Customers at once, on each server.
const CLIENTS: usize = 6;
/// Sessions that run into the held lock.
const VICTIMS: usize = 12;
/// How long a step may take before the demo has failed.
const STEP_TIMEOUT: Duration = Duration::from_secs(240);
/// Baseline a statement needs before a change can be seen.
const BASELINE_INTERVALS: f64 = 4.0;

const LOCK_RULE: &str = "LockPileup";
const REGRESSION_RULE: &str = "StatementRegression";
const FORECAST_RULE: &str = "RedoArchiveForecast";
/// How long the archive of the story still has room at the pace of its last two minutes, seconds.
const ARCHIVE_ROOM_S: f64 = 200.0;
/// How fast redo is written, bytes a second.
const REDO_RATE_QUERY: &str = "rate(mysql_global_status_innodb_os_log_written[2m])";
/// Redo written, smoothed: what the forecast is about.
const REDO_QUERY: &str = "avg_over_time(mysql_global_status_innodb_os_log_written[1m])";
const LOST_INDEX: &str = "statement_regression_lost_index";

/// How the demo was called.
#[derive(Default)]
struct Arguments {
    once: bool,
    screenshots: Option<PathBuf>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut found = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--once" => found.once = true,
            "--screenshots" => found.screenshots = Some(words.next().context("--screenshots needs a folder")?.into()),
            other => bail!("unknown argument {other:?}; allowed: --once, --screenshots FOLDER"),
        }
    }
    Ok(found)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::from(2);
        }
    };
    let outcome = tokio::select! {
        outcome = run(arguments) => outcome,
        _ = tests::process::interrupted() => {
            println!("\nstopping; nothing stays behind");
            return ExitCode::SUCCESS;
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints steps with the time since the start.
struct Teller {
    start: Instant,
}

impl Teller {
    fn step(&self, text: &str) {
        println!("\n[{:>5.1} s] {text}", self.start.elapsed().as_secs_f64());
    }

    fn line(&self, text: &str) {
        println!("          {text}");
    }

    /// Looks until there is something, showing that it waits.
    async fn until<T, F: AsyncFnMut() -> Option<T>>(&self, what: &str, look: F) -> anyhow::Result<T> {
        print!("          waiting for {what} ");
        let _ = std::io::stdout().flush();
        let began = Instant::now();
        let dots = tokio::spawn(async {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                print!(".");
                let _ = std::io::stdout().flush();
            }
        });
        let found = wait::until(STEP_TIMEOUT, look).await;
        dots.abort();
        println!(" {:.1} s", began.elapsed().as_secs_f64());
        found.with_context(|| format!("waited {} s for {what} in vain", STEP_TIMEOUT.as_secs()))
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let teller = Teller { start: Instant::now() };
    println!("Tidewatch 观潮: the main job on real databases");

    teller.step("starting a private PostgreSQL and a private MariaDB");
    let postgres = Postgres::start(&[
        "shared_preload_libraries=pg_stat_statements",
        "track_io_timing=on",
        "logging_collector=on",
        "log_directory=log",
        "log_filename=postgresql.log",
        "log_file_mode=0644",
        "log_line_prefix=%m [%p] %q%u@%d %a ",
        "log_lock_waits=on",
        "deadlock_timeout=1s",
        "max_connections=80",
    ])
    .await?;
    let mariadb = MariaDb::start(&["--performance-schema-consumer-events-statements-history=ON"]).await?;
    teller.line(&format!("PostgreSQL on port {}, MariaDB on port {}", postgres.port(), mariadb.port()));
    tokio::try_join!(shop::open_postgres(&postgres, ORDERS), shop::open_mariadb(&mariadb, ORDERS))?;
    let on_postgres = shop::buy_from_postgres(&postgres, CLIENTS).await?;
    let on_mariadb = shop::buy_from_mariadb(&mariadb, CLIENTS).await?;
    teller.line(&format!("a shop with {ORDERS} orders on each, {CLIENTS} customers buying from each"));

    teller.step("tidewatch up");
    let receiver = Receiver::start().await?;
    let folder = tempfile::Builder::new().prefix("tidewatch-demo-").tempdir()?;
    let (http, grpc) = (format!("127.0.0.1:{}", port_or_free(7400)?), format!("127.0.0.1:{}", free_port()?));
    let data = folder.path().join("data").display().to_string();
    let postgres_url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port());
    let mariadb_url = format!("mysql://root@127.0.0.1:{}/", mariadb.port());
    let environment = [("TIDEWATCH_PG", postgres_url.as_str()), ("TIDEWATCH_MYSQL", mariadb_url.as_str())];
    let config = folder.path().join("tidewatch.yaml");
    std::fs::write(&config, webhook_config(receiver.url()))?;
    let config = config.display().to_string();
    let words = [
        "up",
        "--config",
        &config,
        "--statements-every",
        "10",
        "--data-dir",
        &data,
        "--http-listen",
        &http,
        "--grpc-listen",
        &grpc,
    ];
    let mut server = Program::start("tidewatch", words, &environment, &folder.path().join("tidewatch.log"))?;
    let api = Api::new(format!("http://{http}"));
    server.ready(api.base()).await?;
    teller.line(&format!("pages: {}/", api.base()));

    let story = async {
        let instance = first_data(&teller, &api).await?;
        lock_pile_up(&teller, &api, &receiver, &postgres, &instance).await?;
        lost_index(&teller, &api, &receiver, &postgres, &instance).await?;
        limit_foreseen(&teller, &api, &receiver, folder.path()).await?;
        anyhow::Ok(instance)
    };
    let instance = match story.await {
        Ok(instance) => instance,
        Err(error) => {
            let output = server.output();
            let tail: Vec<&str> = output.lines().rev().take(40).collect();
            eprintln!("\nlast lines of tidewatch:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            return Err(error);
        }
    };
    if let Some(out) = &arguments.screenshots {
        teller.step("clicking through the pages in a real browser");
        let status = tokio::process::Command::new("node")
            .args([
                "web/browser/walk.mjs",
                "--url",
                api.base(),
                "--instance",
                &instance,
                "--alert",
                REGRESSION_RULE,
                "--forecast-alert",
                FORECAST_RULE,
                "--forecast",
                REDO_QUERY,
                "--out",
            ])
            .arg(out)
            .status()
            .await?;
        anyhow::ensure!(status.success(), "the browser's walk failed");
    }
    teller.step(&format!(
        "done: both faults were found, with the right statement, and the limit was foreseen. {} purchases on PostgreSQL, {} on MariaDB",
        on_postgres.bought(),
        on_mariadb.bought()
    ));
    if !arguments.once {
        println!("\nThe pages stay at {}/ with the load running. Ctrl-C ends everything.", api.base());
        std::future::pending::<()>().await;
    }
    server.stop();
    on_postgres.leave().await;
    on_mariadb.leave().await;
    Ok(())
}

/// The one thing `up` can't guess: whom to tell. Rules are those of the program until a file of them is there.
fn webhook_config(url: &str) -> String {
    format!(
        "alerting:\n  rules: [\"rules/*.yaml\"]\n  receivers:\n    - name: demo\n      webhooks:\n        - url: {url}\n  route:\n    receiver: demo\n    group_by: [alertname, instance]\n    group_interval: 5s\n"
    )
}

/// A limit of the user's own that is only reached later: MariaDB's redo is copied to an archive of `bytes`.
fn forecast_rule(bytes: u64) -> String {
    let megabytes = bytes / 1_000_000;
    format!(
        r#"groups:
  - name: redo archive
    interval: 10s
    rules:
      - alert: {FORECAST_RULE}
        forecast:
          expr: {REDO_QUERY}
          horizon: 20m
          step: 5s
          crosses: {{above: {bytes}}}
        levels:
          notice: {{within: 20m}}
          warning: {{within: 15m}}
          critical: {{within: 3m}}
        annotations:
          summary: "The redo archive of {{{{ $labels.instance }}}} ({megabytes} MB) {{{{ if $forecast.reaches }}}}is full in {{{{ $forecast.reaches }}}} ({{{{ $forecast.confidence }}}}: {{{{ $forecast.range }}}}){{{{ else }}}}is not full within {{{{ $forecast.horizon }}}}{{{{ end }}}}"
          summary_zh: "{{{{ $labels.instance }}}} 的 redo 归档（{megabytes} MB）{{{{ if $forecast.reaches }}}}预计 {{{{ $forecast.reaches_zh }}}}后写满（{{{{ $forecast.confidence }}}} 区间：{{{{ $forecast.range_zh }}}}）{{{{ else }}}}预计 {{{{ $forecast.horizon_zh }}}}内不会写满{{{{ end }}}}"
          runbook: "1. See which statements write: the instance's page, ordered by rows. 2. Copy the archive away, or enlarge it, in the time that is left."
          runbook_zh: "1. 在实例页面按行数查看哪些语句在写入。2. 在剩余时间内转移归档，或扩容。"
"#
    )
}

/// The usual port if nobody has it, so that the address is the documented one.
fn port_or_free(usual: u16) -> std::io::Result<u16> {
    match std::net::TcpListener::bind(("127.0.0.1", usual)) {
        Ok(_) => Ok(usual),
        Err(_) => free_port(),
    }
}

/// Waits until both servers are seen; gives PostgreSQL's instance name.
async fn first_data(teller: &Teller, api: &Api) -> anyhow::Result<String> {
    teller.step("what the collector sees");
    let instances = teller
        .until("both databases to be seen", async || {
            let found = api.get("/api/v1/instances", &[]).await.ok()?;
            let up = |engine: &str| {
                found.as_array()?.iter().find(|i| i["engine"] == engine && i["up"] == true)?["instance"]
                    .as_str()
                    .map(str::to_owned)
            };
            Some((up("postgresql")?, up("mariadb")?, found))
        })
        .await?;
    let (postgres, _, all) = instances;
    for i in all.as_array().into_iter().flatten() {
        teller.line(&format!("{:<10} {} {}", text(&i["engine"]), text(&i["instance"]), text(&i["version"])));
    }
    let query = format!("SELECT count(DISTINCT ts) FROM statement_stats WHERE instance = '{postgres}'");
    teller
        .until("a baseline of statement statistics", async || {
            let rows = api.sql(&query).await.ok()?;
            (rows.first()?.first()?.as_f64()? >= BASELINE_INTERVALS).then_some(())
        })
        .await?;
    let top = api
        .sql(&format!(
            "SELECT s.text, sum(t.calls) AS calls, sum(t.total_ms) / sum(t.calls) AS mean_ms FROM statement_stats t \
             JOIN (SELECT fingerprint, min(text) AS text FROM statements GROUP BY fingerprint) s ON s.fingerprint = t.fingerprint \
             WHERE t.instance = '{postgres}' AND t.database = 'shop' GROUP BY s.text ORDER BY sum(t.total_ms) DESC LIMIT 4"
        ))
        .await
        .map_err(anyhow::Error::msg)?;
    for row in &top {
        let mean = row[2].as_f64().unwrap_or(0.0);
        teller.line(&format!("{:>6} calls {mean:>8.3} ms  {}", row[1], cut(&text(&row[0]))));
    }
    let samples = api.number("sum(count by (job) ({__name__!=\"\"}))").await.map_err(anyhow::Error::msg)?;
    teller.line(&format!("{} series now", samples.unwrap_or(0.0)));
    Ok(postgres)
}

async fn lock_pile_up(
    teller: &Teller,
    api: &Api,
    receiver: &Receiver,
    postgres: &Postgres,
    instance: &str,
) -> anyhow::Result<()> {
    teller.step(&format!(
        "fault 1: a billing job updates one row and forgets to commit; {VICTIMS} customers want that row"
    ));
    let pile = shop::pile_up(postgres, VICTIMS).await?;
    let body = teller.until("the alert", async || receiver.find(LOCK_RULE, "firing").await).await?;
    show_body(teller, &body);
    let evidence = teller
        .until("its evidence", async || {
            let evidence = evidence(api, LOCK_RULE, instance).await?;
            evidence["blocking"].as_array().is_some_and(|roots| !roots.is_empty()).then_some(evidence)
        })
        .await?;
    let root = &evidence["blocking"][0];
    teller.line(&format!(
        "root blocker: pid {} ({}, {}), {} sessions wait for it",
        root["pid"],
        text(&root["application"]),
        text(&root["state"]),
        count_blocked(root)
    ));
    teller.line(&format!("its statement: {}", cut(&text(&root["text"]))));
    show_findings(teller, &evidence);
    anyhow::ensure!(text(&root["text"]).to_lowercase().contains("update stock"), "the wrong statement as root: {root}");
    anyhow::ensure!(text(&root["application"]) == "billing job", "the wrong session as root: {root}");
    pile.release().await?;
    teller.until("the resolve message", async || receiver.find(LOCK_RULE, "resolved").await).await?;
    Ok(())
}

async fn lost_index(
    teller: &Teller,
    api: &Api,
    receiver: &Receiver,
    postgres: &Postgres,
    instance: &str,
) -> anyhow::Result<()> {
    teller.step("fault 2: somebody drops the index under the shop's busiest query");
    shop::drop_index(postgres).await?;
    let body = teller.until("the alert", async || receiver.find(REGRESSION_RULE, "firing").await).await?;
    show_body(teller, &body);
    let (statement, evidence) = teller
        .until("the verdict, with the statement and its changed plan", async || {
            let evidence = evidence(api, REGRESSION_RULE, instance).await?;
            let wanted = |s: &&Value| text(&s["text"]).to_lowercase().contains("from orders where customer_id");
            let found = evidence["statements"].as_array()?.iter().find(wanted)?.clone();
            (evidence["findings"][0]["verdict"] == LOST_INDEX).then_some((found, evidence))
        })
        .await?;
    show_findings(teller, &evidence);
    teller.line(&format!("statement: {}", cut(&text(&statement["text"]))));
    teller.line(&format!("mean: {} ms, before: {} ms", statement["mean_ms"], statement["before"]["mean_ms"]));
    teller.line(&format!("plan: {}", text(&statement["plan"]["summary"])));
    Ok(())
}

/// Waits until the limit that is not reached yet is announced, with a forecast as evidence.
async fn limit_foreseen(teller: &Teller, api: &Api, receiver: &Receiver, folder: &Path) -> anyhow::Result<()> {
    teller.step("no fault yet: MariaDB's redo is copied to an archive, which is full in some minutes");
    let (written, rate) = teller
        .until("the pace of redo", async || {
            let (written, rate) = (api.number(REDO_QUERY).await.ok()??, api.number(REDO_RATE_QUERY).await.ok()??);
            (rate > 0.0).then_some((written, rate))
        })
        .await?;
    let bytes = (written + rate * ARCHIVE_ROOM_S) as u64;
    teller.line(&format!("{:.0} kB a second; a rule for an archive of {bytes} bytes is added", rate / 1e3));
    std::fs::create_dir(folder.join("rules"))?;
    std::fs::write(folder.join("rules/forecast.yaml"), forecast_rule(bytes))?;
    let answer = reqwest::Client::new().post(format!("{}/-/reload", api.base())).send().await?;
    anyhow::ensure!(answer.status().is_success(), "the reload was refused: {}", answer.text().await?);
    let body = teller.until("the alert", async || receiver.find(FORECAST_RULE, "firing").await).await?;
    let alert = &body["alerts"][0];
    teller.line(&text(&alert["annotations"]["summary"]));
    let instance = text(&alert["labels"]["instance"]);
    let forecast = teller
        .until("its forecast", async || {
            let evidence = evidence(api, FORECAST_RULE, &instance).await?;
            let series = evidence["forecast"]["series"].as_array()?.first()?.clone();
            series["reaches_at_ms"].is_number().then_some(series)
        })
        .await?;
    teller.line(&format!(
        "model {}, back-tested error {} (MASE; seasonal-naive {})",
        text(&forecast["model"]),
        forecast["mase"],
        forecast["mase_baseline"]
    ));
    Ok(())
}

/// The evidence of the newest alert of a rule on an instance, once it is there.
async fn evidence(api: &Api, rule: &str, instance: &str) -> Option<Value> {
    let alerts = api.get("/api/v1/alert", &[("state", "all")]).await.ok()?;
    let alert = alerts.as_array()?.iter().find(|a| a["rule"] == rule && a["labels"]["instance"] == instance)?;
    let full = api.get(&format!("/api/v1/alert/{}", alert["id"].as_str()?), &[]).await.ok()?;
    full["evidence"].is_object().then(|| full["evidence"].clone())
}

fn show_body(teller: &Teller, body: &Value) {
    teller.line("the webhook's body:");
    for line in serde_json::to_string_pretty(body).unwrap_or_default().lines().take(60) {
        teller.line(&format!("  {line}"));
    }
}

fn show_findings(teller: &Teller, evidence: &Value) {
    for finding in evidence["findings"].as_array().into_iter().flatten() {
        teller.line(&format!("verdict: {} — {}", text(&finding["verdict"]), text(&finding["advice"])));
    }
}

fn count_blocked(node: &Value) -> usize {
    node["blocked"].as_array().map_or(0, |nodes| nodes.iter().map(|n| 1 + count_blocked(n)).sum())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 110 { line.chars().take(109).chain(['…']).collect() } else { line }
}
