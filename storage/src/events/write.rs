//! From rows in memory to Parquet files, one a UTC day.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::TimestampMillisecondType,
};
use bytes::Bytes;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
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
    gather::Picked,
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
/// Level 3 makes real logs 1 to 3 % smaller, some larger, and takes half as long again.
const ZSTD_LEVEL: i32 = 1;
/// Distinct values a row group's bloom filter is sized for.
const BLOOM_VALUES: u64 = 4096;
/// Rows in memory have about this many times the bytes of their file: how much room it is given at first.
const PACKED_SHARE: usize = 5;
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
        .set_sorting_columns(Some((0..2).map(ascending).collect()))
        // times ascend within an instance: differences are short, and seldom the same time twice
        .set_column_dictionary_enabled(ColumnPath::from("ts"), false)
        .set_column_encoding(ColumnPath::from("ts"), Encoding::DELTA_BINARY_PACKED);
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
    /// `size_hint`: about how many bytes the file will have.
    pub(crate) fn new(table: Table, size_hint: usize) -> Result<EventWriter, ParquetError> {
        let writer =
            ArrowWriter::try_new(Vec::with_capacity(size_hint), event_schema(table), Some(properties(table)?))?;
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

/// A row among batches: its timestamp in milliseconds, which batch, which of its rows.
type Place = (i64, u32, u32);

/// Encodes rows: one file for each UTC day that has any, ascending. Rows of equal (instance, ts) keep their order.
pub(crate) fn write_parts(table: Table, batches: &[RecordBatch]) -> Result<Vec<EncodedEvents>, ParquetError> {
    let days = by_day(batches);
    let memory = batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
    let size_hint = memory / PACKED_SHARE / days.len().max(1);
    let mut parts = Vec::with_capacity(days.len());
    for (day, instances) in days {
        let mut writer = EventWriter::new(table, size_hint)?;
        let mut step = Step::new(batches);
        for mut places in instances.into_values() {
            places.sort_by_key(|(ts, ..)| *ts); // stable, and quick for rows that came in order
            for (_, batch, row) in places {
                if step.add(batch, row) == OUTPUT_ROWS {
                    step.write_to(&mut writer)?;
                }
            }
        }
        step.write_to(&mut writer)?;
        parts.push(writer.finish(day)?);
    }
    Ok(parts)
}

/// The rows of each day and instance, as they came.
fn by_day(batches: &[RecordBatch]) -> BTreeMap<i64, BTreeMap<&str, Vec<Place>>> {
    let mut days: BTreeMap<i64, BTreeMap<&str, Vec<Place>>> = BTreeMap::new();
    for (batch, rows) in (0..).zip(batches) {
        let instances = rows.column(0).as_string::<i32>();
        let rows = (0..).zip(timestamps(rows));
        let mut rows =
            rows.map(|(row, ts)| (ts.div_euclid(DAY_MS), instances.value(row as usize), (*ts, batch, row))).peekable();
        while let Some((day, instance, first)) = rows.next() {
            let places = days.entry(day).or_default().entry(instance).or_default();
            places.push(first);
            // neighbours are often of one day and instance
            while let Some((_, _, next)) = rows.next_if(|(d, i, _)| *d == day && *i == instance) {
                places.push(next);
            }
        }
    }
    days
}

/// Rows picked out of many batches for one output.
struct Step<'a> {
    batches: &'a [RecordBatch],
    /// The batches that this step's rows are of, and for each of all where it is among them.
    used: Vec<&'a RecordBatch>,
    used_at: Vec<Option<usize>>,
    picked: Picked,
}

impl<'a> Step<'a> {
    fn new(batches: &'a [RecordBatch]) -> Step<'a> {
        Step { batches, used: Vec::new(), used_at: vec![None; batches.len()], picked: Picked::default() }
    }

    /// Adds a row; how many there are then.
    fn add(&mut self, batch: u32, row: u32) -> usize {
        let at = *self.used_at[batch as usize].get_or_insert_with(|| {
            self.used.push(&self.batches[batch as usize]);
            self.used.len() - 1
        });
        self.picked.add(at, row as usize)
    }

    /// Writes the rows, and none are left.
    fn write_to(&mut self, writer: &mut EventWriter) -> Result<(), ParquetError> {
        for rows in self.picked.take(&self.used)? {
            writer.write(&rows)?;
        }
        self.used.clear();
        self.used_at.fill(None);
        Ok(())
    }
}
