//! SQL over every table, by DataFusion: read-only, with bounded memory, time and answer.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::DataFusionError,
    execution::{
        SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        runtime_env::RuntimeEnvBuilder,
    },
    prelude::{SQLOptions, SessionConfig, SessionContext},
};
use futures::StreamExt;
use storage::Snapshot;

use crate::{QueryError, QueryLimits, error::ErrorKind, sql_table};

/// Rows an operator hands on at once.
const BATCH_ROWS: usize = 8_192;
/// How many partitions a query is spread over: the cores of the smallest machine we promise.
const PARTITIONS: usize = 2;

/// The rows of an answered SQL query.
#[derive(Clone, Debug)]
pub struct SqlAnswer {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Whether rows beyond `sql_rows_max` were cut.
    pub truncated: bool,
}

impl SqlAnswer {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// A session that sees the tables of one snapshot and can change nothing.
fn session(snapshot: Arc<Snapshot>, limits: &QueryLimits) -> Result<SessionContext, DataFusionError> {
    let config = SessionConfig::new()
        .with_batch_size(BATCH_ROWS)
        .with_target_partitions(PARTITIONS)
        .with_information_schema(true)
        .set_bool("datafusion.sql_parser.enable_ident_normalization", true)
        .set_str("datafusion.execution.time_zone", "UTC");
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(limits.sql_memory_bytes_max, 1.0)
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    let state =
        SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    for (name, table) in sql_table::tables(&snapshot, limits.series_max) {
        context.register_table(name, table)?;
    }
    context.register_udf(crate::sql_json::json_get());
    Ok(context)
}

/// Answers one SQL query.
pub(crate) async fn run(snapshot: Snapshot, sql: &str, limits: &QueryLimits) -> Result<SqlAnswer, QueryError> {
    let context = session(Arc::new(snapshot), limits).map_err(answer_error)?;
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(sql, options).await.map_err(answer_error)?;
    let mut stream = frame.execute_stream().await.map_err(answer_error)?;
    let schema = stream.schema();
    let (mut batches, mut rows, mut truncated) = (Vec::new(), 0, false);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(answer_error)?;
        let left = limits.sql_rows_max - rows;
        if batch.num_rows() > left {
            batches.push(batch.slice(0, left));
            truncated = true;
            break;
        }
        rows += batch.num_rows();
        batches.push(batch);
    }
    Ok(SqlAnswer { schema, batches, truncated })
}

/// Says whose fault an error is: a wrong question, a question too large, or ours.
fn answer_error(error: DataFusionError) -> QueryError {
    let kind = match error.find_root() {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_) => ErrorKind::BadData,
        DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => ErrorKind::Execution,
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Execution,
        _ => ErrorKind::Internal,
    };
    QueryError::Sql { kind, message: error.strip_backtrace() }
}
