//! Reads: what one tenant's data was at one moment.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use futures::stream::BoxStream;
use proto::{Kind, Labels, Table};

use crate::{Family, Matcher, ReadError, SeriesQuery, SeriesSamples};

/// Which rows and columns of an event table.
#[derive(Clone, Debug, PartialEq)]
pub struct EventQuery {
    /// Only these instances; `None`: all.
    pub instances: Option<Vec<String>>,
    /// Oldest timestamp, inclusive, milliseconds.
    pub min_ms: i64,
    /// Newest timestamp, inclusive, milliseconds.
    pub max_ms: i64,
    /// Only these columns, by index into [`Table::columns`], in this order; `None`: all.
    pub columns: Option<Vec<usize>>,
}

impl Default for EventQuery {
    /// Everything.
    fn default() -> EventQuery {
        EventQuery { instances: None, min_ms: i64::MIN, max_ms: i64::MAX, columns: None }
    }
}

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

/// One tenant's data at one moment; cheap to clone. Parts it names are not deleted while it lives.
#[derive(Clone)]
pub struct Snapshot {}

impl Snapshot {
    /// Samples of the matching series within the range, sorted by labels, timestamps ascending, duplicates resolved (the
    /// last appended wins); series without any are left out.
    pub async fn select(&self, _query: &SeriesQuery<'_>) -> Result<Vec<SeriesSamples>, ReadError> {
        todo!()
    }

    /// Matching series that may have samples in the range, sorted, at most `limit`.
    pub async fn series(
        &self,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
        _limit: usize,
    ) -> Result<Vec<Labels>, ReadError> {
        todo!()
    }

    /// Label names of those series, sorted, at most `limit`.
    pub async fn label_names(
        &self,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
        _limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        todo!()
    }

    /// Values of one label of those series, sorted, at most `limit`.
    pub async fn label_values(
        &self,
        _name: &str,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
        _limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        todo!()
    }

    /// The metrics table flat, for SQL: batches of (metric Utf8, labels Utf8 JSON, ts Timestamp(ms, UTC), value Float64).
    pub async fn scan_metrics(
        &self,
        _matchers: &[Matcher],
        _min_ms: i64,
        _max_ms: i64,
        _series_max: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ReadError>>, ReadError> {
        todo!()
    }

    /// Rows of an event table, in no order across batches, with the columns asked for (types: [`event_schema`]).
    pub async fn scan(
        &self,
        _table: Table,
        _query: &EventQuery,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ReadError>>, ReadError> {
        todo!()
    }

    /// What metrics are, by name.
    pub fn families(&self) -> Vec<Family> {
        todo!()
    }
}
