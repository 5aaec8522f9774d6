//! Where samples come from: one trait, implemented by the storage adaptor and by [`super::memory::MemorySource`].

use std::sync::Arc;

use async_trait::async_trait;
use proto::Labels;

use super::digest::{Digest, Digested};
use super::histogram::Histogram;
use super::matcher::Matcher;

/// What one selector needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// All of them must hold.
    pub matchers: Vec<Matcher>,
    /// The first timestamp needed, inclusive, in milliseconds.
    pub start_ms: i64,
    /// The last timestamp needed, inclusive, in milliseconds.
    pub end_ms: i64,
    /// Distance of evaluation steps, 0 for one step. A hint.
    pub step_ms: i64,
    /// Length of the window around each step, 0 for an instant selector. A hint.
    pub range_ms: i64,
    /// The function the series go into, empty if none. A hint.
    pub function: &'static str,
    /// All that is asked of the whole time, which is one window. Series may then be given as digests; `None`: they must not.
    pub digested: Option<Digested>,
    /// How many series may still be loaded; more is an error.
    pub series_max: usize,
    /// How many samples may still be loaded; more is an error.
    pub samples_max: usize,
}

/// One series' samples, in ascending order of time. Staleness markers ([`super::STALE_NAN_BITS`]) are included.
#[derive(Clone, Debug)]
pub struct SeriesSamples {
    /// The series' labels, metric name included.
    pub labels: Labels,
    /// Times of the float samples, in milliseconds.
    pub timestamps: Vec<i64>,
    /// Float samples, as many as `timestamps`.
    pub values: Vec<f64>,
    /// When each float sample's counter began, in milliseconds, 0 if unknown; empty if unknown for all.
    pub start_timestamps: Vec<i64>,
    /// Histogram samples with their times.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
    /// When each histogram sample's counter began, as `start_timestamps`.
    pub histogram_start_timestamps: Vec<i64>,
    /// Stands for the samples, which are left out then.
    pub digest: Option<Digest>,
}

impl SeriesSamples {
    /// A series of floats.
    pub fn floats(labels: Labels, timestamps: Vec<i64>, values: Vec<f64>) -> SeriesSamples {
        SeriesSamples {
            labels,
            timestamps,
            values,
            start_timestamps: Vec::new(),
            histograms: Vec::new(),
            histogram_start_timestamps: Vec::new(),
            digest: None,
        }
    }

    /// How many samples it has in memory; a digest counts as one.
    pub fn len(&self) -> usize {
        self.timestamps.len() + self.histograms.len() + usize::from(self.digest.is_some())
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why samples could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The store failed.
    #[error("{0}")]
    Failed(String),
    /// The query was stopped meanwhile.
    #[error("query was stopped")]
    Stopped,
    /// More samples than `samples_max`.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// More series than `series_max`.
    #[error("query would touch more than {0} series")]
    TooManySeries(usize),
}

/// A store of series.
#[async_trait]
pub trait Source: Send + Sync {
    /// All series that match, each with its samples from `start_ms` to `end_ms`; series without samples may be left out.
    async fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError>;

    /// Called once all is loaded, before it is evaluated without yielding: about so many samples and points will be looked at, one
    /// sample in the windows of two steps counting twice.
    async fn before_evaluation(&self, _looks: usize) {}
}
