//! Windows over one series: for every step the samples a range function may see, as plain slices.

use std::borrow::Cow;
use std::sync::Arc;

use multiversion::multiversion;

use super::digest::Digest;
use super::histogram::Histogram;
use super::source::SeriesSamples;
use super::value::is_absent;

/// One series' samples without staleness markers.
pub(super) struct Samples<'a> {
    pub(super) times: Cow<'a, [i64]>,
    pub(super) values: Cow<'a, [f64]>,
    pub(super) start_times: Cow<'a, [i64]>,
    pub(super) histograms: Cow<'a, [(i64, Arc<Histogram>)]>,
    pub(super) histogram_starts: Cow<'a, [i64]>,
    /// Where a value is smaller than the one before: the counter resets, found once for all windows.
    pub(super) drops: Vec<usize>,
    /// What is known of the only window, instead of samples.
    pub(super) digest: Option<&'a Digest>,
}

impl<'a> Samples<'a> {
    pub(super) fn new(series: &'a SeriesSamples, with_drops: bool) -> Samples<'a> {
        let has_starts = series.start_timestamps.len() == series.timestamps.len();
        let starts: &[i64] = if has_starts { &series.start_timestamps } else { &[] };
        let (times, values, start_times) = if has_absent(&series.values) {
            let keep: Vec<usize> = (0..series.values.len()).filter(|i| !is_absent(series.values[*i])).collect();
            let starts = if has_starts { keep.iter().map(|i| starts[*i]).collect() } else { Vec::new() };
            (
                Cow::Owned(keep.iter().map(|i| series.timestamps[*i]).collect()),
                Cow::Owned(keep.iter().map(|i| series.values[*i]).collect()),
                Cow::Owned(starts),
            )
        } else {
            (Cow::Borrowed(&series.timestamps[..]), Cow::Borrowed(&series.values[..]), Cow::Borrowed(starts))
        };
        let has_starts = series.histogram_start_timestamps.len() == series.histograms.len();
        let starts: &[i64] = if has_starts { &series.histogram_start_timestamps } else { &[] };
        let (histograms, histogram_starts) = if series.histograms.iter().any(|(_, h)| h.is_stale()) {
            let keep = |i: &usize| !series.histograms[*i].1.is_stale();
            let keep: Vec<usize> = (0..series.histograms.len()).filter(keep).collect();
            let starts = if has_starts { keep.iter().map(|i| starts[*i]).collect() } else { Vec::new() };
            (Cow::Owned(keep.iter().map(|i| series.histograms[*i].clone()).collect()), Cow::Owned(starts))
        } else {
            (Cow::Borrowed(&series.histograms[..]), Cow::Borrowed(starts))
        };
        let drops = if with_drops { drops(&values) } else { Vec::new() };
        let digest = series.digest.as_ref();
        Samples { times, values, start_times, histograms, histogram_starts, drops, digest }
    }
}

impl Samples<'_> {
    /// Whether there are only floats, and no start of a counter that is to be looked at.
    pub(super) fn are_floats(&self, use_starts: bool) -> bool {
        self.histograms.is_empty() && (!use_starts || self.start_times.is_empty())
    }
}

/// Values looked at before it is asked whether to go on: without a branch between them they are compared several at a time.
const BLOCK: usize = 64;

#[multiversion(targets("x86_64+avx2"), dispatcher = "direct")]
fn has_absent(values: &[f64]) -> bool {
    values.chunks(BLOCK).any(|block| block.iter().fold(false, |any, v| any | is_absent(*v)))
}

fn drops(values: &[f64]) -> Vec<usize> {
    if !has_drop(values) {
        return Vec::new();
    }
    (1..values.len()).filter(|i| values[*i] < values[i - 1]).collect()
}

#[multiversion(targets("x86_64+avx2"), dispatcher = "direct")]
fn has_drop(values: &[f64]) -> bool {
    let Some(next) = values.get(1..) else { return false };
    let blocks = values.chunks(BLOCK).zip(next.chunks(BLOCK));
    blocks.into_iter().any(|(a, b)| a.iter().zip(b).fold(false, |any, (a, b)| any | (b < a)))
}

/// What a range function sees at one step.
pub(super) struct Window<'a> {
    /// Times of floats, ascending.
    pub(super) times: &'a [i64],
    /// Floats.
    pub(super) values: &'a [f64],
    /// Start timestamps of floats; empty if unknown.
    pub(super) start_times: &'a [i64],
    /// Histograms with their times.
    pub(super) histograms: &'a [(i64, Arc<Histogram>)],
    /// Start timestamps of histograms; empty if unknown.
    pub(super) histogram_starts: &'a [i64],
    /// Indices into `values` where the counter was reset; filled for counter functions.
    pub(super) drops: &'a [usize],
    /// What to take off the indices in `drops`.
    pub(super) first: usize,
    /// Exclusive.
    pub(super) start_ms: i64,
    /// Inclusive.
    pub(super) end_ms: i64,
    /// The step's own time.
    pub(super) eval_ms: i64,
}

/// Slides a window over samples; its ends may only move forward.
pub(super) struct Slider<'a> {
    samples: &'a Samples<'a>,
    floats: (usize, usize),
    histograms: (usize, usize),
    drops: (usize, usize),
}

impl<'a> Slider<'a> {
    pub(super) fn new(samples: &'a Samples<'a>) -> Slider<'a> {
        Slider { samples, floats: (0, 0), histograms: (0, 0), drops: (0, 0) }
    }

    /// The window `(start_ms, end_ms]`.
    pub(super) fn window(&mut self, start_ms: i64, end_ms: i64, eval_ms: i64) -> Window<'a> {
        let s = self.samples;
        advance(&mut self.floats, s.times.len(), |i| s.times[i], start_ms, end_ms);
        advance(&mut self.histograms, s.histograms.len(), |i| s.histograms[i].0, start_ms, end_ms);
        let (lo, hi) = self.floats;
        // A reset at the first sample of the window happened before it.
        while self.drops.0 < s.drops.len() && s.drops[self.drops.0] <= lo {
            self.drops.0 += 1;
        }
        self.drops.1 = self.drops.1.max(self.drops.0);
        while self.drops.1 < s.drops.len() && s.drops[self.drops.1] < hi {
            self.drops.1 += 1;
        }
        Window {
            times: &s.times[lo..hi],
            values: &s.values[lo..hi],
            start_times: s.start_times.get(lo..hi).unwrap_or(&[]),
            histograms: &s.histograms[self.histograms.0..self.histograms.1],
            histogram_starts: s.histogram_starts.get(self.histograms.0..self.histograms.1).unwrap_or(&[]),
            drops: &s.drops[self.drops.0..self.drops.1],
            first: lo,
            start_ms,
            end_ms,
            eval_ms,
        }
    }
}

fn advance(range: &mut (usize, usize), len: usize, time: impl Fn(usize) -> i64, start_ms: i64, end_ms: i64) {
    while range.1 < len && time(range.1) <= end_ms {
        range.1 += 1;
    }
    while range.0 < range.1 && time(range.0) <= start_ms {
        range.0 += 1;
    }
}

impl Window<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.times.len() + self.histograms.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::value::ABSENT;

    #[test]
    fn drops_and_absent_values_are_found_wherever_they_stand() {
        for len in 0..3 * BLOCK + 2 {
            let rising: Vec<f64> = (0..len).map(|i| i as f64).collect();
            assert!(drops(&rising).is_empty() && !has_absent(&rising));
            for at in 0..len {
                let mut values = rising.clone();
                values[at] = ABSENT;
                assert!(has_absent(&values), "{at} of {len}");
                values[at] = -1.0;
                assert_eq!(drops(&values), if at == 0 { vec![] } else { vec![at] }, "{len}");
            }
        }
    }
}
