//! Evaluation: groups whose slot has come, and what happened in them.

use std::collections::BTreeMap;

use futures::stream::{FuturesUnordered, StreamExt};

use super::Alerting;
use crate::active::{Active, Happening};
use crate::config::Settings;
use crate::evaluate::Evaluator;
use crate::group::{Group, rule_gone};
use crate::ledger::{Page, rule_group, subject};
use crate::message::AlertNote;
use crate::outside;
use crate::rule::Source;
use crate::state::Change;

impl Alerting {
    /// Evaluates every group whose slot has come, and puts what is to be told into the outbox.
    pub async fn tick(&self, now_ms: i64) {
        self.expire_posted(now_ms).await;
        let groups = self.0.groups.read().await;
        let evaluator = self.evaluator();
        let mut under_way: FuturesUnordered<_> = groups.iter().map(|g| self.evaluate(g, &evaluator, now_ms)).collect();
        while under_way.next().await.is_some() {
            self.flush(now_ms);
        }
        drop(under_way);
        drop(groups);
        self.flush(now_ms);
    }

    pub(super) fn evaluator(&self) -> Evaluator {
        let settings = self.settings();
        Evaluator {
            querier: self.0.querier.clone(),
            tenant: self.0.tenant.clone(),
            external_labels: settings.external_labels.clone(),
            external_url: settings.external_url.clone(),
            forecasts: self.0.evidence.forecasts.clone(),
        }
    }

    pub(super) async fn evaluate(&self, group: &tokio::sync::Mutex<Group>, evaluator: &Evaluator, now_ms: i64) {
        let mut group = group.lock().await;
        let happenings = group.evaluate(evaluator, &self.0.store, now_ms, &*self.0.clock).await;
        self.0.numbers.note(&group);
        let name = rule_group(&group.group.name, &group.group.file);
        let with_expr: Vec<(Happening, Option<String>)> = happenings
            .into_iter()
            .map(|(rule, happening)| {
                let expr = match &group.group.rules[rule].source {
                    Source::Promql { expr, .. } => Some(watched(expr)),
                    Source::Forecast(source) => Some(source.expr.to_string()),
                    Source::Sql(_) => None,
                };
                (happening, expr)
            })
            .collect();
        // still under its lock: what happens next is not told before this
        self.happened(&with_expr, &name, now_ms).await;
    }

    /// Writes steps down, hands them to the pipeline, and has evidence collected for what began to fire.
    pub(super) async fn happened(&self, happenings: &[(Happening, Option<String>)], rule_group: &str, now_ms: i64) {
        let (mut steps, mut page) = (Page::default(), Page::default());
        happenings.iter().for_each(|(happening, _)| steps.add_happening(happening, rule_group));
        // on disk before anybody is told: else a crash could forget what was told, and tell the state before it again
        steps.keep(&self.0.store, &self.0.tenant, now_ms).await;
        let settings = self.settings();
        for (happening, expr) in happenings {
            let subject = subject(&happening.alert, rule_group);
            let mut note = self.note(&settings, &happening.alert, rule_group);
            match happening.transition.change {
                Change::Fired => {
                    let (alert, expr, subject) = (happening.alert.clone(), expr.clone(), subject.clone());
                    self.collect_evidence(alert, expr, subject, &mut page, now_ms);
                }
                Change::LevelChanged { .. } => {}
                Change::Resolved | Change::BackToPending => {
                    note.ends_at_ms = Some(happening.ts_ms);
                    note.end_reason = Some(happening.transition.reason.word().into());
                }
                Change::Pending
                | Change::Dropped
                | Change::Kept
                | Change::HoldsAgain
                | Change::Blinded
                | Change::Sighted
                | Change::Flapping
                | Change::Steady => continue,
            }
            self.outgrow(&note, &mut page, now_ms);
            for step in self.route(&note, now_ms) {
                page.add_step(&step, now_ms);
            }
        }
        page.write(&self.0.store, &self.0.tenant, now_ms);
    }

    /// Ends alerts whose rules are gone; each comes with its group and file.
    pub(super) async fn rules_gone(&self, gone: Vec<(String, Active)>, now_ms: i64) {
        let mut by_group: BTreeMap<String, Vec<(Happening, Option<String>)>> = BTreeMap::new();
        for (group, alert) in gone {
            by_group.entry(group).or_default().push((rule_gone(alert, now_ms), None));
        }
        for (group, ends) in &by_group {
            self.happened(ends, group, now_ms).await;
        }
    }

    /// What receivers are told of an alert; one from outside keeps its own link and gets no labels of ours.
    pub(super) fn note(&self, settings: &Settings, alert: &Active, rule_group: &str) -> AlertNote {
        if rule_group != outside::RULE_GROUP {
            return alert.note(&settings.external_labels, &settings.external_url, rule_group);
        }
        let mut note = alert.note(&proto::Labels::empty(), &settings.external_url, rule_group);
        let posted = self.0.outside.lock().get(alert.fingerprint).map(|o| o.link.clone());
        let known = || self.0.pipeline.lock().dispatcher.note(&note.fingerprint).map(|n| n.link.clone());
        if let Some(link) = posted.or_else(known).filter(|link| !link.is_empty()) {
            note.link = link;
        }
        note
    }
}

/// What a rule watches: of a comparison its left side, so that the series is there before and after it is an alert.
fn watched(expr: &query::promql::Expr) -> String {
    match expr.unparen() {
        query::promql::Expr::Binary(b) if b.op.is_comparison() && !b.return_bool => b.left.to_string(),
        other => other.to_string(),
    }
}
