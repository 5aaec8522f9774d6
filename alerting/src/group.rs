//! A rule group while it runs: its slots, its rules' states, and the series they write.

use std::collections::{BTreeMap, BTreeSet};

use proto::Labels;
use query::promql::STALE_NAN_BITS;
use storage::{Append, Rows, SampleRows, Store};

use crate::active::{Active, Happening};
use crate::evaluate::{Evaluator, Sample, alert_series};
use crate::fingerprint::{Fingerprint, Fnv};
use crate::rule::{Kind, Rule, RuleGroup};
use crate::state::{Change, Reason, Transition};

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
    /// Series written last time: those not written again are marked stale.
    written: BTreeSet<Labels>,
}

impl RuleState {
    fn new() -> RuleState {
        RuleState {
            active: BTreeMap::new(),
            health: Health::Unknown,
            last_evaluation_ms: None,
            evaluation_s: 0.0,
            written: BTreeSet::new(),
        }
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
    /// How long the last evaluation of the group took, seconds.
    pub evaluation_s: f64,
    /// When it was last evaluated, milliseconds.
    pub last_evaluation_ms: Option<i64>,
}

/// What one evaluation of a group gave, with the rule each happening is of.
pub type Happenings = Vec<(usize, Happening)>;

impl Group {
    /// A group that waits for its next slot after `now_ms`.
    pub fn new(group: RuleGroup, now_ms: i64) -> Group {
        let rules = group.rules.iter().map(|_| RuleState::new()).collect();
        let mut group =
            Group { group, rules, last_slot_ms: 0, missed_slots: 0, evaluation_s: 0.0, last_evaluation_ms: None };
        group.last_slot_ms = group.slot_ms(now_ms);
        group
    }

    /// Takes over the state of the same group before a reload; gives back the alerts of rules that are gone.
    pub fn take_over(&mut self, mut old: Group) -> Vec<(usize, Active)> {
        self.last_evaluation_ms = old.last_evaluation_ms;
        self.missed_slots = old.missed_slots;
        if self.group.interval_ms == old.group.interval_ms {
            self.last_slot_ms = old.last_slot_ms;
        }
        let mut gone = Vec::new();
        let mut free: Vec<Option<RuleState>> = old.rules.drain(..).map(Some).collect();
        for (rule, state) in self.group.rules.iter().zip(&mut self.rules) {
            let same = (0..free.len()).find(|i| free[*i].is_some() && is_same(rule, &old.group.rules[*i]));
            if let Some(taken) = same.and_then(|i| free[i].take()) {
                *state = taken;
            }
        }
        for (index, state) in free.into_iter().enumerate() {
            gone.extend(state.into_iter().flat_map(|s| s.active.into_values()).map(|a| (index, a)));
        }
        gone
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
        let (began_ms, mut happenings) = (clock(), Vec::new());
        for index in 0..self.group.rules.len() {
            let rule_began_ms = clock();
            let steps = self.evaluate_rule(index, evaluator, store, slot_ms, now_ms).await;
            happenings.extend(steps.into_iter().map(|h| (index, h)));
            let state = &mut self.rules[index];
            state.last_evaluation_ms = Some(slot_ms);
            state.evaluation_s = (clock() - rule_began_ms) as f64 / 1000.0;
        }
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
        let (series, happenings): (Vec<Sample>, Vec<Happening>) = match &rule.kind {
            Kind::Recording => match evaluator.recording(rule, self.group.limit, at_ms).await {
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
                let times = (slot_ms, at_ms);
                let out = evaluator.alerting(rule, alerting, &state.active, self.group.limit, times).await;
                let failed = out.error.is_some();
                state.health = out.error.map_or(Health::Ok, Health::Err);
                state.active = out.active;
                if failed && out.happenings.is_empty() {
                    return Vec::new();
                }
                (state.active.values().flat_map(alert_series).collect(), out.happenings)
            }
        };
        if let Health::Err(error) = &state.health {
            tracing::warn!(group = self.group.name, rule = rule.name, error, "a rule could not be evaluated");
        }
        write(store, &evaluator.tenant, &series, &mut state.written, slot_ms, now_ms);
        happenings
    }
}

/// Writes series and marks those stale that were written before and are not now.
fn write(store: &Store, tenant: &str, series: &[Sample], written: &mut BTreeSet<Labels>, ts_ms: i64, now_ms: i64) {
    let now: BTreeSet<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
    let stale = f64::from_bits(STALE_NAN_BITS);
    let gone: Vec<Sample> = written.difference(&now).map(|labels| (labels.clone(), stale)).collect();
    let all: Vec<&Sample> = series.iter().chain(&gone).collect();
    if !all.is_empty() {
        let labels: Vec<&[u8]> = all.iter().map(|(labels, _)| labels.as_bytes()).collect();
        let values: Vec<f64> = all.iter().map(|(_, value)| *value).collect();
        let index: Vec<u32> = (0..all.len() as u32).collect();
        let timestamps = vec![ts_ms; all.len()];
        let rows =
            SampleRows { labels: &labels, series: &index, timestamps_ms: &timestamps, values: &values, families: &[] };
        let append = Append { tenant, origin: None, rows: Rows::Samples(rows), now_ms };
        // readable at once; whether it reached the disk is told by the log
        match store.append(append) {
            Ok(pending) => drop(tokio::spawn(async move {
                if let Err(e) = pending.await {
                    tracing::error!(error = %e, "series of rules could not be stored");
                }
            })),
            Err(e) => tracing::error!(error = %e, "series of rules could not be stored"),
        }
    }
    *written = now;
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
