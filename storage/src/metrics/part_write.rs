//! From a sealed epoch to parts: one Parquet file a UTC day.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::{arrow::ArrowWriter, errors::ParquetError, file::metadata::KeyValue};
use proto::Labels;

use super::{
    HeadEpoch, ReadError, SeriesId,
    chunk::{self, CHUNK_SAMPLES_MAX, Chunk},
    head_histograms, labels_text,
    part_footer::FORMAT_KEY,
    part_schema::{self, RowGroupBuilder},
    part_sums::{self, Sums},
    samples::{Histograms, cut},
};

/// A UTC day.
pub const DAY_MS: i64 = 86_400_000;

/// A finished part in memory, one UTC day of one tenant.
#[derive(Clone, Debug)]
pub struct EncodedPart {
    /// Days since 1970-01-01 UTC.
    pub day: i64,
    /// Oldest timestamp, milliseconds.
    pub min_ts_ms: i64,
    /// Newest timestamp, milliseconds.
    pub max_ts_ms: i64,
    /// Samples, after duplicates were resolved.
    pub samples: u64,
    /// Series.
    pub series: u64,
    /// Rows of the file (chunks).
    pub chunks: u64,
    /// The file.
    pub bytes: Bytes,
}

/// Why a part could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// An input could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The Parquet writer or the object store under it refused.
    #[error("part could not be written: {0}")]
    Write(#[from] ParquetError),
}

/// Encodes a sealed epoch: one file for each UTC day that has samples, ascending by day. CPU-bound: call it off the runtime.
pub fn write_parts(epoch: &HeadEpoch) -> Result<Vec<EncodedPart>, PartError> {
    let mut series = epoch.find(&[], i64::MIN, i64::MAX);
    series.sort_unstable_by(|a, b| labels_text::order(&a.1, &b.1));
    let mut days: BTreeMap<i64, DayWriter> = BTreeMap::new();
    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
    for (id, labels) in series {
        let Some(stream) = epoch.stream(id) else { continue };
        timestamps.clear();
        values.clear();
        stream.read(i64::MIN, i64::MAX, &mut timestamps, &mut values);
        if !stream.ascending() {
            chunk::resolve(&mut timestamps, &mut values);
        }
        let mut histograms = histogram_chunks(epoch, id);
        let mut start = 0;
        for day in timestamps.chunk_by(|a, b| day_of(*a) == day_of(*b)) {
            let number = day_of(day[0]);
            let beside = histograms.remove(&number).unwrap_or_default();
            writer_of(&mut days, number)?.add(&labels, day, &values[start..start + day.len()], beside)?;
            start += day.len();
        }
        for (number, chunks) in histograms {
            writer_of(&mut days, number)?.add(&labels, &[], &[], chunks)?;
        }
    }
    days.into_iter().map(|(day, writer)| writer.finish(day)).collect()
}

fn day_of(ts: i64) -> i64 {
    ts.div_euclid(DAY_MS)
}

fn writer_of(days: &mut BTreeMap<i64, DayWriter>, day: i64) -> Result<&mut DayWriter, PartError> {
    Ok(match days.entry(day) {
        std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::btree_map::Entry::Vacant(entry) => entry.insert(DayWriter::new()?),
    })
}

/// The chunks of a series' histograms, by day.
fn histogram_chunks(epoch: &HeadEpoch, id: SeriesId) -> BTreeMap<i64, Vec<Chunk>> {
    let mut days = BTreeMap::new();
    let Some((_, stream)) = epoch.histograms([id].into_iter()).pop() else { return days };
    let mut samples = Vec::new();
    stream.read(i64::MIN, i64::MAX, &mut samples);
    if !stream.ascending() {
        head_histograms::resolve(&mut samples);
    }
    while let Some(day) = samples.first().map(|(ts, _)| day_of(*ts)) {
        let rest = samples.split_off(samples.partition_point(|(ts, _)| day_of(*ts) == day));
        let (mut of_day, mut chunks) = (Histograms(std::mem::replace(&mut samples, rest)), Vec::new());
        cut(&mut of_day, true, &mut chunks);
        days.insert(day, chunks);
    }
    days
}

/// What a writer of parts has counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) min_ts: i64,
    pub(crate) max_ts: i64,
    pub(crate) samples: u64,
    pub(crate) series: u64,
    pub(crate) chunks: u64,
}

impl Totals {
    pub(crate) fn new() -> Totals {
        Totals { min_ts: i64::MAX, max_ts: i64::MIN, samples: 0, series: 0, chunks: 0 }
    }

    pub(crate) fn note(&mut self, chunk: &Chunk) {
        self.min_ts = self.min_ts.min(chunk.first_ts);
        self.max_ts = self.max_ts.max(chunk.last_ts);
        self.samples += chunk.samples() as u64;
        self.chunks += 1;
    }
}

/// A part while it is written: rows in, bytes of the file out.
pub(crate) struct PartWriter {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    rows: RowGroupBuilder,
    sums: Sums,
    totals: Totals,
}

impl PartWriter {
    pub(crate) fn new() -> Result<PartWriter, ParquetError> {
        let schema = part_schema::schema();
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), part_schema::writer_options())?;
        Ok(PartWriter {
            schema,
            writer,
            rows: RowGroupBuilder::default(),
            sums: Sums::default(),
            totals: Totals::new(),
        })
    }

    /// The next series' chunks follow.
    pub(crate) fn begin_series(&mut self) {
        self.totals.series += 1;
    }

    /// Adds a row; gives the bytes of the row group it completes, most often none.
    pub(crate) fn push(&mut self, labels: &Labels, chunk: Chunk) -> Result<Vec<u8>, ParquetError> {
        self.totals.note(&chunk);
        self.rows.push(labels, chunk);
        if self.rows.is_full() { self.flush() } else { Ok(Vec::new()) }
    }

    /// Ends the row group; gives its bytes, summed.
    fn flush(&mut self) -> Result<Vec<u8>, ParquetError> {
        if !self.rows.is_empty() {
            let batch = self.rows.take(&self.schema)?;
            self.writer.write(&batch)?;
            self.writer.flush()?;
        }
        self.writer.sync().map_err(|e| ParquetError::External(Box::new(e)))?;
        let bytes = std::mem::take(self.writer.inner_mut());
        self.sums.update(&bytes);
        Ok(bytes)
    }

    /// The rest of the file, and what was counted.
    pub(crate) fn finish(mut self) -> Result<(Vec<u8>, Totals), ParquetError> {
        let mut rest = self.flush()?;
        self.writer.append_key_value_metadata(KeyValue::new(FORMAT_KEY.into(), part_schema::FORMAT.to_owned()));
        self.writer.append_key_value_metadata(self.sums.finish());
        let mut tail = self.writer.into_inner()?;
        part_sums::seal_tail(&mut tail);
        rest.append(&mut tail);
        Ok((rest, self.totals))
    }
}

/// The file of one day while it grows, in memory.
struct DayWriter {
    writer: PartWriter,
    bytes: Vec<u8>,
}

impl DayWriter {
    fn new() -> Result<DayWriter, PartError> {
        Ok(DayWriter { writer: PartWriter::new()?, bytes: Vec::new() })
    }

    /// Adds a series: its floats, and chunks of its histograms, which stand among those of the floats by time.
    fn add(
        &mut self,
        labels: &Labels,
        timestamps: &[i64],
        values: &[f64],
        histograms: Vec<Chunk>,
    ) -> Result<(), PartError> {
        self.writer.begin_series();
        let mut histograms = histograms.into_iter().peekable();
        for (timestamps, values) in timestamps.chunks(CHUNK_SAMPLES_MAX).zip(values.chunks(CHUNK_SAMPLES_MAX)) {
            while let Some(chunk) = histograms.next_if(|chunk| chunk.first_ts < timestamps[0]) {
                self.push(labels, chunk)?;
            }
            self.push(labels, Chunk::encode(timestamps, values))?;
        }
        histograms.try_for_each(|chunk| self.push(labels, chunk))
    }

    fn push(&mut self, labels: &Labels, chunk: Chunk) -> Result<(), PartError> {
        self.bytes.append(&mut self.writer.push(labels, chunk)?);
        Ok(())
    }

    fn finish(mut self, day: i64) -> Result<EncodedPart, PartError> {
        let (mut rest, totals) = self.writer.finish()?;
        self.bytes.append(&mut rest);
        let Totals { min_ts, max_ts, samples, series, chunks } = totals;
        let bytes = Bytes::from(self.bytes);
        Ok(EncodedPart { day, min_ts_ms: min_ts, max_ts_ms: max_ts, samples, series, chunks, bytes })
    }
}
