//! States of writing: checkpoints, a redo log that is too small, temporary files, a replica that is cut off.

use mysql_async::prelude::Queryable;
use tokio::task::JoinSet;

use super::stage::Stage;

/// Rules of [`make`].
pub const RULES: [&str; 5] = ["CheckpointStorm", "TempSpill", "RedoPressure", "ReplicaNotStreaming", "ReplicaLost"];

/// More than the rule's threshold.
const CHECKPOINTS: usize = 12;

/// Loops that hold the states, and what to give back to the replica.
#[derive(Default)]
pub struct WriteStates {
    loops: JoinSet<()>,
    primary: String,
    pool: u64,
}

/// Brings them about.
pub async fn make(stage: &Stage, states: &mut WriteStates) -> anyhow::Result<()> {
    let shop = stage.shop.connect("postgres").await?;
    for _ in 0..CHECKPOINTS {
        shop.batch_execute("CHECKPOINT").await?;
    }
    stage.board.made("CheckpointStorm", Some("shop"), "CHECKPOINT twelve times on end").await;
    let report = stage.shop.connect("postgres").await?;
    report.batch_execute("SET work_mem = '64kB'").await?;
    states.loops.spawn(async move {
        let sort =
            "SELECT count(*) FROM (SELECT i, repeat('x', 200) FROM generate_series(1, 100000) i ORDER BY 2, 1) s";
        while report.batch_execute(sort).await.is_ok() {}
    });
    stage.board.made("TempSpill", Some("shop"), "100000 rows of 200 bytes are sorted in 64 kB, again and again").await;
    let mut store = stage.store.connect("root").await?;
    states.pool = store.query_first("SELECT @@innodb_buffer_pool_size").await?.unwrap_or_default();
    store.query_drop("SET GLOBAL innodb_adaptive_flushing = OFF").await?;
    store.query_drop("SET GLOBAL innodb_max_dirty_pages_pct = 99.9").await?;
    store.query_drop("SET GLOBAL innodb_buffer_pool_size = 268435456").await?;
    states.loops.spawn(async move {
        let _ = store.query_drop("SET sql_log_bin = 0").await;
        let change = "UPDATE app.wide SET pad = repeat(char(97 + rand() * 25), 1000) WHERE id BETWEEN ";
        for i in 0.. {
            let first = i * 100 % 40_000;
            if store.query_drop(format!("{change}{first} AND {}", first + 100)).await.is_err() {
                return;
            }
        }
    });
    let what = "40 MB of a table are changed again and again, they fit into memory, innodb_adaptive_flushing is off";
    stage.board.made("RedoPressure", Some("store"), what).await;
    let replica = stage.shop_replica.connect("postgres").await?;
    states.primary = replica.query_one("SHOW primary_conninfo", &[]).await?.get(0);
    replica.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await?;
    replica.batch_execute("SELECT pg_reload_conf()").await?;
    let what = "primary_conninfo of the replica is emptied";
    stage.board.made("ReplicaNotStreaming", Some("shop-replica"), what).await;
    stage.board.made("ReplicaLost", Some("shop"), what).await;
    Ok(())
}

/// Ends them.
pub async fn heal(stage: &Stage, states: &mut WriteStates) -> anyhow::Result<()> {
    states.loops.shutdown().await;
    let mut store = stage.store.connect("root").await?;
    store.query_drop("SET GLOBAL innodb_adaptive_flushing = ON").await?;
    store.query_drop("SET GLOBAL innodb_max_dirty_pages_pct = DEFAULT").await?;
    store.query_drop(format!("SET GLOBAL innodb_buffer_pool_size = {}", states.pool)).await?;
    let replica = stage.shop_replica.connect("postgres").await?;
    let quoted = states.primary.replace('\'', "''");
    replica.batch_execute(&format!("ALTER SYSTEM SET primary_conninfo = '{quoted}'")).await?;
    replica.batch_execute("SELECT pg_reload_conf()").await?;
    stage.board.healed(&RULES).await;
    Ok(())
}
