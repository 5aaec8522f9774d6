//! A rule group while it runs: its slots, its rules' states, and the series they write.

use std::collections::{BTreeMap, BTreeSet};

use proto::{Labels, samples::SamplesBuilder};
use query::promql::{Point, STALE_NAN_BITS};
use storage::{Append, Rows, SampleRows, Store};

use crate::active::{Active, Happening};
use crate::evaluate::{Evaluator, Written, alert_series};
use crate::fingerprint::{Fingerprint, Fnv};
use crate::flapping::Flaps;
use crate::rule::{Kind, Rule, RuleGroup};
use crate::sight::Sight;
use crate::state::{Change, Reason, Transition};

/// Most label sets of one rule whose changes are remembered; further ones never count as flapping.
const FLAPS_MAX: usize = 10_000;

/// How well a rule is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not evaluated yet.
    Unknown,
    /// Its last evaluation went well.
    Ok,
    /// It did not.
    Err(String),
}

/// What is remembered of a rule between evaluations.
#[derive(Clone, Debug)]
pub struct RuleState {
    /// Its alerts.
    pub active: BTreeMap<Fingerprint, Active>,
    /// How well it is.
    pub health: Health,
    /// When it was last evaluated, milliseconds.
    pub last_evaluation_ms: Option<i64>,
    /// How long that took, seconds.
    pub evaluation_s: f64,
    /// Whether it sees what it watches.
    pub sight: Sight,
    /// Changes of its alerts lately, also of those that ended.
    flaps: BTreeMap<Fingerprint, Flaps>,
    /// Series written last time: those not written again are marked stale.
    written: BTreeSet<Labels>,
}

impl RuleState {
    fn new(rule: &Rule, now_ms: i64) -> RuleState {
        RuleState {
            sight: Sight::new(rule, now_ms),
            active: BTreeMap::new(),
            flaps: BTreeMap::new(),
            health: Health::Unknown,
            last_evaluation_ms: None,
            evaluation_s: 0.0,
            written: BTreeSet::new(),
        }
    }
}

impl RuleState {
    /// Notes beginnings and ends, and adds what that says about flapping.
    fn judge_flapping(&mut self, happenings: &mut Vec<Happening>, ts_ms: i64) {
        let counts = |h: &&Happening| matches!(h.transition.change, Change::Fired | Change::Resolved);
        for happening in happenings.iter().filter(counts) {
            if self.flaps.len() < FLAPS_MAX || self.flaps.contains_key(&happening.alert.fingerprint) {
                self.flaps.entry(happening.alert.fingerprint).or_default().changed(ts_ms);
            }
        }
        self.flaps.retain(|_, flaps| !flaps.is_over(ts_ms));
        for (fingerprint, flaps) in &mut self.flaps {
            let flapping = flaps.judge(ts_ms);
            let Some(alert) = self.active.get_mut(fingerprint).filter(|a| a.track.flapping != flapping) else {
                continue;
            };
            alert.track.flapping = flapping;
            let change = if flapping { Change::Flapping } else { Change::Steady };
            let transition = Transition { change, reason: Reason::ChangeRate };
            happenings.push(Happening { alert: alert.clone(), transition, ts_ms });
        }
    }

    /// Takes an alert of an earlier life; the series written of it are known, so that they are marked stale when it ends.
    pub fn adopt(&mut self, alert: Active) {
        self.written.extend(alert_series(&alert).map(|(labels, _)| labels));
        self.active.insert(alert.fingerprint, alert);
    }
}

/// A group and its state.
#[derive(Debug)]
pub struct Group {
    /// What it says.
    pub group: RuleGroup,
    /// One a rule.
    pub rules: Vec<RuleState>,
    /// The last slot evaluated or passed over, milliseconds.
    pub last_slot_ms: i64,
    /// Slots that passed without an evaluation.
    pub missed_slots: u64,
    /// Rules evaluated.
    pub evaluations: u64,
    /// Evaluations of rules that failed.
    pub failures: u64,
    /// How long the last evaluation of the group took, seconds.
    pub evaluation_s: f64,
    /// When it was last evaluated, milliseconds.
    pub last_evaluation_ms: Option<i64>,
    /// Series of rules that a reload removed: marked stale at the next evaluation unless another rule writes them.
    stale: BTreeSet<Labels>,
}

/// What one evaluation of a group gave, with the rule each happening is of.
pub type Happenings = Vec<(usize, Happening)>;

impl Group {
    /// A group that waits for its next slot after `now_ms`.
    pub fn new(group: RuleGroup, now_ms: i64) -> Group {
        let rules = group.rules.iter().map(|rule| RuleState::new(rule, now_ms)).collect();
        let mut group = Group {
            group,
            rules,
            last_slot_ms: 0,
            missed_slots: 0,
            evaluations: 0,
            failures: 0,
            evaluation_s: 0.0,
            last_evaluation_ms: None,
            stale: BTreeSet::new(),
        };
        group.last_slot_ms = group.slot_ms(now_ms);
        group
    }

    /// Takes over the state of the same group before a reload; gives back the alerts of rules that are gone.
    pub fn take_over(&mut self, mut old: Group) -> Vec<(usize, Active)> {
        self.last_evaluation_ms = old.last_evaluation_ms;
        (self.missed_slots, self.evaluations, self.failures) = (old.missed_slots, old.evaluations, old.failures);
        if self.group.interval_ms == old.group.interval_ms {
            self.last_slot_ms = old.last_slot_ms;
        }
        let mut gone = Vec::new();
        let mut free: Vec<Option<RuleState>> = old.rules.drain(..).map(Some).collect();
        for (rule, state) in self.group.rules.iter().zip(&mut self.rules) {
            let Some(same) = (0..free.len()).find(|i| free[*i].is_some() && is_same(rule, &old.group.rules[*i])) else {
                continue;
            };
            let Some(mut taken) = free[same].take() else { continue };
            let was = &old.group.rules[same];
            if rule.source.text() != was.source.text() || rule.is_sparse() != was.is_sparse() {
                std::mem::swap(&mut taken.sight, &mut state.sight);
            }
            *state = taken;
        }
        for (index, state) in free.into_iter().enumerate() {
            let Some(state) = state else { continue };
            self.stale.extend(state.written);
            gone.extend(state.active.into_values().map(|a| (index, a)));
        }
        self.stale.extend(std::mem::take(&mut old.stale));
        gone
    }

    /// Every series its rules wrote last, for a group that goes as a whole.
    pub fn written(&self) -> impl Iterator<Item = &Labels> {
        self.rules.iter().flat_map(|r| &r.written).chain(&self.stale)
    }

    /// The latest slot at or before a moment: slots are an interval apart, shifted by a hash of file and name so that groups
    /// do not all run at once.
    pub fn slot_ms(&self, now_ms: i64) -> i64 {
        let mut hash = Fnv::default();
        hash.text(&self.group.file).text(&self.group.name);
        let offset_ms = (hash.0 % self.group.interval_ms as u64) as i64;
        (now_ms - offset_ms).div_euclid(self.group.interval_ms) * self.group.interval_ms + offset_ms
    }

    /// The next slot to evaluate, milliseconds.
    pub fn next_slot_ms(&self) -> i64 {
        self.last_slot_ms + self.group.interval_ms
    }

    /// Evaluates every rule in order at the latest slot, if one has come since the last; slots missed are counted. What a rule
    /// writes, the rules after it see.
    pub async fn evaluate(
        &mut self,
        evaluator: &Evaluator,
        store: &Store,
        now_ms: i64,
        clock: &(dyn Fn() -> i64 + Send + Sync),
    ) -> Happenings {
        let slot_ms = self.slot_ms(now_ms);
        if slot_ms <= self.last_slot_ms {
            return Vec::new();
        }
        self.missed_slots += ((slot_ms - self.last_slot_ms) / self.group.interval_ms - 1).max(0) as u64;
        self.last_slot_ms = slot_ms;
        self.evaluate_at(evaluator, store, slot_ms, now_ms, clock).await
    }

    /// Evaluates every rule in order as of a moment, whether a slot or not.
    pub async fn evaluate_at(
        &mut self,
        evaluator: &Evaluator,
        store: &Store,
        slot_ms: i64,
        now_ms: i64,
        clock: &(dyn Fn() -> i64 + Send + Sync),
    ) -> Happenings {
        let (began_ms, mut happenings) = (clock(), Vec::new());
        let evaluator = &evaluator.for_group(&self.group);
        for index in 0..self.group.rules.len() {
            let rule_began_ms = clock();
            let steps = self.evaluate_rule(index, evaluator, store, slot_ms, now_ms).await;
            happenings.extend(steps.into_iter().map(|h| (index, h)));
            let state = &mut self.rules[index];
            self.evaluations += 1;
            self.failures += u64::from(matches!(state.health, Health::Err(_)));
            state.last_evaluation_ms = Some(slot_ms);
            state.evaluation_s = (clock() - rule_began_ms) as f64 / 1000.0;
        }
        let left = std::mem::take(&mut self.stale);
        let written = |labels: &Labels| self.rules.iter().any(|r| r.written.contains(labels));
        let at_ms = slot_ms - self.group.query_offset_ms;
        mark_stale(store, &evaluator.tenant, left.iter().filter(|l| !written(l)), (at_ms, now_ms));
        self.last_evaluation_ms = Some(slot_ms);
        self.evaluation_s = (clock() - began_ms) as f64 / 1000.0;
        happenings
    }

    async fn evaluate_rule(
        &mut self,
        index: usize,
        evaluator: &Evaluator,
        store: &Store,
        slot_ms: i64,
        now_ms: i64,
    ) -> Vec<Happening> {
        let (rule, state) = (&self.group.rules[index], &mut self.rules[index]);
        let at_ms = slot_ms - self.group.query_offset_ms;
        let times = (slot_ms, at_ms);
        let (series, happenings): (Vec<Written>, Vec<Happening>) = match &rule.kind {
            Kind::Recording => match evaluator.recording(rule, &mut state.sight, self.group.limit, times).await {
                Ok(series) => {
                    state.health = Health::Ok;
                    (series, Vec::new())
                }
                Err(e) => {
                    state.health = Health::Err(e);
                    return Vec::new();
                }
            },
            Kind::Alerting(alerting) => {
                let limit = self.group.limit;
                let out = evaluator.alerting(rule, alerting, &state.active, &mut state.sight, limit, times).await;
                let failed = out.error.is_some();
                state.health = out.error.map_or(Health::Ok, Health::Err);
                state.active = out.active;
                if failed && out.happenings.is_empty() {
                    return Vec::new();
                }
                let mut happenings = out.happenings;
                state.judge_flapping(&mut happenings, slot_ms);
                (state.active.values().flat_map(alert_series).collect(), happenings)
            }
        };
        if let Health::Err(error) = &state.health {
            tracing::warn!(group = self.group.name, rule = rule.name, error, "a rule could not be evaluated");
        }
        // at the time the queries looked at, so that later rules of the group see it though an offset shifts theirs
        write(store, evaluator, &series, &mut state.written, (at_ms, now_ms));
        happenings
    }
}

/// Writes series and marks those stale that were written before and are not now.
fn write(
    store: &Store,
    evaluator: &Evaluator,
    series: &[Written],
    written: &mut BTreeSet<Labels>,
    (ts_ms, now_ms): (i64, i64),
) {
    let now: BTreeSet<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
    let mut samples = SamplesBuilder::default();
    for (labels, point) in series {
        match (point, evaluator.querier.memory()) {
            (Point::Float(value), _) => samples.push(labels, ts_ms, *value),
            (Point::Histogram(_), Some(memory)) => memory.write().insert(labels, ts_ms, point.clone(), 0),
            (Point::Histogram(histogram), None) => match query::storable(histogram) {
                Ok(histogram) => samples.push_histogram(labels, ts_ms, histogram),
                Err(e) => tracing::error!(%labels, error = %e, "a histogram can't be recorded"),
            },
        }
    }
    written.difference(&now).for_each(|labels| samples.push(labels, ts_ms, f64::from_bits(STALE_NAN_BITS)));
    append(store, &evaluator.tenant, samples, now_ms);
    *written = now;
}

/// Marks series stale: what asks for them later than `ts_ms` finds nothing.
pub fn mark_stale<'a>(
    store: &Store,
    tenant: &str,
    series: impl Iterator<Item = &'a Labels>,
    (ts_ms, now_ms): (i64, i64),
) {
    let mut samples = SamplesBuilder::default();
    series.for_each(|labels| samples.push(labels, ts_ms, f64::from_bits(STALE_NAN_BITS)));
    append(store, tenant, samples, now_ms);
}

fn append(store: &Store, tenant: &str, samples: SamplesBuilder, now_ms: i64) {
    if samples.is_empty() {
        return;
    }
    let samples = samples.build();
    let labels: Vec<&[u8]> = samples.labels.iter().map(Labels::as_bytes).collect();
    let rows = SampleRows {
        labels: &labels,
        series: &samples.series,
        timestamps_ms: &samples.timestamps_ms,
        values: &samples.values,
        histograms: &samples.histograms,
        families: &[],
    };
    // readable at once; whether it reached the disk is told by the log
    match store.append(Append { tenant, origin: None, rows: Rows::Samples(rows), now_ms }) {
        Ok(pending) => drop(tokio::spawn(async move {
            if let Err(e) = pending.await {
                tracing::error!(error = %e, "series of rules could not be stored");
            }
        })),
        Err(e) => tracing::error!(error = %e, "series of rules could not be stored"),
    }
}

/// Whether a rule after a reload is the same: name and labels, as Prometheus has it.
fn is_same(a: &Rule, b: &Rule) -> bool {
    let labels = |r: &Rule| r.labels.iter().map(|(n, t)| (n.clone(), t.source().to_string())).collect::<Vec<_>>();
    a.name == b.name && labels(a) == labels(b) && matches!(a.kind, Kind::Recording) == matches!(b.kind, Kind::Recording)
}

/// The end of an alert whose rule is gone.
pub fn rule_gone(alert: Active, ts_ms: i64) -> Happening {
    let change = if alert.is_firing() { Change::Resolved } else { Change::Dropped };
    Happening { alert, transition: Transition { change, reason: Reason::RuleGone }, ts_ms }
}
