//! What is asked about rules and alerts.

use serde_json::{Value, json};

use super::Alerting;
use crate::active::Active;
use crate::history;
use crate::prometheus_json::{self, RulesFilter};

/// Most alerts one answer gives.
const ALERTS_MAX: usize = 10_000;

impl Alerting {
    /// `data` of Prometheus' `/api/v1/rules`.
    pub async fn rules_json(&self, filter: &RulesFilter) -> Value {
        let mut groups = Vec::new();
        for group in self.0.groups.read().await.iter() {
            groups.extend(prometheus_json::group(&*group.lock().await, filter));
        }
        prometheus_json::page(groups, filter)
    }

    /// `data` of Prometheus' `/api/v1/alerts`.
    pub async fn alerts_json(&self) -> Value {
        let mut alerts = Vec::new();
        for group in self.0.groups.read().await.iter() {
            let group = group.lock().await;
            alerts.extend(group.rules.iter().flat_map(|r| r.active.values()).map(prometheus_json::alert));
        }
        json!({ "alerts": alerts })
    }

    /// One alert, living or ended, with its timeline and evidence.
    pub async fn alert(&self, id: &str) -> Result<Option<Value>, String> {
        let Some(mut alert) = history::alert(&self.0.querier, &self.0.tenant, id).await? else { return Ok(None) };
        for (group, active) in self.living().await {
            if active.id == id {
                let (timeline, evidence) = (alert["timeline"].take(), alert["evidence"].take());
                alert = described(&active, &group);
                self.add_operators(std::slice::from_mut(&mut alert));
                alert["timeline"] = timeline;
                alert["evidence"] = evidence;
            }
        }
        Ok(Some(alert))
    }

    /// Alerts without evidence: `state` is firing, pending, resolved or all; worst and latest first.
    pub async fn alerts(&self, state: &str, limit: usize) -> Result<Vec<Value>, String> {
        let limit = limit.min(ALERTS_MAX);
        let mut living = self.living().await;
        living.retain(|(_, a)| state == "all" || a.track.phase.name() == state);
        living.sort_by_key(|(_, a)| {
            (!a.is_firing(), std::cmp::Reverse(a.track.level), std::cmp::Reverse(a.track.active_at_ms))
        });
        let mut alerts: Vec<Value> = living.iter().take(limit).map(|(group, a)| described(a, group)).collect();
        self.add_operators(&mut alerts);
        if matches!(state, "all" | "resolved") && alerts.len() < limit {
            alerts.extend(history::ended(&self.0.querier, &self.0.tenant, limit - alerts.len()).await?);
        }
        Ok(alerts)
    }

    pub(super) async fn living(&self) -> Vec<(String, Active)> {
        let mut living = Vec::new();
        for group in self.0.groups.read().await.iter() {
            let group = group.lock().await;
            let active = group.rules.iter().flat_map(|r| r.active.values());
            living.extend(active.map(|a| (group.group.name.clone(), a.clone())));
        }
        let group = crate::outside::RULE_GROUP.trim_end_matches(';');
        living.extend(self.0.outside.lock().iter().map(|a| (group.to_string(), a.active.clone())));
        living
    }

    /// Adds what keeps alerts from being told, and who has taken them on.
    fn add_operators(&self, alerts: &mut [Value]) {
        let suppressed = self.suppressed();
        let pipeline = self.0.pipeline.lock();
        for alert in alerts {
            let text = |name: &str| alert[name].as_str().unwrap_or("");
            let acknowledged = pipeline.acknowledged.get(text("id"));
            let acknowledged = acknowledged.map(|a| json!({ "at_ms": a.at_ms, "by": a.by, "comment": a.comment }));
            let found = suppressed.get(text("fingerprint")).cloned().unwrap_or_default();
            alert["acknowledged"] = acknowledged.into();
            alert["silenced_by"] = found.silenced_by.into();
            alert["inhibited_by"] = found.inhibited_by.into();
        }
    }
}

fn described(alert: &Active, group: &str) -> Value {
    json!({
        "id": alert.id, "fingerprint": alert.fingerprint.to_string(),
        "rule": alert.labels.get(crate::active::ALERT_NAME), "group": group, "state": alert.track.phase.name(),
        "level": alert.track.level.name(), "labels": alert.labels, "annotations": alert.annotations,
        "value": alert.track.value.is_finite().then_some(alert.track.value),
        "active_at_ms": alert.track.active_at_ms, "fired_at_ms": alert.track.fired_at_ms,
        "resolved_at_ms": null, "blind": alert.track.blind, "flapping": alert.track.flapping,
    })
}
