//! What is refused: a pure look at rows and limits, before anything is stored.

use std::collections::BTreeMap;

use proto::{Labels, labels::METRIC_NAME, refusal::Refusal};

use crate::{
    Append, AppendError, Consumed, Limits, Rows,
    log::record::{self, RECORD_BYTES_MAX, RECORD_ROWS_MAX},
};

/// Longest tenant name, bytes.
pub const TENANT_BYTES_MAX: usize = 64;
/// Longest collector id, bytes.
pub const COLLECTOR_BYTES_MAX: usize = 128;
/// Longest name of a stream that is read from elsewhere, bytes.
pub const STREAM_BYTES_MAX: usize = 512;

/// Rows refused, by reason.
pub(crate) type Refused = BTreeMap<Refusal, u64>;

/// Refuses what no honest sender sends.
pub(crate) fn check_shape(append: &Append<'_>) -> Result<(), AppendError> {
    let malformed = |what: String| Err(AppendError::Malformed(what));
    let tenant = append.tenant;
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if tenant.is_empty() || tenant.len() > TENANT_BYTES_MAX || !tenant.bytes().all(is_name) {
        return malformed(format!("tenant {tenant:?} must have 1 to {TENANT_BYTES_MAX} letters, digits, '-' or '_'"));
    }
    if let Some(origin) = &append.origin {
        if origin.collector.is_empty() || origin.collector.len() > COLLECTOR_BYTES_MAX {
            return malformed(format!("collector must have 1 to {COLLECTOR_BYTES_MAX} bytes"));
        }
        if origin.sequence == 0 {
            return malformed("sequence must be at least 1".into());
        }
    }
    let (rows, bytes) = match &append.rows {
        Rows::Samples(samples) => {
            let floats = samples.values.len();
            if samples.series.len() != floats || samples.timestamps_ms.len() != floats {
                return malformed("series, timestamps and values differ in length".into());
            }
            let mut series = samples.series.iter().chain(samples.histograms.iter().map(|row| &row.series));
            if let Some(bad) = series.find(|s| **s as usize >= samples.labels.len()) {
                return malformed(format!("series {bad} is past the {} series given", samples.labels.len()));
            }
            let histograms = samples.histograms.iter().map(|row| record::histogram_bytes_max(&row.histogram));
            let labels = samples.labels.iter().map(|l| l.len()).sum::<usize>();
            (samples.len(), floats * 16 + labels + histograms.sum::<usize>())
        }
        Rows::Events(events) | Rows::Batch(events, _) => {
            let rows = events.rows();
            if let Some(index) = events.columns.iter().position(|c| c.len() != rows) {
                return malformed(format!("column {index} of {} differs in length", events.table.name()));
            }
            if events.columns.len() != events.table.columns().len() {
                return malformed(format!("{} has {} columns", events.table.name(), events.table.columns().len()));
            }
            (rows, 0)
        }
    };
    for (what, found, max) in [("rows", rows, RECORD_ROWS_MAX), ("bytes", bytes, RECORD_BYTES_MAX)] {
        if found > max {
            return Err(AppendError::TooLarge { what, found, max });
        }
    }
    Ok(())
}

/// Refuses a place that can't be kept.
pub(crate) fn check_consumed(consumed: &Consumed<'_>) -> Result<(), AppendError> {
    match consumed.stream.len() {
        1..=STREAM_BYTES_MAX => Ok(()),
        _ => Err(AppendError::Malformed(format!("stream must have 1 to {STREAM_BYTES_MAX} bytes"))),
    }
}

/// The range of timestamps taken now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    min_ms: i64,
    max_ms: i64,
}

impl Window {
    /// Rows older than `keep_ms` would expire at once; they are too old too.
    pub(crate) fn new(limits: &Limits, keep_ms: Option<i64>, now_ms: i64) -> Window {
        let age_ms = limits.age_ms_max.min(keep_ms.unwrap_or(i64::MAX));
        Window { min_ms: now_ms.saturating_sub(age_ms), max_ms: now_ms.saturating_add(limits.future_ms_max) }
    }

    /// Why a timestamp is not taken.
    pub(crate) fn refuse(&self, ts_ms: i64) -> Option<Refusal> {
        match ts_ms {
            t if t < self.min_ms => Some(Refusal::TooOld),
            t if t > self.max_ms => Some(Refusal::TooNew),
            _ => None,
        }
    }
}

/// The labels of a new series, if its bytes are canonical and within the limits.
pub(crate) fn check_labels(bytes: &[u8], limits: &Limits) -> Result<Labels, Refusal> {
    let labels = Labels::from_bytes(bytes).ok_or(Refusal::BadLabels)?;
    if labels.len() > limits.labels_per_series_max {
        return Err(Refusal::TooManyLabels);
    }
    let is_long = |(name, value): (&str, &str)| {
        name.len() > limits.label_name_bytes_max || value.len() > limits.label_value_bytes_max
    };
    if labels.iter().any(is_long) {
        return Err(Refusal::LabelTooLong);
    }
    labels.get(METRIC_NAME).is_some().then_some(labels).ok_or(Refusal::BadLabels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_where_retention_and_clocks_do() {
        let limits = Limits { age_ms_max: 100, future_ms_max: 10, ..Limits::default() };
        let refuse = |keep, ts| Window::new(&limits, keep, 1000).refuse(ts);
        assert_eq!(refuse(None, 900), None);
        assert_eq!(refuse(None, 899), Some(Refusal::TooOld));
        assert_eq!(refuse(Some(50), 949), Some(Refusal::TooOld));
        assert_eq!(refuse(None, 1010), None);
        assert_eq!(refuse(None, 1011), Some(Refusal::TooNew));
    }

    #[test]
    fn labels_over_a_limit_are_refused() {
        let limits = Limits { labels_per_series_max: 2, label_value_bytes_max: 4, ..Limits::default() };
        let check =
            |pairs: &[(&str, &str)]| check_labels(Labels::from_pairs(pairs.iter().copied()).as_bytes(), &limits);
        assert!(check(&[("__name__", "up"), ("a", "1234")]).is_ok());
        assert_eq!(check(&[("__name__", "up"), ("a", "12345")]), Err(Refusal::LabelTooLong));
        assert_eq!(check(&[("__name__", "up"), ("a", "1"), ("b", "1")]), Err(Refusal::TooManyLabels));
        assert_eq!(check(&[("a", "1")]), Err(Refusal::BadLabels), "a series has a name");
        assert_eq!(check_labels(b"\x01b\x011\x01a\x011", &limits), Err(Refusal::BadLabels));
    }
}
