//! From rows in memory to Parquet files, one a UTC day.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch, UInt32Array},
    compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch},
    datatypes::TimestampMillisecondType,
};
use bytes::Bytes;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};
use proto::Table;

use super::{
    event_schema,
    search::{BLOCK_ROWS, SearchWriter},
};
use crate::{
    config::DAY_MS,
    metrics::{
        FORMAT_KEY,
        part_sums::{self, Sums},
    },
};

/// The value of `tidewatch.format` in a part's metadata.
pub(crate) const FORMAT: &str = "events/2";
/// Rows of a row group: the unit that statistics can exclude.
const ROW_GROUP_ROWS: usize = 32 << 10;
/// Bytes of a row group: bounds what a read of wide rows holds.
const ROW_GROUP_BYTES: usize = 32 << 20;
/// Rows of a page.
const PAGE_ROWS: usize = BLOCK_ROWS;
/// Rows that are written before the size of the row group is looked at.
const STEP_ROWS: usize = 512;
const ZSTD_LEVEL: i32 = 3;
/// Distinct values a row group's bloom filter is sized for.
const BLOOM_VALUES: u64 = 4096;
/// Columns that people look up by exact value.
const BLOOM_COLUMNS: &[&str] = &["fingerprint", "plan_fingerprint", "alert_id", "name", "code"];

/// A finished file.
pub(crate) struct EncodedEvents {
    pub(crate) day: i64,
    pub(crate) min_ts_ms: i64,
    pub(crate) max_ts_ms: i64,
    pub(crate) rows: u64,
    pub(crate) bytes: Bytes,
}

fn ascending(column_idx: i32) -> SortingColumn {
    SortingColumn { column_idx, descending: false, nulls_first: false }
}

/// How parts of a table are written.
fn properties(table: Table) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_created_by(concat!("tidewatch ", env!("CARGO_PKG_VERSION")).into())
        .set_max_row_group_row_count(None) // the writer below ends them
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(vec![
            KeyValue::new(FORMAT_KEY.into(), FORMAT.to_owned()),
            KeyValue::new("tidewatch.table".into(), table.name().to_owned()),
        ]))
        .set_sorting_columns(Some((0..2).map(ascending).collect()));
    for name in BLOOM_COLUMNS.iter().filter(|name| table.column_index(name).is_some()) {
        builder = builder
            .set_column_bloom_filter_enabled(ColumnPath::from(*name), true)
            .set_column_bloom_filter_max_ndv(ColumnPath::from(*name), BLOOM_VALUES);
    }
    Ok(builder.build())
}

/// The timestamps of a batch, milliseconds.
pub(crate) fn timestamps(batch: &RecordBatch) -> &[i64] {
    batch.column(1).as_primitive::<TimestampMillisecondType>().values()
}

/// The file of one day while it grows, in memory: rows in, in their order; checksums and filters made on the way.
pub(crate) struct EventWriter {
    writer: ArrowWriter<Vec<u8>>,
    search: SearchWriter,
    group_rows: usize,
    rows: u64,
    times: (i64, i64),
}

impl EventWriter {
    pub(crate) fn new(table: Table) -> Result<EventWriter, ParquetError> {
        let writer = ArrowWriter::try_new(Vec::new(), event_schema(table), Some(properties(table)?))?;
        let search = SearchWriter::new(table);
        Ok(EventWriter { writer, search, group_rows: 0, rows: 0, times: (i64::MAX, i64::MIN) })
    }

    /// Adds rows, all columns of the table, none before those added.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = STEP_ROWS.min(self.search.room()).min(batch.num_rows() - start);
            let step = batch.slice(start, rows);
            self.writer.write(&step)?;
            self.search.add(&step);
            self.group_rows += rows;
            if self.group_rows >= ROW_GROUP_ROWS || self.writer.in_progress_size() >= ROW_GROUP_BYTES {
                self.end_group()?;
            }
            start += rows;
        }
        self.rows += batch.num_rows() as u64;
        let fold = |(min, max): (i64, i64), ts: &i64| (min.min(*ts), max.max(*ts));
        self.times = timestamps(batch).iter().fold(self.times, fold);
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if std::mem::take(&mut self.group_rows) > 0 {
            self.search.end_group();
            self.writer.flush()?;
        }
        Ok(())
    }

    /// The finished file.
    pub(crate) fn finish(mut self, day: i64) -> Result<EncodedEvents, ParquetError> {
        let external = |e: std::io::Error| ParquetError::External(Box::new(e));
        self.end_group()?;
        if let Some((sections, place)) = self.search.finish(self.writer.bytes_written()) {
            self.writer.write_all(&sections).map_err(external)?;
            self.writer.append_key_value_metadata(place);
        }
        self.writer.sync().map_err(external)?;
        let mut sums = Sums::default();
        sums.update(self.writer.inner());
        self.writer.append_key_value_metadata(sums.finish());
        let mut bytes = self.writer.into_inner()?;
        part_sums::seal_tail(&mut bytes[sums.end as usize..]);
        Ok(EncodedEvents {
            day,
            min_ts_ms: self.times.0,
            max_ts_ms: self.times.1,
            rows: self.rows,
            bytes: bytes.into(),
        })
    }
}

/// Encodes rows: one file for each UTC day that has any, ascending. Rows of equal (instance, ts) keep their order.
pub(crate) fn write_parts(table: Table, batches: &[RecordBatch]) -> Result<Vec<EncodedEvents>, ParquetError> {
    let all = concat_batches(&event_schema(table), batches)?;
    let mut days: Vec<i64> = timestamps(&all).iter().map(|ts| ts.div_euclid(DAY_MS)).collect();
    let of_row = days.clone();
    days.sort_unstable();
    days.dedup();
    let mut parts = Vec::with_capacity(days.len());
    for day in days {
        let rows = (0..all.num_rows() as u32).filter(|r| of_row[*r as usize] == day).collect::<UInt32Array>();
        let mut writer = EventWriter::new(table)?;
        writer.write(&sorted(&take_record_batch(&all, &rows)?)?)?;
        parts.push(writer.finish(day)?);
    }
    Ok(parts)
}

fn sorted(batch: &RecordBatch) -> Result<RecordBatch, ParquetError> {
    let arrival = Arc::new((0..batch.num_rows() as u32).collect::<UInt32Array>());
    let by = |values| SortColumn { values, options: None };
    let order = lexsort_to_indices(&[by(batch.column(0).clone()), by(batch.column(1).clone()), by(arrival)], None)?;
    Ok(take_record_batch(batch, &order)?)
}
