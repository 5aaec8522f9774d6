//! Event tables: recent rows in memory, Parquet parts, and the reads over both.
//!
//! A table's rows enter its [`EventHead`] as Arrow batches, those of an instance together; a flush sorts them by (instance, ts)
//! into one Parquet file a UTC day (`write`, with the filters of `search` and `grams`); compaction merges the files of a day
//! (`merge`); both copy rows a run at a time (`gather`). A scan leaves out parts by the manifest, row groups by their statistics,
//! blocks by what their texts lack (`choose`, `need`), and rows by comparison (`read`). `check` reads all of a part for damage.
//! The bytes of a part: docs/formats/events.md.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringBuilder,
        TimestampMillisecondArray, new_null_array,
    },
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use parking_lot::Mutex;
use proto::{Events, Kind, Table, events::Cells};

pub(crate) mod check;
mod choose;
mod gather;
mod grams;
pub(crate) mod merge;
pub mod need;
pub(crate) mod read;
mod search;
pub(crate) mod write;

/// Batches of the head are joined until they have this many rows.
const HEAD_BATCH_ROWS: usize = 2048;

/// The Arrow schema of an event table as a scan gives it: Text is Utf8, Timestamp is Timestamp(Millisecond, "UTC"),
/// Int is Int64, Float is Float64, Bool is Boolean, Bytes is Binary; all but `instance` and `ts` are nullable.
pub fn event_schema(table: Table) -> SchemaRef {
    let fields = table.columns().iter().map(|column| {
        let data_type = match column.kind {
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Kind::Int => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Bool => DataType::Boolean,
            Kind::Text => DataType::Utf8,
            Kind::Bytes => DataType::Binary,
        };
        Field::new(column.name, data_type, !matches!(column.name, "instance" | "ts"))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows as an Arrow batch, those of an instance together and by time; only those of `keep` (all, if `None`).
pub(crate) fn to_batch(events: &Events, keep: Option<&[u32]>) -> Result<RecordBatch, ArrowError> {
    let rows = together(events, keep);
    let rows = || rows.iter().map(|r| *r as usize);
    let columns = events.table.columns().iter().zip(&events.columns).map(|(column, cells)| -> ArrayRef {
        match (cells, column.kind) {
            (Cells::Ints(v), Kind::Timestamp) => {
                Arc::new(rows().map(|r| v[r]).collect::<TimestampMillisecondArray>().with_timezone("UTC"))
            }
            (Cells::Ints(v), Kind::Bool) => Arc::new(rows().map(|r| v[r].map(|x| x != 0)).collect::<BooleanArray>()),
            (Cells::Ints(v), _) => Arc::new(rows().map(|r| v[r]).collect::<Int64Array>()),
            (Cells::Floats(v), _) => Arc::new(rows().map(|r| v[r]).collect::<Float64Array>()),
            (Cells::Texts(v), _) if v.iter().all(Option::is_none) => new_null_array(&DataType::Utf8, rows().len()),
            (Cells::Texts(v), _) => {
                // in one piece of the right size: the head keeps it
                let bytes = rows().map(|r| v[r].as_deref().map_or(0, str::len)).sum();
                let mut texts = StringBuilder::with_capacity(rows().len(), bytes);
                rows().for_each(|r| texts.append_option(v[r].as_deref()));
                Arc::new(texts.finish())
            }
            (Cells::Blobs(v), _) => Arc::new(rows().map(|r| v[r].as_deref()).collect::<BinaryArray>()),
        }
    });
    RecordBatch::try_new(event_schema(events.table), columns.collect())
}

/// The numbers of rows, those of an instance together and by time, equal times as they came: what a flush copies then are runs.
fn together(events: &Events, keep: Option<&[u32]>) -> Vec<u32> {
    let rows = keep.map_or_else(|| (0..events.rows() as u32).collect(), <[u32]>::to_vec);
    let mut out = Vec::with_capacity(rows.len());
    let mut instances: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut rows = rows.into_iter().map(|row| (events.instance(row as usize), row)).peekable();
    while let Some((instance, first)) = rows.next() {
        let of_instance = instances.entry(instance).or_default();
        of_instance.push(first);
        // neighbours are often of one instance
        while let Some((_, next)) = rows.next_if(|(other, _)| *other == instance) {
            of_instance.push(next);
        }
    }
    for mut rows in instances.into_values() {
        rows.sort_by_key(|row| events.ts_ms(*row as usize)); // stable, and quick for rows that came in order
        out.extend_from_slice(&rows);
    }
    out
}

/// Recent rows of one tenant and table between two flushes: appended to until sealed, then fixed.
pub(crate) struct EventHead {
    table: Table,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl EventHead {
    pub(crate) fn new(table: Table) -> EventHead {
        EventHead { table, inner: Mutex::default() }
    }

    /// Adds rows. Small batches are joined as they gather, each row copied a logarithmic number of times.
    pub(crate) fn push(&self, batch: RecordBatch) -> Result<(), ArrowError> {
        let mut inner = self.inner.lock();
        inner.rows += batch.num_rows();
        inner.bytes += batch.get_array_memory_size();
        inner.batches.push(batch);
        while let [.., a, b] = &inner.batches[..]
            && a.num_rows() <= 2 * b.num_rows()
            && a.num_rows() + b.num_rows() <= HEAD_BATCH_ROWS
        {
            let joined = concat_batches(&event_schema(self.table), [a, b])?;
            let before = a.get_array_memory_size() + b.get_array_memory_size();
            inner.bytes = (inner.bytes + joined.get_array_memory_size()).saturating_sub(before);
            let keep = inner.batches.len() - 2;
            inner.batches.truncate(keep);
            inner.batches.push(joined);
        }
        Ok(())
    }

    /// The first `rows` rows, in the order they came.
    pub(crate) fn first(&self, rows: usize) -> Vec<RecordBatch> {
        let inner = self.inner.lock();
        let mut left = rows;
        let mut out = Vec::with_capacity(inner.batches.len());
        for batch in &inner.batches {
            if left == 0 {
                break;
            }
            let n = left.min(batch.num_rows());
            out.push(batch.slice(0, n));
            left -= n;
        }
        out
    }

    pub(crate) fn rows(&self) -> usize {
        self.inner.lock().rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

#[cfg(test)]
mod tests;
