//! Rows handed to a collector's outlet, and what a server answers about them: equal if each arrived once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use collector::{Clock, Outlet};
use proto::{EventsBuilder, Labels, Table, samples::SamplesBuilder};

use crate::program::Api;

const INSTANCE: &str = "pipeline";
const SERIES: usize = 50;
const ROWS_PER_ROUND: u64 = 5;
/// Time between two rounds of rows, milliseconds.
const ROUND_MS: u64 = 20;

/// What was handed over, or what is stored.
#[derive(Debug, Default, PartialEq)]
pub struct Load {
    /// Samples.
    pub samples: u64,
    /// The sum of their values, each of which is there once.
    pub samples_sum: f64,
    /// Calls of statements, each with a fingerprint of its own.
    pub calls: u64,
    /// Log lines, each with a text of its own.
    pub log_lines: u64,
}

/// Puts rows into the outlet until told to stop.
pub async fn produce(outlet: Outlet, stop: Arc<AtomicBool>) -> Load {
    let series: Vec<Labels> = (0..SERIES)
        .map(|i| Labels::from_pairs([("__name__", "pipeline_counter"), ("instance", INSTANCE), ("n", &i.to_string())]))
        .collect();
    let clock = Clock::system();
    let mut sent = Load::default();
    let mut ticks = tokio::time::interval(Duration::from_millis(ROUND_MS));
    let mut last_ms = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let now_ms = clock.now_ms().max(last_ms + 1); // one sample a millisecond and series: none replaces another
        last_ms = now_ms;
        let mut samples = SamplesBuilder::default();
        for labels in &series {
            samples.push(labels, now_ms, sent.samples as f64);
            sent.samples_sum += sent.samples as f64;
            sent.samples += 1;
        }
        outlet.send_samples(samples);
        let mut stats = EventsBuilder::new(Table::StatementStats);
        let mut logs = EventsBuilder::new(Table::Logs);
        for _ in 0..ROWS_PER_ROUND {
            let fingerprint = format!("{:016x}", sent.calls);
            stats.row(INSTANCE, now_ms, [("fingerprint", fingerprint.into()), ("calls", 1i64.into())]);
            logs.row(INSTANCE, now_ms, [("body", format!("line {}", sent.log_lines).into())]);
            sent.calls += 1;
            sent.log_lines += 1;
        }
        outlet.send_events(stats.build());
        outlet.send_events(logs.build());
    }
    sent
}

/// What the server answers about it; an error says what it has twice.
pub async fn stored(api: &Api) -> Result<Load, String> {
    stored_where(api, "true").await
}

/// Of the rows whose time is from `from_ms` on and before `to_ms`.
pub async fn stored_between(api: &Api, from_ms: i64, to_ms: i64) -> Result<Load, String> {
    let time = |ms: i64| format!("arrow_cast({ms}, 'Timestamp(Millisecond, Some(\"UTC\"))')");
    stored_where(api, &format!("ts >= {} AND ts < {}", time(from_ms), time(to_ms))).await
}

async fn stored_where(api: &Api, filter: &str) -> Result<Load, String> {
    let one = async |query: String| -> Result<Vec<f64>, String> {
        let rows = api.sql(&format!("{query} AND {filter}")).await?;
        Ok(rows[0].iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect())
    };
    let of = |columns: &str, table: &str| format!("SELECT {columns} FROM {table} WHERE instance = '{INSTANCE}'");
    let samples = "SELECT count(*), coalesce(sum(value), 0), count(DISTINCT value) FROM metrics \
                   WHERE metric = 'pipeline_counter'";
    let samples = one(samples.into()).await?;
    let stats = one(of("coalesce(sum(calls), 0), count(DISTINCT fingerprint)", "statement_stats")).await?;
    let logs = one(of("count(*), count(DISTINCT body)", "logs")).await?;
    if samples[0] != samples[2] || stats[0] != stats[1] || logs[0] != logs[1] {
        return Err(format!("something is there twice: samples {samples:?}, statements {stats:?}, logs {logs:?}"));
    }
    Ok(Load { samples: samples[0] as u64, samples_sum: samples[1], calls: stats[0] as u64, log_lines: logs[0] as u64 })
}
