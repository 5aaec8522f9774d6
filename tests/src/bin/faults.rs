//! Ten real faults on real servers, one at a time, and what Tidewatch says of each: `make faults`.
//!
//! Prints for each whether it was detected, after how long, in how many messages, whether the right verdict stood first, and
//! the level. Exits 0 only if ten of ten were detected in one message each, nine at least with the right verdict. `ONLY=a,b`
//! runs some of them. Ctrl-C leaves nothing behind.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use serde_json::Value;
use tests::{
    fault_mariadb, fault_postgres,
    fault_stage::{MARIADB, MARIADB_REPLICA, POSTGRES, POSTGRES_REPLICA, Stage},
    wait,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the first message may take; the slowest shipped rule waits for five minutes.
const DETECT_TIMEOUT: Duration = Duration::from_secs(480);
/// Evidence is completed a minute after firing.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a fault stays after its verdict, to see whether more messages come.
const STAY: Duration = Duration::from_secs(30);
/// The slowest shipped rule looks back five minutes.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(480);
/// Right verdicts of ten that are demanded.
const RIGHT_MIN: usize = 9;

struct Fault {
    name: &'static str,
    alert: &'static str,
    verdict: &'static str,
    /// Instances whose messages are counted, all of them; none: those about the file system.
    instances: &'static [&'static str],
}

const PG: &[&str] = &[POSTGRES, POSTGRES_REPLICA];
const MY: &[&str] = &[MARIADB, MARIADB_REPLICA];

const FAULTS: [Fault; 11] = [
    Fault { name: "locks", alert: "LockPileup", verdict: "lock_pileup_behind_ddl", instances: PG },
    Fault { name: "connections", alert: "ConnectionsNearMax", verdict: "connection_exhaustion", instances: MY },
    Fault { name: "replication", alert: "ReplicationBroken", verdict: "replication_apply_broken", instances: MY },
    Fault { name: "disk", alert: "DiskFilling", verdict: "disk_filling_tablespace", instances: &[] },
    Fault { name: "spill", alert: "TempSpill", verdict: "temp_spill", instances: PG },
    Fault { name: "index", alert: "StatementRegression", verdict: "statement_regression_lost_index", instances: PG },
    Fault { name: "checkpoints", alert: "CheckpointStorm", verdict: "checkpoint_storm", instances: PG },
    Fault { name: "errors", alert: "ErrorBurst", verdict: "error_burst_schema", instances: PG },
    Fault { name: "deadlocks", alert: "Deadlocks", verdict: "deadlocks_two_statements", instances: PG },
    Fault { name: "idle", alert: "IdleInTransaction", verdict: "idle_in_transaction", instances: PG },
    Fault { name: EXTRA, alert: "MetadataLockPileup", verdict: "lock_pileup_behind_ddl", instances: MY },
];
/// Runs only when it is named.
const EXTRA: &str = "metadata_lock";

#[derive(Default)]
struct Outcome {
    seconds: Option<f64>,
    messages: usize,
    told: Vec<String>,
    /// Messages about what is not the fault's: other work on this machine.
    aside: Vec<String>,
    verdict: String,
    /// When it stood first.
    verdict_seconds: Option<f64>,
    level: String,
    finding: Value,
    resolved: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = tokio::select! {
        outcome = run() => outcome,
        () = tests::process::interrupted() => {
            println!("\nstopping; nothing stays behind");
            return ExitCode::FAILURE;
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nfaults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chosen() -> anyhow::Result<Vec<&'static Fault>> {
    let only = std::env::var("ONLY").unwrap_or_default();
    let names: Vec<&str> = only.split(',').filter(|n| !n.is_empty()).collect();
    let all: Vec<&str> = FAULTS.iter().map(|f| f.name).collect();
    if let Some(unknown) = names.iter().find(|n| !all.contains(n)) {
        anyhow::bail!("ONLY={unknown}: there is no such fault; there are {}", all.join(", "));
    }
    let wanted = |f: &&Fault| if names.is_empty() { f.name != EXTRA } else { names.contains(&f.name) };
    Ok(FAULTS.iter().filter(wanted).collect())
}

async fn run() -> anyhow::Result<bool> {
    let faults = chosen()?;
    let began = Instant::now();
    println!("Tidewatch 观潮: real faults on real servers, one at a time");
    println!("starting PostgreSQL and MariaDB, each with a replica, the shop, and tidewatch up …");
    let stage = Stage::start().await?;
    println!("ready after {:.0} s; pages: {}/\n", began.elapsed().as_secs_f64(), stage.api.base());
    let mut rows = Vec::new();
    for fault in faults {
        print_head(fault);
        let outcome = match one(&stage, fault).await {
            Ok(outcome) => outcome,
            Err(error) => {
                println!("  failed: {error:#}");
                Outcome::default()
            }
        };
        print_outcome(fault, &outcome);
        rows.push((fault, outcome));
    }
    let ok = summary(&rows, began);
    if !ok && std::env::var_os("VERBOSE").is_some() {
        eprintln!("{}", stage.output());
    }
    stage.stop().await;
    Ok(ok)
}

async fn inject(stage: &Stage, fault: &Fault, healed: CancellationToken) -> anyhow::Result<()> {
    match fault.name {
        "locks" => fault_postgres::locks(stage, healed).await,
        "connections" => fault_mariadb::connections(stage, healed).await,
        "replication" => fault_mariadb::replication(stage, healed).await,
        "disk" => fault_postgres::disk(stage, healed).await,
        "spill" => fault_postgres::spill(stage, healed).await,
        "index" => fault_postgres::index(stage, healed).await,
        "checkpoints" => fault_postgres::checkpoints(stage, healed).await,
        "errors" => fault_postgres::errors(stage, healed).await,
        "deadlocks" => fault_postgres::deadlocks(stage, healed).await,
        "idle" => fault_postgres::idle(stage, healed).await,
        EXTRA => fault_mariadb::metadata_lock(stage, healed).await,
        other => anyhow::bail!("{other} has no injection"),
    }
}

/// Injects, watches, heals, and waits until it is over.
async fn one(stage: &Stage, fault: &Fault) -> anyhow::Result<Outcome> {
    let healed = CancellationToken::new();
    let before = stage.receiver.bodies().await.len();
    let watch = async {
        let outcome = watch(stage, fault, before).await;
        healed.cancel();
        anyhow::Ok(outcome)
    };
    let ((), mut outcome) = tokio::try_join!(inject(stage, fault, healed.clone()), watch)?;
    let over = wait::until(RESOLVE_TIMEOUT, async || {
        let firing = stage.api.get("/api/v1/alert", &[("state", "firing")]).await.ok()?;
        let of_fault = |a: &&Value| fault.counts(&a["labels"]);
        (firing.as_array()?.iter().filter(of_fault).count() == 0).then_some(())
    });
    let quiet = over.await.is_some();
    let resolved = wait::until(Duration::from_secs(30), async || {
        let bodies = stage.receiver.bodies().await;
        let ended = |a: &Value| a["labels"]["alertname"] == fault.alert && a["status"] == "resolved";
        bodies[before..].iter().any(|b| alerts(b).iter().any(ended)).then_some(())
    });
    outcome.resolved = quiet && resolved.await.is_some();
    for body in stage.receiver.bodies().await[before..].iter().filter(|b| b["status"] == "firing") {
        let news =
            matches!(body["notification_reason"].as_str(), Some("some alerts resolved" | "repeat interval elapsed"));
        let firing = |a: &&Value| a["status"] == "firing";
        let counted = |a: &&Value| firing(a) && fault.counts(&a["labels"]);
        let words = |alert: &Value| {
            let text = |name: &str| alert["labels"][name].as_str().unwrap_or("").to_owned();
            let reason = body["notification_reason"].as_str().unwrap_or("");
            format!("{} {} on {} ({reason})", text("alertname"), text("severity"), text("instance"))
        };
        match (alerts(body).iter().find(counted), alerts(body).iter().find(firing)) {
            _ if news => {}
            (Some(alert), _) => {
                outcome.messages += 1;
                outcome.told.push(words(alert));
            }
            (None, Some(alert)) => outcome.aside.push(words(alert)),
            (None, None) => {}
        }
    }
    Ok(outcome)
}

impl Fault {
    /// Whether a message about this is one about the fault, whatever its alert is called.
    fn counts(&self, labels: &Value) -> bool {
        match self.instances.is_empty() {
            true => labels["mountpoint"].as_str().is_some_and(|m| m.contains("tw-disk-")),
            false => labels["instance"].as_str().is_some_and(|i| self.instances.contains(&i)),
        }
    }

    /// Whether an alert of a message is the one this fault must raise.
    fn is(&self, alert: &Value) -> bool {
        alert["labels"]["alertname"] == self.alert && self.counts(&alert["labels"])
    }
}

fn alerts(body: &Value) -> &[Value] {
    body["alerts"].as_array().map_or(&[], Vec::as_slice)
}

async fn watch(stage: &Stage, fault: &Fault, before: usize) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::default();
    let first = wait::until(DETECT_TIMEOUT, async || {
        let bodies = stage.receiver.bodies().await;
        let fits = |a: &&Value| a["status"] == "firing" && fault.is(a);
        bodies[before..].iter().flat_map(alerts).find(fits).cloned()
    });
    let Some(alert) = first.await else { return outcome };
    outcome.seconds = Some(began.elapsed().as_secs_f64());
    outcome.level = alert["labels"]["severity"].as_str().unwrap_or("").to_owned();
    let mut latest = None;
    let _ = wait::until(VERDICT_TIMEOUT, async || {
        let findings = findings(stage, fault).await.ok()?;
        latest = Some(findings[0].clone());
        (findings[0]["verdict"] == fault.verdict).then_some(())
    })
    .await;
    if let Some(finding) = latest {
        outcome.verdict = finding["verdict"].as_str().unwrap_or("none").to_owned();
        outcome.verdict_seconds = (outcome.verdict == fault.verdict).then(|| began.elapsed().as_secs_f64());
        outcome.finding = finding;
    }
    tokio::time::sleep(STAY).await;
    outcome
}

/// The findings of the newest alert of this fault.
async fn findings(stage: &Stage, fault: &Fault) -> anyhow::Result<Value> {
    let all = stage.api.get("/api/v1/alert", &[("state", "firing")]).await.map_err(anyhow::Error::msg)?;
    let mine = |a: &&Value| fault.is(a);
    let alert = all.as_array().and_then(|all| all.iter().find(mine)).context("the alert is not firing any more")?;
    let id = alert["id"].as_str().unwrap_or_default();
    let full = stage.api.get(&format!("/api/v1/alert/{id}"), &[]).await.map_err(anyhow::Error::msg)?;
    anyhow::ensure!(full["evidence"].is_object(), "no evidence yet");
    if let Some(errors) = full["evidence"]["errors"].as_array().filter(|e| !e.is_empty()) {
        eprintln!("  evidence of {}: {errors:?}", fault.name);
    }
    Ok(full["evidence"]["findings"].clone())
}

fn print_head(fault: &Fault) {
    println!("{}: waiting for {}", fault.name, fault.alert);
}

fn print_outcome(fault: &Fault, outcome: &Outcome) {
    let text = |name: &str| outcome.finding[name].as_str().unwrap_or("").to_owned();
    if !outcome.finding.is_null() {
        println!("  {} / {}", text("title"), text("title_zh"));
        for name in ["reasons", "reasons_zh"] {
            for reason in outcome.finding[name].as_array().into_iter().flatten() {
                println!("    because: {}", reason.as_str().unwrap_or(""));
            }
        }
        println!("    advice: {}", text("advice"));
        println!("    建议：{}", text("advice_zh"));
    }
    println!("  told: {}", outcome.told.join("; "));
    if !outcome.aside.is_empty() {
        println!("  told of other work on this machine: {}", outcome.aside.join("; "));
    }
    if outcome.verdict != fault.verdict {
        println!("  expected verdict {}, got {:?}", fault.verdict, outcome.verdict);
    }
    println!();
}

fn summary(rows: &[(&Fault, Outcome)], began: Instant) -> bool {
    println!(
        "| fault | alert | detected | s to first message | messages | right verdict first | s to verdict | level | resolved |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (fault, o) in rows {
        let yes = |b: bool| if b { "yes" } else { "no" };
        let after = |seconds: Option<f64>| seconds.map_or("-".into(), |s| format!("{s:.1}"));
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            fault.name,
            fault.alert,
            yes(o.seconds.is_some()),
            after(o.seconds),
            o.messages,
            if o.verdict == fault.verdict { o.verdict.clone() } else { format!("no: {}", o.verdict) },
            after(o.verdict_seconds),
            o.level,
            yes(o.resolved),
        );
    }
    let count = |test: &dyn Fn(&Outcome, &Fault) -> bool| rows.iter().filter(|(f, o)| test(o, f)).count();
    let (detected, single) = (count(&|o, _| o.seconds.is_some()), count(&|o, _| o.messages == 1));
    let right = count(&|o, f| o.verdict == f.verdict);
    let all = rows.len();
    println!(
        "\n{detected} of {all} detected, {single} of {all} in one message, {right} of {all} with the right verdict first; {:.0} s",
        began.elapsed().as_secs_f64()
    );
    detected == all && single == all && right + (10 - RIGHT_MIN) >= all
}
