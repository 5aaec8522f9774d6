//! Reads what pg_stat_activity shows; pg_blocking_pids only of sessions that wait for a lock, because it holds up the lock manager.

use std::collections::HashMap;

use super::{
    activity::{SESSIONS_MAX, Session},
    connection::Connection,
    reading::{Reading, Row},
    trouble::Trouble,
};

/// Of the function under the view: joining the view's catalogs for the names costs several times the reading, and few
/// sessions are shown.
const COLUMNS: &str = "pid, (select d.datname from pg_database d where d.oid = a.datid) as datname, pg_get_userbyid(usesysid) as usename, application_name, coalesce(host(client_addr), case when client_port = -1 then 'local' end) as client,
  backend_type, state, wait_event_type, wait_event, left(query, 4096) as query,
  extract(epoch from clock_timestamp() - query_start) * 1000 as query_ms,
  extract(epoch from clock_timestamp() - xact_start) * 1000 as transaction_ms,
  extract(epoch from clock_timestamp() - state_change) * 1000 as state_ms";

/// Names of relations by (database, oid), as the object inventory knows them.
pub type RelationNames = HashMap<(String, i64), String>;

/// Reads all sessions that do something, and those that stand in someone's way.
pub async fn read(connection: &mut Connection, names: &RelationNames) -> Result<Vec<Session>, Trouble> {
    let sql = format!(
        "select /* tidewatch */ {COLUMNS},
           case when wait_event_type = 'Lock' then array_to_string(pg_blocking_pids(pid), ',') end as blocked_by
         from pg_stat_get_activity(null) a
         where application_name <> 'tidewatch-collector' and state is distinct from 'idle' and pid <> pg_backend_pid()
           and backend_type in ('client backend', 'parallel worker', 'autovacuum worker', 'walsender', 'logical replication worker', 'background worker')
         order by wait_event_type = 'Lock' desc nulls last, xact_start nulls last limit {SESSIONS_MAX}"
    );
    let mut sessions = sessions(&connection.read(&sql).await?);
    let waiting = sessions.iter().any(|s| s.wait_class.as_deref() == Some("Lock"));
    if !waiting {
        return Ok(sessions);
    }
    let missing: Vec<String> = sessions
        .iter()
        .flat_map(|s| &s.blocked_by)
        .filter(|pid| **pid > 0 && !sessions.iter().any(|s| s.pid == **pid))
        .map(i64::to_string)
        .collect();
    if !missing.is_empty() {
        // Idle sessions that hold a lock of their session.
        let sql = format!(
            "select /* tidewatch */ {COLUMNS}, null as blocked_by from pg_stat_get_activity(null) a where pid in ({})",
            missing.join(",")
        );
        sessions.extend(self::sessions(&connection.read(&sql).await?));
    }
    let locks = connection.read(LOCKS_SQL).await?;
    for row in locks.iter() {
        let Some(pid) = row.int("pid") else { continue };
        let Some(session) = sessions.iter_mut().find(|s| s.pid == pid) else { continue };
        session.lock_mode = row.string("mode");
        session.lock_object = Some(lock_object(row, names));
    }
    Ok(sessions)
}

/// What each waits for; of a wait for a transaction, the table whose row it wants.
const LOCKS_SQL: &str = "select /* tidewatch */ w.pid, w.mode, w.locktype, d.datname,
    coalesce(w.relation, t.relation)::bigint as relation, c.relname, w.transactionid::text as transaction
  from pg_locks w
  left join lateral (select l.relation, l.database from pg_locks l
    where l.pid = w.pid and l.locktype = 'tuple' and w.locktype = 'transactionid' limit 1) t on true
  left join pg_database d on d.oid = coalesce(w.database, t.database)
  left join pg_class c on c.oid = coalesce(w.relation, t.relation) and d.datname = current_database()
  where not w.granted limit 500";

fn lock_object(row: Row<'_>, names: &RelationNames) -> String {
    let kind = row.text("locktype").unwrap_or("lock");
    let database = row.text("datname").unwrap_or("");
    match (row.int("relation"), row.text("relname"), row.text("transaction")) {
        (Some(_), Some(name), _) => format!("{kind} {name}"),
        (Some(oid), None, _) => match names.get(&(database.to_owned(), oid)) {
            Some(name) => format!("{kind} {name}"),
            None => format!("{kind} {database} oid {oid}"),
        },
        (None, _, Some(transaction)) => format!("{kind} {transaction}"),
        (None, _, None) => kind.to_owned(),
    }
}

fn sessions(reading: &Reading) -> Vec<Session> {
    reading.iter().filter_map(session).collect()
}

fn session(row: Row<'_>) -> Option<Session> {
    let blocked_by = row.text("blocked_by").unwrap_or("");
    Some(Session {
        pid: row.int("pid")?,
        database: row.string("datname"),
        user: row.string("usename"),
        application: row.string("application_name").filter(|a| !a.is_empty()),
        client: row.string("client"),
        backend: row.string("backend_type"),
        state: row.string("state"),
        wait_class: row.string("wait_event_type"),
        wait: row.string("wait_event"),
        text: row.string("query"),
        query_ms: row.number("query_ms"),
        transaction_ms: row.number("transaction_ms"),
        state_ms: row.number("state_ms"),
        blocked_by: blocked_by.split(',').filter_map(|p| p.parse().ok()).collect(),
        ..Session::default()
    })
}
