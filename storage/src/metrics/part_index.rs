//! What a row group holds: its series, their rows, and the rows' times. Built from the columns before `min`; samples
//! are not touched.
//!
//! Measured on 8 192 series of exporters: reading and parsing takes about 10 ms cold, once; a matcher list with a metric
//! name then costs microseconds. Kept per row group instead of per part, so that a question with a metric's name
//! loads the one or two groups where that name stands, whatever the size of the part.

use std::{
    ops::Range,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use arrow::{
    array::{Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array},
    datatypes::{DataType, TimeUnit},
};
use proto::{Labels, labels::METRIC_NAME};

use super::{index::LabelIndex, labels_text, part_schema::column};
use crate::matcher::Matcher;

/// Columns a [`GroupIndex`] is built from, ascending.
pub(crate) const COLUMNS: [usize; 6] =
    [column::METRIC, column::LABELS, column::FIRST_TS, column::LAST_TS, column::COUNT, column::STALE];
/// Up to so many series are tried one by one; more are worth postings.
const TRIED_SERIES_MAX: usize = 1024;
/// So many times all series are tried all the same: the index of one of many parts is often gone before it is asked again, and
/// postings have every label of every series, where a trial reads one.
const TRIALS_MAX: u32 = 2;
/// What a series costs beyond its label bytes, once its postings are built.
const SERIES_BYTES: usize = 400;

/// One row's times and size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) first_ts: i64,
    pub(crate) last_ts: i64,
    pub(crate) count: u32,
    pub(crate) stale: u32,
}

impl Row {
    pub(crate) fn samples(&self) -> usize {
        self.count as usize + self.stale as usize
    }

    pub(crate) fn overlaps(&self, min_ts: i64, max_ts: i64) -> bool {
        self.first_ts <= max_ts && self.last_ts >= min_ts
    }

    pub(crate) fn lies_in(&self, min_ts: i64, max_ts: i64) -> bool {
        self.first_ts >= min_ts && self.last_ts <= max_ts
    }
}

/// The series of one row group, in the order of rows.
#[derive(Default)]
pub(crate) struct GroupIndex {
    pub(crate) series: Vec<Labels>,
    /// Row at which each series begins, and the number of rows.
    starts: Vec<u32>,
    pub(crate) rows: Vec<Row>,
    postings: OnceLock<LabelIndex>,
    /// How often many series were tried one by one.
    trials: AtomicU32,
}

impl GroupIndex {
    /// Reads the columns of [`COLUMNS`]; the reason if they are not what the format says.
    pub(crate) fn build(batches: &[RecordBatch]) -> Result<GroupIndex, &'static str> {
        let mut index = GroupIndex::default();
        let mut last: Option<(&str, &str)> = None;
        for batch in batches {
            let [metric, labels, first, last_ts, count, stale] = batch.columns() else {
                return Err("columns are missing");
            };
            let (Some(metric), Some(labels)) = (text(metric), text(labels)) else {
                return Err("metric or labels are no text");
            };
            let (Some(first), Some(last_ts)) = (times(first), times(last_ts)) else {
                return Err("first_ts or last_ts is no time");
            };
            let (Some(count), Some(stale)) = (counts(count), counts(stale)) else {
                return Err("count or stale is no UInt32");
            };
            for row in 0..batch.num_rows() {
                let (metric, labels) = (metric.value(row), labels.value(row));
                if last != Some((metric, labels)) {
                    index.starts.push(index.rows.len() as u32);
                    index.series.push(labels_text::read(metric, labels).ok_or("labels are no label set")?);
                    last = Some((metric, labels));
                }
                let (first_ts, last_ts) = (first.value(row), last_ts.value(row));
                let row = Row { first_ts, last_ts, count: count.value(row), stale: stale.value(row) };
                if first_ts > last_ts || row.count.checked_add(row.stale).is_none_or(|n| n == 0) {
                    return Err("a row without samples, or one that ends before it begins");
                }
                index.rows.push(row);
            }
        }
        index.starts.push(index.rows.len() as u32);
        let ordered = index.series.is_sorted_by(|a, b| labels_text::order(a, b).is_lt());
        ordered.then_some(index).ok_or("series are not in order")
    }

    /// Memory, estimated, with the postings that may still be built.
    pub(crate) fn bytes(&self) -> usize {
        let labels: usize = self.series.iter().map(|l| l.as_bytes().len() + SERIES_BYTES).sum();
        labels + self.rows.len() * size_of::<Row>()
    }

    /// The rows of a series.
    pub(crate) fn rows_of(&self, series: u32) -> Range<usize> {
        let at = series as usize;
        self.starts[at] as usize..self.starts[at + 1] as usize
    }

    /// Whether a series has a row that overlaps the range.
    pub(crate) fn overlaps(&self, series: u32, min_ts: i64, max_ts: i64) -> bool {
        self.rows[self.rows_of(series)].iter().any(|row| row.overlaps(min_ts, max_ts))
    }

    /// The series that all matchers select, ascending.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let everything = 0..self.series.len();
        let mut candidates = vec![everything];
        for matcher in matchers.iter().filter(|m| m.name() == METRIC_NAME && !m.matches_empty()) {
            if let Some(literals) = matcher.literals() {
                candidates =
                    literals.iter().map(|l| self.metrics(|metric| metric < *l, |metric| metric == *l)).collect();
                candidates.sort_unstable_by_key(|range| range.start);
                break;
            }
            let prefix = matcher.prefix();
            candidates = vec![self.metrics(|metric| metric < prefix, |metric| metric.starts_with(prefix))];
        }
        let is_many = candidates.iter().map(ExactSizeIterator::len).sum::<usize>() > TRIED_SERIES_MAX;
        if !is_many || self.trials.fetch_add(1, Ordering::Relaxed) < TRIALS_MAX {
            let fits = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or("")));
            return candidates.into_iter().flatten().filter(|&at| fits(&self.series[at])).map(|at| at as u32).collect();
        }
        let postings = self.postings.get_or_init(|| {
            let mut postings = LabelIndex::default();
            self.series.iter().for_each(|labels| postings.add(labels));
            postings
        });
        postings.select(matchers, |id| &self.series[id as usize])
    }

    /// The place of exactly this series.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        self.series.binary_search_by(|other| labels_text::order(other, labels)).ok().map(|at| at as u32)
    }

    /// The series from the first whose metric is not `before`, as long as it is `within`.
    fn metrics(&self, before: impl Fn(&str) -> bool, within: impl Fn(&str) -> bool) -> Range<usize> {
        let start = self.series.partition_point(|labels| before(labels.metric_name()));
        start..start + self.series[start..].partition_point(|labels| within(labels.metric_name()))
    }
}

fn text(array: &dyn Array) -> Option<&StringArray> {
    array.as_any().downcast_ref()
}

fn times(array: &dyn Array) -> Option<&TimestampMillisecondArray> {
    matches!(array.data_type(), DataType::Timestamp(TimeUnit::Millisecond, _)).then(|| array.as_any().downcast_ref())?
}

fn counts(array: &dyn Array) -> Option<&UInt32Array> {
    array.as_any().downcast_ref()
}
