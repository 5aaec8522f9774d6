//! One message about many groups: what a storm or the rate limit held back, counted by rule and level, the worst named.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::level::Level;
use crate::message::{AlertNote, Digest, DigestLine, Language};

/// Alerts that stand in the message itself.
pub const ALERTS_MAX: usize = 100;
/// Lines of counts; what is beyond them is in the totals alone.
const LINES_MAX: usize = 50;

/// Counts alerts; `groups` is how many groups they are of.
pub fn digest(alerts: &[AlertNote], groups: usize, cause: &str) -> Digest {
    let mut counts: BTreeMap<(&str, Level), (usize, usize)> = BTreeMap::new();
    for alert in alerts {
        let rule = alert.labels.get("alertname").map_or("", |n| n.as_str());
        let count = counts.entry((rule, alert.level)).or_default();
        if alert.is_firing() { count.0 += 1 } else { count.1 += 1 }
    }
    let mut lines: Vec<DigestLine> = counts
        .into_iter()
        .map(|((rule, level), (firing, resolved))| DigestLine { rule: rule.into(), level, firing, resolved })
        .collect();
    lines.sort_by(|a, b| {
        (b.firing > 0, b.level, b.firing + b.resolved).cmp(&(a.firing > 0, a.level, a.firing + a.resolved))
    });
    lines.truncate(LINES_MAX);
    let firing = alerts.iter().filter(|a| a.is_firing()).count();
    Digest { cause: cause.into(), groups, firing, resolved: alerts.len() - firing, lines }
}

/// The counts as text: a line in all, then one a rule and level.
pub fn text(digest: &Digest, language: Language) -> String {
    let chinese = language == Language::Chinese;
    let (firing, resolved, groups) = (digest.firing, digest.resolved, digest.groups);
    let mut out = match chinese {
        true => format!("合并通知：{groups} 组，{firing} 条告警，{resolved} 条已恢复"),
        false => format!("in one message: {groups} groups, {firing} alerts firing, {resolved} resolved"),
    };
    for line in &digest.lines {
        let level = match (chinese, line.level) {
            (false, level) => level.name(),
            (true, Level::Notice) => "提示",
            (true, Level::Warning) => "警告",
            (true, Level::Critical) => "严重",
        };
        let _ = match chinese {
            true => write!(out, "\n{level} {}：{} 条告警，{} 条已恢复", line.rule, line.firing, line.resolved),
            false => write!(out, "\n{level} {}: {} firing, {} resolved", line.rule, line.firing, line.resolved),
        };
    }
    out
}
