//! Every rule of the pack against a real state: made, seen to fire, ended, seen to be over. Prints a table; exits 0 only if every
//! rule that can be tried here fired and was over again.
//!
//! It wants to be root (loop devices, control groups) on a machine that can spare some gigabytes and an hour and a half.
//! `--write FILE` also writes the table there; `--own` tries only what is about collectors and Tidewatch itself, in five minutes;
//! `--late` leaves out the first and longest of four rounds, `--still` tries only the third; `--ahead` tries only what has to grow
//! or to spill first, in three quarters of an hour, which is the fifth round of all.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tests::rule_states::{ahead, board::Row, host, mariadb, own, postgres, rules::Override, stage::Stage, writes};

/// How long alerts may take to fire, and to be over: series that vanish are seen for five minutes more.
const FIRES_WITHIN: Duration = Duration::from_secs(240);
const RESOLVES_WITHIN: Duration = Duration::from_secs(480);
/// The same for forecasts, which are made anew every ten minutes and need a past of their own after each change.
const FORESEEN_WITHIN: Duration = Duration::from_secs(1_800);
/// Time in which the statement statistics get a past.
const BASELINE: Duration = Duration::from_secs(75);

/// Rules that have no state here, and why.
const NOT_HERE: [(&str, &str); 1] = [("ErrorBurst", "its servers write no log files; see docs/faults.md")];

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Own,
    Late,
    Still,
    Ahead,
}

/// What holds the states of the first round.
struct States {
    host: host::HostStates,
    postgres: postgres::PostgresStates,
    mariadb: mariadb::MariaDbStates,
    own: own::OwnStates,
}

#[expect(clippy::disallowed_methods, reason = "real processes are watched: the real clock is what they keep")]
fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn overrides() -> Vec<Override> {
    let memory = host::memory_used_percent() + 9.0;
    let o = |rule, shipped, tested: &str, why| Override { rule, shipped, tested: tested.to_owned(), why };
    let age = "an age that would have to be waited for";
    vec![
        o("LongTransaction", "above: 900, recover: 60", "above: 20, recover: 15", age),
        o("IdleInTransaction", "above: 300, recover: 30", "above: 20, recover: 15", age),
        o("PreparedTransactionForgotten", "above: 300, recover: 60", "above: 20, recover: 15", age),
        o(
            "VacuumHeldBack",
            "above: 1000000, recover: 500000",
            "above: 20000, recover: 10000",
            "a million transactions take too long here",
        ),
        o(
            "WalRetainedBySlot",
            "above: 5368709120, recover: 2147483648",
            "above: 16777216, recover: 8388608",
            "5 GB of WAL is too much for this disk",
        ),
        o(
            "MemoryShort",
            "above: 92, recover: 88",
            &format!("above: {memory:.0}, recover: {:.0}", memory - 2.0),
            "others work on this machine",
        ),
        o(
            "CollectorSlowReads",
            "above: 40, recover: 25",
            "above: 10, recover: 8",
            "a server with few tables is read in few statements, however slow each is",
        ),
        o("FileHandlesNearMax", "above: 80, recover: 70", "above: 4, recover: 2", "others work on this machine"),
        o(
            "IoPressure",
            "above: 30, recover: 15",
            "above: 2, recover: 1",
            "the disk is fast and others keep the processors busy",
        ),
        o(
            "DiskSlow",
            "above: 50, recover: 30",
            "above: 5, recover: 3",
            "the disk is fast: with a queue before it, it takes 18 ms, else 1 ms",
        ),
        o(
            "MemoryPressure",
            "above: 10, recover: 5",
            "above: 1, recover: 0.5",
            "only one control group is squeezed, and others keep the processors busy",
        ),
        o(
            "NewCostlyStatement",
            "INTERVAL '2 hours'",
            "INTERVAL '60 seconds'",
            "a past that would have to be waited for",
        ),
        o(
            "NewCostlyStatement",
            "INTERVAL '10 minutes'",
            "INTERVAL '50 seconds'",
            "a past that would have to be waited for",
        ),
        o(
            "NewCostlyStatement",
            "INTERVAL '5 minutes'",
            "INTERVAL '30 seconds'",
            "the same share over a shorter window",
        ),
        o("NewCostlyStatement", "/ 300000.0", "/ 30000.0", "the same share over a shorter window"),
        o("NewCostlyStatement", ">= 15000", ">= 1500", "the same share over a shorter window"),
        o(
            "MessagesNotDelivered",
            "INTERVAL '10 minutes'",
            "INTERVAL '1 minute'",
            "a window that would have to be waited for",
        ),
    ]
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (write, part) = match words.as_slice() {
        [] => (None, Part::All),
        [flag] if flag == "--own" => (None, Part::Own),
        [flag] if flag == "--late" => (None, Part::Late),
        [flag] if flag == "--still" => (None, Part::Still),
        [flag] if flag == "--ahead" => (None, Part::Ahead),
        [flag, file] if flag == "--write" => (Some(file.clone()), Part::All),
        _ => {
            eprintln!("rule_states: allowed: --own, --late, --still, --ahead, --write FILE");
            return ExitCode::from(2);
        }
    };
    let outcome = tokio::select! {
        outcome = run(part) => outcome,
        () = tests::process::interrupted() => Err(anyhow::anyhow!("stopped; nothing stays behind")),
    };
    let rows = match outcome {
        Ok(rows) => rows,
        Err(error) => {
            eprintln!("\nrule_states failed: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let table = table(&rows);
    println!("\n{table}");
    if let Some(file) = write
        && let Err(error) = std::fs::write(&file, page(&table))
    {
        eprintln!("{file}: {error}");
        return ExitCode::FAILURE;
    }
    let silent: Vec<&str> = rows.iter().filter(|r| r.fired_s.is_none() || !ended(r)).map(|r| r.rule).collect();
    let without: Vec<String> = names()
        .into_iter()
        .filter(|n| !rows.iter().any(|r| r.rule == n) && !NOT_HERE.iter().any(|(r, _)| r == n))
        .collect();
    println!(
        "{} rules seen to fire; not seen: {silent:?}; without a state: {without:?}",
        rows.len() - rows.iter().filter(|r| r.fired_s.is_none()).count()
    );
    if silent.is_empty() && (part != Part::All || without.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Over, or kept up by others who work on this machine.
fn ended(row: &Row) -> bool {
    row.resolved_s.is_some() || row.before
}

/// Every alerting rule of the pack.
fn names() -> Vec<String> {
    let groups = alerting::builtin::groups(15_000).unwrap_or_default();
    groups.iter().flat_map(|g| &g.rules).filter(|r| r.alerting().is_some()).map(|r| r.name.clone()).collect()
}

async fn run(part: Part) -> anyhow::Result<Vec<Row>> {
    let mut stage = Stage::start(&overrides()).await?;
    match part {
        Part::Own => return own_rules(&mut stage).await,
        Part::Ahead => {
            stage.aged.connect("postgres").await?.batch_execute("CREATE ROLE plain LOGIN").await?;
            let mut of_mariadb = mariadb::prepare(&mut stage).await?;
            stage.collect_all()?;
            return ahead_rules(&mut stage, Some(&mut of_mariadb)).await;
        }
        Part::All | Part::Late | Part::Still => {}
    }
    let mut states = States {
        host: host::prepare(&stage)?,
        postgres: postgres::prepare(&mut stage).await?,
        mariadb: mariadb::prepare(&mut stage).await?,
        own: own::prepare(&mut stage)?,
    };
    stage.collect_all()?;
    stage.until_query("count(up == 1) > 9", FIRES_WITHIN).await?;
    println!("every server is seen; {} s of past", BASELINE.as_secs());
    tokio::time::sleep(BASELINE).await;
    match part {
        Part::All => states_that_stay(&mut stage, &mut states).await?,
        Part::Still => {
            work_stands_still(&stage, &mut states.host).await?;
            return Ok(stage.board.rows().await);
        }
        Part::Own | Part::Late | Part::Ahead => {}
    }
    println!("\nsecond: restarts and stops");
    mariadb::break_replication(&stage).await?;
    own::stop_maintenance(&stage).await?;
    stage.fragile.stop();
    stage.board.made("PostgresDown", Some("fragile"), "the server is stopped").await;
    stage.aged.stop();
    stage.aged.run().await?;
    stage.board.made("PostgresRestarted", Some("aged"), "a fast restart").await;
    stage.store.stop();
    stage.store.run().await?;
    stage.board.made("MysqlRestarted", Some("store"), "a fast restart").await;
    stage.stop_collector("odd", false);
    own::collect_odd(&mut stage, &["unshare", "--time", "--boottime", "90000", "--fork", "--kill-child"])?;
    let what = "its collector goes on in a time namespace where the kernel says it booted a day earlier";
    stage.board.made("HostRebooted", Some("odd-host"), what).await;
    let mut of_writes = writes::WriteStates::default();
    writes::make(&stage, &mut of_writes).await?;
    let mut rules: Vec<&'static str> = vec!["PostgresDown", "PostgresRestarted", "MysqlRestarted"];
    rules.extend(writes::RULES);
    rules.extend(["ReplicationBroken", "MaintenanceFails", "HostRebooted"]);
    println!("silent so far: {:?}", stage.board.until_fired(&rules, FIRES_WITHIN).await);
    writes::heal(&stage, &mut of_writes).await?;
    mariadb::mend_replication(&stage).await?;
    own::resume_maintenance(&stage).await?;
    stage.fragile.run().await?;
    stage.board.healed(&rules).await;
    work_stands_still(&stage, &mut states.host).await?;

    println!("\nfourth: our own programs");
    for _ in 0..4 {
        stage.stop_collector("odd", true);
        let seen = format!("tidewatch_collector_start_time_seconds{{instance=\"odd-host\"}} > {}", now_s());
        own::collect_odd(&mut stage, &[])?;
        stage.until_query(&seen, FIRES_WITHIN).await?;
    }
    stage.board.made("CollectorRestarts", Some("odd-host"), "kill -9 and a start, four times").await;
    println!("silent so far: {:?}", stage.board.until_fired(&["CollectorRestarts"], FIRES_WITHIN).await);
    stage.board.healed(&["CollectorRestarts"]).await;
    println!("not over yet: {:?}", stage.board.until_resolved(&rules, RESOLVES_WITHIN).await);
    println!("not over yet: {:?}", stage.board.until_resolved(&["CollectorRestarts"], RESOLVES_WITHIN).await);
    own::crash_with_damage(&mut stage).await?;
    stage.stop_collector("odd", false);
    stage.board.made("CollectorSilent", Some("odd-host"), "a collector is stopped").await;
    let rules = ["TidewatchRestarted", "StoreDamaged", "CollectorSilent"];
    println!("silent so far: {:?}", stage.board.until_fired(&rules, FIRES_WITHIN).await);
    own::collect_odd(&mut stage, &[])?;
    stage.stop_server();
    stage.run_server().await?;
    stage.board.healed(&rules).await;
    println!("not over yet: {:?}", stage.board.until_resolved(&rules, RESOLVES_WITHIN).await);
    match part {
        Part::All => ahead_rules(&mut stage, None).await,
        _ => Ok(stage.board.rows().await),
    }
}

/// Fifth round: what has to grow first, and what spills. With the state of MariaDB that is one of the first round else.
async fn ahead_rules(
    stage: &mut Stage,
    mut of_mariadb: Option<&mut mariadb::MariaDbStates>,
) -> anyhow::Result<Vec<Row>> {
    println!("\nfifth: what is to come");
    let mut states = ahead::prepare(stage).await?;
    own::prepare_spool(stage)?;
    stage.until_query("count(up == 1) > 9", FIRES_WITHIN).await?;
    tokio::time::sleep(BASELINE).await;
    ahead::make(stage, &mut states).await?;
    let mut short = vec!["CollectorDropsData"];
    own::fill_spool(stage).await?;
    if let Some(of_mariadb) = of_mariadb.as_deref_mut() {
        mariadb::crowd_tables(stage, of_mariadb).await?;
        short.push("TableCacheOverflow");
    }
    println!("silent so far: {:?}", stage.board.until_fired(&short, FIRES_WITHIN).await);
    if let Some(of_mariadb) = of_mariadb {
        mariadb::thin_tables(stage, of_mariadb).await?;
    }
    println!("silent so far: {:?}", stage.board.until_fired(&ahead::RULES, FORESEEN_WITHIN).await);
    ahead::heal(stage, &mut states).await?;
    println!("not over yet: {:?}", stage.board.until_resolved(&short, RESOLVES_WITHIN).await);
    println!("not over yet: {:?}", stage.board.until_resolved(&ahead::RULES, FORESEEN_WITHIN).await);
    Ok(stage.board.rows().await)
}

/// Third round: nothing else may run, or work does not stand still.
async fn work_stands_still(stage: &Stage, states: &mut host::HostStates) -> anyhow::Result<()> {
    println!("\nthird: work stands still");
    host::squeeze(stage, states).await?;
    stage.board.until_fired(&["MemoryPressure"], FIRES_WITHIN).await;
    host::read_directly(stage, states).await?;
    println!("silent so far: {:?}", stage.board.until_fired(&host::SQUEEZED, FIRES_WITHIN).await);
    host::relax(stage, states).await;
    println!("not over yet: {:?}", stage.board.until_resolved(&host::SQUEEZED, RESOLVES_WITHIN).await);
    Ok(())
}

/// First round: all states that a server can be in beside all others.
async fn states_that_stay(stage: &mut Stage, states: &mut States) -> anyhow::Result<()> {
    let before = stage.board.firing().await;
    let named = |a: &Value| format!("{} {}", a["labels"]["alertname"], a["labels"]["instance"]);
    println!("firing before any state is made: {:?}", before.iter().map(named).collect::<Vec<_>>());

    println!("\nfirst: all at once");
    own::make(stage, &mut states.own).await?;
    mariadb::make(stage, &mut states.mariadb).await?;
    postgres::make(stage, &mut states.postgres).await?;
    host::make(stage, &mut states.host).await?;
    stage.brittle.stop();
    stage.board.made("MysqlDown", Some("brittle"), "the server is stopped").await;
    stage.read_slow_things_now()?;
    let mut rules: Vec<&'static str> = vec!["MysqlDown"];
    rules.extend(postgres::RULES.iter().chain(&postgres::REPLICA_RULES).chain(&mariadb::RULES));
    rules.extend(host::RULES.iter().chain(&own::RULES));
    stage.board.mark_before(&before).await;
    let silent = stage.board.until_fired(&rules, FIRES_WITHIN).await;
    println!("silent so far: {silent:?}");
    println!("\nall of it ends");
    host::heal(stage, &mut states.host).await?;
    own::heal(stage, &mut states.own).await?;
    mariadb::heal(stage, &mut states.mariadb).await?;
    postgres::heal(stage, &mut states.postgres).await?;
    stage.brittle.run().await?;
    stage.board.healed(&["MysqlDown"]).await;
    stage.read_slow_things_now()?;
    let still = stage.board.until_resolved(&rules, RESOLVES_WITHIN).await;
    println!("not over yet: {still:?}");
    Ok(())
}

/// Only what is about collectors and Tidewatch itself.
async fn own_rules(stage: &mut Stage) -> anyhow::Result<Vec<Row>> {
    stage.aged.connect("postgres").await?.batch_execute("CREATE ROLE plain LOGIN").await?;
    let mut of_own = own::prepare(stage)?;
    stage.collect_all()?;
    stage.until_query("count(up == 1) > 9", FIRES_WITHIN).await?;
    own::make(stage, &mut of_own).await?;
    println!("silent so far: {:?}", stage.board.until_fired(&own::RULES, FIRES_WITHIN).await);
    own::heal(stage, &mut of_own).await?;
    stage.aged.connect("postgres").await?.batch_execute("GRANT pg_monitor TO plain").await?;
    println!("not over yet: {:?}", stage.board.until_resolved(&own::RULES, RESOLVES_WITHIN).await);
    Ok(stage.board.rows().await)
}

fn table(rows: &[Row]) -> String {
    let overrides = overrides();
    let mut out =
        "| rule | state made | thresholds | fired after | resolved after |\n|---|---|---|---|---|\n".to_owned();
    for row in rows {
        let mut changed: Vec<String> = Vec::new();
        for o in overrides.iter().filter(|o| o.rule == row.rule) {
            changed.push(format!("{} for {}: {}", o.tested, o.shipped, o.why));
        }
        let thresholds = if changed.is_empty() { "as shipped".to_owned() } else { changed.join("; ") };
        let fired = match row.fired_s {
            _ if row.before => "there before any state was made, so not seen to begin".to_owned(),
            Some(s) => format!("{s:.0} s, {}", row.level),
            None => "not".to_owned(),
        };
        let resolved = row.resolved_s.map_or_else(|| "not".to_owned(), |s| format!("{s:.0} s"));
        out += &format!("| {} | {} | {thresholds} | {fired} | {resolved} |\n", row.rule, row.made);
    }
    for (rule, why) in NOT_HERE {
        out += &format!("| {rule} | not made here: {why} | | | |\n");
    }
    out
}

fn page(table: &str) -> String {
    format!(
        "# The rule pack on real states\n\nWritten by `make rules`, which brings servers, hosts and programs into what each rule is about \
         (`tests/src/rule_states/`). PostgreSQL and MariaDB are Debian's; rules are the shipped text with `for` and the windows of \
         rates shortened (`tests/src/rule_states/rules.rs`), thresholds as shipped unless said otherwise. Seconds count from the state \
         to the alert in `/api/v1/alerts`, and from its end to the alert's. The MySQL half of a rule was run on MariaDB; no server of \
         MySQL was at hand.\n\n{table}"
    )
}
