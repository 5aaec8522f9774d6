//! What a read of series asks for, what it gives, and how it can fail.

use proto::{Histogram, Labels};

use super::WholeChunk;
use crate::matcher::Matcher;

/// Which samples of which series, and how many at most.
#[derive(Clone, Copy, Debug)]
pub struct SeriesQuery<'a> {
    /// All must match; a label that a series does not have counts as the empty string.
    pub matchers: &'a [Matcher],
    /// Oldest timestamp, inclusive, milliseconds.
    pub min_ms: i64,
    /// Newest timestamp, inclusive, milliseconds.
    pub max_ms: i64,
    /// More series than this are [`ReadError::TooMuch`].
    pub series_max: usize,
    /// More samples than this are [`ReadError::TooMuch`].
    pub samples_max: usize,
}

/// The samples of one series, staleness markers kept: floats, and native histograms beside them. At no time are there both.
#[derive(Clone, Debug)]
pub struct SeriesSamples {
    /// The series.
    pub labels: Labels,
    /// When the floats are, milliseconds, strictly ascending.
    pub timestamps_ms: Vec<i64>,
    /// One float for each timestamp.
    pub values: Vec<f64>,
    /// The histograms, each with its time, milliseconds, strictly ascending.
    pub histograms: Vec<(i64, Histogram)>,
    /// Chunks that were not decoded, ascending and apart from each other; empty unless they were asked for. No sample lies in
    /// one, unless it came while the read went on.
    pub whole: Vec<WholeChunk>,
}

/// Why a read gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The question is larger than its budget.
    #[error("the query needs more than {allowed} {what}; narrow its matchers or its time range")]
    TooMuch {
        /// What there is too much of: "series", "samples".
        what: &'static str,
        /// The budget.
        allowed: usize,
    },
    /// A part does not hold what its format says.
    #[error("part {path} is damaged: {reason}")]
    Damaged {
        /// The part, in the object store.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The part could not be read.
    #[error("part {path} could not be read: {source}")]
    Unreadable {
        /// The part, in the object store.
        path: String,
        /// From the object store.
        source: object_store::Error,
    },
}
