//! States of MariaDB: a primary, its replica, and one that is stopped.

use std::time::Duration;

use mysql_async::{Conn, prelude::Queryable};
use tokio::task::JoinSet;

use super::stage::Stage;
use crate::{MariaDb, wait};

/// Committed changes while a snapshot is held: more than the rule's first threshold.
const CHANGES: u32 = 130_000;
const RUNNING: usize = 70;
const TABLES: usize = 200;

/// Sessions and loops that hold the states.
#[derive(Default)]
pub struct MariaDbStates {
    held: Vec<Conn>,
    waiting: JoinSet<()>,
    loops: JoinSet<()>,
}

async fn run(conn: &mut Conn, statements: &[&str]) -> anyhow::Result<()> {
    for sql in statements {
        conn.query_drop(*sql).await.map_err(|e| anyhow::anyhow!("{sql}: {e}"))?;
    }
    Ok(())
}

/// Tables, and replication.
pub async fn prepare(stage: &mut Stage) -> anyhow::Result<MariaDbStates> {
    stage.store_replica.follow(&stage.store).await?;
    let mut store = stage.store.connect("root").await?;
    run(
        &mut store,
        &[
            "CREATE DATABASE app",
            "CREATE TABLE app.t (id int PRIMARY KEY, n int)",
            "INSERT INTO app.t VALUES (1, 0), (2, 0)",
            "CREATE TABLE app.history (id int PRIMARY KEY, n int)",
            "INSERT INTO app.history VALUES (1, 0)",
            "CREATE TABLE app.left_side (x int)",
            "CREATE TABLE app.right_side (x int)",
            "INSERT INTO app.left_side SELECT seq FROM app.seq_1_to_20",
            "INSERT INTO app.right_side SELECT seq FROM app.seq_1_to_20",
            "CREATE TABLE app.counted (id int PRIMARY KEY AUTO_INCREMENT)",
            "SET sql_log_bin = 0",
            "CREATE TABLE app.wide (id int PRIMARY KEY, pad varchar(1000))",
            "INSERT INTO app.wide SELECT seq, repeat('x', 1000) FROM app.seq_1_to_100000",
        ],
    )
    .await?;
    for i in 0..TABLES {
        store.query_drop(format!("CREATE TABLE app.many_{i} (id int)")).await?;
    }
    let there = async || {
        let mut replica = stage.store_replica.connect("root").await.ok()?;
        let rows: Option<u32> = replica.query_first("SELECT count(*) FROM app.counted").await.ok()?;
        rows
    };
    anyhow::ensure!(wait::until(Duration::from_secs(60), there).await.is_some(), "the MariaDB replica does not follow");
    Ok(MariaDbStates::default())
}

/// Runs what `sql` gives for 0, 1, 2 …, whatever comes of it.
async fn repeat(
    loops: &mut JoinSet<()>,
    server: &MariaDb,
    sql: impl Fn(usize) -> String + Send + 'static,
    pause_ms: u64,
) -> anyhow::Result<()> {
    let mut session = server.connect("root").await?;
    loops.spawn(async move {
        for i in 0.. {
            let _ = session.query_drop(sql(i)).await;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    });
    Ok(())
}

/// Rules of [`make`].
pub const RULES: [&str; 13] = [
    "MetadataLockPileup",
    "MysqlThreadsRunning",
    "LoginFailures",
    "ClientsAborted",
    "BufferPoolHitLow",
    "InnodbHistoryLong",
    "JoinsWithoutIndex",
    "TableCacheOverflow",
    "PreparedStatementsNearMax",
    "DigestTableFull",
    "AutoIncrementExhausted",
    "SemiSyncOff",
    "ReplicaWritable",
];

/// Makes every state.
pub async fn make(stage: &Stage, states: &mut MariaDbStates) -> anyhow::Result<()> {
    let (board, at, server) = (&stage.board, Some("store"), &stage.store);
    let mut root = server.connect("root").await?;
    run(&mut root, &["ALTER TABLE app.counted AUTO_INCREMENT = 2100000000"]).await?;
    board.made("AutoIncrementExhausted", at, "AUTO_INCREMENT of an int column is set to 2100000000").await;
    let mut snapshot = server.connect("root").await?;
    run(&mut snapshot, &["START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT * FROM app.history"]).await?;
    states.held.push(snapshot);
    let mut writer = server.connect("root").await?;
    states.waiting.spawn(async move {
        let changes = format!(
            "BEGIN NOT ATOMIC DECLARE i INT DEFAULT 0; WHILE i < {CHANGES} DO UPDATE app.history SET n = n + 1 WHERE id = 1; SET i = i + 1; END WHILE; END"
        );
        let _ = run(&mut writer, &["SET sql_log_bin = 0", &changes]).await;
    });
    board.made("InnodbHistoryLong", at, "130000 changes are committed while a snapshot is held").await;
    let mut prepared = server.connect("root").await?;
    for i in 0..85 {
        prepared.query_drop(format!("PREPARE s{i} FROM 'SELECT {i}'")).await?;
    }
    states.held.push(prepared);
    board
        .made("PreparedStatementsNearMax", at, "a session prepares 85 statements, max_prepared_stmt_count is 100")
        .await;
    let mut open = server.connect("root").await?;
    run(&mut open, &["BEGIN", "SELECT * FROM app.t"]).await?;
    states.held.push(open);
    let blocked = "SELECT * FROM app.t";
    for sql in ["ALTER TABLE app.t ADD COLUMN m int", blocked, blocked, blocked] {
        let mut session = server.connect("root").await?;
        states.waiting.spawn(async move {
            let _ = run(&mut session, &["SET lock_wait_timeout = 3000", sql]).await;
        });
        if sql != blocked {
            let look = async || {
                let mut session = server.connect("root").await.ok()?;
                let sql = "SELECT 1 FROM information_schema.PROCESSLIST WHERE STATE LIKE '%metadata lock%'";
                session.query_first::<u32, _>(sql).await.ok()?
            };
            wait::until(Duration::from_secs(10), look).await;
        }
    }
    board
        .made("MetadataLockPileup", at, "ALTER TABLE waits for an open transaction, three SELECTs wait behind it")
        .await;
    for _ in 0..RUNNING {
        repeat(&mut states.loops, server, |_| "SELECT SLEEP(2)".into(), 0).await?;
    }
    board.made("MysqlThreadsRunning", at, "70 sessions run a statement at once").await;
    let socket = server.socket();
    states.loops.spawn(async move {
        loop {
            let stranger = mysql_async::OptsBuilder::default().user(Some("stranger")).pass(Some("x"));
            let _ = Conn::new(stranger.socket(Some(socket.display().to_string())).prefer_socket(false)).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    board.made("LoginFailures", at, "three logins a second as an account that does not exist").await;
    let address = server.socket();
    states.loops.spawn(async move {
        let mut left = JoinSet::new();
        loop {
            let root = mysql_async::OptsBuilder::default().user(Some("root"));
            if let Ok(mut conn) = Conn::new(root.socket(Some(address.display().to_string())).prefer_socket(false)).await
            {
                left.spawn(async move {
                    let _ = conn.query_drop("SET SESSION wait_timeout = 1").await;
                    tokio::time::sleep(Duration::from_secs(4)).await;
                });
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            while left.try_join_next().is_some() {}
        }
    });
    board.made("ClientsAborted", at, "two sessions a second stay idle beyond their wait_timeout").await;
    let lookups = "SELECT count(w.pad) FROM app.seq_1_to_4000 s JOIN app.wide w ON w.id = (s.seq * 7919) % 100000";
    let lookups = |i: usize| lookups.replace("s.seq", &format!("(s.seq + {i} * 4000)"));
    repeat(&mut states.loops, server, lookups, 100).await?;
    board
        .made("BufferPoolHitLow", at, "rows of a table of 100 MB are looked up all over it, the buffer pool has 32 MB")
        .await;
    let join = |_| "SELECT count(*) FROM app.left_side l JOIN app.right_side r ON l.x = r.x".to_owned();
    repeat(&mut states.loops, server, join, 50).await?;
    board.made("JoinsWithoutIndex", at, "20 joins a second of two tables without any index").await;
    crowd_tables(stage, states).await?;
    let unlike = |i: usize| format!("SELECT 1 AS a{i}");
    repeat(&mut states.loops, server, unlike, 20).await?;
    board
        .made(
            "DigestTableFull",
            at,
            "50 statements a second that are all different, performance_schema_digests_size is 300",
        )
        .await;
    let mut replica = stage.store_replica.connect("root").await?;
    run(&mut replica, &["SET GLOBAL read_only = 0"]).await?;
    board.made("ReplicaWritable", Some("store-replica"), "SET GLOBAL read_only = 0 on the replica").await;
    run(&mut replica, &["SET GLOBAL rpl_semi_sync_slave_enabled = 0", "STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"])
        .await?;
    run(&mut root, &["INSERT INTO app.right_side VALUES (0)"]).await?;
    board.made("SemiSyncOff", at, "the only replica stops to acknowledge").await;
    Ok(())
}

/// More tables in use than the cache holds.
pub async fn crowd_tables(stage: &Stage, states: &mut MariaDbStates) -> anyhow::Result<()> {
    let mut root = stage.store.connect("root").await?;
    run(&mut root, &["SET GLOBAL table_open_cache = 140"]).await?;
    let one_after_another = |i: usize| format!("SELECT count(*) FROM app.many_{}", i % TABLES);
    repeat(&mut states.loops, &stage.store, one_after_another, 5).await?;
    let what = "200 tables are read one after another, table_open_cache is set to 140";
    stage.board.made("TableCacheOverflow", Some("store"), what).await;
    Ok(())
}

/// Ends [`crowd_tables`] alone.
pub async fn thin_tables(stage: &Stage, states: &mut MariaDbStates) -> anyhow::Result<()> {
    states.loops.shutdown().await;
    let mut root = stage.store.connect("root").await?;
    run(&mut root, &["SET GLOBAL table_open_cache = 2000"]).await?;
    stage.board.healed(&["TableCacheOverflow"]).await;
    Ok(())
}

/// Ends every state.
pub async fn heal(stage: &Stage, states: &mut MariaDbStates) -> anyhow::Result<()> {
    states.loops.shutdown().await;
    states.held.clear();
    while states.waiting.join_next().await.is_some() {}
    let mut root = stage.store.connect("root").await?;
    run(
        &mut root,
        &[
            "ALTER TABLE app.counted AUTO_INCREMENT = 1",
            "SET GLOBAL table_open_cache = 2000",
            "TRUNCATE TABLE performance_schema.events_statements_summary_by_digest",
        ],
    )
    .await?;
    let mut replica = stage.store_replica.connect("root").await?;
    run(
        &mut replica,
        &[
            "SET GLOBAL read_only = 1",
            "SET GLOBAL rpl_semi_sync_slave_enabled = 1",
            "STOP SLAVE IO_THREAD",
            "START SLAVE IO_THREAD",
        ],
    )
    .await?;
    stage.board.healed(&RULES).await;
    Ok(())
}

/// A row that is on the replica already.
pub async fn break_replication(stage: &Stage) -> anyhow::Result<()> {
    let mut replica = stage.store_replica.connect("root").await?;
    run(&mut replica, &["SET sql_log_bin = 0", "INSERT INTO app.history VALUES (7, 7)"]).await?;
    let mut root = stage.store.connect("root").await?;
    run(&mut root, &["INSERT INTO app.history VALUES (7, 0)"]).await?;
    let what = "a row is inserted on the primary that the replica has already";
    stage.board.made("ReplicationBroken", Some("store-replica"), what).await;
    Ok(())
}

/// Takes it away and goes on.
pub async fn mend_replication(stage: &Stage) -> anyhow::Result<()> {
    let mut replica = stage.store_replica.connect("root").await?;
    run(&mut replica, &["SET sql_log_bin = 0", "DELETE FROM app.history WHERE id = 7", "START SLAVE"]).await?;
    stage.board.healed(&["ReplicationBroken"]).await;
    Ok(())
}
