//! Everything that reads bytes from outside, as functions of bytes. Any bytes are an answer or an error: a panic, endless time
//! or memory without bound is what is looked for, and an answer that does not survive being written and read again.
//!
//! A test replays `fuzz/corpus` and mutations of it; `make fuzz` goes on with that for as long as it is told.

use std::path::Path;

use collector::{
    config::HistogramParts,
    config::{Engine, Unmasked},
    databases::{fingerprint, mask_sql, sql_tokens::Dialect},
    logs::mask::Mask,
    scrape::{
        exposition::{self, Format},
        protobuf,
    },
    spool::record::{FRAME_BYTES, Record},
};
use ingest::remote_write::WriteRequest;
use proto::Batch;
use query::promql::Features;

/// Longest input that is worth its time, bytes.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// A target: its name, which is that of its corpus too, and what is done with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("batch", batch),
    ("chunk_decode", storage::fuzzing::chunk_decode),
    ("chunk_round_trip", storage::fuzzing::chunk_round_trip),
    ("collector_config", collector_config),
    ("exposition", scraped_page),
    ("exposition_protobuf", scraped_protobuf),
    ("fingerprint", statement),
    ("log_mask", log_message),
    ("log_record", storage::fuzzing::log_record),
    ("manifest", storage::fuzzing::manifest),
    ("promql", promql),
    ("remote_write", remote_write),
    ("remote_write_interned", remote_write_interned),
    ("rules", rules),
    ("server_config", server_config),
    ("spool_record", spool_record),
];

/// The target of this name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// A batch as it travels; and the protobuf message inside, which no mutation would ever get through the compression.
fn batch(data: &[u8]) {
    let _ = Batch::decode(data);
    let Ok(frame) = zstd::encode_all(data, 1) else { return };
    for magic in [proto::batch::MAGIC, proto::batch::MAGIC_HISTOGRAMS] {
        if let Ok(batch) = Batch::decode(&[&magic[..], &frame].concat()) {
            let again = Batch::decode(&batch.encode());
            assert!(again.is_ok(), "{again:?}");
        }
    }
}

fn remote_write(data: &[u8]) {
    let mut request = WriteRequest::default();
    if request.read(data).is_ok() {
        check_written(&request);
    }
}

fn remote_write_interned(data: &[u8]) {
    let mut request = WriteRequest::default();
    if request.read_interned(data).is_ok() {
        check_written(&request);
    }
}

/// What every request that was read must hold to.
fn check_written(request: &WriteRequest) {
    let labels = request.labels();
    let rows = request.rows(&labels);
    assert!(rows.series.iter().all(|series| (*series as usize) < labels.len()));
    assert!(rows.series.len() == rows.timestamps_ms.len() && rows.series.len() == rows.values.len());
    assert!(rows.histograms.iter().all(|row| (row.series as usize) < labels.len()));
    let canonical = |row: &storage::HistogramRow| proto::Histogram::from_bytes(&row.histogram.to_bytes());
    assert!(rows.histograms.iter().all(|row| canonical(row).as_ref() == Ok(&row.histogram)));
    let (series, exemplars) = request.exemplars(&labels);
    assert!(series.starts_with(&labels) && series.iter().all(|l| proto::Labels::from_bytes(l).is_some()));
    for exemplar in exemplars {
        assert!((exemplar.series as usize) < series.len());
        assert!(exemplar.labels.is_err() || exemplar.labels.is_ok_and(|l| proto::Labels::from_bytes(l).is_some()));
    }
}

/// A record's body, behind the frame that belongs to it.
fn spool_record(data: &[u8]) {
    let mut frame = [0; FRAME_BYTES];
    frame[..4].copy_from_slice(&(data.len() as u32).to_le_bytes());
    frame[4..].copy_from_slice(&crc32c::crc32c(data).to_le_bytes());
    let Some(record) = Record::read(frame, data) else { return };
    let mut written = Vec::new();
    record.write(&mut written);
    let Some((frame, body)) = written.split_first_chunk() else { panic!("no frame") };
    assert_eq!(Record::read(*frame, body), Some(record));
}

/// A statement: what is made of it normalises to itself.
fn statement(data: &[u8]) {
    let Some(sql) = text(data) else { return };
    for dialect in [Dialect::Postgresql, Dialect::Mysql] {
        let first = fingerprint::fingerprint(dialect, sql);
        mask_sql(dialect, sql);
        assert!(first.normalized_text.len() <= fingerprint::NORMALIZED_TEXT_BYTES_MAX);
    }
}

fn log_message(data: &[u8]) {
    let Some(message) = text(data) else { return };
    for engine in [Engine::Postgresql, Engine::Mysql] {
        Mask { engine, unmasked: Unmasked::default() }.message(message);
    }
}

fn scraped_page(data: &[u8]) {
    let Some(page) = text(data) else { return };
    for format in [Format::Text, Format::OpenMetrics] {
        let _ = exposition::read(page, format);
    }
}

fn scraped_protobuf(data: &[u8]) {
    for native in [false, true] {
        let _ = protobuf::read(data, HistogramParts { native, classic_too: true });
    }
}

/// A query: written out it is a query that is written out the same.
fn promql(data: &[u8]) {
    let Some(query) = text(data) else { return };
    let features = Features {
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        fill_modifiers: true,
    };
    let Ok(expr) = query::promql::parse_with(query, &features) else { return };
    let written = expr.to_string();
    match query::promql::parse_with(&written, &features) {
        Ok(again) => assert_eq!(again.to_string(), written, "{query:?}"),
        Err(e) => panic!("{query:?} is written as {written:?}, which is none: {e}"),
    }
}

fn rules(data: &[u8]) {
    let Some(file) = text(data) else { return };
    let _ = alerting::rule_file::parse_all("rules.yaml", file, 60_000);
    let raw: Result<alerting::Config, _> = serde_saphyr::from_str(file);
    if let Ok(raw) = raw {
        let _ = raw.check(Path::new("/nowhere"));
    }
}

fn server_config(data: &[u8]) {
    let Some(file) = text(data) else { return };
    let _ = server::config::Config::parse("/nowhere/tidewatch.yaml", file);
}

fn collector_config(data: &[u8]) {
    let Some(file) = text(data) else { return };
    let _ = collector::Config::parse("/nowhere/collector.yaml", file);
}
