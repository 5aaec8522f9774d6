//! Several parts of one day into one: series by series in the order of rows, chunks joined to full length, duplicates resolved.
//!
//! Memory: one row group of each input, or two while what is being written shares bytes of the one before, the row group being
//! written, and the chunks of one series.

use std::sync::Arc;

use object_store::{buffered::BufWriter, path::Path};
use parquet::errors::ParquetError;
use proto::Labels;
use tokio::io::AsyncWriteExt;

use super::{
    MetricsPart, PartError, ReadError,
    chunk::{self, CHUNK_SAMPLES_MAX, Chunk, ChunkDecoder},
    labels_text,
    part_index::GroupIndex,
    part_write::{PartWriter, Totals},
};
use crate::matcher::Matcher;

/// A chunk of at least so many samples that nothing overlaps is copied as it is.
const COPIED_SAMPLES_MIN: usize = CHUNK_SAMPLES_MAX / 2;

/// A part that a merge has written to the object store.
#[derive(Clone, Debug)]
pub struct MergedPart {
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
    /// Size of the file, bytes.
    pub size_bytes: u64,
    /// Highest sequence of the inputs.
    pub sequence: u64,
}

/// Samples that a rewrite leaves out.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Series that all matchers of any of these lists select.
    pub(crate) selectors: Vec<Vec<Matcher>>,
    /// Oldest timestamp that goes, inclusive, milliseconds.
    pub(crate) min_ts: i64,
    /// Newest timestamp that goes, inclusive, milliseconds.
    pub(crate) max_ts: i64,
}

impl Cut {
    /// Whether samples of these series go.
    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        let matches = |m: &Matcher| m.matches(labels.get(m.name()).unwrap_or(""));
        self.selectors.iter().any(|matchers| matchers.iter().all(matches))
    }

    /// What is left of a series' chunks.
    fn apply(&self, chunks: Vec<Chunk>, scratch: &mut Scratch) -> Result<Vec<Chunk>, String> {
        let mut left = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            if chunk.last_ts < self.min_ts || chunk.first_ts > self.max_ts {
                left.push(chunk);
                continue;
            }
            let Scratch { decoder, timestamps, values } = &mut *scratch;
            timestamps.clear();
            values.clear();
            let ranges = [
                (i64::MIN, self.min_ts.checked_sub(1)),
                (self.max_ts.saturating_add(1), (self.max_ts < i64::MAX).then_some(i64::MAX)),
            ];
            for (from, to) in ranges {
                let Some(to) = to else { continue };
                decoder.decode(chunk.body(), from, to, timestamps, values).map_err(|e| e.to_string())?;
            }
            if !timestamps.is_empty() {
                left.push(Chunk::encode(timestamps, values));
            }
        }
        Ok(left)
    }
}

/// Merges parts (at least one) of one tenant and day into a new file at `output`, in bounded memory. The inputs must be
/// neighbours in the order of `sequence` (no part of that tenant and day between them may be left out), else duplicates
/// between them and it would resolve differently afterwards. Writes to the object store the inputs are in; making the
/// file durable and known is the caller's.
pub async fn merge_parts(inputs: &[Arc<MetricsPart>], output: &Path) -> Result<MergedPart, PartError> {
    rewrite_parts(inputs, output, None).await
}

/// The same, without the samples of `cut`. No file is written if no sample is left.
pub(crate) async fn rewrite_parts(
    inputs: &[Arc<MetricsPart>],
    output: &Path,
    cut: Option<&Cut>,
) -> Result<MergedPart, PartError> {
    let mut inputs = inputs.to_vec();
    inputs.sort_by_key(|part| part.info().sequence);
    let newest = inputs.last().ok_or_else(|| ParquetError::General("nothing to merge".into()))?;
    let (sequence, store) = (newest.info().sequence, newest.object_store().clone());
    let mut cursors = Vec::with_capacity(inputs.len());
    for part in inputs {
        cursors.push(Cursor::open(part).await?);
    }
    let mut file = BufWriter::new(store, output.clone());
    let mut writer = PartWriter::new()?;
    let mut size_bytes = 0;
    let mut scratch = Scratch::default();
    while let Some(labels) = cursors.iter().filter_map(Cursor::labels).min_by(|a, b| labels_text::order(a, b)).cloned()
    {
        let mut chunks = Vec::new();
        for (rank, cursor) in cursors.iter_mut().enumerate() {
            cursor.take(&labels, rank, &mut chunks).await?;
        }
        let mut joined = join(chunks, &mut scratch).map_err(|reason| cursors[0].part.damaged(reason))?;
        if let Some(cut) = cut.filter(|cut| cut.selects(&labels)) {
            joined = cut.apply(joined, &mut scratch).map_err(|reason| cursors[0].part.damaged(reason))?;
        }
        if joined.is_empty() {
            continue;
        }
        writer.begin_series();
        for chunk in joined {
            let ready = writer.push(&labels, chunk)?;
            if !ready.is_empty() {
                size_bytes += ready.len() as u64;
                file.put(ready.into()).await.map_err(ParquetError::from)?;
            }
        }
    }
    let (rest, totals) = writer.finish()?;
    if totals.chunks > 0 {
        size_bytes += rest.len() as u64;
        file.put(rest.into()).await.map_err(ParquetError::from)?;
        file.shutdown().await.map_err(|e| ParquetError::External(Box::new(e)))?;
    }
    let Totals { min_ts, max_ts, samples, series, chunks } = totals;
    Ok(MergedPart { min_ts_ms: min_ts, max_ts_ms: max_ts, samples, series, chunks, size_bytes, sequence })
}

/// A chunk and the place of its part in the order of appending.
type Ranked = (usize, Chunk);

/// One input, read a row group at a time.
struct Cursor {
    part: Arc<MetricsPart>,
    groups: usize,
    next_group: usize,
    index: GroupIndex,
    chunks: Vec<Chunk>,
    series: usize,
}

impl Cursor {
    async fn open(part: Arc<MetricsPart>) -> Result<Cursor, ReadError> {
        let groups = part.footer().await?.arrow.metadata().num_row_groups();
        let mut cursor =
            Cursor { part, groups, next_group: 0, index: GroupIndex::default(), chunks: Vec::new(), series: 0 };
        cursor.advance().await?;
        Ok(cursor)
    }

    /// Loads the next row group once the present one is used up.
    async fn advance(&mut self) -> Result<(), ReadError> {
        while self.series >= self.index.series.len() && self.next_group < self.groups {
            self.index = self.part.load_index(self.next_group).await?;
            self.chunks = self.part.chunks(self.next_group, &self.index).await?;
            self.next_group += 1;
            self.series = 0;
        }
        Ok(())
    }

    fn labels(&self) -> Option<&Labels> {
        self.index.series.get(self.series)
    }

    /// Moves the series' chunks to `out` if it is the cursor's next; a series may go on in the next row group.
    async fn take(&mut self, labels: &Labels, rank: usize, out: &mut Vec<Ranked>) -> Result<(), ReadError> {
        while self.labels() == Some(labels) {
            let rows = self.index.rows_of(self.series as u32);
            out.extend(self.chunks[rows].iter().map(|chunk| (rank, chunk.clone())));
            self.series += 1;
            self.advance().await?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Scratch {
    decoder: ChunkDecoder,
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

/// Chunks of one series to chunks in order of time that do not overlap.
fn join(mut chunks: Vec<Ranked>, scratch: &mut Scratch) -> Result<Vec<Chunk>, String> {
    chunks.sort_by_key(|(_, chunk)| chunk.first_ts);
    let mut joined = Vec::new();
    let Scratch { decoder, timestamps, values } = scratch;
    timestamps.clear();
    values.clear();
    let mut at = 0;
    while at < chunks.len() {
        let mut end = at + 1;
        let mut newest = chunks[at].1.last_ts;
        while end < chunks.len() && chunks[end].1.first_ts <= newest {
            newest = newest.max(chunks[end].1.last_ts);
            end += 1;
        }
        let lone = end - at == 1;
        if lone && chunks[at].1.samples() >= COPIED_SAMPLES_MIN {
            cut(timestamps, values, 1, &mut joined);
            joined.push(chunks[at].1.clone());
        } else {
            let start = timestamps.len();
            chunks[at..end].sort_by_key(|(rank, _)| *rank); // the last of equal timestamps stays
            for (_, chunk) in &chunks[at..end] {
                let decoded = decoder.decode(chunk.body(), i64::MIN, i64::MAX, timestamps, values);
                decoded.map_err(|e| e.to_string())?;
            }
            if !lone {
                let (mut late_timestamps, mut late_values) = (timestamps.split_off(start), values.split_off(start));
                chunk::resolve(&mut late_timestamps, &mut late_values);
                timestamps.append(&mut late_timestamps);
                values.append(&mut late_values);
            }
            cut(timestamps, values, CHUNK_SAMPLES_MAX, &mut joined);
        }
        at = end;
    }
    cut(timestamps, values, 1, &mut joined);
    Ok(joined)
}

/// Encodes full chunks off the front, and what is left if it is at least `samples_min`.
fn cut(timestamps: &mut Vec<i64>, values: &mut Vec<f64>, samples_min: usize, out: &mut Vec<Chunk>) {
    let mut start = 0;
    while timestamps.len() - start >= samples_min {
        let end = timestamps.len().min(start + CHUNK_SAMPLES_MAX);
        out.push(Chunk::encode(&timestamps[start..end], &values[start..end]));
        start = end;
    }
    timestamps.drain(..start);
    values.drain(..start);
}
