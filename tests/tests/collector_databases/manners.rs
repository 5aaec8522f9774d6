//! The collector can't hurt: behind locks on the catalogue it never has more than one query waiting, and asks ever less often.

use tokio::time::Instant;

use super::{watching::Watching, *};

/// How long the catalogue stays locked, and a budget is looked at.
const LOCKED: Duration = Duration::from_secs(12);

/// Sessions other than ours that wait for a lock or have not been let in.
const WAITING: &str = "select count(distinct a.pid) from pg_stat_get_activity(null) a
  left join pg_locks l on l.pid = a.pid and not l.granted
  where a.pid <> pg_backend_pid() and a.pid <> $1 and (l.pid is not null or a.wait_event_type = 'Lock')";

/// Locks `what` while the instance is watched with a table, a second database and statements to read.
async fn pile_up(what: &str) {
    let server = Postgres::start(&["shared_preload_libraries=pg_stat_statements"]).await.unwrap();
    let admin = server.connect("postgres").await.unwrap();
    admin.batch_execute("create extension pg_stat_statements; create table t (id int primary key)").await.unwrap();
    admin.batch_execute("create database second").await.unwrap();
    let looker = server.connect("postgres").await.unwrap();
    let admin_pid: i32 = admin.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let look = looker.prepare(WAITING).await.unwrap();
    looker.query_one(&look, &[&admin_pid]).await.unwrap();
    let mut watch = Watching::start(server.config(), "db");
    watch.until_value("up", |v| v == 1.0).await;
    watch.until_value("tidewatch_collector_target_queries_total", |v| v > 30.0).await;

    admin.batch_execute(&format!("begin; lock table {what} in access exclusive mode")).await.unwrap();
    let (began, mut most, mut looks) = (Instant::now(), 0, 0);
    let mut waiting_s = 0.0;
    let mut last = Instant::now();
    until(LOCKED, async || {
        let waiting: i64 = looker.query_one(&look, &[&admin_pid]).await.unwrap().get(0);
        most = most.max(waiting);
        looks += 1;
        let now = Instant::now();
        if waiting > 0 {
            waiting_s += (now - last).as_secs_f64();
        }
        last = now;
        None::<()>
    })
    .await;
    let locked_s = began.elapsed().as_secs_f64();
    println!("{what}: most waiting {most} in {looks} looks; something waited {waiting_s:.1} of {locked_s:.1} s");
    assert_eq!(most, 1, "{what}: one query waits, and never more than one");
    admin.batch_execute("commit").await.unwrap();

    // Once the lock is gone it reads as before, and has said what it did.
    watch.until_value("tidewatch_collector_target_paused", |v| v == 0.0).await;
    watch.until_value("up", |v| v == 1.0).await;
    let queries = watch.value("tidewatch_collector_target_queries_total").unwrap();
    watch.until_value("tidewatch_collector_target_queries_total", |v| v > queries + 20.0).await;
    if what == "pg_class" {
        watch.until_said("lock_queue", "waited for a lock in vain").await;
        watch.until_value("tidewatch_collector_target_pauses_total", |v| v >= 1.0).await;
        watch.until_said("lock_queue", "over: ").await;
    }
    watch.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_than_one_query_waits_for_the_catalogue() {
    pile_up("pg_class").await;
}

/// Nobody can connect meanwhile: an attempt that hangs is the one that waits.
#[tokio::test(flavor = "multi_thread")]
async fn never_more_than_one_attempt_waits_to_be_let_in() {
    pile_up("pg_database, pg_authid, pg_class").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_in_the_time_budget_is_not_read() {
    let server = Postgres::start(&[]).await.unwrap();
    let mut config = server.config();
    config.time_budget = collector::config::TIME_BUDGET_MIN;
    let mut watch = Watching::start(config, "db");
    watch.until_value("tidewatch_collector_target_budget_ratio", |v| v == collector::config::TIME_BUDGET_MIN).await;
    let first = watch.until_value("tidewatch_collector_target_skipped_total", |v| v > 0.0).await;
    watch.until_said("over_budget", "time budget of 0.1 % is used up").await;
    let spent = watch.value("tidewatch_collector_target_seconds_total").unwrap();
    let began = Instant::now();
    watch.until_value("tidewatch_collector_target_skipped_total", |v| v >= first + 5.0).await;
    let more = watch.value("tidewatch_collector_target_seconds_total").unwrap() - spent;
    // Who answers and where it stands is asked still, about a millisecond each second.
    let share = more / began.elapsed().as_secs_f64();
    println!("{:.2} % of the time", share * 100.0);
    assert!(share < 0.05, "{share}");
    watch.until_value("up", |v| v == 1.0).await;
    watch.stop().await;
}
