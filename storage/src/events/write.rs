//! From rows in memory to Parquet files, one a UTC day.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, RecordBatch},
    compute::interleave_record_batch,
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
/// Rows put in order at a time.
pub(super) const OUTPUT_ROWS: usize = 4096;
/// Rows that are written before the size of the row group is looked at.
const STEP_ROWS: usize = 512;
/// zstd's level of parts that come from the head: rows are soon written again, and no slower than they come.
const FLUSH_ZSTD_LEVEL: i32 = 1;
/// … and of merged parts.
pub(super) const MERGE_ZSTD_LEVEL: i32 = 3;
/// Distinct values a row group's bloom filter is sized for.
const BLOOM_VALUES: u64 = 4096;
/// Columns of which hardly two rows are alike: a dictionary of them would be another copy.
const UNLIKE_COLUMNS: &[(Table, &str)] = &[(Table::Logs, "body")];
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
fn properties(table: Table, zstd_level: i32) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
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
    for (_, name) in UNLIKE_COLUMNS.iter().filter(|(of, _)| *of == table) {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(*name), false);
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
    pub(crate) fn new(table: Table, zstd_level: i32) -> Result<EventWriter, ParquetError> {
        let writer = ArrowWriter::try_new(Vec::new(), event_schema(table), Some(properties(table, zstd_level)?))?;
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

/// Where a row is among batches: which batch, which of its rows.
type Place = (usize, usize);
/// … behind its timestamp, milliseconds.
type TimedPlace = (i64, Place);

/// Encodes rows: one file for each UTC day that has any, ascending. Rows of equal (instance, ts) keep their order.
pub(crate) fn write_parts(table: Table, batches: &[RecordBatch]) -> Result<Vec<EncodedEvents>, ParquetError> {
    let all: Vec<&RecordBatch> = batches.iter().collect();
    let mut parts = Vec::new();
    for (day, order) in sorted_days(batches) {
        let mut writer = EventWriter::new(table, FLUSH_ZSTD_LEVEL)?;
        for places in order.chunks(OUTPUT_ROWS) {
            writer.write(&interleave_record_batch(&all, places)?)?;
        }
        parts.push(writer.finish(day)?);
    }
    Ok(parts)
}

/// The rows of each day by (instance, ts), then as they came.
fn sorted_days(batches: &[RecordBatch]) -> BTreeMap<i64, Vec<Place>> {
    let mut days: BTreeMap<i64, BTreeMap<&str, Vec<TimedPlace>>> = BTreeMap::new();
    for (batch, rows) in batches.iter().enumerate() {
        let instances = rows.column(0).as_string::<i32>();
        let at = timestamps(rows).iter().enumerate();
        // neighbours are often of one day and instance: they are put there together
        let mut at = at.map(|(row, ts)| (ts.div_euclid(DAY_MS), instances.value(row), (*ts, (batch, row)))).peekable();
        while let Some((day, instance, first)) = at.next() {
            let of_instance = days.entry(day).or_default().entry(instance).or_default();
            of_instance.push(first);
            while let Some((_, _, next)) = at.next_if(|(d, i, _)| *d == day && *i == instance) {
                of_instance.push(next);
            }
        }
    }
    let in_order = |instances: BTreeMap<&str, Vec<TimedPlace>>| {
        let mut places = Vec::with_capacity(instances.values().map(Vec::len).sum());
        for mut rows in instances.into_values() {
            rows.sort_by_key(|(ts, _)| *ts); // stable, and quick for rows that came in order
            places.extend(rows.into_iter().map(|(_, place)| place));
        }
        places
    };
    days.into_iter().map(|(day, instances)| (day, in_order(instances))).collect()
}
