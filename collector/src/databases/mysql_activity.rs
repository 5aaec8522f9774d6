//! Reads the sessions of MySQL and MariaDB with their row lock and metadata lock waits.
//!
//! MariaDB: I_S.PROCESSLIST, INNODB_TRX, INNODB_LOCK_WAITS, and the plugin METADATA_LOCK_INFO where it is there.
//! MySQL 8: performance_schema.threads, data_lock_waits, metadata_locks. Lock views are read only when someone waits.

use std::collections::HashMap;

use super::{
    activity::{SESSIONS_MAX, Session},
    connection::Connection,
    fingerprint::fingerprint,
    reading::{Reading, Row},
    sql_tokens::Dialect,
    trouble::{Class, Trouble},
};
use crate::config::Engine;

/// What this server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// METADATA_LOCK_INFO (MariaDB); `None`: not yet tried.
    pub metadata_lock_info: Option<bool>,
}

const MARIADB_SESSIONS: &str = "SELECT p.ID AS pid, p.USER AS user, p.HOST AS host, p.DB AS db, p.COMMAND AS command, p.TIME_MS AS time_ms, \
    p.STATE AS state, LEFT(COALESCE(p.INFO, t.trx_query), 4096) AS info, t.trx_state AS trx_state, t.trx_rows_locked AS row_locks, \
    TIMESTAMPDIFF(MICROSECOND, t.trx_started, NOW(6)) / 1000 AS trx_ms \
    FROM information_schema.PROCESSLIST p LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID \
    WHERE p.ID <> CONNECTION_ID() AND p.COMMAND NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID') AND (p.COMMAND <> 'Sleep' OR t.trx_id IS NOT NULL) \
    ORDER BY (t.trx_id IS NOT NULL) DESC, p.TIME_MS DESC LIMIT 500";

const MYSQL_SESSIONS: &str = "SELECT p.PROCESSLIST_ID AS pid, p.PROCESSLIST_USER AS user, p.PROCESSLIST_HOST AS host, p.PROCESSLIST_DB AS db, \
    p.PROCESSLIST_COMMAND AS command, p.PROCESSLIST_TIME * 1000 AS time_ms, p.PROCESSLIST_STATE AS state, \
    LEFT(COALESCE(p.PROCESSLIST_INFO, t.trx_query), 4096) AS info, t.trx_state AS trx_state, t.trx_rows_locked AS row_locks, \
    TIMESTAMPDIFF(MICROSECOND, t.trx_started, NOW(6)) / 1000 AS trx_ms \
    FROM performance_schema.threads p LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.PROCESSLIST_ID \
    WHERE p.TYPE = 'FOREGROUND' AND p.PROCESSLIST_ID <> CONNECTION_ID() AND p.PROCESSLIST_COMMAND NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID') \
    AND (p.PROCESSLIST_COMMAND <> 'Sleep' OR t.trx_id IS NOT NULL) \
    ORDER BY (t.trx_id IS NOT NULL) DESC, p.PROCESSLIST_TIME DESC LIMIT 500";

const MARIADB_ROW_WAITS: &str = "SELECT r.trx_mysql_thread_id AS waiting, b.trx_mysql_thread_id AS blocking, l.lock_mode AS mode, \
    l.lock_table AS object, l.lock_index AS idx \
    FROM information_schema.INNODB_LOCK_WAITS w JOIN information_schema.INNODB_TRX r ON r.trx_id = w.requesting_trx_id \
    JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id \
    LEFT JOIN information_schema.INNODB_LOCKS l ON l.lock_id = w.requested_lock_id LIMIT 2000";

const MYSQL_ROW_WAITS: &str = "SELECT r.PROCESSLIST_ID AS waiting, b.PROCESSLIST_ID AS blocking, l.LOCK_MODE AS mode, \
    CONCAT(l.OBJECT_SCHEMA, '.', l.OBJECT_NAME) AS object, l.INDEX_NAME AS idx \
    FROM performance_schema.data_lock_waits w JOIN performance_schema.threads r ON r.THREAD_ID = w.REQUESTING_THREAD_ID \
    JOIN performance_schema.threads b ON b.THREAD_ID = w.BLOCKING_THREAD_ID \
    LEFT JOIN performance_schema.data_locks l ON l.ENGINE_LOCK_ID = w.REQUESTING_ENGINE_LOCK_ID LIMIT 2000";

const MARIADB_METADATA: &str = "SELECT THREAD_ID AS pid, LOCK_MODE AS mode, TABLE_SCHEMA AS `schema`, TABLE_NAME AS name \
    FROM information_schema.METADATA_LOCK_INFO WHERE TABLE_NAME <> '' LIMIT 2000";

const MYSQL_METADATA: &str = "SELECT w.PROCESSLIST_ID AS waiting, b.PROCESSLIST_ID AS blocking, l.LOCK_TYPE AS mode, \
    CONCAT(l.OBJECT_SCHEMA, '.', l.OBJECT_NAME) AS object, NULL AS idx \
    FROM performance_schema.metadata_locks l JOIN performance_schema.metadata_locks h ON h.OBJECT_TYPE = l.OBJECT_TYPE \
    AND h.OBJECT_SCHEMA = l.OBJECT_SCHEMA AND h.OBJECT_NAME = l.OBJECT_NAME AND h.LOCK_STATUS = 'GRANTED' \
    JOIN performance_schema.threads w ON w.THREAD_ID = l.OWNER_THREAD_ID \
    JOIN performance_schema.threads b ON b.THREAD_ID = h.OWNER_THREAD_ID \
    WHERE l.LOCK_STATUS = 'PENDING' AND b.PROCESSLIST_ID <> w.PROCESSLIST_ID LIMIT 2000";

/// Reads all sessions that do something, and those that stand in someone's way. `ours`: our own connection ids.
pub async fn read(
    connection: &mut Connection,
    engine: Engine,
    views: &mut Views,
    ours: &[i64],
) -> Result<Vec<Session>, Trouble> {
    const { assert!(SESSIONS_MAX == 500, "the limit stands in the query texts") }
    let mariadb = engine == Engine::Mariadb;
    let reading = connection.read(if mariadb { MARIADB_SESSIONS } else { MYSQL_SESSIONS }).await?;
    let mut sessions: Vec<Session> = reading.iter().filter_map(session).filter(|s| !ours.contains(&s.pid)).collect();
    if sessions.iter().any(|s| s.wait_class.as_deref() == Some("Lock")) {
        let waits = connection.read(if mariadb { MARIADB_ROW_WAITS } else { MYSQL_ROW_WAITS }).await?;
        add_waits(&mut sessions, &waits);
    }
    if sessions.iter().any(|s| s.wait_class.as_deref() == Some("MetadataLock")) {
        match engine {
            Engine::Mariadb if views.metadata_lock_info != Some(false) => match connection.read(MARIADB_METADATA).await
            {
                Ok(held) => {
                    views.metadata_lock_info = Some(true);
                    add_metadata_waits(&mut sessions, &held);
                }
                Err(trouble) if trouble.class == Class::MissingObject => views.metadata_lock_info = Some(false),
                Err(trouble) => return Err(trouble),
            },
            Engine::Mysql => add_waits(&mut sessions, &connection.read(MYSQL_METADATA).await?),
            _ => {}
        }
    }
    Ok(sessions)
}

fn add_waits(sessions: &mut [Session], waits: &Reading) {
    for row in waits.iter() {
        let (Some(waiting), Some(blocking)) = (row.int("waiting"), row.int("blocking")) else { continue };
        let Some(session) = sessions.iter_mut().find(|s| s.pid == waiting) else { continue };
        if waiting != blocking && !session.blocked_by.contains(&blocking) {
            session.blocked_by.push(blocking);
        }
        session.lock_mode = row.string("mode");
        let object = row.text("object").unwrap_or("").replace('`', "");
        session.lock_object = Some(match row.text("idx") {
            Some(index) => format!("{object} index {index}"),
            None => object,
        });
    }
}

/// MariaDB's plugin lists the locks that are held; whom a session waits for follows from the tables its statement names.
fn add_metadata_waits(sessions: &mut [Session], held: &Reading) {
    let mut holders: HashMap<String, Vec<(i64, String)>> = HashMap::new();
    for row in held.iter() {
        let (Some(pid), Some(name)) = (row.int("pid"), row.text("name")) else { continue };
        let mode = row.text("mode").unwrap_or("").to_owned();
        let qualified = format!("{}.{name}", row.text("schema").unwrap_or("")).to_lowercase();
        holders.entry(qualified).or_default().push((pid, mode));
    }
    for session in sessions.iter_mut().filter(|s| s.wait_class.as_deref() == Some("MetadataLock")) {
        let Some(text) = &session.text else { continue };
        for table in fingerprint(Dialect::Mysql, text).tables {
            let qualified = match (table.contains('.'), &session.database) {
                (false, Some(schema)) => format!("{}.{table}", schema.to_lowercase()),
                _ => table,
            };
            for (pid, _) in holders.get(&qualified).into_iter().flatten() {
                if *pid != session.pid && !session.blocked_by.contains(pid) {
                    session.blocked_by.push(*pid);
                    session.lock_object = Some(format!("metadata {qualified}"));
                }
            }
        }
    }
}

fn session(row: Row<'_>) -> Option<Session> {
    let command = row.text("command").unwrap_or("");
    let state_text = row.text("state").filter(|s| !s.is_empty());
    let in_transaction = row.text("trx_state").is_some();
    let state = match command {
        "Sleep" if in_transaction => "idle in transaction",
        "Sleep" => "idle",
        _ => "active",
    };
    let wait_class = if row.text("trx_state") == Some("LOCK WAIT") {
        Some("Lock")
    } else if state_text
        .is_some_and(|s| s.contains("metadata lock") || s.contains("table flush") || s.contains("backup lock"))
    {
        Some("MetadataLock")
    } else if state_text.is_some_and(|s| s.starts_with("Waiting for")) {
        Some("Wait")
    } else {
        None
    };
    let time_ms = row.number("time_ms");
    Some(Session {
        pid: row.int("pid")?,
        database: row.string("db"),
        user: row.string("user"),
        client: row.text("host").map(|h| h.rsplit_once(':').map_or(h, |(host, _)| host).to_owned()),
        backend: Some(command.to_owned()),
        state: Some(state.into()),
        wait_class: wait_class.map(str::to_owned),
        wait: state_text.map(str::to_owned),
        text: row.string("info"),
        query_ms: time_ms.filter(|_| state == "active"),
        transaction_ms: row.number("trx_ms"),
        state_ms: time_ms,
        row_locks: row.int("row_locks"),
        ..Session::default()
    })
}
