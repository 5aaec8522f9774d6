//! Reading event rows: a part's file, and the rows and columns of it that are asked for.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch, new_null_array},
    compute::filter_record_batch,
    datatypes::{Field, Schema, SchemaRef},
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{ObjectStore, path::Path};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection},
    },
    file::metadata::{PageIndexPolicy, ParquetMetaData},
};
use proto::Table;

use super::{
    event_schema,
    need::Need,
    write::{FORMAT, timestamps},
};
use crate::{
    EventQuery, ReadError,
    metrics::{CheckedFile, Footer, check_format, damaged, read_error, read_footer},
    read_cache::{Key, Piece, ReadCache},
};

/// Rows of a batch that a scan gives.
const BATCH_ROWS: usize = 4096;

/// A query made ready: which rows, which columns.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) table: Table,
    pub(super) instances: Option<BTreeSet<String>>,
    min_ms: i64,
    max_ms: i64,
    pub(super) need: Need,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Scan {
    pub(crate) fn new(table: Table, query: &EventQuery) -> Result<Scan, ReadError> {
        let all = event_schema(table);
        let columns = query.columns.clone().unwrap_or_else(|| (0..all.fields().len()).collect());
        let fields = columns.iter().map(|c| all.fields().get(*c).cloned());
        let fields: Option<Vec<_>> = fields.collect();
        let fields = fields.ok_or_else(|| unfit(table, "a column index past the table's last column"))?;
        Ok(Scan {
            table,
            instances: query.instances.as_ref().map(|names| names.iter().cloned().collect()),
            min_ms: query.min_ms,
            max_ms: query.max_ms,
            need: query.need.clone(),
            columns,
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// Whether rows of this time range can be among the answer.
    pub(crate) fn overlaps(&self, min_ts_ms: i64, max_ts_ms: i64) -> bool {
        min_ts_ms <= self.max_ms && max_ts_ms >= self.min_ms
    }

    /// The rows and columns asked for, of a batch with all columns; `None` if it has none of them.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>, ReadError> {
        let instances = batch.column(0).as_string::<i32>();
        let keep: BooleanArray = timestamps(batch)
            .iter()
            .enumerate()
            .map(|(row, ts)| {
                let wanted = (self.min_ms..=self.max_ms).contains(ts)
                    && self.instances.as_ref().is_none_or(|names| names.contains(instances.value(row)));
                Some(wanted)
            })
            .collect();
        let rows = keep.true_count();
        if rows == 0 {
            return Ok(None);
        }
        let arrow = |e| unfit(self.table, e);
        let batch =
            if rows == batch.num_rows() { batch.clone() } else { filter_record_batch(batch, &keep).map_err(arrow)? };
        let projected = batch.project(&self.columns).map_err(arrow)?;
        Ok(Some(projected.with_schema(self.schema.clone()).map_err(arrow)?))
    }

    /// The rows of a part that are asked for. Nothing is read before the stream is polled.
    pub(crate) fn part(self, parts: EventParts, path: String, bytes: u64) -> Batches {
        let opening = async move {
            let file = parts.open(&path, bytes, self.table).await?;
            let chosen = self.choose(&file).await?;
            let batches = file.batches(Some(&self.columns), chosen)?;
            Ok(batches.try_filter_map(move |batch| futures::future::ready(self.apply(&batch))))
        };
        futures::stream::once(opening).try_flatten().boxed()
    }
}

/// An error of rows that are of no part, or of several.
pub(crate) fn unfit(table: Table, reason: impl ToString) -> ReadError {
    ReadError::Damaged { path: table.name().into(), reason: reason.to_string() }
}

/// Where parts of event tables are, and what of them is kept in memory.
#[derive(Clone)]
pub(crate) struct EventParts {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) cache: Arc<ReadCache>,
}

impl EventParts {
    /// A part with its footer, from the cache or the file.
    async fn open(&self, path: &str, bytes: u64, table: Table) -> Result<EventFile, ReadError> {
        let at = parse(path)?;
        let key = Key::Footer(at.clone());
        if let Some(Piece::Footer(Footer { arrow, sums })) = self.cache.get(&key) {
            return Ok(EventFile { table, file: CheckedFile { store: self.objects.clone(), path: at, sums }, arrow });
        }
        let file = EventFile::open(self.objects.clone(), path, bytes, table).await?;
        let footer = Footer { arrow: file.arrow.clone(), sums: file.file.sums.clone() };
        let bytes = footer.bytes();
        self.cache.put(key, Piece::Footer(footer), bytes);
        Ok(file)
    }
}

fn parse(path: &str) -> Result<Path, ReadError> {
    Path::parse(path).map_err(|e| ReadError::Damaged { path: path.into(), reason: format!("its path: {e}") })
}

/// A part of an event table whose footer was read and found sound.
pub(crate) struct EventFile {
    pub(crate) table: Table,
    pub(crate) file: CheckedFile,
    pub(crate) arrow: ArrowReaderMetadata,
}

/// Which rows of a file: row groups, and rows of these (all, if `None`).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) groups: Vec<usize>,
    pub(crate) rows: Option<RowSelection>,
}

impl EventFile {
    pub(crate) async fn open(
        store: Arc<dyn ObjectStore>,
        path: &str,
        bytes: u64,
        table: Table,
    ) -> Result<EventFile, ReadError> {
        let at = parse(path)?;
        let (metadata, sums) = read_footer(&store, &at, bytes, PageIndexPolicy::Skip).await?;
        check_format(&at, &metadata, &[FORMAT])?;
        let arrow =
            ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new()).map_err(|e| read_error(&at, e))?;
        let (schema, found) = (event_schema(table), arrow.schema().fields());
        for (index, field) in found.iter().enumerate() {
            let is_of_table = |f: &Arc<Field>| f.name() == field.name() && f.data_type() == field.data_type();
            if !schema.fields().get(index).is_some_and(is_of_table) {
                return Err(damaged(&at, format!("column {index} is {} {}", field.name(), field.data_type())));
            }
        }
        if found.len() < 2 {
            return Err(damaged(&at, "instance or ts is missing"));
        }
        Ok(EventFile { table, file: CheckedFile { store, path: at, sums: Arc::new(sums) }, arrow })
    }

    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        self.arrow.metadata()
    }

    /// All rows.
    pub(crate) fn everything(&self) -> Chosen {
        Chosen { groups: (0..self.metadata().num_row_groups()).collect(), rows: None }
    }

    /// Batches with all columns of the table in their order; those not in `wanted` (nor the first two), and those the part
    /// is too old to have, are null.
    pub(crate) fn batches(self, wanted: Option<&[usize]>, chosen: Chosen) -> Result<Batches, ReadError> {
        let path = self.file.path.clone();
        let is_wanted = |column: &usize| *column < 2 || wanted.is_none_or(|w| w.contains(column));
        let columns: Vec<usize> = (0..self.arrow.schema().fields().len()).filter(is_wanted).collect();
        let schema = event_schema(self.table);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.file, self.arrow);
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        if let Some(rows) = chosen.rows {
            builder = builder.with_row_selection(rows);
        }
        let stream = builder
            .with_row_groups(chosen.groups)
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|e| read_error(&path, e))?;
        let batches = stream.map(move |batch| {
            let batch = batch.map_err(|e| read_error(&path, e))?;
            let mut read = columns.iter().zip(batch.columns());
            let mut next = read.next();
            let whole = schema.fields().iter().enumerate().map(|(index, field)| match next {
                Some((at, array)) if *at == index => {
                    next = read.next();
                    array.clone()
                }
                _ => new_null_array(field.data_type(), batch.num_rows()),
            });
            RecordBatch::try_new(schema.clone(), whole.collect()).map_err(|e| damaged(&path, e))
        });
        Ok(batches.boxed())
    }
}

/// Rows of a part.
pub(crate) type Batches = BoxStream<'static, Result<RecordBatch, ReadError>>;

/// All rows of a part.
pub(crate) async fn open(
    store: Arc<dyn ObjectStore>,
    path: &str,
    bytes: u64,
    table: Table,
) -> Result<Batches, ReadError> {
    let file = EventFile::open(store, path, bytes, table).await?;
    let everything = file.everything();
    file.batches(None, everything)
}
