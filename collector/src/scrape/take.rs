//! Turns a page into the samples of a target: its labels put on, rules and limits applied, ended series marked. Pure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use proto::{
    Histogram, Labels,
    histogram::{Counts, Layout, Shape, TOTALS},
    labels::METRIC_NAME,
    samples::{STALE_MARKER_BITS, SamplesBuilder},
};

use super::{
    exposition::{Page, Sample},
    relabel::{LabelMap, apply},
};
use crate::config::{ScrapeConfig, ScrapeLimits};

/// What is kept of a target between two pages.
#[derive(Debug, Default)]
pub struct Series {
    /// Series of the last page without times of their own.
    last: There,
    /// Kinds told already, by metric name.
    families: HashMap<String, String>,
}

/// Series of a page without times of their own.
#[derive(Debug, Default)]
struct There {
    floats: HashSet<Labels>,
    histograms: HashSet<Labels>,
}

impl There {
    fn has(&self, labels: &Labels) -> bool {
        self.floats.contains(labels) || self.histograms.contains(labels)
    }

    fn series(&self) -> impl Iterator<Item = &Labels> {
        self.floats.union(&self.histograms)
    }
}

/// What a page gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples on the page, of which a native histogram is one.
    pub scraped: usize,
    /// Those that the rules left.
    pub kept: usize,
    /// Series that were not on the page before.
    pub added: usize,
    /// Native parts of histograms that the job does not ask for.
    pub native_not_asked_for: usize,
    /// Native parts of histograms that were left out as broken.
    pub native_broken: usize,
}

/// A limit of the configuration that a page breaks: nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit}: {found} is more than {allowed}")]
pub struct OverLimit {
    /// Field of the configuration.
    pub limit: &'static str,
    /// What the page has.
    pub found: usize,
    /// What is allowed.
    pub allowed: usize,
}

/// Adds a page's samples, and an end mark for each series of the last page that is no longer there.
pub fn take(
    config: &ScrapeConfig,
    target: &LabelMap,
    page: Page,
    now_ms: i64,
    series: &mut Series,
    out: &mut SamplesBuilder,
) -> Result<Taken, OverLimit> {
    let mut taken = Taken {
        scraped: page.samples.len() + page.histograms.len(),
        native_not_asked_for: page.left_out.not_asked_for,
        native_broken: page.left_out.broken,
        ..Taken::default()
    };
    let mut now_there = There::default();
    let floats = kept(config, target, page.samples, now_ms, &mut now_there.floats)?;
    let histograms = kept(config, target, page.histograms, now_ms, &mut now_there.histograms)?;
    taken.kept = floats.len() + histograms.len();
    over("sample_limit", taken.kept, config.limits.samples)?;
    taken.added = now_there.series().filter(|labels| !series.last.has(labels)).count();
    for family in page.families {
        if series.families.get(&family.name) != Some(&family.kind) {
            series.families.insert(family.name.clone(), family.kind.clone());
            out.family(family);
        }
    }
    end(series, &now_there, now_ms, out);
    floats.iter().for_each(|(labels, ts_ms, value)| out.push(labels, *ts_ms, *value));
    histograms.into_iter().for_each(|(labels, ts_ms, value)| out.push_histogram(&labels, ts_ms, value));
    series.last = now_there;
    Ok(taken)
}

/// What the rules leave of samples, with series and time; adds the series to those that are there.
fn kept<V>(
    config: &ScrapeConfig,
    target: &LabelMap,
    samples: Vec<Sample<V>>,
    now_ms: i64,
    there: &mut HashSet<Labels>,
) -> Result<Vec<(Labels, i64, V)>, OverLimit> {
    let mut kept = Vec::with_capacity(samples.len());
    for sample in samples {
        let mut labels = joined(config.honor_labels, target, sample.labels);
        labels.insert(METRIC_NAME.into(), sample.name);
        if !apply(&config.metric_relabel, &mut labels) || !labels.contains_key(METRIC_NAME) {
            continue;
        }
        check_labels(&config.limits, &labels)?;
        labels.retain(|_, value| !value.is_empty());
        let labels = Labels::from_pairs(&labels);
        let own_time = sample.ts_ms.filter(|_| config.honor_timestamps);
        if own_time.is_none() {
            there.insert(labels.clone());
        }
        kept.push((labels, own_time.unwrap_or(now_ms), sample.value));
    }
    Ok(kept)
}

/// Marks every series of a target as ended: its page can't be read, or it is a target no longer.
pub fn end_all(series: &mut Series, now_ms: i64, out: &mut SamplesBuilder) {
    end(series, &There::default(), now_ms, out);
    series.last = There::default();
}

/// A series ends as what it was; one that goes on as the other kind does not end.
fn end(series: &Series, there: &There, now_ms: i64, out: &mut SamplesBuilder) {
    let stale = f64::from_bits(STALE_MARKER_BITS);
    for gone in series.last.floats.iter().filter(|labels| !there.has(labels)) {
        out.push(gone, now_ms, stale);
    }
    for gone in series.last.histograms.iter().filter(|labels| !there.has(labels)) {
        out.push_histogram(gone, now_ms, ended(stale));
    }
}

/// The staleness marker of a native histogram: an empty one with that sum.
fn ended(stale: f64) -> Histogram {
    let empty = Layout::new(Shape::default())
        .and_then(|layout| Histogram::new(Arc::new(layout), stale, Counts::Integers(vec![0; TOTALS])));
    empty.expect("an empty histogram breaks no rule")
}

/// The page's labels with the target's. Of two with one name the target's stands, and the page's is kept as
/// `exported_…`, unless the page is to be honored.
fn joined(honor: bool, target: &LabelMap, mut page: LabelMap) -> LabelMap {
    for (name, value) in target {
        match page.get(name) {
            Some(_) if honor => {}
            Some(_) => {
                let theirs = page.insert(name.clone(), value.clone()).unwrap_or_default();
                let mut renamed = format!("exported_{name}");
                while page.contains_key(&renamed) || target.contains_key(&renamed) {
                    renamed.insert_str(0, "exported_");
                }
                page.insert(renamed, theirs);
            }
            None => {
                page.insert(name.clone(), value.clone());
            }
        }
    }
    page
}

fn check_labels(limits: &ScrapeLimits, labels: &LabelMap) -> Result<(), OverLimit> {
    over("label_limit", labels.len(), limits.labels)?;
    for (name, value) in labels {
        over("label_name_length_limit", name.len(), limits.label_name_bytes)?;
        over("label_value_length_limit", value.len(), limits.label_value_bytes)?;
    }
    Ok(())
}

fn over(limit: &'static str, found: usize, allowed: usize) -> Result<(), OverLimit> {
    if found > allowed { Err(OverLimit { limit, found, allowed }) } else { Ok(()) }
}
