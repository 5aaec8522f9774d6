//! Who answers: engine, version, place, the server's own id, when it started, and which rights we have.

use std::sync::Arc;

use super::{
    connection::Connection,
    place::{Place, Standing},
    template::{ServerRole, Template},
    trouble::Trouble,
};
use crate::config::{DatabaseConfig, Engine};

/// A server, as it told of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// What it really is: MariaDB may have been configured as MySQL.
    pub engine: Engine,
    /// As it numbers itself: 150018, 101119, 80040.
    pub version: i64,
    /// As people write it.
    pub version_text: String,
    /// Where it stands now.
    pub place: Place,
    /// What of that does not change while it runs.
    pub standing: Standing,
    /// system_identifier or server_uuid; empty where the server has none.
    pub server_id: String,
    /// When it started, milliseconds; to about a second for MySQL and MariaDB.
    pub started_ms: i64,
    /// Rights it lacks: what is missing and the statement that grants it.
    pub missing_rights: Vec<(String, String)>,
    /// Our own session there.
    pub session: Option<i64>,
}

/// The template of MariaDB as a node of Galera.
const GALERA: &str = "galera";

/// Starts this close are one start: MySQL and MariaDB count their uptime in whole seconds.
const START_JITTER_MS: i64 = 2_000;

const POSTGRES_SQL: &str = "select /* tidewatch */ current_setting('server_version_num') as version_num, current_setting('server_version') as version,
  pg_is_in_recovery()::int as replica, (extract(epoch from pg_postmaster_start_time()) * 1000)::bigint as started_ms,
  (select system_identifier from pg_control_system()) as server_id, nullif(current_setting('cluster_name'), '') as cluster,
  pg_has_role(current_user, 'pg_monitor', 'usage')::int as monitor, pg_backend_pid() as session";

const MYSQL_SQL: &str = "SELECT VERSION() AS version, @@version_comment AS comment, @@hostname AS hostname, @@server_id AS server_id, CONNECTION_ID() AS session, \
  UNIX_TIMESTAMP(NOW(3)) * 1000 AS now_ms";
const MYSQL_MORE: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'wsrep_cluster_name', 'wsrep_node_name', 'wsrep_on', 'group_replication_group_name')";
const MYSQL_UPTIME: &str = "SHOW GLOBAL STATUS WHERE Variable_name = 'Uptime'";
const MYSQL_RIGHTS: &str = "SELECT PRIVILEGE_TYPE AS name FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";

impl Identity {
    /// Asks.
    pub async fn read(connection: &mut Connection, config: &DatabaseConfig) -> Result<Identity, Trouble> {
        let mut identity = match (config.template.as_deref(), config.engine) {
            (Some(Template { identity: Some(sql), .. }), _) => by_template(connection, config, sql).await?,
            (_, Engine::Postgresql) => postgres(connection, config).await?,
            (_, Engine::Mysql | Engine::Mariadb) => mysql(connection, config).await?,
        };
        identity.place = Place::read(connection, config, identity.engine, &identity.standing).await?;
        Ok(identity)
    }

    /// The template it is read by.
    pub fn template(&self, config: &DatabaseConfig) -> Arc<Template> {
        match &config.template {
            Some(template) => template.clone(),
            None => (self.place.node.as_ref().and_then(|_| config.templates.get(GALERA)))
                .unwrap_or_else(|| config.templates.of(self.engine)),
        }
    }

    /// In its replication.
    pub fn role(&self) -> ServerRole {
        self.place.role
    }

    /// The instance's name: the configured one, else the server's own id with its address.
    pub fn instance(&self, config: &DatabaseConfig) -> Arc<str> {
        let kind = config.template.as_deref().map_or(self.engine.as_str(), Template::kind);
        match &config.instance {
            Some(name) => name.clone(),
            None if self.server_id.is_empty() => format!("{kind}@{}", config.address).into(),
            None => format!("{kind}-{}@{}", self.server_id, config.address).into(),
        }
    }

    /// Whether this is the same run of the same server.
    pub fn same_run(&self, other: &Identity) -> bool {
        self.server_id == other.server_id && (self.started_ms - other.started_ms).abs() <= START_JITTER_MS
    }
}

/// Puts our account into a grant.
pub fn grant_for(engine: Engine, grant: &str, user: &str) -> String {
    let user = match engine {
        Engine::Postgresql => format!("\"{}\"", user.replace('"', "\"\"")),
        Engine::Mysql | Engine::Mariadb => format!("'{}'@'%'", user.replace('\'', "''")),
    };
    grant.replace("{user}", &user)
}

async fn postgres(connection: &mut Connection, config: &DatabaseConfig) -> Result<Identity, Trouble> {
    let reading = connection.read(POSTGRES_SQL).await?;
    let row = reading.first().unwrap_or_else(|| unreachable!("a select without from has one row"));
    let missing = row.truth("monitor") != Some(true);
    let grant = grant_for(config.engine, "GRANT pg_monitor TO {user};", &config.user);
    Ok(Identity {
        engine: Engine::Postgresql,
        version: row.int("version_num").unwrap_or(0),
        version_text: row.text("version").unwrap_or("").split(' ').next().unwrap_or("").to_owned(),
        place: Place::default(),
        standing: Standing { cluster: row.string("cluster"), ..Standing::default() },
        server_id: row.string("server_id").unwrap_or_default(),
        started_ms: row.int("started_ms").unwrap_or(0),
        missing_rights: missing.then(|| ("pg_monitor".to_owned(), grant)).into_iter().collect(),
        session: row.int("session"),
    })
}

async fn mysql(connection: &mut Connection, config: &DatabaseConfig) -> Result<Identity, Trouble> {
    let reading = connection.read(MYSQL_SQL).await?;
    let row = reading.first().unwrap_or_else(|| unreachable!("a select without from has one row"));
    let more = connection.read(MYSQL_MORE).await?;
    let value =
        |name: &str| more.iter().find(|r| r.text("Variable_name") == Some(name)).and_then(|r| r.string("Value"));
    let uptime = connection.read(MYSQL_UPTIME).await?;
    let uptime_s = uptime.first().and_then(|r| r.int("Value")).unwrap_or(0);
    let rights = connection.read(MYSQL_RIGHTS).await?;
    let has = |name: &str| rights.iter().any(|r| r.text("name") == Some(name));
    let text = row.text("version").unwrap_or("");
    let comment = row.text("comment").unwrap_or("").to_lowercase();
    let mariadb = text.to_lowercase().contains("mariadb") || comment.contains("mariadb");
    let engine = if mariadb { Engine::Mariadb } else { Engine::Mysql };
    let server_id = value("server_uuid")
        .or_else(|| value("server_uid"))
        .unwrap_or_else(|| format!("{}-{}", row.text("hostname").unwrap_or(""), row.text("server_id").unwrap_or("")));
    let galera = value("wsrep_on").as_deref() == Some("ON");
    let mut missing_rights = Vec::new();
    if !has("PROCESS") {
        let grant = grant_for(engine, "GRANT PROCESS ON *.* TO {user};", &config.user);
        missing_rights.push(("PROCESS".to_owned(), grant));
    }
    Ok(Identity {
        engine,
        version: version_number(text),
        version_text: text.split('-').next().unwrap_or("").to_owned(),
        place: Place::default(),
        standing: Standing {
            cluster: if galera { value("wsrep_cluster_name") } else { value("group_replication_group_name") }
                .filter(|name| !name.is_empty()),
            node: galera.then(|| value("wsrep_node_name").unwrap_or_default()),
            shard: None,
        },
        server_id,
        started_ms: row.number("now_ms").unwrap_or(0.0) as i64 - uptime_s * 1000,
        missing_rights,
        session: row.int("session"),
    })
}

/// What a template's own query tells; each column may be missing: `version`, `version_num`, `replica`, `started_ms`,
/// `server_id`, `cluster`, `shard`, `session`.
async fn by_template(connection: &mut Connection, config: &DatabaseConfig, sql: &str) -> Result<Identity, Trouble> {
    let reading = connection.read(sql).await?;
    let Some(row) = reading.first() else {
        return Err(Trouble::new(super::trouble::Class::QueryFailed, "the template's identity gave no row"));
    };
    let text = row.text("version").unwrap_or("");
    let number = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    Ok(Identity {
        engine: config.engine,
        version: row.int("version_num").unwrap_or_else(|| version_number(number)),
        version_text: number.split([' ', '-']).next().unwrap_or("").to_owned(),
        place: Place::default(),
        standing: Standing { cluster: row.string("cluster"), shard: row.string("shard"), node: None },
        server_id: row.string("server_id").unwrap_or_default(),
        started_ms: row.number("started_ms").unwrap_or(0.0) as i64,
        missing_rights: Vec::new(),
        session: row.int("session"),
    })
}

/// `10.11.19-MariaDB-…` is 101119, `8.0.40` is 80040.
fn version_number(text: &str) -> i64 {
    let text = text.strip_prefix("5.5.5-").unwrap_or(text);
    let mut parts = text.split(['.', '-']).map(|p| p.parse::<i64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    next() * 10_000 + next() * 100 + next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        for (text, want) in
            [("10.11.19-MariaDB-0+deb12u1", 101_119), ("8.0.40", 80_040), ("5.5.5-10.6.1-MariaDB", 100_601)]
        {
            assert_eq!(version_number(text), want, "{text}");
        }
    }

    #[test]
    fn grants_quote_the_account() {
        assert_eq!(grant_for(Engine::Postgresql, "GRANT x TO {user};", "a\"b"), "GRANT x TO \"a\"\"b\";");
        assert_eq!(grant_for(Engine::Mariadb, "GRANT x TO {user};", "a'b"), "GRANT x TO 'a''b'@'%';");
    }
}
