//! The riskiest wall: a capture of real exporters through the real log, head and Parquet parts.
//!
//! `cargo run --release -p benches --bin capture -- CAPTURE.jsonl.zst [--dir D]` prints bytes per sample of whole files,
//! CPU seconds per million samples, replay time and memory. The capture: one JSON object a line,
//! `{"metric": {labels}, "values": [...], "timestamps": [ms...]}`, zstd; null is NaN.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use benches::measure::{Span, directory_bytes, memory_bytes};
use clap::Parser;
use proto::{Class, Labels};
use storage::{Append, Matcher, Origin, Outcome, PendingAppend, Rows, SampleRows, SeriesQuery, Store, StoreConfig};

/// Appends on their way to the disk at a time, as of so many senders.
const IN_FLIGHT_MAX: usize = 8;
/// What VictoriaMetrics 1.79 needed for the same stream, settled, bytes per sample.
const PEER_BYTES_PER_SAMPLE: f64 = 0.243;
const HOUR_MS: i64 = 3_600_000;

#[derive(Parser)]
struct Arguments {
    /// The capture.
    capture: PathBuf,
    /// Where to write; a temporary directory if not given. Emptied before each pass.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Flushes during the second pass.
    #[arg(long, default_value_t = 6)]
    flushes: usize,
    /// The capture over and over, later each time, so that passes take long enough to measure.
    #[arg(long, default_value_t = 1)]
    repeat: i64,
}

/// One scrape of everything: rows in time order.
#[derive(Default)]
struct Scrape {
    series: Vec<u32>,
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
}

struct Capture {
    labels: Vec<Labels>,
    scrapes: Vec<Scrape>,
    samples: u64,
    first_ms: i64,
    last_ms: i64,
}

#[derive(serde::Deserialize)]
struct Line {
    metric: BTreeMap<String, String>,
    values: Vec<Option<f64>>,
    timestamps: Vec<i64>,
}

fn read(path: &Path) -> Result<Capture> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let (mut labels, mut by_second) = (Vec::new(), BTreeMap::<i64, Scrape>::new());
    let mut samples = 0;
    for line in BufReader::new(zstd::Decoder::new(file)?).lines() {
        let line: Line = serde_json::from_str(&line?)?;
        ensure!(line.values.len() == line.timestamps.len(), "values and timestamps differ in length");
        let series = labels.len() as u32;
        labels.push(Labels::from_pairs(&line.metric));
        samples += line.values.len() as u64;
        for (ts, value) in line.timestamps.into_iter().zip(line.values) {
            let scrape = by_second.entry(ts.div_euclid(1000)).or_default();
            scrape.series.push(series);
            scrape.timestamps_ms.push(ts);
            scrape.values.push(value.unwrap_or(f64::NAN));
        }
    }
    let scrapes: Vec<Scrape> = by_second.into_values().collect();
    let times = || scrapes.iter().flat_map(|s| &s.timestamps_ms).copied();
    let (first_ms, last_ms) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    Ok(Capture { labels, scrapes, samples, first_ms, last_ms })
}

impl Capture {
    /// All of it again, later.
    fn repeated(self, times: i64) -> Capture {
        let span_ms = (self.last_ms - self.first_ms) / 1000 * 1000 + 1000;
        let later = |scrape: &Scrape, by: i64| Scrape {
            series: scrape.series.clone(),
            timestamps_ms: scrape.timestamps_ms.iter().map(|t| t + by).collect(),
            values: scrape.values.clone(),
        };
        let scrapes = (0..times).flat_map(|n| self.scrapes.iter().map(move |s| later(s, n * span_ms))).collect();
        let last_ms = self.last_ms + (times - 1) * span_ms;
        Capture { labels: self.labels, scrapes, samples: self.samples * times as u64, first_ms: self.first_ms, last_ms }
    }
}

/// A value of /proc/self/status, MiB.
fn memory_mib(key: &str) -> Result<f64> {
    Ok(memory_bytes("self", key)? as f64 / 1_048_576.0)
}

async fn settle(pending: &mut Vec<PendingAppend>) -> Result<u64> {
    let mut rows = 0;
    for append in pending.drain(..) {
        match append.await? {
            Outcome::Stored { rows: n, refused } => {
                ensure!(refused.is_empty(), "refused: {refused:?}");
                rows += n;
            }
            Outcome::Duplicate => anyhow::bail!("a duplicate in a capture"),
        }
    }
    Ok(rows)
}

/// Appends scrapes; acknowledged rows are counted.
async fn ingest(store: &Store, capture: &Capture, scrapes: std::ops::Range<usize>) -> Result<u64> {
    let labels: Vec<&[u8]> = capture.labels.iter().map(Labels::as_bytes).collect();
    let (mut pending, mut rows) = (Vec::new(), 0);
    for index in scrapes {
        let scrape = &capture.scrapes[index];
        let samples = SampleRows {
            labels: &labels,
            series: &scrape.series,
            timestamps_ms: &scrape.timestamps_ms,
            values: &scrape.values,
            histograms: &[],
            families: &[],
        };
        let origin = Origin { collector: "capture", epoch: 1, class: Class::Samples, sequence: index as u64 + 1 };
        let now_ms = scrape.timestamps_ms.last().copied().unwrap_or(0);
        pending.push(store.append(Append {
            tenant: "0",
            origin: Some(origin),
            rows: Rows::Samples(samples),
            now_ms,
        })?);
        if pending.len() == IN_FLIGHT_MAX {
            rows += settle(&mut pending).await?;
        }
    }
    Ok(rows + settle(&mut pending).await?)
}

/// Every sample read back equals what was written, bit by bit.
async fn verify(store: &Store, capture: &Capture) -> Result<()> {
    let mut expected: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    for scrape in &capture.scrapes {
        for ((series, ts), value) in scrape.series.iter().zip(&scrape.timestamps_ms).zip(&scrape.values) {
            expected.entry(capture.labels[*series as usize].clone()).or_default().insert(*ts, value.to_bits());
        }
    }
    let query = SeriesQuery {
        matchers: &[Matcher::new("__name__", storage::MatchOp::Regex, ".+")?],
        min_ms: capture.first_ms,
        max_ms: capture.last_ms,
        series_max: usize::MAX,
        samples_max: usize::MAX,
    };
    let found = store.snapshot("0").select(&query).await?;
    ensure!(found.len() == expected.len(), "{} series of {}", found.len(), expected.len());
    for series in found {
        let of = expected.get(&series.labels).with_context(|| format!("unexpected {}", series.labels))?;
        ensure!(
            series.timestamps_ms.len() == of.len(),
            "{}: {} samples of {}",
            series.labels,
            series.values.len(),
            of.len()
        );
        for (ts, value) in series.timestamps_ms.iter().zip(&series.values) {
            ensure!(of.get(ts) == Some(&value.to_bits()), "{} at {ts}: {value}", series.labels);
        }
    }
    Ok(())
}

fn empty(dir: &Path) -> Result<StoreConfig> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(StoreConfig { head_bytes_max: 4 << 30, ..StoreConfig::at(dir) })
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let dir =
        arguments.dir.unwrap_or_else(|| std::env::temp_dir().join(format!("tidewatch-capture-{}", std::process::id())));
    let capture = read(&arguments.capture)?.repeated(arguments.repeat);
    let millions = capture.samples as f64 / 1e6;
    println!(
        "capture                    {} series, {} samples, {} appends",
        capture.labels.len(),
        capture.samples,
        capture.scrapes.len()
    );
    let rss_before = memory_mib("VmRSS:")?;

    println!("\nfirst pass: all of it into the log and the head, killed, replayed, one flush");
    let config = empty(&dir)?;
    let store = Store::open(config.clone(), capture.first_ms).await?;
    let span = Span::begin("self")?;
    let rows = ingest(&store, &capture, 0..capture.scrapes.len()).await?;
    ensure!(rows == capture.samples, "{rows} rows acknowledged of {}", capture.samples);
    let (wall, ingest_cpu) = span.end()?;
    let stats = store.stats();
    println!(
        "  append, durable          {:.3} CPU-s/M samples, {:.2} s wall, {} syncs",
        ingest_cpu / millions,
        wall,
        stats.log_syncs
    );
    println!("  log                      {:.2} B/sample", stats.log_bytes as f64 / capture.samples as f64);
    println!(
        "  head                     {:.2} B/sample, {} series",
        stats.head_bytes as f64 / capture.samples as f64,
        stats.head_series
    );
    println!("  RSS over the capture's   {:.0} MiB", memory_mib("VmRSS:")? - rss_before);
    drop(store);
    let span = Span::begin("self")?;
    let store = Store::open(config.clone(), capture.last_ms).await?;
    let (wall, cpu) = span.end()?;
    println!(
        "  replay after a kill      {:.3} s, {:.3} CPU-s/M samples, {} records",
        wall,
        cpu / millions,
        store.stats().replayed_records
    );
    let span = Span::begin("self")?;
    let flushed = store.flush(capture.last_ms).await?;
    let (wall, flush_cpu) = span.end()?;
    println!(
        "  flush                    {:.3} s, {:.3} CPU-s/M samples, {} parts",
        wall,
        flush_cpu / millions,
        flushed.parts
    );
    println!("  parts                    {:.4} B/sample", flushed.bytes as f64 / capture.samples as f64);
    println!("  append + flush           {:.3} CPU-s/M samples", (ingest_cpu + flush_cpu) / millions);
    let span = Span::begin("self")?;
    verify(&store, &capture).await?;
    println!("  read back and compared   {:.2} s", span.end()?.0);
    store.close().await;

    println!("\nsecond pass: flushed {} times, compacted when its day is over", arguments.flushes);
    let store = Store::open(empty(&dir)?, capture.first_ms).await?;
    let span = Span::begin("self")?;
    let step = capture.scrapes.len().div_ceil(arguments.flushes.max(1));
    for from in (0..capture.scrapes.len()).step_by(step) {
        ingest(&store, &capture, from..capture.scrapes.len().min(from + step)).await?;
        store.flush(capture.last_ms).await?;
    }
    let before = store.stats().tables.get("metrics").copied().unwrap_or_default();
    let over_ms = capture.last_ms + 27 * HOUR_MS;
    while store.maintain(over_ms).await?.compacted_parts > 0 {}
    let (wall, cpu) = span.end()?;
    store.maintain(over_ms).await?;
    let after = store.stats().tables.get("metrics").copied().unwrap_or_default();
    verify(&store, &capture).await?;
    store.close().await;
    let whole = directory_bytes(&dir.join("parts"))?;
    let all = directory_bytes(&dir)?;
    println!("  append, flush, compact   {:.3} CPU-s/M samples, {:.2} s wall", cpu / millions, wall);
    println!(
        "  parts before             {} of {:.4} B/sample",
        before.parts,
        before.bytes as f64 / capture.samples as f64
    );
    println!(
        "  parts after              {} of {:.4} B/sample",
        after.parts,
        after.bytes as f64 / capture.samples as f64
    );
    let per_sample = whole as f64 / capture.samples as f64;
    println!(
        "  files of parts           {per_sample:.4} B/sample = {:.2} x VictoriaMetrics ({PEER_BYTES_PER_SAMPLE})",
        per_sample / PEER_BYTES_PER_SAMPLE
    );
    println!("  whole directory          {:.4} B/sample", all as f64 / capture.samples as f64);
    println!("  RSS at most              {:.0} MiB", memory_mib("VmHWM:")?);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
