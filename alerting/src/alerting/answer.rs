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
        living
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
