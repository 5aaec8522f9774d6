//! States of collectors and of Tidewatch itself.

use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
    path::PathBuf,
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::post};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{net::TcpListener, task::JoinHandle};

use super::stage::{Stage, command};
use crate::{Postgres, wait};

/// What the collector `odd` needs of `/proc`.
const PROC: [&str; 11] =
    ["stat", "loadavg", "meminfo", "vmstat", "diskstats", "net", "pressure", "sys", "1", "self", "uptime"];

/// What holds the states.
#[derive(Default)]
pub struct OwnStates {
    slow: Option<JoinHandle<()>>,
    asking: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<()>>,
}

/// A collector whose `/proc` is put together of links, so that one can be taken away.
pub fn prepare(stage: &mut Stage) -> anyhow::Result<OwnStates> {
    fs::create_dir(stage.path("proc"))?;
    for name in PROC {
        symlink(format!("/proc/{name}"), stage.path("proc").join(name))?;
    }
    collect_odd(stage, &[])?;
    Ok(OwnStates::default())
}

/// Starts the collector `odd`.
pub fn collect_odd(stage: &mut Stage, before: &[&str]) -> anyhow::Result<()> {
    let body = format!("host: {{instance: odd-host, interval: 5s, proc_dir: {}}}\n", stage.path("proc").display());
    stage.collect("odd", &body, before)
}

/// Rules of [`make`].
pub const RULES: [&str; 9] = [
    "HostReadingFails",
    "CollectorSlowReads",
    "CollectorLacksRights",
    "IngestRefused",
    "RulesFailing",
    "RulesLate",
    "ReloadFailed",
    "TidewatchErrors",
    "MessagesNotDelivered",
];

/// Makes every state.
pub async fn make(stage: &mut Stage, states: &mut OwnStates) -> anyhow::Result<()> {
    let board = stage.board.clone();
    fs::remove_file(stage.path("proc").join("vmstat"))?;
    board.made("HostReadingFails", Some("odd-host"), "vmstat is missing in the proc_dir of a collector").await;
    board.made("CollectorLacksRights", Some("aged"), "its role has not been granted pg_monitor").await;
    states.slow = Some(slow_down(&stage.fragile).await?);
    board
        .made("CollectorSlowReads", Some("fragile"), "the collector's backends are stopped nine tenths of the time")
        .await;
    let body = format!("host: {{instance: loud-host}}\nlabels: {{note: {}}}\n", "a".repeat(120));
    stage.collect("loud", &body, &[])?;
    board.made("IngestRefused", None, "a collector puts a label of 120 bytes on all it sends, 110 are allowed").await;
    let rules = "groups:\n  - {name: wrong, interval: 5s, rules: [{alert: Wrong, expr: 'up * on (job) up'}]}\n  \
        - {name: hasty, interval: 1ms, rules: [{record: hasty, expr: 'count(up)'}]}\n";
    fs::write(stage.path("rules/wrong.yaml"), rules)?;
    anyhow::ensure!(stage.reload().await, "the rules were not taken:\n{}", stage.server_log());
    board.made("RulesFailing", None, "a rule file is loaded whose rule joins many with many").await;
    board.made("RulesLate", None, "a rule group is loaded whose interval is shorter than its evaluation").await;
    fs::write(stage.path("rules/zz-broken.yaml"), "groups: [{name: a, rules: [{alert: B}]}]\n")?;
    anyhow::ensure!(!stage.reload().await, "a broken file was taken");
    board.made("ReloadFailed", None, "a rule file without an expression is put beside the others, then reload").await;
    // a counter that begins with the first error shows an increase from the second on
    let api = stage.api.clone();
    states.asking = Some(tokio::spawn(async move {
        loop {
            let heavy = "sum(rate({__name__=~\".+\"}[5m]))";
            let _ = api.get("/api/v1/query", &[("query", heavy), ("timeout", "1ms")]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }));
    board.made("TidewatchErrors", None, "a heavy query a second that may take a millisecond").await;
    board.made("MessagesNotDelivered", None, "nobody listens on the receiver's port").await;
    Ok(())
}

/// Stops the backends of the collector for 1.8 of every 2 seconds, as a server starved of processor time would.
async fn slow_down(server: &Postgres) -> anyhow::Result<JoinHandle<()>> {
    let session = server.connect("postgres").await?;
    Ok(tokio::spawn(async move {
        loop {
            let sql = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tidewatch%'";
            let pids: Vec<i32> =
                session.query(sql, &[]).await.map(|rows| rows.iter().map(|r| r.get(0)).collect()).unwrap_or_default();
            let send = |signal| {
                for pid in pids.iter().filter_map(|p| Pid::from_raw(*p)) {
                    let _ = kill_process(pid, signal);
                }
            };
            send(Signal::STOP);
            tokio::time::sleep(Duration::from_millis(1_800)).await;
            send(Signal::CONT);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }))
}

/// Ends every state.
pub async fn heal(stage: &mut Stage, states: &mut OwnStates) -> anyhow::Result<()> {
    symlink("/proc/vmstat", stage.path("proc").join("vmstat"))?;
    if let Some(asking) = states.asking.take() {
        asking.abort();
    }
    if let Some(slow) = states.slow.take() {
        slow.abort();
        let session = stage.fragile.connect("postgres").await?;
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tidewatch%'";
        for row in session.query(sql, &[]).await? {
            Pid::from_raw(row.get(0)).map(|p| kill_process(p, Signal::CONT));
        }
    }
    stage.stop_collector("loud", false);
    fs::remove_file(stage.path("rules/wrong.yaml"))?;
    fs::remove_file(stage.path("rules/zz-broken.yaml"))?;
    anyhow::ensure!(stage.reload().await, "the rules were not taken:\n{}", stage.server_log());
    let listener = TcpListener::bind(("127.0.0.1", stage.receiver_port)).await?;
    let router = Router::new().route("/alerts", post(|| async { StatusCode::OK }));
    states.receiver = Some(tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    }));
    stage.board.healed(&RULES).await;
    Ok(())
}

/// The smallest spool there is, and lines of letters, which the mask leaves, that compress to twice as much.
const SPOOL: &str = "16MiB";
const SPILLED_LINES: usize = 60_000;
const SPILLED_BYTES: usize = 1_000;

/// A collector with the smallest spool, which follows a log in which nothing stands yet.
pub fn prepare_spool(stage: &mut Stage) -> anyhow::Result<()> {
    let log = stage.path("spilled.log");
    fs::write(&log, "")?;
    let body = format!(
        "host: {{instance: spill-host, interval: 5s}}\nspool: {{bytes_max: {SPOOL}}}\nlogs: [{{path: {}, instance: spilled, \
         engine: postgresql, format: stderr, line_prefix: '%m [%p] ', start: beginning}}]\n",
        log.display()
    );
    stage.collect("spill", &body, &[])
}

/// The server is away while the log grows by more than the spool holds, then it is back.
pub async fn fill_spool(stage: &mut Stage) -> anyhow::Result<()> {
    stage
        .until_query("tidewatch_collector_rows_dropped_total{instance=\"spill-host\",class=\"logs\"} == 0", LOSS)
        .await?;
    stage.stop_server();
    let mut text = String::with_capacity(SPILLED_LINES * (SPILLED_BYTES + 80));
    let (mut random, mut bytes) = (fastrand::Rng::new(), vec![0; SPILLED_BYTES]);
    for i in 0..SPILLED_LINES {
        random.fill(&mut bytes);
        bytes.iter_mut().for_each(|b| *b = b'a' + *b % 26);
        text += &format!("2026-01-01 00:00:00.000 UTC [{i}] LOG:  {}\n", str::from_utf8(&bytes)?);
    }
    fs::write(stage.path("spilled.log"), text)?;
    let told = async || {
        let log = fs::read_to_string(stage.path("spill.log")).ok()?;
        log.contains("rows lost").then_some(())
    };
    anyhow::ensure!(wait::until(LOSS, told).await.is_some(), "the spool took everything");
    stage.run_server().await?;
    let what = "the server is away while 60 MB come to a log, the spool may have 16 MB; then it is back";
    stage.board.made("CollectorDropsData", Some("spill-host"), what).await;
    stage.board.healed(&["CollectorDropsData"]).await;
    Ok(())
}

/// How long a loss may take to be there and told.
const LOSS: Duration = Duration::from_secs(600);

/// Rules about maintenance, made alone: nothing is flushed meanwhile.
pub const MAINTENANCE: [&str; 1] = ["MaintenanceFails"];

/// Makes the folder of parts immutable.
pub async fn stop_maintenance(stage: &Stage) -> anyhow::Result<()> {
    command(&["chattr", "-R", "+i", &stage.path("data/parts").display().to_string()])?;
    stage.board.made("MaintenanceFails", None, "chattr +i on the folder of parts").await;
    Ok(())
}

/// Makes it writable again.
pub async fn resume_maintenance(stage: &Stage) -> anyhow::Result<()> {
    command(&["chattr", "-R", "-i", &stage.path("data/parts").display().to_string()])?;
    stage.board.healed(&MAINTENANCE).await;
    Ok(())
}

/// Kills the server, damages the middle of its log, and starts it again.
pub async fn crash_with_damage(stage: &mut Stage) -> anyhow::Result<()> {
    stage.kill_server();
    // the newest with much in it: zeros follow what is written
    let mut segments: Vec<PathBuf> =
        fs::read_dir(stage.path("data/log"))?.filter_map(|e| e.ok().map(|e| e.path())).collect();
    segments.sort();
    for segment in segments.iter().rev() {
        let written = fs::read(segment)?.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if written > 30_000 {
            fs::File::options().write(true).open(segment)?.write_all_at(&[0xa5; 300], written as u64 / 2)?;
            break;
        }
    }
    stage.run_server().await?;
    stage.board.made("TidewatchRestarted", None, "kill -9 and a start").await;
    stage.board.made("StoreDamaged", None, "300 bytes in the middle of its log are overwritten between").await;
    Ok(())
}
