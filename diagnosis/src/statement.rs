//! What statements cost in a window, and how that differs from a window before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one statement cost in one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatementCost {
    /// 16 hex digits.
    pub fingerprint: String,
    /// Database or schema.
    pub database: Option<String>,
    /// Role or account.
    pub user: Option<String>,
    /// Executions.
    pub calls: i64,
    /// Time spent, milliseconds.
    pub total_ms: f64,
    /// Rows returned or affected.
    pub rows: Option<i64>,
    /// Shared blocks read.
    pub blocks_read: Option<i64>,
    /// Rows read to get there (MySQL).
    pub rows_examined: Option<i64>,
}

impl StatementCost {
    /// Rows an execution; `None` where the server does not say or there were no executions.
    pub fn rows_each(&self) -> Option<f64> {
        self.rows.filter(|_| self.calls > 0).map(|r| r as f64 / self.calls as f64)
    }

    /// Milliseconds an execution; 0 without executions.
    pub fn mean_ms(&self) -> f64 {
        if self.calls > 0 { self.total_ms / self.calls as f64 } else { 0.0 }
    }
}

/// A plan that was read, and the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSeen {
    /// Shape of the plan.
    pub plan_fingerprint: String,
    /// Shape before; `null`: first seen.
    pub previous_plan_fingerprint: Option<String>,
    /// One line.
    pub summary: Option<String>,
    /// EXPLAIN's JSON.
    pub plan: Option<serde_json::Value>,
    /// When it was read, milliseconds.
    pub ts_ms: i64,
    /// Whether it changed within the window.
    pub changed: bool,
}

/// What it cost before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Executions.
    pub calls: i64,
    /// Milliseconds an execution.
    pub mean_ms: f64,
    /// Rows an execution.
    #[serde(default)]
    pub rows_each: Option<f64>,
}

/// A statement with its change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatementChange {
    /// 16 hex digits.
    pub fingerprint: String,
    /// Database or schema.
    pub database: Option<String>,
    /// Role or account.
    pub user: Option<String>,
    /// Normalised text.
    pub text: Option<String>,
    /// Executions in the window.
    pub calls: i64,
    /// Time in the window, milliseconds.
    pub total_ms: f64,
    /// Milliseconds an execution.
    pub mean_ms: f64,
    /// Rows returned or affected.
    pub rows: Option<i64>,
    /// Shared blocks read.
    pub blocks_read: Option<i64>,
    /// The window before; `null`: it did not run.
    pub before: Option<Before>,
    /// Mean now by mean before; `null`: nothing to compare with.
    pub change_ratio: Option<f64>,
    /// Its latest plan.
    pub plan: Option<PlanSeen>,
}

/// A mean below this is too small to compare with, milliseconds: a jump from 0.01 to 0.1 ms hurts nobody.
const MEAN_MS_FLOOR: f64 = 0.05;

/// Statements of the window by the time they cost beyond what their executions would have cost at the mean before; those
/// without a before by the time they cost. At most `limit`.
pub fn rank(now: &[StatementCost], before: &[StatementCost], limit: usize) -> Vec<StatementChange> {
    let key = |s: &StatementCost| (s.fingerprint.clone(), s.database.clone(), s.user.clone());
    let before: BTreeMap<_, &StatementCost> = before.iter().filter(|s| s.calls > 0).map(|s| (key(s), s)).collect();
    let mut ranked: Vec<(f64, StatementChange)> = now
        .iter()
        .filter(|s| s.calls > 0 || s.total_ms > 0.0)
        .map(|s| {
            let was =
                before.get(&key(s)).map(|b| Before { calls: b.calls, mean_ms: b.mean_ms(), rows_each: b.rows_each() });
            let excess = s.total_ms - was.map_or(0.0, |b| b.mean_ms * s.calls as f64);
            let change = StatementChange {
                fingerprint: s.fingerprint.clone(),
                database: s.database.clone(),
                user: s.user.clone(),
                text: None,
                calls: s.calls,
                total_ms: s.total_ms,
                mean_ms: s.mean_ms(),
                rows: s.rows,
                blocks_read: s.blocks_read,
                before: was,
                change_ratio: was.map(|b| s.mean_ms() / b.mean_ms.max(MEAN_MS_FLOOR)),
                plan: None,
            };
            (excess, change)
        })
        .collect();
    ranked.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x.fingerprint.cmp(&y.fingerprint)));
    ranked.into_iter().take(limit).map(|(_, change)| change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(fingerprint: &str, calls: i64, total_ms: f64) -> StatementCost {
        StatementCost { fingerprint: fingerprint.into(), calls, total_ms, ..StatementCost::default() }
    }

    #[test]
    fn the_statement_that_got_worse_comes_before_the_one_that_always_cost_more() {
        let before = [cost("steady", 1000, 50_000.0), cost("lost_index", 600, 300.0)];
        let now =
            [cost("steady", 100, 5_100.0), cost("lost_index", 60, 3_000.0), cost("new", 1, 10.0), cost("idle", 0, 0.0)];
        let ranked = rank(&now, &before, 10);
        let seen: Vec<(&str, Option<f64>)> = ranked
            .iter()
            .map(|s| (s.fingerprint.as_str(), s.change_ratio.map(|r| (r * 10.0).round() / 10.0)))
            .collect();
        assert_eq!(seen, [("lost_index", Some(100.0)), ("steady", Some(1.0)), ("new", None)]);
        assert_eq!(rank(&now, &before, 1).len(), 1);
    }

    #[test]
    fn very_fast_statements_do_not_look_like_regressions() {
        let ranked = rank(&[cost("a", 1000, 100.0)], &[cost("a", 1000, 1.0)], 1);
        assert_eq!(ranked[0].change_ratio, Some(2.0));
    }
}
