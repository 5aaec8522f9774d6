//! Reading event rows: what to leave out by statistics, and by comparison.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch, new_null_array},
    compute::filter_record_batch,
    datatypes::{Schema, SchemaRef},
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{ObjectStore, path::Path};
use parquet::{
    arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask},
    errors::ParquetError,
    file::{metadata::RowGroupMetaData, statistics::Statistics},
};
use proto::Table;

use super::{event_schema, write::timestamps};
use crate::{EventQuery, ReadError, metrics::PartFile};

/// Rows of a batch that a scan gives.
const BATCH_ROWS: usize = 4096;

/// A query made ready: which rows, which columns.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) table: Table,
    instances: Option<BTreeSet<String>>,
    min_ms: i64,
    max_ms: i64,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Scan {
    pub(crate) fn new(table: Table, query: &EventQuery) -> Result<Scan, ReadError> {
        let all = event_schema(table);
        let columns = query.columns.clone().unwrap_or_else(|| (0..all.fields().len()).collect());
        let fields = columns.iter().map(|c| all.fields().get(*c).cloned());
        let fields: Option<Vec<_>> = fields.collect();
        let fields = fields.ok_or_else(|| damaged(table.name(), "a column index past the table's last column"))?;
        Ok(Scan {
            table,
            instances: query.instances.as_ref().map(|names| names.iter().cloned().collect()),
            min_ms: query.min_ms,
            max_ms: query.max_ms,
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
        let arrow = |e| damaged(self.table.name(), e);
        let batch =
            if rows == batch.num_rows() { batch.clone() } else { filter_record_batch(batch, &keep).map_err(arrow)? };
        let projected = batch.project(&self.columns).map_err(arrow)?;
        Ok(Some(projected.with_schema(self.schema.clone()).map_err(arrow)?))
    }

    /// The rows of a part that are asked for. Nothing is read before the stream is polled.
    pub(crate) fn part(
        self,
        store: Arc<dyn ObjectStore>,
        path: String,
        bytes: u64,
    ) -> BoxStream<'static, Result<RecordBatch, ReadError>> {
        let opening = async move {
            let wanted = self.columns.clone();
            let batches =
                open(store, &path, bytes, self.table, Some(&wanted), |group| self.group_may_match(group)).await?;
            Ok(batches.try_filter_map(move |batch| futures::future::ready(self.apply(&batch))))
        };
        futures::stream::once(opening).try_flatten().boxed()
    }

    fn group_may_match(&self, group: &RowGroupMetaData) -> bool {
        if let Some(Statistics::Int64(ts)) = group.column(1).statistics()
            && let (Some(min), Some(max)) = (ts.min_opt(), ts.max_opt())
            && !self.overlaps(*min, *max)
        {
            return false;
        }
        if let (Some(names), Some(Statistics::ByteArray(s))) = (&self.instances, group.column(0).statistics())
            && let (Some(min), Some(max)) = (s.min_bytes_opt(), s.max_bytes_opt())
        {
            // bounds may be shortened, the upper one upwards: comparing stays right
            return names.iter().any(|name| min <= name.as_bytes() && name.as_bytes() <= max);
        }
        true
    }
}

/// An error of a read, with where it was.
pub(crate) fn damaged(path: &str, reason: impl ToString) -> ReadError {
    ReadError::Damaged { path: path.into(), reason: reason.to_string() }
}

fn parquet_error(path: &str, error: ParquetError) -> ReadError {
    if let ParquetError::External(inner) = error {
        return match inner.downcast::<object_store::Error>() {
            Ok(source) => ReadError::Unreadable { path: path.into(), source: *source },
            Err(other) => damaged(path, other),
        };
    }
    damaged(path, error)
}

/// Batches of a part with all columns of the table in their order; those not in `wanted` (nor the first two), and those the
/// part is too old to have, are null. Row groups that `choose` refuses are not read.
pub(crate) async fn open(
    store: Arc<dyn ObjectStore>,
    path: &str,
    bytes: u64,
    table: Table,
    wanted: Option<&[usize]>,
    choose: impl Fn(&RowGroupMetaData) -> bool,
) -> Result<BoxStream<'static, Result<RecordBatch, ReadError>>, ReadError> {
    let at = Path::parse(path).map_err(|e| damaged(path, e))?;
    let reader = PartFile { store, path: at, size_bytes: bytes };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|e| parquet_error(path, e))?;
    let schema = event_schema(table);
    let found = builder.schema().clone();
    for (index, field) in found.fields().iter().enumerate() {
        if schema.fields().get(index).is_none_or(|f| f.name() != field.name() || f.data_type() != field.data_type()) {
            return Err(damaged(path, format!("column {index} is {} {}", field.name(), field.data_type())));
        }
    }
    let is_wanted = |column: &usize| *column < 2 || wanted.is_none_or(|w| w.contains(column));
    let columns: Vec<usize> = (0..found.fields().len()).filter(is_wanted).collect();
    if !columns.starts_with(&[0, 1]) {
        return Err(damaged(path, "instance or ts is missing"));
    }
    let groups =
        (0..builder.metadata().num_row_groups()).filter(|g| choose(builder.metadata().row_group(*g))).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
    let stream = builder
        .with_row_groups(groups)
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|e| parquet_error(path, e))?;
    let path = path.to_owned();
    let batches = stream.map(move |batch| {
        let batch = batch.map_err(|e| parquet_error(&path, e))?;
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
