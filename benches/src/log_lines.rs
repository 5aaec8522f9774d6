//! Log records of databases, the same every time, sent as a collector sends them; and the same lines as a plain file.

use std::{
    collections::{BTreeSet, VecDeque},
    io::Write,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use proto::{
    Batch, Class, EventsBuilder, Labels, Payload, Table,
    batch::Source,
    wire::{self, CollectorMessage, collector_message, ingest_client::IngestClient, server_message},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Records of one batch.
pub const RECORDS_PER_BATCH: usize = 2_000;
/// Batches sent ahead of what is acknowledged.
const UNACKNOWLEDGED_MAX: u64 = 8;
/// What is searched for: it stands in one record alone.
pub const NEEDLE: &str = "zq7f3c91needle";

/// One record.
pub struct Record {
    /// Whose.
    pub instance: String,
    /// When, milliseconds.
    pub at_ms: i64,
    /// How bad.
    pub level: &'static str,
    /// What it is; `None`: nothing known.
    pub class: Option<&'static str>,
    /// The text.
    pub body: String,
    /// Backend.
    pub pid: i64,
}

/// The `n`th of `all` records; they are spread over `span_ms` from `start_ms`.
pub fn record(n: u64, all: u64, start_ms: i64, span_ms: i64) -> Record {
    let mut chance = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995;
    let mut pick = |of: u64| {
        chance ^= chance >> 30;
        chance = chance.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        chance ^= chance >> 27;
        chance % of
    };
    let (host, pid, table) = (pick(50), 1000 + pick(40_000) as i64, pick(40));
    let (level, class, mut body) = match pick(10) {
        0 => (
            "error",
            Some("lock_timeout"),
            format!(
                "canceling statement due to lock timeout: while updating tuple ({},{}) in relation \"orders_{table}\"",
                pick(90_000),
                pick(200)
            ),
        ),
        1 => (
            "info",
            None,
            format!(
                "checkpoint complete: wrote {} buffers ({}.{}%); 0 WAL file(s) added, {} removed, {} recycled; write={}.{} s",
                pick(60_000),
                pick(40),
                pick(10),
                pick(9),
                pick(60),
                pick(270),
                pick(1000)
            ),
        ),
        2 => (
            "warning",
            None,
            format!(
                "autovacuum: table \"app.public.orders_{table}\": index scans: 1, pages: 0 removed, {} remain, tuples: {} removed, {} remain",
                pick(900_000),
                pick(50_000),
                pick(9_000_000)
            ),
        ),
        3 => ("fatal", Some("auth_failed"), format!("password authentication failed for user \"svc_{}\"", pick(300))),
        4..6 => (
            "info",
            Some("connection"),
            format!(
                "connection authorized: user=app_{} database=orders application_name=worker-{}",
                pick(20),
                pick(64)
            ),
        ),
        _ => (
            "info",
            Some("duration"),
            format!(
                "duration: {}.{:03} ms  statement: SELECT * FROM orders_{table} WHERE customer_id = ? AND created_at > ? ORDER BY created_at DESC LIMIT ? /* trace={:016x} */",
                pick(4000),
                pick(1000),
                pick(u64::MAX)
            ),
        ),
    };
    if n == all / 3 {
        body.push(' ');
        body.push_str(NEEDLE);
    }
    let at_ms = start_ms + (span_ms as i128 * n as i128 / all.max(1) as i128) as i64;
    Record { instance: format!("db-{host:05}"), at_ms, level, class, body, pid }
}

impl Record {
    /// As a line of a file.
    pub fn write_line(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{} {} [{}] {}: {}", self.at_ms, self.instance, self.pid, self.level, self.body)
    }
}

fn batch(from: u64, all: u64, (start_ms, span_ms): (i64, i64), sequence: u64) -> Batch {
    let mut events = EventsBuilder::new(Table::Logs);
    for n in from..all.min(from + RECORDS_PER_BATCH as u64) {
        let record = record(n, all, start_ms, span_ms);
        let cells = [
            ("stream", "postgresql.log".into()),
            ("engine", "postgresql".into()),
            ("level", record.level.into()),
            ("class", record.class.into()),
            ("body", record.body.into()),
            ("pid", record.pid.into()),
            ("database", "orders".into()),
        ];
        events.row(&record.instance, record.at_ms, cells);
    }
    Batch {
        source: Source { collector: "bench".into(), epoch: 1 },
        sequence,
        tenant: Arc::from(proto::DEFAULT_TENANT),
        sent_at_ms: start_ms,
        resource: Labels::empty(),
        payload: Payload::Events(events.build()),
    }
}

/// Sends `all` records to a server's collectors' port; it ends when all of them are acknowledged.
pub async fn send(grpc: &str, all: u64, times: (i64, i64)) -> Result<()> {
    let mut client = IngestClient::connect(grpc.to_owned()).await?.max_decoding_message_size(64 << 20);
    let (sender, messages) = mpsc::channel(UNACKNOWLEDGED_MAX as usize);
    let say =
        async |message| sender.send(CollectorMessage { message: Some(message) }).await.context("the stream ended");
    say(collector_message::Message::Hello(wire::Hello {
        source: Some(wire::Source { collector: "bench".into(), epoch: 1 }),
        version: env!("CARGO_PKG_VERSION").into(),
        tenant: String::new(),
        host: "bench".into(),
    }))
    .await?;
    let mut inbound = client.stream(ReceiverStream::new(messages)).await?.into_inner();
    let (mut sent, mut durable, batches) = (0u64, 0u64, all.div_ceil(RECORDS_PER_BATCH as u64));
    // made ahead on another thread: what is measured is the server
    let (made, mut ready) = mpsc::channel(UNACKNOWLEDGED_MAX as usize);
    tokio::task::spawn_blocking(move || {
        for n in 0..batches {
            let bytes = batch(n * RECORDS_PER_BATCH as u64, all, times, n + 1).encode();
            if made.blocking_send(bytes).is_err() {
                return;
            }
        }
    });
    let (mut unacknowledged, mut refused) = (VecDeque::new(), BTreeSet::new());
    while durable < batches {
        while refused.is_empty() && sent < batches && sent - durable < UNACKNOWLEDGED_MAX {
            let bytes: Bytes = ready.recv().await.context("batches are made until the last")?.into();
            unacknowledged.push_back(bytes.clone());
            say(collector_message::Message::Batch(bytes)).await?;
            sent += 1;
        }
        match inbound.message().await?.and_then(|m| m.message) {
            Some(server_message::Message::Ack(ack)) => {
                for refusal in &ack.refusals {
                    ensure!(!refusal.r#final, "refused: {} {}", refusal.reason, refusal.detail);
                    refused.insert(refusal.sequence);
                }
                let logs = ack.durable.iter().filter(|d| d.class == Class::Logs as i32);
                let reached = logs.map(|d| d.sequence).max().unwrap_or(durable);
                unacknowledged.drain(..(reached - durable) as usize);
                durable = reached;
                // as collectors do: once all that is under way was refused for now, it is sent again, in order
                if !refused.is_empty() && refused.len() == unacknowledged.len() {
                    tokio::time::sleep(Duration::from_millis(ack.slow_down_ms.into())).await;
                    refused.clear();
                    for bytes in &unacknowledged {
                        say(collector_message::Message::Batch(bytes.clone())).await?;
                    }
                }
            }
            Some(_) => {}
            None => bail!("the server ended the stream"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_has_the_needle() {
        let found = (0..3_000).filter(|n| record(*n, 3_000, 0, 1_000).body.contains(NEEDLE));
        assert_eq!(found.collect::<Vec<_>>(), [1_000]);
        assert_eq!(record(17, 3_000, 0, 1_000).body, record(17, 3_000, 0, 1_000).body);
    }
}
