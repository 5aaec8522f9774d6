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
    chunk::{Chunk, ChunkDecoder},
    labels_text,
    part_index::GroupIndex,
    part_write::{PartWriter, Totals},
    samples::{Floats, Histograms, Samples, cut},
};
use crate::matcher::Matcher;

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
            let Scratch { decoder, floats, histograms } = &mut *scratch;
            match chunk.is_histogram() {
                false => self.apply_to(&chunk, decoder, floats, &mut left)?,
                true => self.apply_to(&chunk, decoder, histograms, &mut left)?,
            }
        }
        left.sort_by_key(|chunk| chunk.first_ts); // what lost its beginning may begin behind the next of the other kind
        Ok(left)
    }

    /// What is left of one chunk that the range overlaps.
    fn apply_to<S: Samples>(
        &self,
        chunk: &Chunk,
        decoder: &mut ChunkDecoder,
        samples: &mut S,
        left: &mut Vec<Chunk>,
    ) -> Result<(), String> {
        samples.clear();
        let ranges = [
            (i64::MIN, self.min_ts.checked_sub(1)),
            (self.max_ts.saturating_add(1), (self.max_ts < i64::MAX).then_some(i64::MAX)),
        ];
        for (from, to) in ranges {
            let Some(to) = to else { continue };
            samples.decode(decoder, chunk, from, to).map_err(|e| e.to_string())?;
        }
        cut(samples, true, left);
        Ok(())
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
    floats: Floats,
    histograms: Histograms,
}

/// Chunks of one series to chunks in order of time; those of one kind do not overlap.
fn join(chunks: Vec<Ranked>, scratch: &mut Scratch) -> Result<Vec<Chunk>, String> {
    let (histograms, floats): (Vec<Ranked>, Vec<Ranked>) = chunks.into_iter().partition(|(_, c)| c.is_histogram());
    let mut joined = join_kind(floats, &mut scratch.decoder, &mut scratch.floats)?;
    if !histograms.is_empty() {
        joined.append(&mut join_kind(histograms, &mut scratch.decoder, &mut scratch.histograms)?);
        joined.sort_by_key(|chunk| chunk.first_ts);
    }
    Ok(joined)
}

fn join_kind<S: Samples>(
    mut chunks: Vec<Ranked>,
    decoder: &mut ChunkDecoder,
    samples: &mut S,
) -> Result<Vec<Chunk>, String> {
    chunks.sort_by_key(|(_, chunk)| chunk.first_ts);
    let mut joined = Vec::new();
    samples.clear();
    let mut at = 0;
    while at < chunks.len() {
        let mut end = at + 1;
        let mut newest = chunks[at].1.last_ts;
        while end < chunks.len() && chunks[end].1.first_ts <= newest {
            newest = newest.max(chunks[end].1.last_ts);
            end += 1;
        }
        let lone = end - at == 1;
        if lone && S::is_large(&chunks[at].1) {
            cut(samples, true, &mut joined);
            joined.push(chunks[at].1.clone());
        } else {
            let start = samples.len();
            chunks[at..end].sort_by_key(|(rank, _)| *rank); // the last of equal timestamps stays
            for (_, chunk) in &chunks[at..end] {
                samples.decode(decoder, chunk, i64::MIN, i64::MAX).map_err(|e| e.to_string())?;
            }
            if !lone {
                samples.resolve(start);
            }
            cut(samples, false, &mut joined);
        }
        at = end;
    }
    cut(samples, true, &mut joined);
    Ok(joined)
}
