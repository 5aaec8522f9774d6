//! What is known of alerts by the time a message about them leaves: the verdict, and the evidence worth a line. Filled as
//! evidence comes in, read at each attempt; a message never waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use diagnosis::evidence::Evidence;
use diagnosis::verdict::Finding;

use crate::content::shorten;
use crate::message::Message;

/// Alerts remembered; the longest known is forgotten first.
const ALERTS_MAX: usize = 10_000;
/// Lines of evidence of one alert.
const LINES_MAX: usize = 4;
/// Characters of a statement or log line in one.
const TEXT_CHARS_MAX: usize = 120;
/// A statement is worth a line when its mean time grew this many times.
const CHANGE_RATIO_MIN: f64 = 2.0;

/// What is known of one alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The most fitting verdict.
    pub finding: Option<Finding>,
    /// Evidence, a line each, English and Chinese.
    pub lines: Vec<(String, String)>,
}

impl Known {
    /// The verdict and the top of the evidence: who blocks, which statements got slower, what changed, what the log says.
    pub fn of(evidence: &Evidence) -> Known {
        let blockers = evidence.blocking.iter().filter(|root| root.waiting() > 0).take(1).map(|root| {
            let (pid, waiting) = (root.pid, root.waiting());
            let text = shorten(root.text.as_deref().unwrap_or(""), TEXT_CHARS_MAX);
            (format!("pid {pid} blocks {waiting}: {text}"), format!("会话 {pid} 阻塞 {waiting} 个会话：{text}"))
        });
        let slower = evidence.statements.iter().filter(|s| s.change_ratio.is_some_and(|r| r >= CHANGE_RATIO_MIN));
        let statements = slower.take(2).filter_map(|s| {
            let before = s.before.as_ref()?;
            let text = shorten(s.text.as_deref().unwrap_or(&s.fingerprint), TEXT_CHARS_MAX);
            let times = format!("{:.1} ms → {:.1} ms", before.mean_ms, s.mean_ms);
            Some((format!("slower, {times}: {text}"), format!("变慢 {times}：{text}")))
        });
        let changes = evidence.changes.iter().take(1).map(|c| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            let words = format!("{} {} {}", part(&c.kind), part(&c.name), part(&c.change));
            (format!("changed: {words}"), format!("变更：{words}"))
        });
        let severe = |level: &Option<String>| matches!(level.as_deref(), Some("error" | "fatal" | "panic"));
        let logs = evidence.logs.iter().filter(|l| severe(&l.level)).take(1).map(|l| {
            let text = shorten(l.body.as_deref().unwrap_or(""), TEXT_CHARS_MAX);
            (format!("log: {text}"), format!("日志：{text}"))
        });
        let lines = blockers.chain(statements).chain(changes).chain(logs).take(LINES_MAX).collect();
        Known { finding: evidence.findings.first().cloned(), lines }
    }
}

/// What is known of alerts, by id.
#[derive(Debug, Default)]
pub struct KnownAlerts {
    known: BTreeMap<String, Arc<Known>>,
    order: VecDeque<String>,
}

impl KnownAlerts {
    /// Remembers what is known now.
    pub fn set(&mut self, alert_id: &str, known: Known) {
        if self.known.insert(alert_id.into(), Arc::new(known)).is_none() {
            self.order.push_back(alert_id.into());
        }
        while self.order.len() > ALERTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What is known of a message's alerts.
    pub fn of(&self, message: &Message) -> BTreeMap<String, Arc<Known>> {
        let known = message.alerts.iter().filter_map(|a| Some((a.id.clone(), self.known.get(&a.id)?.clone())));
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diagnosis::blocking;
    use diagnosis::evidence::{LogLine, ObjectChange};
    use diagnosis::session::Session;
    use diagnosis::statement::{Before, StatementChange};

    #[test]
    fn the_top_of_the_evidence_is_a_few_lines() {
        let waiter = Session { pid: 9, blocked_by: Some("[7]".into()), ..Session::default() };
        let root = Session { pid: 7, text: Some("UPDATE t".into()), ..Session::default() };
        let statement = |ratio| StatementChange {
            fingerprint: "f".into(),
            database: None,
            user: None,
            text: Some("SELECT 1".into()),
            calls: 10,
            total_ms: 2_500.0,
            mean_ms: 250.0,
            rows: None,
            blocks_read: None,
            before: Some(Before { calls: 10, mean_ms: 2.0, rows_each: None }),
            change_ratio: Some(ratio),
            plan: None,
        };
        let log =
            |level: &str| LogLine { level: Some(level.into()), body: Some("deadlock".into()), ..LogLine::default() };
        let change = ObjectChange { kind: Some("index".into()), name: Some("i".into()), ..ObjectChange::default() };
        let evidence = Evidence {
            blocking: blocking::trees(&[waiter, root]),
            statements: vec![statement(1.1), statement(125.0)],
            changes: vec![change],
            logs: vec![log("info"), log("error")],
            ..Evidence::default()
        };
        let lines: Vec<String> = Known::of(&evidence).lines.into_iter().map(|(english, _)| english).collect();
        assert_eq!(
            lines,
            ["pid 7 blocks 1: UPDATE t", "slower, 2.0 ms → 250.0 ms: SELECT 1", "changed: index i ", "log: deadlock"]
        );
        assert_eq!(Known::of(&Evidence::default()), Known::default());
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = KnownAlerts::default();
        (0..ALERTS_MAX + 5).for_each(|n| known.set(&n.to_string(), Known::default()));
        assert_eq!((known.known.len(), known.order.len()), (ALERTS_MAX, ALERTS_MAX));
        assert!(!known.known.contains_key("0"));
    }
}
