//! Turns a page into the samples of a target: its labels put on, rules and limits applied, ended series marked. Pure.

use std::collections::{HashMap, HashSet};

use proto::{
    Labels,
    labels::METRIC_NAME,
    samples::{STALE_MARKER_BITS, SamplesBuilder},
};

use super::{
    exposition::Page,
    relabel::{LabelMap, apply},
};
use crate::config::{ScrapeConfig, ScrapeLimits};

/// What is kept of a target between two pages.
#[derive(Debug, Default)]
pub struct Series {
    /// Series of the last page without times of their own.
    last: HashSet<Labels>,
    /// Kinds told already, by metric name.
    families: HashMap<String, String>,
}

/// What a page gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples on the page.
    pub scraped: usize,
    /// Those that the rules left.
    pub kept: usize,
    /// Series that were not on the page before.
    pub added: usize,
    /// Native histograms whose buckets were left out.
    pub native_left_out: usize,
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
    let mut taken = Taken { scraped: page.samples.len(), native_left_out: page.native_left_out, ..Taken::default() };
    let mut kept: Vec<(Labels, i64, f64)> = Vec::with_capacity(page.samples.len());
    let mut now_there = HashSet::with_capacity(page.samples.len());
    for sample in page.samples {
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
            now_there.insert(labels.clone());
        }
        kept.push((labels, own_time.unwrap_or(now_ms), sample.value));
    }
    over("sample_limit", kept.len(), config.limits.samples)?;
    taken.kept = kept.len();
    taken.added = now_there.difference(&series.last).count();
    for family in page.families {
        if series.families.get(&family.name) != Some(&family.kind) {
            series.families.insert(family.name.clone(), family.kind.clone());
            out.family(family);
        }
    }
    end(series, &now_there, now_ms, out);
    kept.iter().for_each(|(labels, ts_ms, value)| out.push(labels, *ts_ms, *value));
    series.last = now_there;
    Ok(taken)
}

/// Marks every series of a target as ended: its page can't be read, or it is a target no longer.
pub fn end_all(series: &mut Series, now_ms: i64, out: &mut SamplesBuilder) {
    end(series, &HashSet::new(), now_ms, out);
    series.last.clear();
}

fn end(series: &Series, there: &HashSet<Labels>, now_ms: i64, out: &mut SamplesBuilder) {
    for gone in series.last.difference(there) {
        out.push(gone, now_ms, f64::from_bits(STALE_MARKER_BITS));
    }
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
