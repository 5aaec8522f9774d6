//! `tidewatch-collector check`: tries everything a target is configured for, once, and says what is missing.

use std::collections::BTreeSet;

use super::{
    connection::{Connection, OwnStatements},
    identity::{Identity, grant_for},
    log_sources,
    mysql_statements::MysqlStatements,
    postgres_statements::PostgresStatements,
    reading::Row,
    template::Template,
    trouble::{Class, Trouble},
};
use crate::config::{DatabaseConfig, Engine};

/// One thing that was tried on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Connection, right, statements, plans, logs, or a group of metrics.
    pub what: String,
    /// What came of it; the error says what is wrong.
    pub outcome: Result<String, String>,
    /// What to do about it: a statement where one is enough.
    pub remedy: Option<String>,
}

/// What we may not read, as PostgreSQL tells it of the database we are in.
const POSTGRES_ACCESS: &str = "select /* tidewatch */
  (select bool_or(pg_has_role(current_user, oid, 'usage'))::int from pg_roles where rolname = 'pg_read_all_data') as reads_all,
  current_database() as here,
  (select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'm') and n.nspname <> 'information_schema'
     and n.nspname !~ '^pg_' and not (has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'))) as unreadable,
  (select string_agg(distinct quote_ident(n.nspname), ', ') from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'm')
     and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and not (has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'))) as schemas";
const POSTGRES_CLOSED: &str = "select /* tidewatch */ datname, quote_ident(datname) as quoted from pg_database
  where datallowconn and not datistemplate and not has_database_privilege(oid, 'connect') order by 1 limit 50";
/// One row for each right of ours over everything, and one if we may read at least some schema.
const MYSQL_ACCESS: &str = "SELECT PRIVILEGE_TYPE AS name FROM information_schema.USER_PRIVILEGES \
  WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''') AND PRIVILEGE_TYPE IN ('SELECT', 'SHOW VIEW')";

/// Tries a target. The identity is there if it could be connected to.
pub async fn attempt(config: &DatabaseConfig) -> (Option<Identity>, Vec<Tried>) {
    let own = OwnStatements::default();
    let met = async {
        let mut connection = Connection::open(config, None, &own).await?;
        let identity = Identity::read(&mut connection, config).await?;
        Ok::<_, Trouble>((connection, identity))
    };
    let (mut connection, identity) = match met.await {
        Ok(met) => met,
        Err(trouble) => {
            let remedy = (trouble.class == Class::AuthFailed).then(|| {
                format!("tidewatch-collector grants --engine {} prints how to make an account", config.engine)
            });
            return (None, vec![Tried { what: "connection".into(), outcome: Err(trouble.to_string()), remedy }]);
        }
    };
    let template = identity.template(config);
    let said = format!("{} {} ({})", template.kind(), identity.version_text, identity.place.role_word());
    let mut tried = vec![Tried { what: "connection".into(), outcome: Ok(said), remedy: None }];
    for (right, grant) in &identity.missing_rights {
        let text = format!("{} lacks {right}: sessions and statements of others are hidden", config.user);
        tried.push(Tried { what: right.clone(), outcome: Err(text), remedy: Some(grant.clone()) });
    }
    if !template.metrics_only {
        tried.push(statements(&mut connection, &identity, config, &own).await);
    }
    groups(&mut connection, &identity, config, &template, &mut tried).await;
    if template.metrics_only {
        connection.close().await;
        return (Some(identity), tried);
    }
    match identity.engine {
        Engine::Postgresql => postgres_access(&mut connection, config, &mut tried).await,
        Engine::Mysql | Engine::Mariadb => mysql_access(&mut connection, &identity, config, &mut tried).await,
    }
    for log in log_sources::read(&mut connection, config, &config.display_name(), identity.engine).await {
        let what = format!("log {}", log.path.display());
        tried.push(Tried { what, outcome: crate::check::try_log(&log.path), remedy: None });
    }
    connection.close().await;
    (Some(identity), tried)
}

async fn statements(
    connection: &mut Connection,
    identity: &Identity,
    config: &DatabaseConfig,
    own: &OwnStatements,
) -> Tried {
    let read = match identity.engine {
        Engine::Postgresql => PostgresStatements::default().read(connection, 0, own).await.map(drop),
        Engine::Mysql | Engine::Mariadb => MysqlStatements::default().read(connection, 0, own).await.map(drop),
    };
    let remedy = match &read {
        Err(t) if t.class == Class::MissingExtension && t.text.contains("shared_preload_libraries") => {
            Some("shared_preload_libraries = 'pg_stat_statements' in postgresql.conf, then a restart".into())
        }
        Err(t) if t.class == Class::MissingExtension => Some(
            "CREATE EXTENSION pg_stat_statements; (with shared_preload_libraries = 'pg_stat_statements' and a restart if it is not loaded)"
                .into(),
        ),
        Err(t) if t.class == Class::InstrumentationOff => Some("performance_schema = ON, then a restart".into()),
        Err(t) if t.class == Class::MissingRight && identity.engine != Engine::Postgresql => {
            Some(grant_for(identity.engine, "GRANT SELECT ON performance_schema.* TO {user};", &config.user))
        }
        _ => None,
    };
    let outcome = read.map(|()| "readable".into()).map_err(|t| t.to_string());
    Tried { what: "statement statistics".into(), outcome, remedy }
}

/// Every group of metrics the server should give.
async fn groups(
    connection: &mut Connection,
    identity: &Identity,
    config: &DatabaseConfig,
    template: &Template,
    tried: &mut Vec<Tried>,
) {
    let mut works = 0;
    for group in template.groups_for(identity.version, identity.role()) {
        let mut result = connection.read(&group.sql).await;
        if let (Err(t), Some(other)) = (&result, &group.sql_else)
            && t.class == Class::MissingObject
        {
            result = connection.read(other).await;
        }
        match result {
            Ok(_) => works += 1,
            Err(trouble) => tried.push(Tried {
                what: format!("metrics {}", group.name),
                outcome: Err(trouble.to_string()),
                remedy: group.grant.as_ref().map(|g| grant_for(identity.engine, g, &config.user) + ";"),
            }),
        }
    }
    tried.push(Tried { what: "metrics".into(), outcome: Ok(format!("{works} groups readable")), remedy: None });
}

/// Databases that are closed to us, and tables we may not read, which EXPLAIN needs.
async fn postgres_access(connection: &mut Connection, config: &DatabaseConfig, tried: &mut Vec<Tried>) {
    let user = |grant: &str| grant_for(Engine::Postgresql, grant, &config.user);
    match connection.read(POSTGRES_CLOSED).await {
        Ok(closed) => {
            for row in closed.iter().filter(|r| r.text("datname").is_some_and(|d| config.databases.allows(d))) {
                tried.push(Tried {
                    what: format!("database {}", row.text("datname").unwrap_or("")),
                    outcome: Err("its tables, indexes and plans are not read".into()),
                    remedy: row.text("quoted").map(|d| user(&format!("GRANT CONNECT ON DATABASE {d} TO {{user}};"))),
                });
            }
        }
        Err(t) => tried.push(Tried { what: "databases".into(), outcome: Err(t.to_string()), remedy: None }),
    }
    let answer = connection.read(POSTGRES_ACCESS).await;
    let first = answer.as_ref().map(|a| a.first());
    tried.push(match first {
        Err(t) => Tried { what: "plans".into(), outcome: Err(t.to_string()), remedy: None },
        Ok(row) => postgres_plans(row, &user),
    });
}

fn postgres_plans(row: Option<Row<'_>>, user: &dyn Fn(&str) -> String) -> Tried {
    let what = "plans".to_owned();
    let Some(row) = row else { return Tried { what, outcome: Err("no answer".into()), remedy: None } };
    let (here, unreadable) = (row.text("here").unwrap_or(""), row.int("unreadable").unwrap_or(0));
    // Of the other databases this one can't be asked.
    let missing = format!("no right to read {unreadable} tables of database {here}: no plans of their statements");
    match (row.truth("reads_all"), row.text("schemas")) {
        (Some(true), _) => Tried { what, outcome: Ok("every table may be read".into()), remedy: None },
        (Some(false), _) => {
            Tried { what, outcome: Err(missing), remedy: Some(user("GRANT pg_read_all_data TO {user};")) }
        }
        (None, None) => Tried { what, outcome: Ok(format!("every table of {here} may be read")), remedy: None },
        (None, Some(schemas)) => {
            let grant = format!(
                "GRANT USAGE ON SCHEMA {schemas} TO {{user}}; GRANT SELECT ON ALL TABLES IN SCHEMA {schemas} TO {{user}};"
            );
            Tried { what, outcome: Err(missing), remedy: Some(user(&grant)) }
        }
    }
}

/// What is in `information_schema` is only what we may read.
async fn mysql_access(
    connection: &mut Connection,
    identity: &Identity,
    config: &DatabaseConfig,
    tried: &mut Vec<Tried>,
) {
    let what = "table sizes and plans".to_owned();
    tried.push(match connection.read(MYSQL_ACCESS).await {
        Err(t) => Tried { what, outcome: Err(t.to_string()), remedy: None },
        Ok(rights) => {
            let has: BTreeSet<&str> = rights.iter().filter_map(|r| r.text("name")).collect();
            if has.len() == 2 {
                Tried { what, outcome: Ok("every table may be read".into()), remedy: None }
            } else {
                let remedy = grant_for(identity.engine, "GRANT SELECT, SHOW VIEW ON *.* TO {user};", &config.user);
                let outcome = Err("no right to read every table: sizes, indexes and plans of the others are missing");
                Tried { what, outcome: outcome.map_err(str::to_owned), remedy: Some(remedy) }
            }
        }
    });
}
