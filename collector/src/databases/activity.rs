//! Sessions as they are at a moment: who runs, who waits, who blocks whom. Shared by both servers, and pure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use proto::{Events, EventsBuilder, Table};
use serde_json::json;

use super::fingerprint::{cut, fingerprint};
use crate::logs::mask::Mask;

/// Most sessions of one reading; blockers and victims come first.
pub const SESSIONS_MAX: usize = 500;
/// Longest statement text taken, bytes.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;
/// Interval while someone waits for a lock.
pub const BLOCKED_INTERVAL: Duration = Duration::from_secs(1);
/// Interval when nothing waits and nothing is old.
const CALM_FACTOR: u32 = 2;
/// A statement this old makes the interval the configured one again, milliseconds.
const OLD_QUERY_MS: f64 = 1_000.0;
/// Deepest chain of blockers followed; a cycle (a deadlock being resolved) ends the walk earlier.
const CHAIN_MAX: usize = 64;

/// One session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
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
    /// Statement text as the server shows it; never leaves this process unmasked.
    pub text: Option<String>,
    /// Since the statement began.
    pub query_ms: Option<f64>,
    /// Since the transaction began.
    pub transaction_ms: Option<f64>,
    /// Since the state changed.
    pub state_ms: Option<f64>,
    /// Pids it waits for, directly.
    pub blocked_by: Vec<i64>,
    /// Mode it waits for.
    pub lock_mode: Option<String>,
    /// Relation or row it waits for.
    pub lock_object: Option<String>,
    /// Rows it has locked.
    pub row_locks: Option<i64>,
}

/// Who stands where in the queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Pid at the head of its queue; `None` if it waits for nobody.
    pub root_blocker: Option<i64>,
    /// How many sessions wait for it, directly or not.
    pub blocking: usize,
}

/// Follows every queue to its head and counts the victims of each session.
pub fn places(sessions: &[Session]) -> HashMap<i64, Place> {
    let edges: HashMap<i64, &[i64]> =
        sessions.iter().filter(|s| !s.blocked_by.is_empty()).map(|s| (s.pid, &s.blocked_by[..])).collect();
    let mut places: HashMap<i64, Place> = sessions.iter().map(|s| (s.pid, Place::default())).collect();
    for &victim in edges.keys() {
        let mut reached: HashSet<i64> = HashSet::from([victim]);
        let mut front = vec![victim];
        let mut roots: Vec<i64> = Vec::new();
        for _ in 0..CHAIN_MAX {
            let mut next = Vec::new();
            for pid in front {
                for &blocker in edges.get(&pid).copied().unwrap_or(&[]) {
                    if !reached.insert(blocker) {
                        continue;
                    }
                    places.entry(blocker).or_default().blocking += 1;
                    if edges.contains_key(&blocker) { next.push(blocker) } else { roots.push(blocker) }
                }
            }
            if next.is_empty() {
                break;
            }
            front = next;
        }
        // Of several heads the one that blocks most will do; in a cycle the smallest pid stands for it.
        let root = roots.into_iter().min().or_else(|| reached.into_iter().filter(|p| *p != victim).min());
        places.entry(victim).or_default().root_blocker = root;
    }
    places
}

/// Time until the next reading: short while someone waits, long while nothing happens.
pub fn next_interval(sessions: &[Session], configured: Duration) -> Duration {
    if sessions.iter().any(|s| !s.blocked_by.is_empty()) {
        return BLOCKED_INTERVAL.min(configured);
    }
    let busy = sessions.iter().any(|s| {
        s.query_ms.is_some_and(|ms| ms > OLD_QUERY_MS) && s.state.as_deref() != Some("idle")
            || s.state.as_deref().is_some_and(|s| s.starts_with("idle in transaction"))
    });
    if busy { configured } else { configured * CALM_FACTOR }
}

/// Rows of `activity`.
pub fn rows(mask: Mask, instance: &str, now_ms: i64, mut sessions: Vec<Session>) -> Events {
    let places = places(&sessions);
    let mut rows = EventsBuilder::new(Table::Activity);
    let place = |pid: i64| places.get(&pid).copied().unwrap_or_default();
    sessions.sort_by_key(|s| {
        let p = place(s.pid);
        (p.blocking == 0 && p.root_blocker.is_none(), std::cmp::Reverse(p.blocking), s.pid)
    });
    sessions.truncate(SESSIONS_MAX);
    // The same statement in many sessions is cut into tokens once.
    let mut texts: HashMap<&str, (Arc<str>, String)> = HashMap::new();
    for session in &sessions {
        let text = session.text.as_deref().map(|t| cut(t, TEXT_BYTES_MAX)).filter(|t| !t.trim().is_empty());
        let text =
            text.map(|t| texts.entry(t).or_insert_with(|| (fingerprint(mask.dialect(), t).id, mask.sql(t))).clone());
        let (print, masked) = text.map_or((None, None), |(p, m)| (Some(p), Some(m)));
        let place = place(session.pid);
        let blocked_by = (!session.blocked_by.is_empty()).then(|| json!(session.blocked_by).to_string());
        rows.row(
            instance,
            now_ms,
            [
                ("engine", mask.engine.as_str().into()),
                ("pid", session.pid.into()),
                ("database", session.database.clone().into()),
                ("user", session.user.clone().into()),
                ("application", session.application.clone().into()),
                ("client", session.client.clone().into()),
                ("backend", session.backend.clone().into()),
                ("state", session.state.clone().into()),
                ("wait_class", session.wait_class.clone().into()),
                ("wait", session.wait.clone().into()),
                ("fingerprint", print.into()),
                ("text", masked.into()),
                ("query_ms", session.query_ms.into()),
                ("transaction_ms", session.transaction_ms.into()),
                ("state_ms", session.state_ms.into()),
                ("blocked_by", blocked_by.into()),
                ("root_blocker", place.root_blocker.into()),
                ("blocking", (place.blocking as i64).into()),
                ("lock_mode", session.lock_mode.clone().into()),
                ("lock_object", session.lock_object.clone().into()),
                ("row_locks", session.row_locks.into()),
            ],
        );
    }
    rows.build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Engine, Unmasked};

    fn session(pid: i64, blocked_by: &[i64]) -> Session {
        Session { pid, blocked_by: blocked_by.to_vec(), ..Session::default() }
    }

    #[test]
    fn queues_have_heads_and_victims() {
        let sessions = [session(1, &[]), session(2, &[1]), session(3, &[2]), session(4, &[2, 1]), session(9, &[])];
        let places = places(&sessions);
        assert_eq!(places[&1], Place { root_blocker: None, blocking: 3 });
        assert_eq!(places[&2], Place { root_blocker: Some(1), blocking: 2 });
        assert_eq!(places[&3], Place { root_blocker: Some(1), blocking: 0 });
        assert_eq!(places[&4].root_blocker, Some(1));
        assert_eq!(places[&9], Place::default());
    }

    #[test]
    fn a_cycle_ends_and_a_blocker_outside_the_list_counts() {
        let cycle = places(&[session(1, &[2]), session(2, &[1])]);
        assert_eq!((cycle[&1].root_blocker, cycle[&2].root_blocker), (Some(2), Some(1)));
        let outside = places(&[session(5, &[77])]);
        assert_eq!((outside[&5].root_blocker, outside[&77].blocking), (Some(77), 1));
    }

    #[test]
    fn the_interval_adapts() {
        let configured = Duration::from_secs(5);
        assert_eq!(next_interval(&[], configured), Duration::from_secs(10));
        assert_eq!(next_interval(&[session(2, &[1])], configured), BLOCKED_INTERVAL);
        let busy = Session { query_ms: Some(1_500.0), state: Some("active".into()), ..session(1, &[]) };
        assert_eq!(next_interval(&[busy], configured), configured);
    }

    #[test]
    fn texts_are_masked_and_blockers_come_first() {
        let victim = Session { text: Some("select * from t where card = '4111'".into()), ..session(2, &[8]) };
        let mask = Mask { engine: Engine::Postgresql, unmasked: Unmasked::default() };
        let events = rows(mask, "i", 1, vec![session(1, &[]), victim, session(8, &[])]);
        assert_eq!(events.get(0, "pid"), 8.into());
        assert_eq!(events.get(0, "blocking"), 1.into());
        let at = (0..3).find(|r| events.get(*r, "pid") == 2.into()).unwrap();
        assert_eq!(events.get(at, "text"), "select * from t where card = ?".into());
        assert_eq!(events.get(at, "blocked_by"), "[8]".into());
    }
}
