//! The rule pack that comes with the program, and which of its alerts make others needless.

use crate::config::InhibitRule;
use crate::matcher::Matchers;
use crate::rule::RuleGroup;
use crate::rule_file::{self, RuleFileError};

/// Name and text of each built-in rule file.
pub const FILES: [(&str, &str); 10] = [
    ("builtin:hosts.yaml", include_str!("../rules/hosts.yaml")),
    ("builtin:databases.yaml", include_str!("../rules/databases.yaml")),
    ("builtin:postgresql.yaml", include_str!("../rules/postgresql.yaml")),
    ("builtin:mysql.yaml", include_str!("../rules/mysql.yaml")),
    ("builtin:replication.yaml", include_str!("../rules/replication.yaml")),
    ("builtin:statements.yaml", include_str!("../rules/statements.yaml")),
    ("builtin:forecasts.yaml", include_str!("../rules/forecasts.yaml")),
    ("builtin:collector.yaml", include_str!("../rules/collector.yaml")),
    ("builtin:faults.yaml", include_str!("../rules/faults.yaml")),
    ("builtin:tidewatch.yaml", include_str!("../rules/tidewatch.yaml")),
];

/// One fault, one message: what makes the alerts after it needless, where these labels are equal.
const INHIBITS: [(&str, &str, &[&str]); 18] = [
    // a server that is away explains all that is said of it
    (r#"alertname=~"PostgresDown|MysqlDown""#, r#"alertname!~"PostgresDown|MysqlDown""#, &["instance"]),
    (
        r#"alertname=~"LockPileup|MetadataLockPileup""#,
        r#"alertname=~"StatementRegression|NewCostlyStatement|LongTransaction|IdleInTransaction|Deadlocks|ConnectionsNearMax|MysqlThreadsRunning|VacuumHeldBack|InnodbHistoryLong""#,
        &["instance"],
    ),
    // old snapshots: who holds it, then what it held back, then what that grew
    (r#"alertname="IdleInTransaction""#, r#"alertname="LongTransaction""#, &["instance"]),
    (
        r#"alertname=~"IdleInTransaction|LongTransaction|PreparedTransactionForgotten""#,
        r#"alertname=~"VacuumHeldBack|InnodbHistoryLong|AutovacuumBehind""#,
        &["instance"],
    ),
    (r#"alertname="VacuumHeldBack""#, r#"alertname="AutovacuumBehind""#, &["instance"]),
    (
        r#"alertname="AutovacuumBehind""#,
        r#"alertname="StatisticsOld""#,
        &["instance", "datname", "schemaname", "relname"],
    ),
    (r#"alertname="StatementRegression""#, r#"alertname="NewCostlyStatement""#, &["instance", "fingerprint"]),
    // a replica that stands still is behind, and keeps WAL on its primary
    (
        r#"alertname=~"ReplicationBroken|ReplicaNotStreaming|ReplayPaused""#,
        r#"alertname="ReplicationLag""#,
        &["instance"],
    ),
    (r#"alertname="ReplicationSlotLost""#, r#"alertname="WalRetainedBySlot""#, &["instance", "slot_name"]),
    (r#"alertname=~"ReplicationSlotLost|WalRetainedBySlot""#, r#"alertname="ReplicaLost""#, &["instance"]),
    // statements are slow because the server is busy with this, and what fails is rolled back
    (
        r#"alertname=~"CheckpointStorm|RedoPressure|TempSpill|ConnectionsNearMax""#,
        r#"alertname=~"StatementRegression|NewCostlyStatement""#,
        &["instance"],
    ),
    (r#"alertname="ErrorBurst""#, r#"alertname=~"PostgresRollbacks|LoginFailures""#, &["instance"]),
    // a host short of memory reads back from disk what it evicted
    (r#"alertname="OomKill""#, r#"alertname=~"MemoryShort|MemoryPressure|IoPressure""#, &["instance"]),
    (r#"alertname=~"MemoryShort|MemoryPressure""#, r#"alertname=~"IoPressure|DiskSlow""#, &["instance"]),
    (r#"alertname="IoPressure""#, r#"alertname="DiskSlow""#, &["instance"]),
    // what is there needs no forecast
    (DISK_FULL, r#"alertname="DiskFullForecast""#, &["instance", "mountpoint"]),
    (r#"alertname="ConnectionsNearMax""#, r#"alertname="ConnectionsFullForecast""#, &["instance"]),
    (r#"alertname="TransactionIdWraparound""#, r#"alertname="WraparoundForecast""#, &["instance"]),
];

/// A file system that is nearly full, not one that is just worth a notice.
const DISK_FULL: &str = r#"{alertname="DiskFilling",severity=~"warning|critical"}"#;

/// The built-in rules.
pub fn groups(interval_ms: i64) -> Result<Vec<RuleGroup>, RuleFileError> {
    let mut groups = Vec::new();
    for (file, text) in FILES {
        groups.extend(rule_file::parse(file, text, interval_ms)?);
    }
    Ok(groups)
}

/// Inhibition among built-in alerts.
pub fn inhibit_rules() -> Vec<InhibitRule> {
    let matchers = |text| Matchers::parse(&[text]).unwrap_or_else(|e| unreachable!("a constant matcher: {e}"));
    INHIBITS
        .iter()
        .map(|(source, target, equal)| InhibitRule {
            source: matchers(source),
            target: matchers(target),
            equal: equal.iter().map(|l| l.to_string()).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_rule_loads_and_speaks_both_languages() {
        let groups = groups(15_000).expect("built-in rules load");
        assert!(groups.iter().map(|g| g.rules.len()).sum::<usize>() >= 70);
        for rule in groups.iter().flat_map(|g| &g.rules) {
            let Some(alerting) = rule.alerting() else { continue };
            for name in ["summary", "description", "runbook"] {
                for suffix in ["", "_zh"] {
                    let found = alerting.annotations.iter().find(|(n, _)| *n == format!("{name}{suffix}"));
                    let text = found.map_or("", |(_, t)| t.source());
                    assert!(!text.is_empty(), "{}: no {name}{suffix}", rule.name);
                    let chinese = text.chars().any(|c| c > '\u{4e00}');
                    assert_eq!(chinese, !suffix.is_empty(), "{}: {name}{suffix} is in the wrong language", rule.name);
                }
            }
        }
        assert_eq!(inhibit_rules().len(), INHIBITS.len());
    }
}
