//! Collects what stood around an alert when it fired: the questions, each asked beside the others, and the bundle made of
//! their answers. What could not be had is named in the bundle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use diagnosis::blocking;
use diagnosis::evidence::{Evidence, ForecastEvidence, LogLine, ObjectChange, SeriesEvidence, SeriesPoints, Window};
use diagnosis::session::Session;
use diagnosis::statement::{PlanSeen, StatementChange, StatementCost, rank};
use diagnosis::verdict::Trees;
use parking_lot::Mutex;
use query::Querier;
use query::promql::AnswerValue;
use serde_json::{Value, json};

use crate::active::{ALERT_NAME, Active};
use crate::forecast::kept::Forecasts;
use crate::rows::{Row, moment, quoted, rows};

/// The bundle is complete within this time or goes without what is missing, milliseconds.
pub const COLLECT_MS_MAX: u64 = 1_900;
/// It is collected once more after this time, when what was under way has been seen, milliseconds.
pub const AGAIN_MS: i64 = 60_000;
/// How far before the alert's beginning series, log lines and changes are shown, milliseconds.
const BEFORE_MS: i64 = 15 * 60_000;
/// How far before the alert's beginning its sessions are looked for, milliseconds: earlier ones belong to something else.
const SESSIONS_MS: i64 = 60_000;
/// How far before the alert's beginning its statements are counted as part of it, milliseconds.
const STATEMENTS_MS: i64 = 60_000;
/// What their cost is compared with, milliseconds before that.
const STATEMENTS_BEFORE_MS: i64 = 3_600_000;
/// How far back changes of objects are shown, milliseconds.
const CHANGES_MS: i64 = 3_600_000;
/// Points of a series.
const POINTS: i64 = 60;
const SERIES_MAX: usize = 12;
const STATEMENTS_MAX: usize = 15;
const SESSIONS_MAX: usize = 200;
const LOGS_MAX: usize = 100;
const CHANGES_MAX: usize = 100;

/// Series shown around every alert: title and PromQL, `$i` is the instance's matcher. Those without data are left out.
const SERIES: [(&str, &str); 10] = [
    ("sessions that wait for a lock", "pg_sessions_waiting_for_lock{$i} or mysql_innodb_transactions_waiting{$i}"),
    ("active sessions", "pg_sessions_active{$i} or mysql_global_status_threads_running{$i}"),
    ("connections", "pg_sessions_client_backends{$i} or mysql_global_status_threads_connected{$i}"),
    ("transactions a second", "sum(rate(pg_stat_database_xact_commit{$i}[1m]))"),
    ("statements a second", "rate(mysql_global_status_queries{$i}[1m]) or rate(mysql_global_status_questions{$i}[1m])"),
    (
        "oldest transaction, seconds",
        "pg_sessions_oldest_transaction_seconds{$i} or mysql_innodb_transactions_oldest_seconds{$i}",
    ),
    ("replication lag, seconds", "pg_replication_lag_seconds{$i} or mysql_slave_status_seconds_behind_master{$i}"),
    ("processors busy, share", "1 - avg(rate(node_cpu_seconds_total{mode=\"idle\",$i}[1m]))"),
    ("file systems used, share", "1 - node_filesystem_avail_bytes{$i} / node_filesystem_size_bytes{$i}"),
    ("reached (1) or not (0)", "up{$i}"),
];

/// Asks for evidence.
#[derive(Clone)]
pub struct Collector {
    /// Who answers.
    pub querier: Querier,
    /// Whose data.
    pub tenant: String,
    /// What judges.
    pub trees: Arc<Mutex<Arc<Trees>>>,
    /// Forecasts behind alerts.
    pub forecasts: Forecasts,
}

impl Collector {
    /// The trees in force.
    pub(crate) fn trees(&self) -> Arc<Trees> {
        self.trees.lock().clone()
    }

    /// Judges by other trees from now on.
    pub(crate) fn judge_by(&self, trees: Arc<Trees>) {
        *self.trees.lock() = trees;
    }

    /// The bundle of an alert, as of `now_ms`; `expr` is its rule's PromQL, if it has one.
    pub async fn collect(&self, alert: &Active, expr: Option<&str>, now_ms: i64) -> Evidence {
        let instance = alert.labels.get("instance").unwrap_or("").to_string();
        let began_ms = alert.track.active_at_ms.min(now_ms);
        let window = Window { from_ms: began_ms - BEFORE_MS, to_ms: now_ms };
        let mut evidence = Evidence {
            collected_at_ms: now_ms,
            window,
            instance: instance.clone(),
            labels: alert.labels.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            value: alert.track.value.is_finite().then_some(alert.track.value),
            ..Evidence::default()
        };
        if instance.is_empty() {
            evidence.errors.push("the alert has no label instance: only its own series is shown".into());
        }
        let name = alert.labels.get(ALERT_NAME).unwrap_or("");
        let fingerprint = alert.labels.get("fingerprint").unwrap_or("");
        let (series, statements, sessions, logs, changes, (facts, failed)) = tokio::join!(
            bounded("series", self.series(&instance, expr, window)),
            bounded("statements", self.statements(&instance, fingerprint, began_ms, now_ms)),
            bounded("sessions", self.sessions(&instance, began_ms, window)),
            bounded("logs", self.logs(&instance, window)),
            bounded("changes", self.changes(&instance, began_ms, now_ms)),
            self.facts(name, &evidence),
        );
        evidence.facts = facts;
        let errors = &mut evidence.errors;
        errors.extend(failed);
        evidence.series = keep(series, errors);
        evidence.statements = keep(statements, errors);
        evidence.sessions = keep(sessions, errors);
        evidence.logs = keep(logs, errors);
        evidence.changes = keep(changes, errors);
        let forecast = self.forecasts.of_alert(alert.fingerprint);
        evidence.forecast = forecast.map(|report| ForecastEvidence { series: vec![report] });
        evidence.blocking = blocking::trees(&evidence.sessions);
        evidence.findings = self.trees().judge(name, &evidence);
        evidence
    }

    async fn ask(&self, sql: &str) -> Result<Vec<Row>, String> {
        let answer = self.querier.sql(&self.tenant, sql).await.map_err(|e| e.to_string())?;
        rows(&answer)
    }

    async fn series(&self, instance: &str, expr: Option<&str>, window: Window) -> Result<Vec<SeriesEvidence>, String> {
        let matcher = format!("instance={}", query::promql::number::go_quote(instance.as_bytes()));
        let of_rule = expr.map(|e| ("what the rule watches", e.to_string()));
        let others =
            SERIES.iter().filter(|_| !instance.is_empty()).map(|(title, q)| (*title, q.replace("$i", &matcher)));
        let step_ms = ((window.to_ms - window.from_ms) / POINTS).max(1_000);
        let asked = of_rule.into_iter().chain(others).map(|(title, query)| {
            let matcher = &matcher;
            async move {
                let answer = self.querier.range(&self.tenant, &query, window.from_ms, window.to_ms, step_ms).await;
                let result = match answer.map(|a| a.value) {
                    Ok(AnswerValue::Matrix(series)) => series,
                    _ => Vec::new(),
                };
                let of_instance = |labels: &proto::Labels| {
                    labels.get("instance").is_none_or(|i| matcher.contains(i) && i == instance)
                };
                let points =
                    result.into_iter().filter(|s| of_instance(&s.labels)).take(SERIES_MAX).map(|s| SeriesPoints {
                        labels: json!(s.labels),
                        values: s.floats.iter().map(|(t, v)| (*t, v.is_finite().then_some(*v))).collect(),
                    });
                SeriesEvidence { title: title.into(), query: query.clone(), result: points.collect() }
            }
        });
        let all = futures::future::join_all(asked).await;
        Ok(all.into_iter().filter(|s| !s.result.is_empty()).collect())
    }

    async fn costs(&self, instance: &str, from_ms: i64, to_ms: i64) -> Result<Vec<StatementCost>, String> {
        let sql = format!(
            "SELECT fingerprint, database, \"user\", sum(calls) AS calls, sum(total_ms) AS total_ms, sum(\"rows\") AS \"rows\", \
             sum(blocks_read) AS blocks_read, sum(rows_examined) AS rows_examined FROM statement_stats \
             WHERE instance = {} AND ts > {} AND ts <= {} GROUP BY fingerprint, database, \"user\"",
            quoted(instance),
            moment(from_ms),
            moment(to_ms),
        );
        parsed(self.ask(&sql).await?)
    }

    async fn statements(
        &self,
        instance: &str,
        fingerprint: &str,
        began_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<StatementChange>, String> {
        if instance.is_empty() {
            return Ok(Vec::new());
        }
        let split_ms = began_ms - STATEMENTS_MS;
        let (now, before) = tokio::join!(
            self.costs(instance, split_ms, now_ms),
            self.costs(instance, split_ms - STATEMENTS_BEFORE_MS, split_ms)
        );
        let mut ranked = rank(&now?, &before?, usize::MAX);
        // the statement the alert is about stands first
        if let Some(i) = ranked.iter().position(|s| !fingerprint.is_empty() && s.fingerprint == fingerprint) {
            let own = ranked.remove(i);
            ranked.insert(0, own);
        }
        ranked.truncate(STATEMENTS_MAX);
        if ranked.is_empty() {
            return Ok(ranked);
        }
        let among = ranked.iter().map(|s| quoted(&s.fingerprint)).collect::<Vec<_>>().join(", ");
        let texts = format!(
            "SELECT fingerprint, max(text) AS text FROM statements WHERE instance = {} AND fingerprint IN ({among}) GROUP BY fingerprint",
            quoted(instance)
        );
        let plans = format!(
            "SELECT fingerprint, plan_fingerprint, previous_plan_fingerprint, summary, plan, ts FROM plans \
             WHERE instance = {} AND fingerprint IN ({among}) AND ts <= {} ORDER BY ts DESC LIMIT 200",
            quoted(instance),
            moment(now_ms),
        );
        let (texts, plans) = tokio::join!(self.ask(&texts), self.ask(&plans));
        let cell = |row: &Row, name: &str| row.get(name).and_then(Value::as_str).map(String::from);
        let texts: BTreeMap<String, String> =
            texts?.iter().filter_map(|r| Some((cell(r, "fingerprint")?, cell(r, "text")?))).collect();
        let plans = plans?;
        for statement in &mut ranked {
            statement.text = texts.get(&statement.fingerprint).cloned();
            let own = plans.iter().find(|r| cell(r, "fingerprint").as_deref() == Some(&statement.fingerprint));
            statement.plan = own.and_then(|row| {
                let (plan_fingerprint, previous) =
                    (cell(row, "plan_fingerprint")?, cell(row, "previous_plan_fingerprint"));
                let ts_ms = row.get("ts").and_then(Value::as_i64).unwrap_or(0);
                Some(PlanSeen {
                    changed: ts_ms > split_ms - BEFORE_MS && previous.as_ref().is_some_and(|p| *p != plan_fingerprint),
                    plan_fingerprint,
                    previous_plan_fingerprint: previous,
                    summary: cell(row, "summary"),
                    plan: cell(row, "plan").and_then(|p| serde_json::from_str(&p).ok()),
                    ts_ms,
                })
            });
        }
        Ok(ranked)
    }

    /// The sessions of the moment at which most of them waited: the latest often shows a queue that is dissolving already.
    /// Sessions at the last reading or, if nobody waits there, at that since the alert began where most did.
    async fn sessions(&self, instance: &str, began_ms: i64, window: Window) -> Result<Vec<Session>, String> {
        let from_ms = window.from_ms.max(window.to_ms - BEFORE_MS);
        let moments = format!(
            "SELECT ts, count(blocked_by) AS waiting FROM activity WHERE instance = {} AND ts > {} AND ts <= {} \
             GROUP BY ts ORDER BY ts DESC LIMIT 1000",
            quoted(instance),
            moment(from_ms),
            moment(window.to_ms),
        );
        let moments = self.ask(&moments).await?;
        let number = |row: &Row, name: &str| row.get(name).and_then(Value::as_i64).unwrap_or(0);
        let Some(latest) = moments.first() else { return Ok(Vec::new()) };
        let chosen = match number(latest, "waiting") {
            0 => {
                let since = moments.iter().filter(|r| number(r, "ts") >= began_ms - SESSIONS_MS);
                since.max_by_key(|r| (number(r, "waiting"), number(r, "ts"))).unwrap_or(latest)
            }
            _ => latest,
        };
        let sql = format!(
            "SELECT * FROM activity WHERE instance = {} AND ts = {} \
             ORDER BY coalesce(blocking, 0) DESC, coalesce(transaction_ms, 0) DESC LIMIT {SESSIONS_MAX}",
            quoted(instance),
            moment(number(chosen, "ts")),
        );
        parsed(self.ask(&sql).await?)
    }

    async fn logs(&self, instance: &str, window: Window) -> Result<Vec<LogLine>, String> {
        let sql = format!(
            "SELECT ts AS ts_ms, level, class, body, code, pid FROM logs WHERE instance = {} AND ts > {} AND ts <= {} \
             ORDER BY CASE level WHEN 'panic' THEN 0 WHEN 'fatal' THEN 1 WHEN 'error' THEN 2 WHEN 'warning' THEN 3 ELSE 4 END, \
             ts DESC LIMIT {LOGS_MAX}",
            quoted(instance),
            moment(window.from_ms),
            moment(window.to_ms),
        );
        let mut lines: Vec<LogLine> = parsed(self.ask(&sql).await?)?;
        lines.sort_by_key(|l| l.ts_ms);
        Ok(lines)
    }

    async fn changes(&self, instance: &str, began_ms: i64, now_ms: i64) -> Result<Vec<ObjectChange>, String> {
        let sql = format!(
            "SELECT ts AS ts_ms, kind, name, parent, change, previous, value FROM objects WHERE instance = {} AND ts > {} \
             AND ts <= {} AND change IN ('added', 'changed', 'removed') AND kind NOT IN ('target', 'finding') \
             ORDER BY ts DESC LIMIT {CHANGES_MAX}",
            quoted(instance),
            moment(began_ms - CHANGES_MS),
            moment(now_ms),
        );
        let mut changes: Vec<ObjectChange> = parsed(self.ask(&sql).await?)?;
        changes.sort_by_key(|c| c.ts_ms);
        Ok(changes)
    }
}

/// An answer, or why there is none in time.
async fn bounded<T>(what: &str, asked: impl Future<Output = Result<Vec<T>, String>>) -> Result<Vec<T>, String> {
    match tokio::time::timeout(Duration::from_millis(COLLECT_MS_MAX), asked).await {
        Ok(answer) => answer.map_err(|e| format!("{what}: {e}")),
        Err(_) => Err(format!("{what}: no answer within {COLLECT_MS_MAX} ms")),
    }
}

fn keep<T>(answer: Result<Vec<T>, String>, errors: &mut Vec<String>) -> Vec<T> {
    answer.unwrap_or_else(|e| {
        errors.push(e);
        Vec::new()
    })
}

fn parsed<T: serde::de::DeserializeOwned>(rows: Vec<Row>) -> Result<Vec<T>, String> {
    rows.into_iter().map(|row| serde_json::from_value(Value::Object(row)).map_err(|e| e.to_string())).collect()
}
