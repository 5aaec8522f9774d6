//! What is asked about rules and alerts.

use serde_json::{Value, json};

use super::Alerting;
use super::operate::Firing;
use crate::active::Active;
use crate::history;
use crate::operators::Acknowledgement;
use crate::prometheus_json::{self, RulesFilter};
use crate::why;

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
        let living = self.living().await;
        alert["acknowledged"] = json!(self.0.operators.lock().acknowledged().get(id));
        for (_, active) in &living {
            if active.id == id {
                let (timeline, evidence) = (alert["timeline"].take(), alert["evidence"].take());
                alert = self.described_one(active, &living);
                alert["timeline"] = timeline;
                alert["evidence"] = evidence;
            }
        }
        Ok(Some(alert))
    }

    /// Why who was, or was not, told of an alert; `name` is its id, or its rule's name for the latest of that rule.
    pub async fn why(&self, name: &str) -> Result<Option<Value>, String> {
        let mut alert = self.alert(name).await?;
        if alert.is_none() {
            let latest = self.alerts("all", ALERTS_MAX).await?.into_iter().find(|a| a["rule"] == name);
            if let Some(id) = latest.as_ref().and_then(|a| a["id"].as_str()) {
                alert = self.alert(id).await?;
            }
        }
        Ok(alert.map(|alert| why::answer(&alert, self.settings().route.is_some())))
    }

    /// Alerts without evidence: `state` is firing, pending, resolved or all; worst and latest first.
    pub async fn alerts(&self, state: &str, limit: usize) -> Result<Vec<Value>, String> {
        let limit = limit.min(ALERTS_MAX);
        let mut living = self.living().await;
        living.retain(|(_, a)| state == "all" || a.track.phase.name() == state);
        living.sort_by_key(|(_, a)| {
            (!a.is_firing(), std::cmp::Reverse(a.track.level), std::cmp::Reverse(a.track.active_at_ms))
        });
        let mut alerts = self.described_all(&living);
        alerts.truncate(limit);
        if matches!(state, "all" | "resolved") && alerts.len() < limit {
            alerts.extend(history::ended(&self.0.querier, &self.0.tenant, limit - alerts.len()).await?);
        }
        Ok(alerts)
    }

    /// Alerts with what operators decided of them and what inhibits them.
    pub(super) fn described_all(&self, alerts: &[(String, Active)]) -> Vec<Value> {
        let marked = self.marked(alerts);
        let operators = self.0.operators.lock();
        let one = |firing: &Firing| described(firing, operators.acknowledged().get(&firing.alert.id));
        marked.iter().map(one).collect()
    }

    fn described_one(&self, alert: &Active, among: &[(String, Active)]) -> Value {
        let all = self.marked(among);
        let operators = self.0.operators.lock();
        let own = all.iter().find(|f| f.alert.id == alert.id);
        own.map_or(Value::Null, |f| described(f, operators.acknowledged().get(&alert.id)))
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

fn described(firing: &Firing, acknowledged: Option<&Acknowledgement>) -> Value {
    let alert = &firing.alert;
    json!({
        "id": alert.id, "fingerprint": alert.fingerprint.to_string(),
        "rule": alert.labels.get(crate::active::ALERT_NAME), "group": firing.group, "state": alert.track.phase.name(),
        "level": alert.track.level.name(), "labels": alert.labels, "annotations": alert.annotations,
        "value": alert.track.value.is_finite().then_some(alert.track.value),
        "active_at_ms": alert.track.active_at_ms, "fired_at_ms": alert.track.fired_at_ms,
        "resolved_at_ms": null, "blind": alert.track.blind, "flapping": alert.track.flapping,
        "acknowledged": acknowledged,
        "silenced_by": firing.silenced_by, "inhibited_by": firing.inhibited_by, "receivers": firing.receivers,
    })
}
