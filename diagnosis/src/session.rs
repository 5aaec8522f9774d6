//! One session as it was at a moment: a row of table `activity`.

use serde::{Deserialize, Serialize};

/// A session. Times are milliseconds; fields are null where the server did not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// When it was read.
    pub ts: i64,
    /// Backend or connection id.
    pub pid: i64,
    /// Database or schema.
    pub database: Option<String>,
    /// Role or account.
    pub user: Option<String>,
    /// application_name.
    pub application: Option<String>,
    /// Address.
    pub client: Option<String>,
    /// backend_type or command.
    pub backend: Option<String>,
    /// active, idle in transaction, …
    pub state: Option<String>,
    /// wait_event_type.
    pub wait_class: Option<String>,
    /// wait_event or state text.
    pub wait: Option<String>,
    /// Joins statements.
    pub fingerprint: Option<String>,
    /// Masked text, running or last.
    pub text: Option<String>,
    /// Since the statement began.
    pub query_ms: Option<f64>,
    /// Since the transaction began.
    pub transaction_ms: Option<f64>,
    /// Since the state changed.
    pub state_ms: Option<f64>,
    /// JSON list of the pids it waits for.
    pub blocked_by: Option<String>,
    /// Pid at the head of its queue.
    pub root_blocker: Option<i64>,
    /// How many sessions wait for it.
    pub blocking: Option<i64>,
    /// Mode it waits for.
    pub lock_mode: Option<String>,
    /// What it waits for.
    pub lock_object: Option<String>,
    /// Rows it has locked.
    pub row_locks: Option<i64>,
}

impl Session {
    /// The pids it waits for.
    pub fn blockers(&self) -> Vec<i64> {
        self.blocked_by.as_deref().and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
    }

    /// Whether it sits in a transaction without running anything.
    pub fn is_idle_in_transaction(&self) -> bool {
        self.state.as_deref().is_some_and(|s| s.starts_with("idle in transaction"))
            || self.backend.as_deref() == Some("Sleep") && self.transaction_ms.is_some_and(|t| t > 0.0)
    }
}
