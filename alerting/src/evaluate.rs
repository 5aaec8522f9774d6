//! Evaluates one rule at one moment: asks, labels the results, and takes every alert one step further.

use std::collections::{BTreeMap, BTreeSet};

use proto::Labels;
use proto::labels::METRIC_NAME;
use query::promql::{AnswerValue, Expr, Point};
use query::{Asker, Querier};

use crate::active::{ALERT_NAME, Active, Happening};
use crate::fingerprint::Fingerprint;
use crate::forecast::evaluate::{self as foresee, Foresight};
use crate::forecast::kept::Forecasts;
use crate::forecast::words::Words;
use crate::level::{Level, SEVERITY_LABEL};
use crate::rows::{moment, rows};
use crate::rule::{Alerting, Kind, Rule, RuleGroup, Source};
use crate::sight::Sight;
use crate::state::{Change, LevelReading, Reading, Track, step};
use crate::template::{Expansion, QUERIES_MAX, QueriedSample, QueryAnswers, Scope, Template};

/// A result: labels and value.
pub type Sample = (Labels, f64);
/// A sample to write: labels and number or histogram.
pub type Written = (Labels, Point);

/// Asks the questions of rules and templates.
#[derive(Clone)]
pub struct Evaluator {
    /// Who answers.
    pub querier: Querier,
    /// Whose data.
    pub tenant: String,
    /// `$externalLabels`.
    pub external_labels: Labels,
    /// `$externalURL`.
    pub external_url: String,
    /// Forecasts made for forecast rules.
    pub forecasts: Forecasts,
}

/// What one evaluation of an alerting rule gave.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// The alerts that live on.
    pub active: BTreeMap<Fingerprint, Active>,
    /// What happened to them and to those that ended.
    pub happenings: Vec<Happening>,
    /// Why the rule is not well; its alerts are as they were.
    pub error: Option<String>,
}

/// A result with its alert's labels and texts.
struct Candidate {
    fingerprint: Fingerprint,
    labels: Labels,
    result_labels: Labels,
    value: f64,
    annotations: BTreeMap<String, String>,
}

impl Evaluator {
    /// The same, asking in a group's name.
    pub fn for_group(&self, group: &RuleGroup) -> Evaluator {
        let asker = Asker::Rules { file: group.file.clone(), group: group.name.clone() };
        Evaluator { querier: self.querier.asked_by(asker), ..self.clone() }
    }

    /// The results of a source.
    pub async fn fetch(&self, source: &Source, at_ms: i64) -> Result<Vec<Sample>, String> {
        match source {
            Source::Promql { text, .. } => self.promql(text, at_ms).await,
            Source::Sql(text) => self.sql(text, at_ms).await,
            Source::Forecast(source) => self.promql(&source.ask.query, at_ms).await,
        }
    }

    /// The answer of a PromQL query; a histogram counts as 0, as it does in Prometheus' alerting rules.
    pub async fn promql(&self, text: &str, at_ms: i64) -> Result<Vec<Sample>, String> {
        Ok(self.points(text, at_ms).await?.into_iter().map(as_number).collect())
    }

    /// The answer of a PromQL query, numbers and histograms.
    pub async fn points(&self, text: &str, at_ms: i64) -> Result<Vec<Written>, String> {
        Ok(self.seen(text, at_ms).await?.0)
    }

    /// The answer of a PromQL query, and where in it the selectors begin that found nothing.
    async fn seen(&self, text: &str, at_ms: i64) -> Result<(Vec<Written>, Vec<usize>), String> {
        let answer = self.querier.instant(&self.tenant, text, at_ms).await.map_err(|e| e.to_string())?;
        let points = match answer.value {
            AnswerValue::Scalar(_, value) => vec![(Labels::empty(), Point::Float(value))],
            AnswerValue::Vector(samples) => samples.into_iter().map(|s| (s.labels, s.value)).collect(),
            other => return Err(format!("rule result is not a vector or scalar but a {}", other.api_type())),
        };
        Ok((points, answer.unmatched))
    }

    /// The results of a rule; `sight` remembers whether it could see.
    async fn results(
        &self,
        source: &Source,
        sight: &mut Sight,
        (ts_ms, at_ms): (i64, i64),
    ) -> Result<Vec<Written>, String> {
        let answer = match source {
            Source::Promql { text, .. } => self.seen(text, at_ms).await,
            other => {
                let samples = self.fetch(other, at_ms).await;
                samples.map(|all| (all.into_iter().map(|(l, v)| (l, Point::Float(v))).collect(), Vec::new()))
            }
        };
        match &answer {
            Ok((_, unmatched)) => sight.looked(unmatched, ts_ms),
            Err(_) => sight.failed(ts_ms),
        }
        answer.map(|(points, _)| points)
    }

    async fn sql(&self, text: &str, at_ms: i64) -> Result<Vec<Sample>, String> {
        let text = text.replace("$now", &moment(at_ms));
        let answer = self.querier.sql(&self.tenant, &text).await.map_err(|e| e.to_string())?;
        if answer.truncated {
            return Err("the query gives more rows than allowed".into());
        }
        let mut samples = Vec::new();
        for row in rows(&answer)? {
            let Some(value) = row.get("value").and_then(|v| v.as_f64()) else { continue };
            let labels = row
                .iter()
                .filter(|(name, _)| *name != "value")
                .map(|(name, cell)| (name.as_str(), cell.as_str().map_or_else(|| cell.to_string(), Into::into)));
            samples.push((Labels::from_pairs(labels), value));
        }
        Ok(samples)
    }

    /// A template's text; what goes wrong stands in its place, as in Prometheus.
    async fn expand(&self, template: &Template, sample: &Sample, forecast: Option<&Words>, at_ms: i64) -> String {
        let mut answers = QueryAnswers::new();
        for _ in 0..=QUERIES_MAX {
            let scope = Scope {
                labels: &sample.0,
                value: sample.1,
                external_labels: &self.external_labels,
                external_url: &self.external_url,
                now_ms: at_ms,
                answers: &answers,
                forecast,
            };
            match template.expand(&scope) {
                Expansion::Text(text) => return text,
                Expansion::Failed(e) => return format!("<error expanding template: {e}>"),
                Expansion::Needs(query) => {
                    let found = self.promql(&query, at_ms).await;
                    let found = found
                        .map(|all| all.into_iter().map(|(labels, value)| QueriedSample { labels, value }).collect());
                    answers.insert(query, found);
                }
            }
        }
        format!("<error expanding template: more than {QUERIES_MAX} queries>")
    }

    /// One evaluation of an alerting rule. `ts_ms` is its slot, `at_ms` the moment its queries see.
    pub async fn alerting(
        &self,
        rule: &Rule,
        alerting: &Alerting,
        before: &BTreeMap<Fingerprint, Active>,
        sight: &mut Sight,
        limit: usize,
        (ts_ms, at_ms): (i64, i64),
    ) -> Evaluated {
        let failed = |error: String| {
            let mut out = Evaluated { active: before.clone(), error: Some(error), ..Evaluated::default() };
            if is_native(rule, alerting) {
                hold(&mut out, Reading::Blind, ts_ms);
            }
            out
        };
        let results = match &rule.source {
            Source::Forecast(source) => foresee::evaluate(self, source, sight, (ts_ms, at_ms)).await,
            source => self.results(source, sight, (ts_ms, at_ms)).await.map(|r| (r, Foresight::default())),
        };
        let (results, foresight) = match results {
            Ok(results) => results,
            Err(e) => return failed(e),
        };
        let mut candidates = BTreeMap::new();
        for sample in results.into_iter().map(as_number) {
            let words = foresight.words.get(&sample.0);
            let candidate = self.candidate(rule, alerting, sample, words, at_ms).await;
            let labels = candidate.labels.clone();
            if candidates.insert(candidate.fingerprint, candidate).is_some() {
                return failed(format!(
                    "vector contains metrics with the same labelset after applying alert labels: {labels}"
                ));
            }
        }
        let missing = if is_native(rule, alerting) && sight.holds(ts_ms) {
            Reading::Blind
        } else if !alerting.sparse && !alerting.levels.is_empty() && !matches!(rule.source, Source::Sql(_)) {
            Reading::NoData
        } else {
            Reading::Absent
        };
        let unforeseen = |f: &Fingerprint, alert: &Active| {
            !candidates.contains_key(f) && foresight.held.contains(&alert.result_labels)
        };
        let (unforeseen, before_seen) = part(before.clone(), unforeseen);
        let unknown = without_numbers(alerting, &mut candidates);
        let (unknown, before_seen) = part(before_seen, |f, _| unknown.contains(f));
        let mut out = decide(alerting, candidates, &before_seen, missing, ts_ms);
        for (held, reading) in [(unforeseen, Reading::Blind), (unknown, Reading::NotANumber)] {
            let mut kept = Evaluated { active: held, ..Evaluated::default() };
            hold(&mut kept, reading, ts_ms);
            out.active.append(&mut kept.active);
            out.happenings.append(&mut kept.happenings);
        }
        self.keep_forecasts(&foresight, before, &out);
        if limit > 0 && out.active.len() > limit {
            let count = out.active.len();
            let mut cleared = Evaluated {
                error: Some(format!("exceeded limit of {limit} with {count} alerts")),
                ..Evaluated::default()
            };
            for alert in before.values() {
                end(&mut cleared, alert.clone(), Reading::LimitExceeded, alerting, ts_ms);
            }
            return cleared;
        }
        self.add_recovery_values(rule, &mut out, at_ms).await;
        out
    }

    /// Forecasts of living alerts are kept for their evidence, those of ended ones forgotten.
    fn keep_forecasts(&self, foresight: &Foresight, before: &BTreeMap<Fingerprint, Active>, out: &Evaluated) {
        if foresight.reports.is_empty() {
            return;
        }
        before.keys().filter(|f| !out.active.contains_key(f)).for_each(|f| self.forecasts.forget(*f));
        for (fingerprint, alert) in &out.active {
            if let Some(report) = foresight.reports.get(&alert.result_labels) {
                self.forecasts.note(*fingerprint, report.clone());
            }
        }
    }

    async fn candidate(
        &self,
        rule: &Rule,
        alerting: &Alerting,
        sample: Sample,
        forecast: Option<&Words>,
        at_ms: i64,
    ) -> Candidate {
        let mut labels = sample.0.to_builder();
        labels.remove(METRIC_NAME);
        for (name, template) in &rule.labels {
            labels.set(name, &self.expand(template, &sample, forecast, at_ms).await);
        }
        labels.set(ALERT_NAME, &rule.name);
        if !alerting.levels.is_empty() {
            labels.remove(SEVERITY_LABEL);
        }
        let mut annotations = BTreeMap::new();
        for (name, template) in &alerting.annotations {
            annotations.insert(name.clone(), self.expand(template, &sample, forecast, at_ms).await);
        }
        let labels = labels.build();
        Candidate {
            fingerprint: Fingerprint::of(&labels),
            labels,
            result_labels: sample.0,
            value: sample.1,
            annotations,
        }
    }

    /// A comparison's result is gone when it is false, and the value with it: asks its left side for the value at recovery.
    async fn add_recovery_values(&self, rule: &Rule, out: &mut Evaluated, at_ms: i64) {
        if !out.happenings.iter().any(|h| h.transition.change == Change::Resolved) {
            return;
        }
        let Source::Promql { expr, .. } = &rule.source else { return };
        let Expr::Binary(comparison) = expr.unparen() else { return };
        if !comparison.op.is_comparison() || comparison.return_bool {
            return;
        }
        let Ok(now) = self.promql(&comparison.left.to_string(), at_ms).await else { return };
        let bare = |labels: &Labels| {
            let mut builder = labels.to_builder();
            builder.remove(METRIC_NAME);
            builder.build()
        };
        let now: BTreeMap<Labels, f64> = now.into_iter().map(|(labels, value)| (bare(&labels), value)).collect();
        for happening in out.happenings.iter_mut().filter(|h| h.transition.change == Change::Resolved) {
            let value = now.get(&bare(&happening.alert.result_labels));
            happening.alert.track.value = value.copied().unwrap_or(f64::NAN);
        }
    }

    /// The series a recording rule makes.
    pub async fn recording(
        &self,
        rule: &Rule,
        sight: &mut Sight,
        limit: usize,
        times_ms: (i64, i64),
    ) -> Result<Vec<Written>, String> {
        let mut seen = BTreeSet::new();
        let mut series = Vec::new();
        let results = self.results(&rule.source, sight, times_ms).await?;
        for (labels, value) in results {
            let mut builder = labels.to_builder();
            builder.set(METRIC_NAME, &rule.name);
            for (name, template) in &rule.labels {
                builder.set(name, template.source());
            }
            let labels = builder.build();
            if !seen.insert(labels.clone()) {
                return Err(format!(
                    "vector contains metrics with the same labelset after applying rule labels: {labels}"
                ));
            }
            series.push((labels, value));
        }
        if limit > 0 && series.len() > limit {
            return Err(format!("exceeded limit of {limit} with {} series", series.len()));
        }
        Ok(series)
    }
}

/// Rules Prometheus does not know hold their state when they can't see.
fn is_native(rule: &Rule, alerting: &Alerting) -> bool {
    !alerting.levels.is_empty() || matches!(rule.source, Source::Sql(_)) || matches!(rule.kind, Kind::Recording)
}

/// A histogram counts as 0.
fn as_number((labels, point): Written) -> Sample {
    match point {
        Point::Float(value) => (labels, value),
        Point::Histogram(_) => (labels, 0.0),
    }
}

/// Those of which something is true, and the others.
fn part(
    alerts: BTreeMap<Fingerprint, Active>,
    is_true: impl Fn(&Fingerprint, &Active) -> bool,
) -> (BTreeMap<Fingerprint, Active>, BTreeMap<Fingerprint, Active>) {
    alerts.into_iter().partition(|(fingerprint, alert)| is_true(fingerprint, alert))
}

/// Takes out the results that are NaN, such as the delay of a stopped replica: a rule with levels can't say how bad they
/// are, nor that it is over. Without levels every result is an alert, as in Prometheus.
fn without_numbers(alerting: &Alerting, candidates: &mut BTreeMap<Fingerprint, Candidate>) -> BTreeSet<Fingerprint> {
    let is_unknown = |c: &Candidate| !alerting.levels.is_empty() && c.value.is_nan();
    let unknown = candidates.iter().filter(|(_, c)| is_unknown(c)).map(|(f, _)| *f).collect();
    candidates.retain(|_, c| !is_unknown(c));
    unknown
}

/// Every alert is held where it is.
fn hold(out: &mut Evaluated, reading: Reading<'_>, ts_ms: i64) {
    for alert in out.active.values_mut() {
        let (track, steps) = step(Some(&alert.track), reading, 0, ts_ms);
        if let Some(track) = track {
            alert.track = track;
        }
        out.happenings.extend(steps.into_iter().map(|transition| Happening {
            alert: alert.clone(),
            transition,
            ts_ms,
        }));
    }
}

/// Every alert's next step; pure. `missing`: the reading of alerts the answer does not hold.
fn decide(
    alerting: &Alerting,
    candidates: BTreeMap<Fingerprint, Candidate>,
    before: &BTreeMap<Fingerprint, Active>,
    missing: Reading<'_>,
    ts_ms: i64,
) -> Evaluated {
    let mut out = Evaluated::default();
    for (fingerprint, candidate) in &candidates {
        let levels = readings(alerting, candidate);
        let was = before.get(fingerprint);
        let reading = Reading::Seen { value: candidate.value, levels: &levels };
        let (track, steps) = step(was.map(|a| &a.track), reading, alerting.keep_firing_for_ms, ts_ms);
        let Some(track) = track.or_else(|| was.map(|a| a.track.clone()).filter(|_| !steps.is_empty())) else {
            continue;
        };
        let labels = match alerting.levels.is_empty() {
            true => candidate.labels.clone(),
            false => Active::with_level(&candidate.labels, track.level),
        };
        let id = was.map_or_else(|| Active::make_id(*fingerprint, track.active_at_ms), |a| a.id.clone());
        let ended = steps.iter().any(|s| matches!(s.change, Change::Resolved | Change::Dropped));
        let track = Track { value: candidate.value, ..track };
        // an alert that ends says what it said while it fired; the value at its end stands beside that
        let annotations = match was.filter(|_| ended) {
            Some(was) => was.annotations.clone(),
            None => candidate.annotations.clone(),
        };
        let alert = Active {
            id,
            fingerprint: *fingerprint,
            labels,
            result_labels: candidate.result_labels.clone(),
            annotations,
            track,
        };
        for transition in steps {
            out.happenings.push(Happening { alert: alert.clone(), transition, ts_ms });
        }
        if !ended {
            out.active.insert(*fingerprint, alert);
        }
    }
    for (fingerprint, alert) in before {
        if !candidates.contains_key(fingerprint) {
            end(&mut out, alert.clone(), missing, alerting, ts_ms);
        }
    }
    out
}

fn end(out: &mut Evaluated, mut alert: Active, reading: Reading<'_>, alerting: &Alerting, ts_ms: i64) {
    let (track, steps) = step(Some(&alert.track), reading, alerting.keep_firing_for_ms, ts_ms);
    let lives = track.is_some();
    if let Some(track) = track {
        alert.track = track;
    }
    out.happenings.extend(steps.into_iter().map(|transition| Happening { alert: alert.clone(), transition, ts_ms }));
    if lives {
        out.active.insert(alert.fingerprint, alert);
    }
}

/// What each level of the rule says to this value. A Prometheus rule has one: any result, graded by its `severity`.
fn readings(alerting: &Alerting, candidate: &Candidate) -> Vec<LevelReading> {
    if alerting.levels.is_empty() {
        let level = Level::from_severity(candidate.labels.get(SEVERITY_LABEL));
        return vec![LevelReading { level, for_ms: alerting.for_ms, holds: true, stays: true }];
    }
    let reading = |l: &crate::rule::LevelRule| LevelReading {
        level: l.level,
        for_ms: l.for_ms,
        holds: l.holds(candidate.value),
        stays: l.stays(candidate.value),
    };
    alerting.levels.iter().map(reading).collect()
}

/// The series that tell of an alert: `ALERTS` and `ALERTS_FOR_STATE`.
pub fn alert_series(alert: &Active) -> [Written; 2] {
    let mut labels = alert.labels.to_builder();
    labels.set(METRIC_NAME, "ALERTS_FOR_STATE");
    let for_state = labels.build();
    labels.set(METRIC_NAME, "ALERTS");
    labels.set("alertstate", alert.track.phase.name());
    let since_s = (alert.track.active_at_ms.div_euclid(1000)) as f64;
    [(labels.build(), Point::Float(1.0)), (for_state, Point::Float(since_s))]
}
