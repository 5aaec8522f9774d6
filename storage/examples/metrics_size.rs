//! What a capture costs as metrics parts, column by column, and how fast it is written and read.
//!
//! `cargo run --release -p storage --example metrics_size -- capture.jsonl.zst [flushes] [copies]`
//!
//! The capture has one JSON object a line: `{"metric": {labels}, "values": [...], "timestamps": [ms...]}`, null for NaN.
//! `flushes` (default 1) cuts it into so many epochs by time, each flushed to its own parts, which are then merged per
//! day; `copies` (default 1) repeats every series under another instance. Sizes are of whole files, times are CPU
//! seconds of the process, so that what else runs on the machine does not count.
// a measuring program may fail loudly
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, io::Read, sync::Arc};

use arrow::array::AsArray;
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use proto::Labels;
use storage::{
    MatchOp, Matcher, ReadCache, SeriesQuery,
    metrics::{MetricsHead, MetricsPart, MetricsView, PartInfo, merge_parts, write_parts},
};

#[derive(serde::Deserialize)]
struct Line {
    metric: BTreeMap<String, String>,
    values: Vec<Option<f64>>,
    timestamps: Vec<i64>,
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("the path of a capture");
    let flushes: usize = args.next().map_or(1, |a| a.parse().expect("flushes: a number"));
    let copies: usize = args.next().map_or(1, |a| a.parse().expect("copies: a number"));

    let mut text = String::new();
    zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap().read_to_string(&mut text).unwrap();
    let lines: Vec<Line> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    drop(text);
    let series: Vec<(Labels, usize)> = (0..copies)
        .flat_map(|copy| lines.iter().enumerate().map(move |(at, line)| (copy, at, line)))
        .map(|(copy, at, line)| {
            let mut labels = Labels::from_pairs(&line.metric).to_builder();
            if copy > 0 {
                labels.set("instance", &format!("{}-{copy}", line.metric.get("instance").map_or("", |i| i.as_str())));
            }
            (labels.build(), at)
        })
        .collect();
    let oldest = lines.iter().filter_map(|l| l.timestamps.first()).min().copied().unwrap_or(0);
    let newest = lines.iter().filter_map(|l| l.timestamps.last()).max().copied().unwrap_or(0);
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let cache = ReadCache::new(256 << 20);

    // as scrapes arrive: time by time, all series
    let mut arrivals: Vec<(i64, u32, f64)> = Vec::new();
    for (id, (_, at)) in series.iter().enumerate() {
        let line = &lines[*at];
        let samples = line.timestamps.iter().zip(&line.values);
        arrivals.extend(samples.map(|(&ts, v)| (ts, id as u32, v.unwrap_or(f64::NAN))));
    }
    arrivals.sort_by_key(|(ts, id, _)| (*ts, *id));
    let samples = arrivals.len();
    println!("{} series, {samples} samples, {:.0} s", series.len(), (newest - oldest) as f64 / 1e3);

    let head = MetricsHead::new();
    let mut parts = Vec::new();
    let (mut append_s, mut write_s) = (0.0, 0.0);
    let span = (newest - oldest) / flushes as i64 + 1;
    for epoch in arrivals.chunk_by(|a, b| (a.0 - oldest) / span == (b.0 - oldest) / span) {
        let start = cpu_s();
        for request in epoch.chunks(2000) {
            let mut writer = head.writer();
            for &(ts, series_at, value) in request {
                let labels = &series[series_at as usize].0;
                let id = writer.resolve(labels.as_bytes()).unwrap_or_else(|| writer.create(labels.clone()));
                writer.append(id, ts, value);
            }
        }
        append_s += cpu_s() - start;
        let (series_bytes, sample_bytes) = head.bytes();
        let bytes = series_bytes + sample_bytes;
        println!("head: {} B/series, {:.2} B/sample", bytes / head.series(), bytes as f64 / epoch.len() as f64);
        let start = cpu_s();
        let sealed = head.seal();
        for part in write_parts(&sealed).unwrap() {
            let path = Path::from(format!("day={}/{}.parquet", part.day, parts.len()));
            if parts.len() < 2 {
                columns(&part.bytes, part.samples);
            }
            store.put(&path, part.bytes.clone().into()).await.unwrap();
            let info = PartInfo {
                path,
                size_bytes: part.bytes.len() as u64,
                sequence: parts.len() as u64,
                min_ts_ms: part.min_ts_ms,
                max_ts_ms: part.max_ts_ms,
            };
            parts.push((part.day, Arc::new(MetricsPart::open(store.clone(), info, cache.clone()))));
        }
        write_s += cpu_s() - start;
    }
    println!(
        "append {:.2} s ({:.3} s/M samples), encode {:.2} s ({:.3} s/M)",
        append_s,
        append_s / samples as f64 * 1e6,
        write_s,
        write_s / samples as f64 * 1e6
    );
    let total: u64 = parts.iter().map(|(_, p)| p.info().size_bytes).sum();
    println!("flushed: {} parts, {total} B, {:.4} B/sample", parts.len(), total as f64 / samples as f64);

    if flushes > 1 {
        let start = cpu_s();
        let mut merged = Vec::new();
        for day in parts.chunk_by(|a, b| a.0 == b.0) {
            let inputs: Vec<_> = day.iter().map(|(_, part)| part.clone()).collect();
            let path = Path::from(format!("day={}/merged.parquet", day[0].0));
            let part = merge_parts(&inputs, &path).await.unwrap();
            columns(&store.get(&path).await.unwrap().bytes().await.unwrap(), part.samples);
            let info = PartInfo {
                path,
                size_bytes: part.size_bytes,
                sequence: part.sequence,
                min_ts_ms: part.min_ts_ms,
                max_ts_ms: part.max_ts_ms,
            };
            merged.push((day[0].0, Arc::new(MetricsPart::open(store.clone(), info, cache.clone()))));
        }
        let total: u64 = merged.iter().map(|(_, p)| p.info().size_bytes).sum();
        println!(
            "merged in {:.2} s: {} parts, {total} B, {:.4} B/sample",
            cpu_s() - start,
            merged.len(),
            total as f64 / samples as f64
        );
        parts = merged;
    }
    let view = MetricsView { epochs: vec![head.epoch()], parts: parts.into_iter().map(|(_, p)| p).collect() };
    for (name, op, value) in [
        ("__name__", MatchOp::Regex, ".+"),
        ("__name__", MatchOp::Regex, "node_cpu.*"),
        ("__name__", MatchOp::Equal, "node_cpu_seconds_total"),
        ("job", MatchOp::Equal, "mysql"),
    ] {
        let matcher = Matcher::new(name, op, value).unwrap();
        let query = SeriesQuery {
            matchers: std::slice::from_ref(&matcher),
            min_ms: oldest,
            max_ms: newest,
            series_max: 1 << 24,
            samples_max: 1 << 30,
        };
        let mut line = format!("select {matcher}:");
        for _ in 0..4 {
            let start = cpu_s();
            let answer = view.select(&query).await.unwrap();
            let seconds = cpu_s() - start;
            let read: usize = answer.iter().map(|s| s.values.len()).sum();
            line += &format!(
                " {} series {read} samples {:.1} ms ({:.0} M/s);",
                answer.len(),
                seconds * 1e3,
                read as f64 / seconds / 1e6
            );
        }
        println!("{line}");
    }
}

/// CPU seconds the process has used.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes by column of a file, and what stands beside them.
fn columns(bytes: &Bytes, samples: u64) {
    let metadata: ParquetMetaData = ParquetMetaDataReader::new().parse_and_finish(bytes).unwrap();
    let mut total = 0;
    for at in 0..metadata.file_metadata().schema_descr().num_columns() {
        let chunks = metadata.row_groups().iter().map(|g| g.column(at));
        let (size, raw) = chunks.fold((0, 0), |(s, r), c| (s + c.compressed_size(), r + c.uncompressed_size()));
        total += size;
        let name = metadata.file_metadata().schema_descr().column(at).name().to_owned();
        println!("  {name:<11}{size:>9} B (raw {raw:>9}) {:.4} B/sample", size as f64 / samples as f64);
    }
    let mut codecs: BTreeMap<u8, (usize, usize)> = BTreeMap::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let values = batch.column_by_name("values").unwrap().as_binary::<i32>();
        for chunk in values.iter().flatten() {
            let codec = codecs.entry(chunk[0]).or_default();
            *codec = (codec.0 + 1, codec.1 + chunk.len());
        }
    }
    for (tag, (chunks, bytes)) in codecs {
        println!("  values codec {tag}: {chunks} chunks, {bytes} B before page compression");
    }
    let rows = metadata.file_metadata().num_rows();
    let rest = bytes.len() as i64 - total;
    println!(
        "  {:<11}{rest:>9} B {:.4} B/sample; {} row groups, {rows} rows; whole file {} B, {:.4} B/sample",
        "footer…",
        rest as f64 / samples as f64,
        metadata.num_row_groups(),
        bytes.len(),
        bytes.len() as f64 / samples as f64
    );
}
