//! What can go wrong between us and a database, told apart by what its owner can do about it.
//!
//! [`Trouble`] classifies errors; [`Findings`] decides, purely, when to say one: once when it appears, once when it is gone.

use std::collections::BTreeMap;

use proto::{Events, EventsBuilder, Table};
use serde_json::json;

use crate::config::Engine;

/// Most findings kept for one instance.
const FINDINGS_MAX: usize = 200;

/// The kind of trouble: the word is the `class` of its log row and the begin of its finding's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// No connection to be had.
    TargetUnreachable,
    /// The server is starting, stopping or recovering.
    TargetRestarting,
    /// The server has no connection left for us.
    TooManyConnections,
    /// Name or password refused.
    AuthFailed,
    /// Connected, but a right is missing.
    MissingRight,
    /// An extension or its library is not there.
    MissingExtension,
    /// The server's own instrumentation is switched off.
    InstrumentationOff,
    /// A database that was there is gone.
    DatabaseDropped,
    /// A view, table or function does not exist there.
    MissingObject,
    /// Our own time limit ended a query.
    TooSlow,
    /// A query of ours waited for a lock and gave up.
    LockTimeout,
    /// The server was restarted.
    TargetRestarted,
    /// Anything else the server said.
    QueryFailed,
    /// Cluster, shard or role are not what the configuration says.
    PlaceDrift,
    /// The server has another role than before.
    RoleChanged,
    /// A node of the cluster is gone.
    ClusterIncomplete,
    /// The node is outside the part of its cluster that takes writes.
    ClusterNotPrimary,
    /// The node does not take part in everything.
    NodeNotSynced,
    /// Our time budget leaves something unread.
    OverBudget,
    /// A query of ours waited for a lock in vain: reading pauses.
    LockQueue,
}

impl Class {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::TargetUnreachable => "target_unreachable",
            Class::TargetRestarting => "target_restarting",
            Class::TooManyConnections => "too_many_connections",
            Class::AuthFailed => "auth_failed",
            Class::MissingRight => "missing_right",
            Class::MissingExtension => "missing_extension",
            Class::InstrumentationOff => "instrumentation_off",
            Class::DatabaseDropped => "database_dropped",
            Class::MissingObject => "missing_object",
            Class::TooSlow => "too_slow",
            Class::LockTimeout => "lock_timeout",
            Class::TargetRestarted => "target_restarted",
            Class::QueryFailed => "query_failed",
            Class::PlaceDrift => "place_drift",
            Class::RoleChanged => "role_changed",
            Class::ClusterIncomplete => "cluster_incomplete",
            Class::ClusterNotPrimary => "cluster_not_primary",
            Class::NodeNotSynced => "node_not_synced",
            Class::OverBudget => "over_budget",
            Class::LockQueue => "lock_queue",
        }
    }

    fn level(self) -> &'static str {
        match self {
            Class::TargetUnreachable | Class::AuthFailed | Class::ClusterNotPrimary => "error",
            Class::TargetRestarted | Class::DatabaseDropped | Class::RoleChanged => "notice",
            _ => "warning",
        }
    }

    /// From a SQLSTATE (PostgreSQL manual, appendix A) and the message where the state is too wide.
    pub fn of_sqlstate(code: &str, message: &str) -> Class {
        match code {
            "28P01" | "28000" => Class::AuthFailed,
            "3D000" => Class::DatabaseDropped,
            "42501" => Class::MissingRight,
            "42P01" | "42883" | "42703" | "42704" | "3F000" => Class::MissingObject,
            "55000" if message.contains("shared_preload_libraries") => Class::MissingExtension,
            "57014" => Class::TooSlow,
            "55P03" => Class::LockTimeout,
            "57P01" | "57P02" | "57P03" => Class::TargetRestarting,
            "53300" => Class::TooManyConnections,
            c if c.starts_with("08") => Class::TargetUnreachable,
            _ => Class::QueryFailed,
        }
    }

    /// From an error number (MySQL server error reference; MariaDB error codes).
    pub fn of_errno(code: u16) -> Class {
        match code {
            1045 | 1698 | 1130 | 1251 | 1524 => Class::AuthFailed,
            1044 | 1142 | 1143 | 1227 | 1370 => Class::MissingRight,
            1049 => Class::DatabaseDropped,
            1054 | 1109 | 1146 | 1305 | 1193 => Class::MissingObject,
            1205 | 3572 => Class::LockTimeout,
            1969 | 3024 | 1317 => Class::TooSlow,
            1053 | 1077 | 1927 => Class::TargetRestarting,
            1040 | 1203 | 1226 => Class::TooManyConnections,
            _ => Class::QueryFailed,
        }
    }
}

/// One trouble.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", class.as_str())]
pub struct Trouble {
    /// What kind.
    pub class: Class,
    /// What the server or the system said.
    pub text: String,
    /// SQLSTATE or error number, if the server gave one.
    pub code: Option<String>,
}

impl Trouble {
    /// A trouble without a server's code.
    pub fn new(class: Class, text: impl Into<String>) -> Trouble {
        Trouble { class, text: text.into(), code: None }
    }

    /// Whether the connection is of no use any more.
    pub fn connection_lost(&self) -> bool {
        matches!(
            self.class,
            Class::TargetUnreachable | Class::TargetRestarting | Class::AuthFailed | Class::TooManyConnections
        ) || (self.class == Class::TooSlow && self.code.is_none())
    }
}

/// What stands wrong about an instance right now. Fed with the state of each thing, it gives rows only on a change.
#[derive(Debug, Default)]
pub struct Findings {
    open: BTreeMap<String, Finding>,
}

#[derive(Clone, Debug, PartialEq)]
struct Finding {
    class: Class,
    text: String,
    grant: Option<String>,
}

/// Rows that say what appeared or went: for `logs` and for `objects`.
pub struct Said {
    /// One row per change.
    pub logs: Events,
    /// One row per change.
    pub objects: Events,
}

impl Findings {
    /// The trouble `class` about `what` (empty: the instance) holds. Rows come only if it is new or another text.
    pub fn hold(
        &mut self,
        engine: Engine,
        instance: &str,
        now_ms: i64,
        trouble: &Trouble,
        what: &str,
        grant: Option<&str>,
    ) -> Option<Said> {
        let name = name(trouble.class, what);
        let finding = Finding { class: trouble.class, text: trouble.text.clone(), grant: grant.map(str::to_owned) };
        let previous = self.open.get(&name);
        if previous.is_some() || self.open.len() >= FINDINGS_MAX {
            return None;
        }
        let said = say(engine, instance, now_ms, &name, &finding, trouble.code.as_deref(), "added");
        self.open.insert(name, finding);
        Some(said)
    }

    /// Nothing of `class` is wrong about `what` any more. Rows come only if it was.
    pub fn clear(&mut self, engine: Engine, instance: &str, now_ms: i64, class: Class, what: &str) -> Option<Said> {
        let name = name(class, what);
        let finding = self.open.remove(&name)?;
        Some(say(engine, instance, now_ms, &name, &finding, None, "removed"))
    }

    /// Names of what is open.
    pub fn names(&self) -> Vec<String> {
        self.open.keys().cloned().collect()
    }

    /// Whether something of this class is open about `what`.
    pub fn holds(&self, class: Class, what: &str) -> bool {
        self.open.contains_key(&name(class, what))
    }
}

/// Something that happened once and does not last: only a log row.
pub fn event(engine: Engine, instance: &str, now_ms: i64, class: Class, text: &str) -> Events {
    let mut logs = EventsBuilder::new(Table::Logs);
    log_row(&mut logs, engine, instance, now_ms, class.level(), class, text, None, json!({}));
    logs.build()
}

fn name(class: Class, what: &str) -> String {
    if what.is_empty() { class.as_str().to_owned() } else { format!("{}:{what}", class.as_str()) }
}

fn say(
    engine: Engine,
    instance: &str,
    now_ms: i64,
    name: &str,
    finding: &Finding,
    code: Option<&str>,
    change: &str,
) -> Said {
    let mut attributes = json!({ "finding": name, "change": change, "engine": engine.as_str() });
    if let Some(grant) = &finding.grant {
        attributes["grant"] = json!(grant);
    }
    let mut logs = EventsBuilder::new(Table::Logs);
    let (level, text) = match change {
        "added" => (finding.class.level(), finding.text.clone()),
        _ => ("info", format!("over: {}", finding.text)),
    };
    log_row(&mut logs, engine, instance, now_ms, level, finding.class, &text, code, attributes.clone());
    let mut objects = EventsBuilder::new(Table::Objects);
    objects.row(
        instance,
        now_ms,
        [
            ("engine", engine.as_str().into()),
            ("kind", "finding".into()),
            ("name", name.into()),
            ("change", change.into()),
            ("value", finding.text.as_str().into()),
            ("attributes", attributes.to_string().into()),
        ],
    );
    Said { logs: logs.build(), objects: objects.build() }
}

#[allow(clippy::too_many_arguments)] // one per column
fn log_row(
    logs: &mut EventsBuilder,
    engine: Engine,
    instance: &str,
    now_ms: i64,
    level: &str,
    class: Class,
    text: &str,
    code: Option<&str>,
    mut attributes: serde_json::Value,
) {
    attributes["engine"] = json!(engine.as_str());
    logs.row(
        instance,
        now_ms,
        [
            ("stream", "collector".into()),
            ("engine", "collector".into()),
            ("level", level.into()),
            ("class", class.as_str().into()),
            ("body", text.into()),
            ("code", code.map(str::to_owned).into()),
            ("attributes", attributes.to_string().into()),
        ],
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_trouble_is_said_once_and_its_end_once() {
        let mut findings = Findings::default();
        let trouble = Trouble::new(Class::MissingExtension, "pg_stat_statements is not installed");
        let hold = |f: &mut Findings, at| {
            f.hold(Engine::Postgresql, "db1", at, &trouble, "pg_stat_statements", Some("CREATE"))
        };
        let said = hold(&mut findings, 1).unwrap();
        assert_eq!(said.logs.get(0, "class"), "missing_extension".into());
        assert_eq!(said.logs.get(0, "engine"), "collector".into());
        assert_eq!(said.objects.get(0, "name"), "missing_extension:pg_stat_statements".into());
        assert_eq!(said.objects.get(0, "change"), "added".into());
        assert!(hold(&mut findings, 2).is_none());
        let gone = findings.clear(Engine::Postgresql, "db1", 3, Class::MissingExtension, "pg_stat_statements").unwrap();
        assert_eq!(gone.objects.get(0, "change"), "removed".into());
        assert_eq!(gone.logs.get(0, "level"), "info".into());
        assert!(findings.clear(Engine::Postgresql, "db1", 4, Class::MissingExtension, "pg_stat_statements").is_none());
        assert!(findings.names().is_empty());
    }

    #[test]
    fn server_codes_are_told_apart() {
        for (code, want) in [
            ("28P01", Class::AuthFailed),
            ("3D000", Class::DatabaseDropped),
            ("42501", Class::MissingRight),
            ("57014", Class::TooSlow),
            ("57P03", Class::TargetRestarting),
            ("08006", Class::TargetUnreachable),
            ("22012", Class::QueryFailed),
        ] {
            assert_eq!(Class::of_sqlstate(code, ""), want, "{code}");
        }
        assert_eq!(Class::of_errno(1045), Class::AuthFailed);
        assert_eq!(Class::of_errno(1227), Class::MissingRight);
        assert_eq!(Class::of_errno(9999), Class::QueryFailed);
    }
}
