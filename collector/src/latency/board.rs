//! The statements of one instance and source that have a histogram of their own: those that took most time lately. All
//! others share one, so that the sum over all is everything there was, and the number of series is bounded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proto::samples::SamplesBuilder;

use super::{Histogram, Name, OTHER};
use crate::databases::metrics::Base;

/// Most statements with a histogram of their own.
pub(super) const OWN_MAX: usize = 50;
/// Most others whose load is remembered, to find those that deserve one.
const CANDIDATES_MAX: usize = 2_000;
/// Most that are replaced at one publication.
const REPLACED_MAX: usize = 5;
/// What is left of a load from one publication to the next: half of it after three minutes.
const LOAD_KEPT: f64 = 0.9;
/// A load of one second sinks to this within an hour and a half: the statement is forgotten.
const LOAD_NONE: f64 = 1e-8;
/// How many times more load one must have to take the place of another: else two would take turns.
const LEAD: f64 = 2.0;

/// Histograms of one instance and source.
pub(super) struct Board {
    base: Base,
    source: &'static str,
    own: BTreeMap<Arc<str>, Own>,
    candidates: HashMap<Arc<str>, f64>,
    other: Histogram,
    late: u64,
    is_new: bool,
}

struct Own {
    histogram: Histogram,
    load_s: f64,
    /// Not published yet: its series begin with 0, so that what was counted since is an increase.
    is_new: bool,
}

impl Board {
    pub(super) fn new(base: Base, source: &'static str) -> Board {
        let other = Histogram::default();
        Board { base, source, own: BTreeMap::new(), candidates: HashMap::new(), other, late: 0, is_new: true }
    }

    pub(super) fn observe(&mut self, fingerprint: &Arc<str>, seconds: f64, is_late: bool) {
        if is_late {
            self.late += 1;
            return;
        }
        if let Some(own) = self.own.get_mut(fingerprint) {
            own.histogram.observe(seconds);
            own.load_s += seconds;
        } else if self.own.len() < OWN_MAX {
            let mut own = Own { histogram: Histogram::default(), load_s: seconds, is_new: true };
            own.histogram.observe(seconds);
            self.own.insert(fingerprint.clone(), own);
        } else {
            self.other.observe(seconds);
            if let Some(load_s) = self.candidates.get_mut(fingerprint) {
                *load_s += seconds;
            } else if self.candidates.len() < CANDIDATES_MAX {
                self.candidates.insert(fingerprint.clone(), seconds);
            }
        }
    }

    /// Adds all series; `before_ms`: when that was done last. Returns whether there will be more.
    pub(super) fn publish(&mut self, out: &mut SamplesBuilder, before_ms: i64, now_ms: i64) -> bool {
        let (base, source) = (&self.base, self.source);
        for (fingerprint, histogram) in replace(&mut self.own, &mut self.candidates) {
            let name = Name { base, source, fingerprint: &fingerprint };
            // What it counted since it was published last stays counted.
            histogram.push(out, &name, now_ms - 1);
            Histogram::push_end(out, &name, now_ms);
        }
        let zero = Histogram::default();
        for (fingerprint, own) in &mut self.own {
            let name = Name { base, source, fingerprint };
            if std::mem::take(&mut own.is_new) {
                zero.push(out, &name, before_ms + 1);
            }
            own.histogram.push(out, &name, now_ms);
        }
        let name = Name { base, source, fingerprint: OTHER };
        if std::mem::take(&mut self.is_new) {
            zero.push(out, &name, before_ms + 1);
        }
        if self.own.is_empty() {
            Histogram::push_end(out, &name, now_ms);
            return false;
        }
        self.other.push(out, &name, now_ms);
        let late = self.late as f64;
        base.push(out, "tidewatch_statement_latency_late_total", [("source", source)], now_ms, late);
        true
    }
}

/// Lets loads sink, takes out who has none left, and gives the places of the lowest to those who have much more. Returns
/// whose series end.
fn replace(own: &mut BTreeMap<Arc<str>, Own>, candidates: &mut HashMap<Arc<str>, f64>) -> Vec<(Arc<str>, Histogram)> {
    own.values_mut().for_each(|o| o.load_s *= LOAD_KEPT);
    candidates.values_mut().for_each(|load_s| *load_s *= LOAD_KEPT);
    candidates.retain(|_, load_s| *load_s >= LOAD_NONE);
    let mut ended: Vec<(Arc<str>, Histogram)> =
        own.extract_if(.., |_, o| o.load_s < LOAD_NONE).map(|(f, o)| (f, o.histogram)).collect();
    for _ in 0..REPLACED_MAX {
        let best = candidates.iter().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0)));
        let Some((best, load_s)) = best.map(|(f, l)| (f.clone(), *l)) else { break };
        if own.len() >= OWN_MAX {
            let worst = own.iter().filter(|(_, o)| !o.is_new).min_by(|a, b| a.1.load_s.total_cmp(&b.1.load_s));
            let Some((worst, _)) = worst.filter(|(_, o)| load_s > LEAD * o.load_s) else { break };
            let worst = worst.clone();
            ended.extend(own.remove_entry(&worst).map(|(f, o)| (f, o.histogram)));
        }
        candidates.remove(&best);
        own.insert(best, Own { histogram: Histogram::default(), load_s, is_new: false });
    }
    ended
}
