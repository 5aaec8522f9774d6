//! The flat view for SQL: one row a sample, decoded a bounded number of samples at a time.

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::{ArrayRef, Float64Array, RecordBatch, StringBuilder, TimestampMillisecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use futures::{StreamExt, stream, stream::BoxStream};
use proto::Labels;

use super::{
    MetricsView, ReadError, SeriesSamples, labels_text,
    select::{Budget, Plan, Wanted},
};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// Series are read together until they have about so many samples.
const READ_SAMPLES: usize = 128 << 10;
/// Most series that are read together.
const READ_SERIES_MAX: usize = 2048;

/// The columns of the SQL table `metrics`: metric, labels (JSON text, without the metric's name), ts, value.
pub fn flat_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("metric", DataType::Utf8, false),
        Field::new("labels", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, false),
    ]))
}

/// Streams the planned series in the order of rows.
pub(crate) fn scan(
    view: MetricsView,
    plan: Plan,
    range: (i64, i64),
) -> BoxStream<'static, Result<RecordBatch, ReadError>> {
    let mut series: Vec<(Labels, usize)> = plan.series.into_iter().zip(plan.samples).collect();
    series.sort_by(|a, b| labels_text::order(&a.0, &b.0));
    let scan = Scan { view, range, series: series.into(), read: VecDeque::new(), row: 0 };
    stream::unfold(scan, |mut scan| async move { scan.next().await.map(|batch| (batch, scan)) }).boxed()
}

struct Scan {
    view: MetricsView,
    range: (i64, i64),
    /// Not read yet, with the samples each may have.
    series: VecDeque<(Labels, usize)>,
    /// Read; the first one's rows before `row` are given out.
    read: VecDeque<SeriesSamples>,
    row: usize,
}

impl Scan {
    async fn next(&mut self) -> Option<Result<RecordBatch, ReadError>> {
        while self.read.is_empty() {
            if self.series.is_empty() {
                return None;
            }
            if let Err(error) = self.read_more().await {
                self.series.clear(); // a stream that failed has ended
                return Some(Err(error));
            }
        }
        Some(Ok(self.batch()))
    }

    async fn read_more(&mut self) -> Result<(), ReadError> {
        let (mut labels, mut samples) = (Vec::new(), 0);
        while labels.len() < READ_SERIES_MAX && samples < READ_SAMPLES {
            let Some((next, count)) = self.series.pop_front() else { break };
            labels.push(next);
            samples += count;
        }
        let budget = Budget { series_max: usize::MAX, samples_max: usize::MAX };
        let plan = Plan::make(&self.view, Wanted::Exactly(&labels), self.range, budget).await?;
        let mut read = plan.read(self.range, budget).await?;
        read.sort_by(|a, b| labels_text::order(&a.labels, &b.labels));
        self.read = read.into();
        Ok(())
    }

    fn batch(&mut self) -> RecordBatch {
        let (mut metric, mut labels) = (StringBuilder::new(), StringBuilder::new());
        let (mut timestamps, mut values) = (Vec::with_capacity(BATCH_ROWS), Vec::with_capacity(BATCH_ROWS));
        while let Some(series) = self.read.front() {
            let end = series.values.len().min(self.row + BATCH_ROWS - values.len());
            let text = labels_text::write(&series.labels);
            for _ in self.row..end {
                metric.append_value(series.labels.metric_name());
                labels.append_value(&text);
            }
            timestamps.extend_from_slice(&series.timestamps_ms[self.row..end]);
            values.extend_from_slice(&series.values[self.row..end]);
            self.row = end;
            if end < series.values.len() {
                break;
            }
            self.read.pop_front();
            self.row = 0;
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(metric.finish()),
            Arc::new(labels.finish()),
            Arc::new(TimestampMillisecondArray::from(timestamps).with_timezone("UTC")),
            Arc::new(Float64Array::from(values)),
        ];
        #[allow(clippy::expect_used)] // four columns built above with the schema's types and one length
        RecordBatch::try_new(flat_schema(), columns).expect("columns fit the schema")
    }
}
