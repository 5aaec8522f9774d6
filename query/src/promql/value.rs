//! What expressions evaluate to while a query runs: whole columns, one entry a step, series by series.

use std::sync::Arc;

use proto::Labels;
use proto::labels::METRIC_NAME;

use super::histogram::Histogram;
use super::literal::Text;

/// The NaN that marks the end of a series (Prometheus' staleness marker). No result ever holds it, so inside the engine
/// it also marks a step without a value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// A step without a value.
pub(super) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a step has no float.
#[inline]
pub(super) fn is_absent(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

/// One sample's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// At which step of the query a sample that is looked at counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tally {
    /// At the same step: these are the query's own.
    Each,
    /// At every step: what is evaluated once stands for all.
    All,
    /// At the first: the inside of a subquery that is the query's result.
    First,
    /// Nowhere: inside other subqueries, whose results are counted.
    Nothing,
}

/// The steps an expression is evaluated at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) start_ms: i64,
    pub(super) step_ms: i64,
    pub(super) count: usize,
    pub(super) tally: Tally,
}

impl Steps {
    #[inline]
    pub(super) fn time(&self, i: usize) -> i64 {
        self.start_ms + self.step_ms * i as i64
    }

    pub(super) fn end_ms(&self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    pub(super) fn times(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.count).map(|i| self.time(i))
    }

    /// Only the first step.
    pub(super) fn first(&self) -> Steps {
        let tally = if self.tally == Tally::Each { Tally::All } else { self.tally };
        Steps { count: self.count.min(1), tally, ..*self }
    }
}

/// Histograms of a series, one entry a step; none at all for most series.
pub(super) type HistogramColumn = Option<Vec<Option<Arc<Histogram>>>>;

/// A series over all steps. At each step it has a float, a histogram or nothing.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    /// Whether the metric name is to go at the end (delayed name removal).
    pub(super) drop_name: bool,
    /// [`ABSENT`] where there is no float.
    pub(super) floats: Vec<f64>,
    pub(super) histograms: HistogramColumn,
}

impl Series {
    pub(super) fn absent(labels: Labels, steps: usize) -> Series {
        Series { labels, drop_name: false, floats: vec![ABSENT; steps], histograms: None }
    }

    pub(super) fn set(&mut self, step: usize, point: Point) {
        match point {
            Point::Float(v) => self.floats[step] = v,
            Point::Histogram(h) => self.set_histogram(step, h),
        }
    }

    pub(super) fn set_histogram(&mut self, step: usize, h: Arc<Histogram>) {
        let steps = self.floats.len();
        self.histograms.get_or_insert_with(|| vec![None; steps])[step] = Some(h);
    }

    #[inline]
    pub(super) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.as_ref().and_then(|h| h[step].as_ref())
    }

    #[inline]
    pub(super) fn is_present(&self, step: usize) -> bool {
        !is_absent(self.floats[step]) || self.histogram(step).is_some()
    }

    pub(super) fn point(&self, step: usize) -> Option<Point> {
        if let Some(h) = self.histogram(step) {
            return Some(Point::Histogram(h.clone()));
        }
        let v = self.floats[step];
        (!is_absent(v)).then_some(Point::Float(v))
    }

    pub(super) fn clear(&mut self, step: usize) {
        self.floats[step] = ABSENT;
        if let Some(column) = &mut self.histograms {
            column[step] = None;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.floats.iter().all(|v| is_absent(*v)) && self.histograms.iter().flatten().all(Option::is_none)
    }

    /// Replaces every float by `f` of it and forgets histograms.
    pub(super) fn map_floats(mut self, f: impl Fn(f64) -> f64) -> Series {
        self.histograms = None;
        for v in &mut self.floats {
            if !is_absent(*v) {
                *v = f(*v);
            }
        }
        self
    }

    /// Repeats the one step this series has.
    pub(super) fn repeat(mut self, steps: usize) -> Series {
        self.floats = vec![self.floats[0]; steps];
        self.histograms = self.histograms.map(|h| vec![h[0].clone(); steps]);
        self
    }

    /// Bytes the columns take.
    pub(super) fn bytes(&self) -> usize {
        let histograms = self.histograms.iter().flatten().flatten();
        self.floats.len() * 8 + self.labels.as_bytes().len() + histograms.map(|h| h.bytes()).sum::<usize>()
    }
}

/// What an expression evaluates to over all steps.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
    String(Text),
}

/// Labels that name a metric rather than a series; they go where the metric name goes.
pub(super) const METADATA_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// The labels without the metric's name, type and unit.
pub(super) fn without_name(labels: &Labels) -> Labels {
    labels.only(|n| !METADATA_LABELS.contains(&n))
}
