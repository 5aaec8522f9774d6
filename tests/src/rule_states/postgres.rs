//! States of PostgreSQL: primary, replica, and one near the end of its ids.

use std::{fs, os::unix::fs::FileExt, time::Duration};

use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::stage::{Stage, zeros};
use crate::{Postgres, process::give, wait};

/// Bytes of a segment of pg_xact and of pg_multixact/offsets.
const SLRU_SEGMENT_BYTES: usize = 256 << 10;
/// The next transaction id of `aged`: 75 % of 2^31; its status stands in segment 05F5.
const NEXT_XID: &str = "1600000000";
/// Its next multixact id: 70 %; in segment 5968.
const NEXT_MULTIXACT: &str = "1500000000,1";
const ORDERS: i64 = 200_000;

/// Sessions and loops that hold the states.
#[derive(Default)]
pub struct PostgresStates {
    holders: Vec<Client>,
    crowd: Vec<Client>,
    waiting: JoinSet<()>,
    loops: JoinSet<()>,
    lookups: JoinSet<()>,
}

/// Tables, the damaged page, the ids near their end, and the load whose plan will be lost.
pub async fn prepare(stage: &mut Stage) -> anyhow::Result<PostgresStates> {
    let shop = stage.shop.connect("postgres").await?;
    shop.batch_execute(&format!(
        "CREATE EXTENSION pg_stat_statements; CREATE TABLE stock (id int PRIMARY KEY, n int); \
         INSERT INTO stock SELECT i, 0 FROM generate_series(1, 10) i; CREATE TABLE orders (id bigint, customer int, note text); \
         INSERT INTO orders SELECT i, i % 5000, 'n' || i FROM generate_series(1, {ORDERS}) i; \
         CREATE INDEX orders_customer ON orders (customer); \
         CREATE TABLE dead (id int, pad text) WITH (autovacuum_enabled = false); CREATE TABLE fresh (id int) WITH (autovacuum_enabled = false); \
         INSERT INTO dead SELECT i, 'x' FROM generate_series(1, 60000) i; INSERT INTO fresh SELECT generate_series(1, 10); \
         CREATE TABLE twice (id int); INSERT INTO twice VALUES (1), (1); CREATE TABLE counted (id serial); \
         INSERT INTO counted DEFAULT VALUES; CREATE TABLE read_there (id int); INSERT INTO read_there VALUES (1); \
         CREATE PROCEDURE burn(ids int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..ids LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$;"
    ))
    .await?;
    // a transaction's own rows count as changed since its own ANALYZE, so that comes after
    for sql in [
        "ANALYZE",
        "CREATE DATABASE failing",
        "ALTER SYSTEM SET archive_command = '/bin/true'",
        "SELECT pg_reload_conf()",
    ] {
        shop.batch_execute(sql).await?;
    }
    let fragile = stage.fragile.connect("postgres").await?;
    let pages =
        "CREATE UNLOGGED TABLE wide AS SELECT i AS id, repeat('x', 1000) AS pad FROM generate_series(1, 120000) i";
    fragile.batch_execute(pages).await?;
    let aged = stage.aged.connect("postgres").await?;
    aged.batch_execute(
        "CREATE ROLE plain LOGIN; CREATE TABLE broken WITH (autovacuum_enabled = false) AS SELECT i AS id FROM generate_series(1, 100) i; CHECKPOINT",
    )
    .await?;
    let path: String = aged.query_one("SELECT pg_relation_filepath('broken')", &[]).await?.get(0);
    drop(aged);
    stage.aged.stop();
    let data = stage.aged.data_dir();
    fs::File::options().write(true).open(data.join(path))?.write_all_at(b"a flipped bit or two", 8000)?;
    zeros(&data.join("pg_xact/05F5"), SLRU_SEGMENT_BYTES)?;
    zeros(&data.join("pg_multixact/offsets/5968"), SLRU_SEGMENT_BYTES)?;
    give(&data, "postgres")?;
    stage.aged.tool("pg_resetwal", &["-x", NEXT_XID, "-m", NEXT_MULTIXACT, "-D", &data.display().to_string()])?;
    stage.aged.run().await?;
    let mut states = PostgresStates::default();
    for _ in 0..2 {
        repeat(&mut states.lookups, &stage.shop, "postgres", "SELECT count(note) FROM orders WHERE customer = 77", 50)
            .await?;
    }
    Ok(states)
}

/// Runs a statement again and again, whatever comes of it.
async fn repeat(
    loops: &mut JoinSet<()>,
    server: &Postgres,
    database: &str,
    sql: &'static str,
    pause_ms: u64,
) -> anyhow::Result<()> {
    let session = server.connect(database).await?;
    loops.spawn(async move {
        loop {
            let _ = session.simple_query(sql).await;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    });
    Ok(())
}

/// Rules of [`make`].
pub const RULES: [&str; 22] = [
    "LockPileup",
    "Deadlocks",
    "LongTransaction",
    "IdleInTransaction",
    "PreparedTransactionForgotten",
    "ConnectionsNearMax",
    "VacuumHeldBack",
    "AutovacuumBehind",
    "StatisticsOld",
    "TransactionIdWraparound",
    "MultixactWraparound",
    "PostgresCacheHitLow",
    "PostgresRollbacks",
    "PostgresPendingRestart",
    "ArchiveFailing",
    "ChecksumFailures",
    "InvalidIndex",
    "SequenceExhausted",
    "ReplicationSlotLost",
    "WalRetainedBySlot",
    "StatementRegression",
    "NewCostlyStatement",
];

/// Rules of [`make`] on the replica.
pub const REPLICA_RULES: [&str; 3] = ["ReplicaConflicts", "ReplayPaused", "ReplicationLag"];

/// Makes every state.
pub async fn make(stage: &Stage, states: &mut PostgresStates) -> anyhow::Result<()> {
    let board = &stage.board;
    let at = Some("shop");
    let shop = stage.shop.connect("postgres").await?;
    // builds wait for older transactions, so they come first
    let _ = shop.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY twice_id ON twice (id)").await;
    board.made("InvalidIndex", at, "CREATE UNIQUE INDEX CONCURRENTLY over two equal rows").await;
    write_ahead(stage, &shop).await?;
    shop.batch_execute("DELETE FROM dead WHERE id <= 45000").await?;
    board.made("AutovacuumBehind", at, "45000 of 60000 rows deleted from a table without autovacuum").await;
    shop.batch_execute("INSERT INTO fresh SELECT generate_series(1, 100000)").await?;
    board.made("StatisticsOld", at, "100000 rows put into a table of 10 without autovacuum").await;
    shop.batch_execute("SELECT setval('counted_id_seq', 2100000000)").await?;
    board.made("SequenceExhausted", at, "the sequence of a serial column is set to 2100000000").await;
    shop.batch_execute("BEGIN; UPDATE stock SET n = 1 WHERE id = 9; PREPARE TRANSACTION 'forgotten'").await?;
    board.made("PreparedTransactionForgotten", at, "PREPARE TRANSACTION and nothing after it").await;
    let reader = stage.shop.connect("postgres").await?;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM stock").await?;
    board.made("LongTransaction", at, "a session reads in REPEATABLE READ and does not commit").await;
    board.made("IdleInTransaction", at, "the same session sits idle").await;
    shop.batch_execute("CALL burn(30000)").await?;
    board.made("VacuumHeldBack", at, "30000 transactions while that snapshot is held").await;
    let holder = stage.shop.connect("postgres").await?;
    holder.batch_execute("BEGIN; UPDATE stock SET n = n + 1 WHERE id = 1").await?;
    for _ in 0..4 {
        let session = stage.shop.connect("postgres").await?;
        states.waiting.spawn(async move {
            let _ = session.batch_execute("UPDATE stock SET n = n + 1 WHERE id = 1").await;
        });
    }
    board.made("LockPileup", at, "four sessions want a row that a fifth has updated and not committed").await;
    states.holders.extend([reader, holder]);
    deadlock(&stage.shop).await?;
    board.made("Deadlocks", at, "two sessions update two rows in opposite order").await;
    repeat(&mut states.loops, &stage.shop, "failing", "SELECT 1 / (relnatts - relnatts) FROM pg_class", 40).await?;
    board.made("PostgresRollbacks", at, "a client divides by zero 25 times a second").await;
    repeat(&mut states.loops, &stage.fragile, "postgres", "SELECT count(*) FROM wide", 50).await?;
    board
        .made(
            "PostgresCacheHitLow",
            Some("fragile"),
            "a table of 130 MB is scanned over and over with 32 MB shared_buffers",
        )
        .await;
    for sql in ["ALTER SYSTEM SET archive_command = '/bin/false'", "SELECT pg_reload_conf()", "SELECT pg_switch_wal()"]
    {
        shop.batch_execute(sql).await?;
    }
    board.made("ArchiveFailing", at, "archive_command is /bin/false").await;
    let aged = stage.aged.connect("postgres").await?;
    let _ = aged.batch_execute("SELECT count(*) FROM broken").await;
    board.made("ChecksumFailures", Some("aged"), "bytes of a page are overwritten on disk, then it is read").await;
    for sql in ["ALTER SYSTEM SET max_worker_processes = 9", "SELECT pg_reload_conf()"] {
        aged.batch_execute(sql).await?;
    }
    board.made("PostgresPendingRestart", Some("aged"), "ALTER SYSTEM SET max_worker_processes").await;
    board.made("TransactionIdWraparound", Some("aged"), "pg_resetwal -x: the next transaction id is 1600000000").await;
    board.made("MultixactWraparound", Some("aged"), "pg_resetwal -m: the next multixact id is 1500000000").await;
    shop.batch_execute("DROP INDEX orders_customer").await?;
    board.made("StatementRegression", at, "the index under the busiest statement is dropped").await;
    for _ in 0..2 {
        let new = "SELECT sum(sqrt(i)) FROM generate_series(1, 200000) i";
        repeat(&mut states.loops, &stage.shop, "postgres", new, 1).await?;
    }
    board.made("NewCostlyStatement", at, "two sessions begin to run a statement that was never seen").await;
    on_the_replica(stage, &shop).await?;
    let used: i64 = shop
        .query_one("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'", &[])
        .await?
        .get(0);
    for _ in used..50 {
        states.crowd.push(stage.shop.connect("postgres").await?);
    }
    board.made("ConnectionsNearMax", at, "50 of 57 connections are opened").await;
    Ok(())
}

/// Slots: one that loses its WAL, one that keeps some.
async fn write_ahead(stage: &Stage, shop: &Client) -> anyhow::Result<()> {
    let switch = "SELECT pg_logical_emit_message(false, 'states', 'x'); SELECT pg_switch_wal()";
    shop.batch_execute("SELECT pg_create_physical_replication_slot('left_behind', true)").await?;
    for _ in 0..7 {
        shop.batch_execute(switch).await?;
        caught_up(shop).await;
    }
    shop.batch_execute("CHECKPOINT").await?;
    stage
        .board
        .made(
            "ReplicationSlotLost",
            Some("shop"),
            "112 MB of WAL past a slot nobody reads, max_slot_wal_keep_size 64 MB",
        )
        .await;
    shop.batch_execute("SELECT pg_create_physical_replication_slot('kept', true)").await?;
    for _ in 0..2 {
        shop.batch_execute(switch).await?;
        caught_up(shop).await;
    }
    stage.board.made("WalRetainedBySlot", Some("shop"), "32 MB of WAL past a slot nobody reads").await;
    Ok(())
}

/// Waits until the replica has all WAL, so that its slot is not lost too.
async fn caught_up(shop: &Client) {
    let sql = "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()";
    let look = async || shop.query_one(sql, &[]).await.ok().filter(|row| row.get::<_, i64>(0) > 0);
    wait::until(Duration::from_secs(30), look).await;
}

async fn deadlock(server: &Postgres) -> anyhow::Result<()> {
    let (one, two) = (server.connect("postgres").await?, server.connect("postgres").await?);
    one.batch_execute("BEGIN; UPDATE stock SET n = 0 WHERE id = 5").await?;
    two.batch_execute("BEGIN; UPDATE stock SET n = 0 WHERE id = 6").await?;
    let (a, b) = tokio::join!(
        one.batch_execute("UPDATE stock SET n = 0 WHERE id = 6"),
        two.batch_execute("UPDATE stock SET n = 0 WHERE id = 5")
    );
    anyhow::ensure!(a.is_err() != b.is_err(), "one of the two must lose");
    Ok(())
}

async fn on_the_replica(stage: &Stage, shop: &Client) -> anyhow::Result<()> {
    let (board, at) = (&stage.board, Some("shop-replica"));
    let reader = stage.shop_replica.connect("postgres").await?;
    reader.batch_execute("BEGIN; SELECT * FROM read_there").await?;
    shop.batch_execute("DROP TABLE read_there").await?;
    board
        .made(
            "ReplicaConflicts",
            at,
            "a table is dropped on the primary while a transaction on the replica has read it",
        )
        .await;
    let gone = async || reader.batch_execute("SELECT 1").await.is_err().then_some(());
    wait::until(Duration::from_secs(20), gone).await;
    let replica = stage.shop_replica.connect("postgres").await?;
    replica.batch_execute("SELECT pg_wal_replay_pause()").await?;
    shop.batch_execute("UPDATE stock SET n = 2 WHERE id = 3").await?;
    board.made("ReplayPaused", at, "pg_wal_replay_pause() on the replica").await;
    board.made("ReplicationLag", at, "writes on the primary while replay is paused").await;
    Ok(())
}

/// Ends every state.
pub async fn heal(stage: &Stage, states: &mut PostgresStates) -> anyhow::Result<()> {
    states.holders.clear();
    states.crowd.clear();
    states.loops.shutdown().await;
    while states.waiting.join_next().await.is_some() {}
    let shop = stage.shop.connect("postgres").await?;
    stage.shop_replica.connect("postgres").await?.batch_execute("SELECT pg_wal_replay_resume()").await?;
    for sql in [
        "ROLLBACK PREPARED 'forgotten'",
        "CREATE INDEX orders_customer ON orders (customer)",
        "ALTER SYSTEM SET archive_command = '/bin/true'",
        "SELECT pg_reload_conf()",
        "SELECT pg_switch_wal()",
        "SELECT setval('counted_id_seq', 5)",
        "DELETE FROM twice WHERE ctid = (SELECT min(ctid) FROM twice)",
        "REINDEX INDEX CONCURRENTLY twice_id",
        "ANALYZE fresh",
        "VACUUM ANALYZE dead",
        "SELECT pg_drop_replication_slot('left_behind')",
        "SELECT pg_replication_slot_advance('kept', pg_current_wal_flush_lsn())",
    ] {
        shop.batch_execute(sql).await.map_err(|e| anyhow::anyhow!("{sql}: {e}"))?;
    }
    let aged = stage.aged.connect("postgres").await?;
    for sql in [
        "DROP TABLE broken",
        "ALTER SYSTEM RESET max_worker_processes",
        "SELECT pg_reload_conf()",
        "ALTER DATABASE template0 ALLOW_CONNECTIONS true",
        "GRANT pg_monitor TO plain",
    ] {
        aged.batch_execute(sql).await.map_err(|e| anyhow::anyhow!("{sql}: {e}"))?;
    }
    for database in ["postgres", "template1", "template0"] {
        stage.aged.connect(database).await?.batch_execute("VACUUM FREEZE").await?;
    }
    stage.board.healed(&RULES).await;
    stage.board.healed(&REPLICA_RULES).await;
    Ok(())
}
