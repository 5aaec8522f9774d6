//! Who waits for whom: sessions as trees with the root blockers on top.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::session::Session;

/// Deepest tree drawn.
const DEPTH_MAX: usize = 64;

/// A session and those that wait for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockNode {
    /// Backend or connection id.
    pub pid: i64,
    /// Role or account.
    pub user: Option<String>,
    /// application_name.
    pub application: Option<String>,
    /// active, idle in transaction, …; `null`: the session itself was not seen.
    pub state: Option<String>,
    /// Since its transaction began, milliseconds.
    pub transaction_ms: Option<f64>,
    /// Since its statement began, milliseconds.
    pub query_ms: Option<f64>,
    /// What it waits for.
    pub wait: Option<String>,
    /// Masked text, running or last.
    pub text: Option<String>,
    /// Joins statements.
    pub fingerprint: Option<String>,
    /// Those that wait for it, longest wait first.
    pub blocked: Vec<BlockNode>,
}

impl BlockNode {
    /// How many sessions wait for it, directly or not.
    pub fn waiting(&self) -> usize {
        self.blocked.iter().map(|b| 1 + b.waiting()).sum()
    }
}

/// The trees of one moment's sessions, the one with most waiting first. A session that waits for several stands below each
/// of their trees once; in a cycle (a deadlock under way) the smallest pid is taken for the root.
pub fn trees(sessions: &[Session]) -> Vec<BlockNode> {
    let by_pid: BTreeMap<i64, &Session> = sessions.iter().map(|s| (s.pid, s)).collect();
    let mut waiting_for: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    let mut waiters: BTreeSet<i64> = BTreeSet::new();
    for session in sessions {
        for blocker in session.blockers().into_iter().filter(|b| *b != session.pid) {
            waiting_for.entry(blocker).or_default().insert(session.pid);
            waiters.insert(session.pid);
        }
    }
    let mut placed = BTreeSet::new();
    let mut trees = Vec::new();
    let roots = waiting_for.keys().filter(|pid| !waiters.contains(pid)).copied();
    // what no root reaches is a cycle: begin anywhere in it
    for root in roots.chain(waiting_for.keys().copied()) {
        if !placed.contains(&root) {
            trees.push(grow(root, &by_pid, &waiting_for, &mut placed, 0));
        }
    }
    trees.sort_by(|a, b| b.waiting().cmp(&a.waiting()).then(a.pid.cmp(&b.pid)));
    trees
}

fn grow(
    pid: i64,
    by_pid: &BTreeMap<i64, &Session>,
    waiting_for: &BTreeMap<i64, BTreeSet<i64>>,
    placed: &mut BTreeSet<i64>,
    depth: usize,
) -> BlockNode {
    placed.insert(pid);
    let session = by_pid.get(&pid).copied().cloned().unwrap_or_default();
    let mut blocked = Vec::new();
    if depth < DEPTH_MAX {
        for waiter in waiting_for.get(&pid).into_iter().flatten() {
            if !placed.contains(waiter) {
                blocked.push(grow(*waiter, by_pid, waiting_for, placed, depth + 1));
            }
        }
    }
    blocked.sort_by(|a, b| b.query_ms.unwrap_or(0.0).total_cmp(&a.query_ms.unwrap_or(0.0)));
    BlockNode {
        pid,
        user: session.user,
        application: session.application,
        state: session.state,
        transaction_ms: session.transaction_ms,
        query_ms: session.query_ms,
        wait: session.wait,
        text: session.text,
        fingerprint: session.fingerprint,
        blocked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pid<-blockers` each; the drawing is `root(waiter(…) …)`.
    fn check(sessions: &[(i64, &str)], expected: &str) {
        let sessions: Vec<Session> = sessions
            .iter()
            .map(|(pid, blockers)| Session {
                pid: *pid,
                blocked_by: (!blockers.is_empty()).then(|| format!("[{blockers}]")),
                ..Session::default()
            })
            .collect();
        fn draw(node: &BlockNode) -> String {
            match node.blocked.is_empty() {
                true => node.pid.to_string(),
                false => format!("{}({})", node.pid, node.blocked.iter().map(draw).collect::<Vec<_>>().join(" ")),
            }
        }
        let drawn: Vec<String> = trees(&sessions).iter().map(draw).collect();
        assert_eq!(drawn.join(" "), expected, "{sessions:?}");
    }

    #[test]
    fn trees_of_every_shape() {
        check(&[], "");
        check(&[(1, ""), (2, "")], "");
        check(&[(1, ""), (2, "1")], "1(2)");
        check(&[(1, ""), (2, "1"), (3, "2"), (4, "1")], "1(2(3) 4)");
        check(&[(2, "1")], "1(2)"); // the blocker itself was not seen
        check(&[(1, ""), (2, "1"), (5, ""), (6, "5"), (7, "5")], "5(6 7) 1(2)");
        check(&[(1, "2"), (2, "1")], "1(2)"); // a deadlock
        check(&[(3, "1,2"), (1, ""), (2, "")], "1(3) 2");
        check(&[(1, "1")], ""); // nobody waits for oneself
    }
}
