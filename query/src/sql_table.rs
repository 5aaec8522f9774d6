//! Stored tables as DataFusion sees them: a scan that reads only the columns, instances and times a query can need.

use std::{fmt, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use proto::{Table, labels::METRIC_NAME};
use storage::{EventQuery, MatchOp, Matcher, Need, Snapshot};

use crate::{sql_filter::Bounds, sql_search};

/// The name of the samples' table.
pub(crate) const METRICS: &str = "metrics";

/// What a provider shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Rows of one event table.
    Events(Table),
    /// Every sample of every series: metric, labels (a JSON object), ts, and value or histogram (a JSON object).
    Metrics,
}

impl Shown {
    fn schema(self) -> SchemaRef {
        match self {
            Shown::Events(table) => storage::event_schema(table),
            Shown::Metrics => Arc::new(Schema::new(vec![
                Field::new("metric", DataType::Utf8, false),
                Field::new("labels", DataType::Utf8, false),
                Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
                Field::new("value", DataType::Float64, true),
                Field::new("histogram", DataType::Utf8, true),
            ])),
        }
    }
}

/// One table over one snapshot: a query that reads it twice reads the same rows.
#[derive(Clone)]
pub(crate) struct StoredTable {
    snapshot: Arc<Snapshot>,
    shown: Shown,
    schema: SchemaRef,
    /// Series a scan of the samples may touch.
    series_max: usize,
}

impl fmt::Debug for StoredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredTable({:?})", self.shown)
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let bounds = Bounds::of(filters, &["instance", "metric"]);
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let need = match self.shown {
            Shown::Events(table) => sql_search::need(table, filters),
            Shown::Metrics => Need::default(),
        };
        let part = Scan { table: self.clone(), bounds, need, columns, schema: schema.clone() };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(part)], None, [], false, limit)?))
    }
}

/// One scan with its bounds; read when executed.
struct Scan {
    table: StoredTable,
    bounds: Bounds,
    need: Need,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.table.shown, self.bounds, self.need)
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = match self.table.shown {
            Shown::Events(table) => self.events(table),
            Shown::Metrics => self.metrics(),
        };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

type Rows = stream::BoxStream<'static, Result<RecordBatch>>;

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl Scan {
    fn events(&self, table: Table) -> Rows {
        let snapshot = self.table.snapshot.clone();
        let query = EventQuery {
            instances: self.bounds.values("instance").map(<[String]>::to_vec),
            min_ms: self.bounds.min_ms,
            max_ms: self.bounds.max_ms,
            columns: Some(self.columns.clone()),
            need: self.need.clone(),
        };
        let rows = async move {
            let rows = snapshot.scan(table, &query).await.map_err(external)?;
            Ok::<_, DataFusionError>(rows.map_err(external))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn metrics(&self) -> Rows {
        let snapshot = self.table.snapshot.clone();
        let columns = self.columns.clone();
        let (min_ms, max_ms, series_max) = (self.bounds.min_ms, self.bounds.max_ms, self.table.series_max);
        let matcher = match self.bounds.values("metric") {
            None => Matcher::new(METRIC_NAME, MatchOp::Regex, ".*"),
            Some([one]) => Matcher::new(METRIC_NAME, MatchOp::Equal, one),
            Some(many) => {
                let alternatives: Vec<String> = many.iter().map(|m| regex::escape(m)).collect();
                Matcher::new(METRIC_NAME, MatchOp::Regex, &alternatives.join("|"))
            }
        };
        let rows = async move {
            let matcher = matcher.map_err(external)?;
            let rows = snapshot.scan_metrics(&[matcher], min_ms, max_ms, series_max).await.map_err(external)?;
            Ok::<_, DataFusionError>(rows.map(move |batch| Ok(batch.map_err(external)?.project(&columns)?)))
        };
        stream::once(rows).try_flatten().boxed()
    }
}

/// Every table of the store by name.
pub(crate) fn tables(snapshot: &Arc<Snapshot>, series_max: usize) -> Vec<(&'static str, Arc<dyn TableProvider>)> {
    let events = Table::ALL.into_iter().map(|table| (table.name(), Shown::Events(table)));
    events
        .chain([(METRICS, Shown::Metrics)])
        .map(|(name, shown)| {
            let table = StoredTable { snapshot: snapshot.clone(), shown, schema: shown.schema(), series_max };
            (name, Arc::new(table) as Arc<dyn TableProvider>)
        })
        .collect()
}
