//! States that grow toward a limit: a disk, connections, the WAL past a slot, transaction ids. A forecast needs a past of twelve
//! steps: these take six to twenty minutes.
//!
//! The step of transaction ids is ten minutes, which makes two hours. Their past is readings of this server while it really
//! used ids up, some seconds apart, sent with times ten minutes apart.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use collector::Clock;
use proto::{Labels, samples::SamplesBuilder};
use tokio::task::JoinSet;

use super::{
    host::LoopMount,
    stage::{Stage, zeros},
};
use crate::{Postgres, process::give, road::Road, wait};

/// The next transaction id: 1.2 million before 90 % of 2^31; its status stands in segment 0732 of pg_xact.
const NEXT_XID: &str = "1931565000";
const XID_SEGMENT: &str = "pg_xact/0732";
/// Bytes of a segment of pg_xact.
const SLRU_SEGMENT_BYTES: usize = 256 << 10;
/// Readings of the ids used, what is used up between two, and how far apart they are sent.
const READINGS: usize = 14;
const IDS_EACH: u32 = 30_000;
const READING_MS: i64 = 600_000;
/// Of the disk: its size in megabytes, what is on it at first, and what is written how often, bytes.
const DISK_MB: u64 = 64;
const FIRST_BYTES: usize = 10 << 20;
const PIECE_BYTES: usize = 480 << 10;
const PIECE_EVERY: Duration = Duration::from_secs(30);
/// WAL past the slot, bytes each time.
const WAL_BYTES: u32 = 1_300_000;
/// Connections are opened up to here, one each time: fewer than there are.
const CONNECTIONS_MAX: usize = 30;
const GROW_EVERY: Duration = Duration::from_secs(30);
const READY: Duration = Duration::from_secs(120);

/// What holds the states.
pub struct AheadStates {
    server: Postgres,
    disk: LoopMount,
    used_ratios: Vec<f64>,
    growing: JoinSet<()>,
}

/// The server `growing` with its collector, and the disk. What it used of its ids is read meanwhile.
pub async fn prepare(stage: &mut Stage) -> anyhow::Result<AheadStates> {
    let options = ["autovacuum_freeze_max_age=2000000000", "max_slot_wal_keep_size=64MB", "autovacuum=off"];
    let mut server = Postgres::start(&options).await?;
    server.connect("postgres").await?.batch_execute("CHECKPOINT").await?;
    server.stop();
    let data = server.data_dir();
    zeros(&data.join(XID_SEGMENT), SLRU_SEGMENT_BYTES)?;
    give(&data, "postgres")?;
    server.tool("pg_resetwal", &["-x", NEXT_XID, "-D", &data.display().to_string()])?;
    server.run().await?;
    let session = server.connect("postgres").await?;
    session
        .batch_execute(
            "CREATE PROCEDURE burn(ids int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..ids LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$",
        )
        .await?;
    session.batch_execute("SELECT pg_create_physical_replication_slot('behind', true)").await?;
    let mut used_ratios = Vec::new();
    for _ in 0..READINGS {
        session.batch_execute(&format!("CALL burn({IDS_EACH})")).await?;
        let sql = "SELECT (max(age(datfrozenxid)) / 2147483648.0)::float8 FROM pg_database";
        used_ratios.push(session.query_one(sql, &[]).await?.get(0));
    }
    let disk = LoopMount::new(stage.folder.path(), "growing", DISK_MB, 1024)?;
    fs::write(disk.point.join("first"), vec![1u8; FIRST_BYTES])?;
    let body = format!(
        "host: {{enabled: false}}\ndatabases:\n  - {{name: growing, engine: postgresql, address: '127.0.0.1:{}', user: postgres, \
         database: postgres, logs: {{mode: 'off'}}}}\n",
        server.port()
    );
    stage.collect("growing", &body, &[])?;
    Ok(AheadStates { server, disk, used_ratios, growing: JoinSet::new() })
}

/// Rules of [`make`].
pub const RULES: [&str; 4] = ["DiskFullForecast", "ConnectionsFullForecast", "SlotLostForecast", "WraparoundForecast"];

/// Everything begins to grow.
pub async fn make(stage: &Stage, states: &mut AheadStates) -> anyhow::Result<()> {
    let (board, at, server) = (&stage.board, Some("growing"), &states.server);
    let folder = states.disk.point.clone();
    states.growing.spawn(async move {
        for i in 0.. {
            if fs::write(folder.join(i.to_string()), vec![1u8; PIECE_BYTES]).is_err() {
                return;
            }
            tokio::time::sleep(PIECE_EVERY).await;
        }
    });
    board.made("DiskFullForecast", Some("/growing"), "a file system of 64 MB fills by 480 kB every 30 s").await;
    let urls: Vec<String> = (0..CONNECTIONS_MAX).map(|_| server.url("postgres", "postgres")).collect();
    states.growing.spawn(async move {
        let mut held = Vec::new();
        for url in urls {
            if let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
                held.push((client, tokio::spawn(connection)));
            }
            tokio::time::sleep(GROW_EVERY).await;
        }
        std::future::pending::<()>().await;
    });
    board.made("ConnectionsFullForecast", at, "a session more every 30 s, 37 are allowed").await;
    let writer = server.connect("postgres").await?;
    states.growing.spawn(async move {
        let write = format!("SELECT pg_logical_emit_message(false, 'states', repeat('x', {WAL_BYTES}))");
        while writer.batch_execute(&write).await.is_ok() {
            tokio::time::sleep(GROW_EVERY).await;
        }
    });
    let what = "1.3 MB of WAL every 30 s past a slot nobody reads, max_slot_wal_keep_size 64 MB";
    board.made("SlotLostForecast", at, what).await;
    send_past(stage, &states.used_ratios).await?;
    let burner = server.connect("postgres").await?;
    states.growing.spawn(async move {
        // as much in ten minutes as between two readings
        let each = format!("CALL burn({})", IDS_EACH / 20);
        while burner.batch_execute(&each).await.is_ok() {
            tokio::time::sleep(GROW_EVERY).await;
        }
    });
    let what = "30000 ids are used between two readings; 14 readings of that, taken one after another, are sent ten minutes apart";
    board.made("WraparoundForecast", at, what).await;
    Ok(())
}

/// Sends what was read of the ids as the past of the collector's own series, whose first reading is the last of it.
async fn send_past(stage: &Stage, used_ratios: &[f64]) -> anyhow::Result<()> {
    let selector = "pg_wraparound_used_ratio{instance=\"growing\"}";
    stage.until_query(selector, READY).await?;
    let series = stage.api.get("/api/v1/series", &[("match[]", selector)]).await.map_err(anyhow::Error::msg)?;
    let labels = series[0].as_object().context("the collector's series has no labels")?;
    let labels = Labels::from_pairs(labels.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or(""))));
    let grpc = stage.grpc.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).context("no port")?;
    let road = Road::start(&stage.path("road"), grpc)?;
    let (mut past, now_ms) = (SamplesBuilder::default(), Clock::system().now_ms());
    for (i, ratio) in used_ratios.iter().rev().skip(1).enumerate() {
        past.push(&labels, now_ms - (i as i64 + 1) * READING_MS, *ratio);
    }
    road.outlet.send_samples(past);
    let sent = wait::until(READY, async || road.way.spool.lock().is_drained().then_some(())).await;
    road.stop();
    sent.context("the past was not taken")
}

/// Ends every state.
pub async fn heal(stage: &Stage, states: &mut AheadStates) -> anyhow::Result<()> {
    states.growing.shutdown().await;
    remove_all(&states.disk.point)?;
    let session = states.server.connect("postgres").await?;
    session.batch_execute("SELECT pg_replication_slot_advance('behind', pg_current_wal_flush_lsn())").await?;
    session.batch_execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true").await?;
    for database in ["postgres", "template1", "template0"] {
        states.server.connect(database).await?.batch_execute("VACUUM FREEZE").await?;
    }
    stage.board.healed(&RULES).await;
    Ok(())
}

fn remove_all(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
