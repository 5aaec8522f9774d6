//! One immutable Parquet file of chunks: its footer, its row groups' indexes and bodies, each read when needed.

use std::{ops::Range, sync::Arc};

use arrow::array::{Array, BinaryArray, Float64Array, RecordBatch};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection},
    },
    errors::ParquetError,
    file::{metadata::PageIndexPolicy, statistics::Statistics},
};

use proto::Labels;

use super::{
    ReadError,
    chunk::Chunk,
    part_bodies::{self, Bodies},
    part_file::CheckedFile,
    part_footer::{Footer, check_format, damaged, read_error, read_footer},
    part_index::{self, GroupIndex},
    part_merge::Cut,
    part_schema::{self, column},
    part_sums::Sums,
    statistics,
    whole::{self, GroupStatistics},
};
use crate::{
    matcher::Matcher,
    read_cache::{Key, Piece, ReadCache},
};

/// What it costs to remember that bodies were asked for once: a path and a slot.
const ASKED_BYTES: usize = 256;

/// What the manifest knows of a part.
#[derive(Clone, Debug)]
pub struct PartInfo {
    /// Where it is in the object store.
    pub path: Path,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Its place in the order of appending: higher is later. A merged part has the highest of its inputs.
    pub sequence: u64,
    /// Oldest timestamp, milliseconds.
    pub min_ts_ms: i64,
    /// Newest timestamp, milliseconds.
    pub max_ts_ms: i64,
}

/// A part that can be read. Opening costs nothing; its footer is read when first needed.
pub struct MetricsPart {
    store: Arc<dyn ObjectStore>,
    info: PartInfo,
    cache: Arc<ReadCache>,
}

impl MetricsPart {
    /// Names a part.
    pub fn open(store: Arc<dyn ObjectStore>, info: PartInfo, cache: Arc<ReadCache>) -> MetricsPart {
        MetricsPart { store, info, cache }
    }

    /// What the manifest knows of it.
    pub fn info(&self) -> &PartInfo {
        &self.info
    }

    pub(crate) fn object_store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(crate) fn overlaps(&self, min_ts: i64, max_ts: i64) -> bool {
        self.info.min_ts_ms <= max_ts && self.info.max_ts_ms >= min_ts
    }

    /// The footer, from the cache or the file.
    pub(crate) async fn footer(&self) -> Result<Footer, ReadError> {
        let key = Key::Footer(self.info.path.clone());
        if let Some(Piece::Footer(footer)) = self.cache.get(&key) {
            return Ok(footer);
        }
        let footer = self.load_footer().await?;
        self.cache.put(key, Piece::Footer(footer.clone()), footer.bytes());
        Ok(footer)
    }

    async fn load_footer(&self) -> Result<Footer, ReadError> {
        let PartInfo { path, size_bytes, .. } = &self.info;
        let (metadata, sums) = read_footer(&self.store, path, *size_bytes, PageIndexPolicy::Optional).await?;
        check_format(path, &metadata, &part_schema::FORMATS)?;
        let arrow = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new()).map_err(|e| self.error(e))?;
        if *arrow.schema().fields() != *part_schema::schema().fields() {
            return Err(self.damaged("its columns are not those of its format".into()));
        }
        Ok(Footer { arrow, sums: Arc::new(sums) })
    }

    /// The row groups that may hold a matching series within the range, by their statistics of time and metric.
    pub(crate) async fn groups(&self, matchers: &[Matcher], min_ts: i64, max_ts: i64) -> Result<Vec<usize>, ReadError> {
        let footer = self.footer().await?;
        let metadata = footer.arrow.metadata();
        let fits = |group: &usize| {
            let columns = metadata.row_group(*group).columns();
            let statistics = |at: usize| columns.get(at).and_then(|c| c.statistics());
            let newest = match statistics(column::LAST_TS) {
                Some(Statistics::Int64(s)) => s.max_opt().copied(),
                _ => None,
            };
            let oldest = match statistics(column::FIRST_TS) {
                Some(Statistics::Int64(s)) => s.min_opt().copied(),
                _ => None,
            };
            let metrics = statistics(column::METRIC).and_then(|s| s.min_bytes_opt().zip(s.max_bytes_opt()));
            newest.is_none_or(|ts| ts >= min_ts)
                && oldest.is_none_or(|ts| ts <= max_ts)
                && metrics.is_none_or(|(low, high)| matchers.iter().all(|m| may_match(m, low, high)))
        };
        Ok((0..metadata.num_row_groups()).filter(fits).collect())
    }

    /// Whether a row group's metrics reach into those of `labels`, which are in the order of rows.
    pub(crate) async fn may_hold(&self, group: usize, labels: &[Labels]) -> Result<bool, ReadError> {
        let footer = self.footer().await?;
        let statistics =
            footer.arrow.metadata().row_group(group).columns().get(column::METRIC).and_then(|c| c.statistics());
        let metrics = statistics.and_then(|s| s.min_bytes_opt().zip(s.max_bytes_opt()));
        let (Some((low, high)), Some(first), Some(last)) = (metrics, labels.first(), labels.last()) else {
            return Ok(true);
        };
        Ok(low <= last.metric_name().as_bytes() && first.metric_name().as_bytes() <= high)
    }

    /// Whether some row may hold samples of the cut.
    pub(crate) async fn holds_any(&self, cut: &Cut) -> Result<bool, ReadError> {
        for matchers in &cut.selectors {
            for group in self.groups(matchers, cut.min_ts, cut.max_ts).await? {
                let index = self.index(group).await?;
                if index.select(matchers).into_iter().any(|id| index.overlaps(id, cut.min_ts, cut.max_ts)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What a row group holds, from the cache or the file.
    pub(crate) async fn index(&self, group: usize) -> Result<Arc<GroupIndex>, ReadError> {
        let key = Key::Group(self.info.path.clone(), group);
        if let Some(Piece::Group(index)) = self.cache.get(&key) {
            return Ok(index);
        }
        let index = Arc::new(self.load_index(group).await?);
        self.cache.put(key, Piece::Group(index.clone()), index.bytes());
        Ok(index)
    }

    /// The same from the file, for those who go through all of a part once: what questions use stays in the cache.
    pub(crate) async fn load_index(&self, group: usize) -> Result<GroupIndex, ReadError> {
        let batches = self.read(group, &part_index::COLUMNS, None).await?;
        GroupIndex::build(&batches).map_err(|reason| self.damaged(reason.into()))
    }

    /// Columns of a row group, all rows or those of `rows` (ascending, disjoint).
    async fn read(
        &self,
        group: usize,
        columns: &[usize],
        rows: Option<&[Range<usize>]>,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        let footer = self.footer().await?;
        let total = footer.arrow.metadata().row_group(group).num_rows().max(0) as usize;
        let mask = ProjectionMask::leaves(footer.arrow.parquet_schema(), columns.iter().copied());
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.file(footer.sums), footer.arrow)
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(part_schema::GROUP_ROWS_MAX);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(rows.iter().cloned(), total));
        }
        let stream = builder.build().map_err(|e| self.error(e))?;
        stream.try_collect().await.map_err(|e| self.error(e))
    }

    /// The bodies of these rows of a row group, if not of all its rows: what a select decodes. At the first question only
    /// the pages with these rows are read; at the next the whole row group, which is kept while memory allows.
    pub(crate) async fn bodies(&self, group: usize, rows: &[Range<usize>]) -> Result<Arc<Bodies>, ReadError> {
        let key = Key::Bodies(self.info.path.clone(), group);
        let asked = self.cache.get(&key);
        if let Some(Piece::Bodies(Some(bodies))) = asked {
            return Ok(bodies);
        }
        let again = asked.is_some();
        let batches = self.read(group, &part_bodies::COLUMNS, (!again).then_some(rows)).await?;
        let bodies = Bodies::build(&batches, again).map_err(|reason| self.damaged(reason.into()))?;
        let bodies = Arc::new(bodies);
        let (kept, bytes) = if again { (Some(bodies.clone()), bodies.bytes()) } else { (None, ASKED_BYTES) };
        self.cache.put(key, Piece::Bodies(kept), bytes);
        Ok(bodies)
    }

    /// Whether the bodies of a row group are in memory.
    pub(crate) fn keeps_bodies(&self, group: usize) -> bool {
        self.cache.holds_bodies(&Key::Bodies(self.info.path.clone(), group))
    }

    /// The statistics of all chunks of a row group, from the cache or the file.
    pub(crate) async fn statistics(&self, group: usize) -> Result<Arc<GroupStatistics>, ReadError> {
        let key = Key::Statistics(self.info.path.clone(), group);
        if let Some(Piece::Statistics(statistics)) = self.cache.get(&key) {
            return Ok(statistics);
        }
        let batches = self.read(group, &whole::COLUMNS, None).await?;
        let statistics = GroupStatistics::build(&batches).map_err(|reason| self.damaged(reason.into()))?;
        let statistics = Arc::new(statistics);
        self.cache.put(key, Piece::Statistics(statistics.clone()), statistics.bytes());
        Ok(statistics)
    }

    /// All chunks of a row group, in order, with their statistics: what a merge copies or decodes.
    pub(crate) async fn chunks(&self, group: usize, index: &GroupIndex) -> Result<Vec<Chunk>, ReadError> {
        let columns: Vec<usize> = (column::MIN..=column::VALUES).collect();
        let batches = self.read(group, &columns, None).await?;
        let mut chunks = Vec::with_capacity(index.rows.len());
        for batch in &batches {
            let floats: Option<Vec<&Float64Array>> =
                (0..6).map(|at| batch.column(at).as_any().downcast_ref()).collect();
            let (timestamps, values) = (binary(batch, 6), binary(batch, 7));
            let (Some(floats), Some(timestamps), Some(values)) = (floats, timestamps, values) else {
                return Err(self.damaged("its columns are not those of its format".into()));
            };
            // shared, not copied: a chunk that is kept keeps those of its row group
            let shared = [timestamps, values].map(|array| Bytes::from_owner(Shared(array.clone())));
            let body = |of: usize, array: &BinaryArray, at: usize| {
                let ends = array.value_offsets();
                shared[of].slice(ends[at] as usize..ends[at + 1] as usize)
            };
            for at in 0..batch.num_rows() {
                let Some(row) = index.rows.get(chunks.len()) else { break };
                let float = |column: usize| floats[column].is_valid(at).then(|| floats[column].value(at));
                chunks.push(Chunk {
                    first_ts: row.first_ts,
                    last_ts: row.last_ts,
                    count: row.count,
                    stale: row.stale,
                    statistics: statistics::Statistics {
                        min: float(0),
                        max: float(1),
                        sum: float(2),
                        first: float(3),
                        last: float(4),
                        increase: float(5),
                    },
                    timestamps: body(0, timestamps, at),
                    values: values.is_valid(at).then(|| body(1, values, at)),
                });
            }
        }
        if chunks.len() != index.rows.len() {
            return Err(self.damaged("a row group whose columns have different lengths".into()));
        }
        Ok(chunks)
    }

    /// The bytes are not what the format says.
    pub(crate) fn damaged(&self, reason: String) -> ReadError {
        damaged(&self.info.path, reason)
    }

    fn error(&self, error: ParquetError) -> ReadError {
        read_error(&self.info.path, error)
    }

    pub(crate) fn file(&self, sums: Arc<Sums>) -> CheckedFile {
        CheckedFile { store: self.store.clone(), path: self.info.path.clone(), sums }
    }
}

/// Whether a metric name between `low` and `high` may fulfil the matcher.
fn may_match(matcher: &Matcher, low: &[u8], high: &[u8]) -> bool {
    if matcher.name() != proto::labels::METRIC_NAME || matcher.matches_empty() {
        return true;
    }
    if let Some(literals) = matcher.literals() {
        return literals.iter().any(|l| low <= l.as_bytes() && l.as_bytes() <= high);
    }
    let prefix = matcher.prefix().as_bytes();
    high >= prefix && (low <= prefix || low.starts_with(prefix))
}

/// The bytes of all values of an array, for [`Bytes`] that share them.
struct Shared(BinaryArray);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.value_data()
    }
}

fn binary(batch: &RecordBatch, column: usize) -> Option<&BinaryArray> {
    batch.column(column).as_any().downcast_ref()
}
