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

use super::event_schema;
use crate::config::DAY_MS;

/// The value of `tidewatch.format` in a part's metadata.
pub(crate) const FORMAT: &str = "events/1";
/// Rows of a row group: the unit that statistics can exclude.
const ROW_GROUP_ROWS: usize = 32 << 10;
/// Bytes of a row group: bounds what a read of wide rows holds.
const ROW_GROUP_BYTES: usize = 32 << 20;
/// Rows of a page.
const PAGE_ROWS: usize = 4096;
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
pub(crate) fn properties(table: Table) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_created_by(concat!("tidewatch ", env!("CARGO_PKG_VERSION")).into())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(vec![
            KeyValue::new("tidewatch.format".into(), FORMAT.to_owned()),
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
        let batch = sorted(&take_record_batch(&all, &rows)?)?;
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties(table)?))?;
        writer.write(&batch)?;
        let ts = timestamps(&batch);
        parts.push(EncodedEvents {
            day,
            min_ts_ms: ts.iter().copied().min().unwrap_or(0),
            max_ts_ms: ts.iter().copied().max().unwrap_or(0),
            rows: batch.num_rows() as u64,
            bytes: writer.into_inner()?.into(),
        });
    }
    Ok(parts)
}

fn sorted(batch: &RecordBatch) -> Result<RecordBatch, ParquetError> {
    let arrival = Arc::new((0..batch.num_rows() as u32).collect::<UInt32Array>());
    let by = |values| SortColumn { values, options: None };
    let order = lexsort_to_indices(&[by(batch.column(0).clone()), by(batch.column(1).clone()), by(arrival)], None)?;
    Ok(take_record_batch(batch, &order)?)
}
