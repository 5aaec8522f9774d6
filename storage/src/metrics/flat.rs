//! The flat view for SQL: one row a sample, decoded a bounded number of samples at a time.

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::{ArrayRef, Float64Builder, RecordBatch, StringBuilder, TimestampMillisecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use futures::{StreamExt, stream, stream::BoxStream};
use proto::Labels;

use super::{
    MetricsView, ReadError, SeriesSamples, histogram_text, labels_text,
    select::{Budget, Plan, Wanted},
};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// Series are read together until they have about so many samples.
const READ_SAMPLES: usize = 128 << 10;
/// What those read together may weigh, in samples of 16 bytes: one series may have many, and histograms weigh more than a sample.
const READ_WEIGHT_MAX: usize = 64 << 20;
/// Most series that are read together.
const READ_SERIES_MAX: usize = 2048;

/// The columns of the SQL table `metrics`: metric, labels (JSON text, without the metric's name), ts, and the sample: a value,
/// or a native histogram as JSON text.
pub fn flat_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("metric", DataType::Utf8, false),
        Field::new("labels", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, true),
        Field::new("histogram", DataType::Utf8, true),
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
    let scan = Scan { view, range, series: series.into(), read: VecDeque::new(), row: 0, histogram: 0 };
    stream::unfold(scan, |mut scan| async move { scan.next().await.map(|batch| (batch, scan)) }).boxed()
}

struct Scan {
    view: MetricsView,
    range: (i64, i64),
    /// Not read yet, with the samples each may have.
    series: VecDeque<(Labels, usize)>,
    /// Read; the first one's floats before `row` and histograms before `histogram` are given out.
    read: VecDeque<SeriesSamples>,
    row: usize,
    histogram: usize,
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
        let budget = Budget { series_max: usize::MAX, samples_max: READ_WEIGHT_MAX };
        let plan = Plan::make(&self.view, Wanted::Exactly(&labels), self.range, budget).await?;
        let mut read = plan.read(self.range, budget).await?;
        read.sort_by(|a, b| labels_text::order(&a.labels, &b.labels));
        self.read = read.into();
        Ok(())
    }

    fn batch(&mut self) -> RecordBatch {
        let mut rows = RowsBuilder::default();
        while let Some(series) = self.read.front() {
            let text = labels_text::write(&series.labels);
            while rows.len() < BATCH_ROWS {
                let next = series.histograms.get(self.histogram);
                // floats up to the next histogram
                let until =
                    next.map_or(series.values.len(), |(ts, _)| series.timestamps_ms.partition_point(|t| t < ts));
                let end = until.min(self.row + BATCH_ROWS - rows.len());
                rows.timestamps.extend_from_slice(&series.timestamps_ms[self.row..end]);
                rows.values.append_slice(&series.values[self.row..end]);
                rows.histograms.append_nulls(end - self.row);
                self.row = end;
                let Some((ts, histogram)) = next.filter(|_| end == until && rows.len() < BATCH_ROWS) else { break };
                rows.timestamps.push(*ts);
                rows.values.append_null();
                rows.histograms.append_value(histogram_text::write(histogram));
                self.histogram += 1;
            }
            rows.name(series.labels.metric_name(), &text);
            if self.row < series.values.len() || self.histogram < series.histograms.len() {
                break;
            }
            self.read.pop_front();
            (self.row, self.histogram) = (0, 0);
        }
        rows.finish()
    }
}

/// A batch while it grows.
#[derive(Default)]
struct RowsBuilder {
    metric: StringBuilder,
    labels: StringBuilder,
    timestamps: Vec<i64>,
    values: Float64Builder,
    histograms: StringBuilder,
    named: usize,
}

impl RowsBuilder {
    fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Says whose the rows are that were added since the last call.
    fn name(&mut self, metric: &str, labels: &str) {
        for _ in self.named..self.len() {
            self.metric.append_value(metric);
            self.labels.append_value(labels);
        }
        self.named = self.len();
    }

    fn finish(mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.metric.finish()),
            Arc::new(self.labels.finish()),
            Arc::new(TimestampMillisecondArray::from(self.timestamps).with_timezone("UTC")),
            Arc::new(self.values.finish()),
            Arc::new(self.histograms.finish()),
        ];
        #[allow(clippy::expect_used)] // five columns built above with the schema's types and one length
        RecordBatch::try_new(flat_schema(), columns).expect("columns fit the schema")
    }
}
