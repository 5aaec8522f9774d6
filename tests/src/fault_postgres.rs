//! Faults on PostgreSQL and its host. Each is injected, stays until `healed`, and is then undone.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::{fault_stage::Stage, shop};

/// Sessions that run into a lock.
const VICTIMS: usize = 12;
/// How full it is made.
const DISK_SHARE: f64 = 0.965;

async fn session(stage: &Stage, application: &str) -> anyhow::Result<Client> {
    let session = stage.postgres.connect("shop").await?;
    session.batch_execute(&format!("SET application_name = '{application}'")).await?;
    Ok(session)
}

/// A report keeps its transaction open, a migration wants the table for itself, everybody else queues behind it.
pub async fn locks(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let report = session(stage, "monthly report").await?;
    report.batch_execute("BEGIN; SELECT count(*) FROM stock").await?;
    let mut others = JoinSet::new();
    let migration = session(stage, "migration").await?;
    let readers = (0..VICTIMS).map(|_| session(stage, "webshop"));
    let readers = futures::future::try_join_all(readers).await?;
    others.spawn(async move {
        let _ = migration.batch_execute("ALTER TABLE stock ADD COLUMN IF NOT EXISTS remark text").await;
    });
    sleep(Duration::from_millis(300)).await;
    for reader in readers {
        others.spawn(async move {
            let _ = reader.batch_execute("SELECT quantity FROM stock WHERE article_id = 3").await;
        });
    }
    healed.cancelled().await;
    report.batch_execute("COMMIT").await?;
    while others.join_next().await.is_some() {}
    Ok(())
}

/// Somebody drops the index under the shop's busiest query.
pub async fn index(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    shop::drop_index(&stage.postgres).await?;
    healed.cancelled().await;
    shop::restore_index(&stage.postgres).await
}

/// Reports sort more than their memory holds.
pub async fn spill(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let mut reports = JoinSet::new();
    for _ in 0..2 {
        let report = session(stage, "reporting").await?;
        report.batch_execute("SET work_mem = '64kB'").await?;
        let healed = healed.clone();
        reports.spawn(async move {
            while !healed.is_cancelled() {
                report
                    .batch_execute("SELECT count(*) FROM (SELECT * FROM orders ORDER BY note, amount OFFSET 0) o")
                    .await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = reports.join_next().await {
        ended??;
    }
    Ok(())
}

/// A bulk load against a small max_wal_size.
pub async fn checkpoints(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let load = session(stage, "nightly import").await?;
    load.batch_execute("ALTER SYSTEM SET max_wal_size = '32MB'").await?;
    load.batch_execute("ALTER SYSTEM SET min_wal_size = '32MB'").await?;
    load.batch_execute("SELECT pg_reload_conf(); CREATE TABLE IF NOT EXISTS imported (id bigint, line text)").await?;
    while !healed.is_cancelled() {
        load.batch_execute("INSERT INTO imported SELECT i, repeat('x', 900) FROM generate_series(1, 3000) i").await?;
        sleep(Duration::from_millis(700)).await;
    }
    load.batch_execute("DROP TABLE imported").await?;
    load.batch_execute("ALTER SYSTEM RESET max_wal_size").await?;
    load.batch_execute("ALTER SYSTEM RESET min_wal_size").await?;
    load.batch_execute("SELECT pg_reload_conf()").await?;
    Ok(())
}

/// A table grows until its file system is nearly full.
pub async fn disk(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let disk = stage.disk.as_ref().context("skipped: mounting a file system needs root")?;
    let load = session(stage, "archiver").await?;
    load.batch_execute("CREATE UNLOGGED TABLE old_orders (id bigint, line text) TABLESPACE archive").await?;
    while disk.used()? < DISK_SHARE && !healed.is_cancelled() {
        load.batch_execute("INSERT INTO old_orders SELECT i, repeat('x', 900) FROM generate_series(1, 2000) i").await?;
    }
    healed.cancelled().await;
    // what is dropped is given back at the next checkpoint
    load.batch_execute("DROP TABLE old_orders").await?;
    Ok(load.batch_execute("CHECKPOINT").await?)
}

/// Statements of a release whose migration did not run.
pub async fn errors(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let release = session(stage, "invoicing").await?;
    while !healed.is_cancelled() {
        ensure!(
            release.batch_execute("SELECT total FROM invoices WHERE id = 3").await.is_err(),
            "there is such a table"
        );
        sleep(Duration::from_millis(400)).await;
    }
    Ok(())
}

/// Two jobs change the same two articles in opposite order, each by a statement of its own.
pub async fn deadlocks(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let (one, other) = (session(stage, "stock sync").await?, session(stage, "stocktaking").await?);
    let sold = |article| format!("UPDATE stock SET quantity = quantity - 1 WHERE article_id = {article}");
    let counted = |article| format!("UPDATE stock SET quantity = 1000000 WHERE article_id = {article}");
    while !healed.is_cancelled() {
        one.batch_execute(&format!("BEGIN; {}", sold(11))).await?;
        other.batch_execute(&format!("BEGIN; {}", counted(12))).await?;
        let (a, b) = (format!("{}; COMMIT", sold(12)), format!("{}; COMMIT", counted(11)));
        let (a, b) = tokio::join!(one.batch_execute(&a), other.batch_execute(&b));
        ensure!(a.is_err() || b.is_err(), "no deadlock");
        let _ = tokio::join!(one.batch_execute("ROLLBACK"), other.batch_execute("ROLLBACK"));
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// An application begins a transaction and goes home.
pub async fn idle(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let forgotten = session(stage, "back office").await?;
    forgotten.batch_execute("BEGIN; UPDATE customers SET name = name WHERE id = 4711").await?;
    healed.cancelled().await;
    Ok(forgotten.batch_execute("ROLLBACK").await?)
}
