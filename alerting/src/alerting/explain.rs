//! `why`: an alert's rows of the ledger, and what became of messages about many.

use serde_json::{Value, json};

use super::Alerting;
use crate::rows::{quoted, rows};
use crate::why::{self, Answer, Step};

/// Messages about many groups that are looked up for one answer.
const DIGESTS_MAX: usize = 20;

impl Alerting {
    /// Why was, or was not, anybody told of the alert of this id, or of the latest one of the rule of this name; `None`: there
    /// is none.
    pub async fn why(&self, id_or_rule: &str) -> Result<Option<Answer>, String> {
        let mut found = self.alert(id_or_rule).await?;
        if found.is_none()
            && let Some(id) = self.latest_of(id_or_rule).await?
        {
            found = self.alert(&id).await?;
        }
        let Some(alert) = found else { return Ok(None) };
        let text = |value: &Value| value.as_str().unwrap_or("").to_string();
        let timeline = alert["timeline"].as_array().map_or(&[][..], |t| t);
        let rows = timeline.iter().filter(|s| s["event"] != "evidence");
        let mut steps: Vec<Step> = rows
            .map(|s| Step {
                ts_ms: s["ts_ms"].as_i64().unwrap_or(0),
                event: text(&s["event"]),
                level: text(&s["level"]),
                reason: text(&s["reason"]),
                receiver: text(&s["receiver"]),
                detail: s["detail"].clone(),
            })
            .collect();
        for step in steps.iter_mut().rev().filter(|s| s.event == "digested").take(DIGESTS_MAX) {
            let key = text(&step.detail["key"]);
            if let Some(event) = self.delivered(&key, step.ts_ms).await? {
                step.detail["delivered"] = json!(event);
            }
        }
        let settings = self.settings();
        let receivers: Vec<String> = settings.receivers.keys().cloned().collect();
        let (id, rule) = (text(&alert["id"]), text(&alert["rule"]));
        Ok(Some(why::explain(&id, &rule, steps, &receivers, settings.route.is_some())))
    }

    /// The alert of a rule that began last.
    async fn latest_of(&self, rule: &str) -> Result<Option<String>, String> {
        let sql = format!(
            "SELECT alert_id FROM alert_events WHERE rule = {} AND event IN ('pending', 'firing') ORDER BY ts DESC LIMIT 1",
            quoted(rule)
        );
        let answer = self.0.querier.sql(&self.0.tenant, &sql).await.map_err(|e| e.to_string())?;
        Ok(rows(&answer)?.first().and_then(|r| r.get("alert_id")).and_then(Value::as_str).map(str::to_string))
    }

    /// What became of the message with this key.
    async fn delivered(&self, key: &str, from_ms: i64) -> Result<Option<String>, String> {
        let sql = format!(
            "SELECT event FROM alert_events WHERE event IN ('sent', 'failed', 'retry') AND ts >= {} AND detail LIKE {} \
             ORDER BY CASE event WHEN 'sent' THEN 0 WHEN 'failed' THEN 1 ELSE 2 END LIMIT 1",
            crate::rows::moment(from_ms),
            quoted(&format!("%\"key\":\"{}\"%", key.replace(['%', '_'], "")))
        );
        let answer = self.0.querier.sql(&self.0.tenant, &sql).await.map_err(|e| e.to_string())?;
        Ok(rows(&answer)?.first().and_then(|r| r.get("event")).and_then(Value::as_str).map(str::to_string))
    }
}
