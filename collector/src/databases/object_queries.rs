//! The queries behind the inventory, bounded, and how their rows become listings.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    connection::Connection,
    objects::{Listing, Name, Object},
    postgres_activity::RelationNames,
    reading::{Reading, Row},
    trouble::Trouble,
};
use crate::{config::Engine, logs::mask};

/// Most objects of one kind and database.
const OBJECTS_MAX: usize = 4_000;

const POSTGRES_SETTINGS: &str = "select /* tidewatch */ name, setting as value, unit, source, pending_restart::int as pending_restart
  from pg_settings where source not in ('session', 'client', 'override')
    and name not in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'default_transaction_read_only',
      'transaction_read_only', 'jit', 'plan_cache_mode', 'application_name', 'client_min_messages', 'client_encoding', 'DateStyle', 'IntervalStyle', 'in_hot_standby')
  limit 4000";
const POSTGRES_DATABASES: &str =
    "select /* tidewatch */ d.datname as name, r.rolname as value, pg_encoding_to_char(d.encoding) as encoding
  from pg_database d left join pg_roles r on r.oid = d.datdba where not d.datistemplate limit 4000";
const POSTGRES_EXTENSIONS: &str = "select /* tidewatch */ n.nspname as schema, e.extname as name, e.extversion as value
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace limit 4000";
const POSTGRES_TABLES: &str = "select /* tidewatch */ n.nspname as schema, c.relname as name, c.oid::bigint as oid, c.relkind,
    nullif(c.reltuples, -1)::bigint as rows, c.relpages::bigint * current_setting('block_size')::bigint as size_bytes,
    (select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end, ', ' order by a.attnum)
       from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as value
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%' and n.nspname not like 'pg_temp%'
  order by c.relpages desc limit 4000";
const POSTGRES_INDEXES: &str = "select /* tidewatch */ n.nspname as schema, c.relname as name, t.relname as parent, pg_get_indexdef(i.indexrelid) as value,
    c.relpages::bigint * current_setting('block_size')::bigint as size_bytes, nullif(c.reltuples, -1)::bigint as rows,
    i.indisvalid::int as valid, i.indisunique::int as is_unique, i.indisprimary::int as is_primary
  from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
  where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%' and n.nspname not like 'pg_temp%'
  order by c.relpages desc limit 4000";

const MYSQL_SETTINGS: &str = "SHOW GLOBAL VARIABLES";
const MYSQL_DATABASES: &str =
    "SELECT SCHEMA_NAME AS name, DEFAULT_COLLATION_NAME AS value FROM information_schema.SCHEMATA LIMIT 4000";
/// Without their columns: MariaDB answers a subquery over COLUMNS for each table by listing all columns there are, 12 s at 100
/// tables and minutes at 1 000.
const MYSQL_TABLES: &str = "SELECT t.TABLE_SCHEMA AS db, t.TABLE_NAME AS name, t.TABLE_ROWS AS `rows`, t.DATA_LENGTH + t.INDEX_LENGTH AS size_bytes, t.ENGINE AS storage \
  FROM information_schema.TABLES t WHERE t.TABLE_TYPE = 'BASE TABLE' AND t.TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
  ORDER BY t.DATA_LENGTH + t.INDEX_LENGTH DESC LIMIT 4000";
const MYSQL_COLUMNS: &str = "SELECT TABLE_SCHEMA AS db, TABLE_NAME AS name, \
  GROUP_CONCAT(COLUMN_NAME, ' ', COLUMN_TYPE, IF(IS_NULLABLE = 'NO', ' not null', '') ORDER BY ORDINAL_POSITION SEPARATOR ', ') AS value \
  FROM information_schema.COLUMNS WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
  GROUP BY TABLE_SCHEMA, TABLE_NAME LIMIT 20000";
const MYSQL_INDEXES: &str = "SELECT TABLE_SCHEMA AS db, TABLE_NAME AS parent, INDEX_NAME AS name, \
  CONCAT(IF(MAX(NON_UNIQUE) = 0, 'UNIQUE ', ''), MAX(INDEX_TYPE), ' (', GROUP_CONCAT(COALESCE(COLUMN_NAME, 'expression') ORDER BY SEQ_IN_INDEX SEPARATOR ', '), ')') AS value, \
  MAX(CARDINALITY) AS `rows` \
  FROM information_schema.STATISTICS WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
  GROUP BY 1, 2, 3 LIMIT 4000";

/// Variables that move by themselves.
const MYSQL_MOVING: &[&str] = &[
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "gtid_current_pos",
    "gtid_executed",
    "gtid_purged",
    "gtid_slave_pos",
    "timestamp",
    "hostname",
    "pseudo_thread_id",
    "last_gtid",
    "rand_seed1",
    "rand_seed2",
];

/// Settings and databases of the instance.
pub async fn instance(connection: &mut Connection, engine: Engine) -> Result<Vec<Listing>, Trouble> {
    let (settings, databases) = match engine {
        Engine::Postgresql => (POSTGRES_SETTINGS, POSTGRES_DATABASES),
        _ => (MYSQL_SETTINGS, MYSQL_DATABASES),
    };
    let settings = connection.read(settings).await?;
    let databases = connection.read(databases).await?;
    let setting = |row: Row<'_>| {
        let name = row.text("name").or_else(|| row.text("Variable_name"))?;
        if MYSQL_MOVING.contains(&name) {
            return None;
        }
        let attributes = row.text("source").map(|source| {
            json!({ "unit": row.text("unit"), "source": source, "pending_restart": row.truth("pending_restart") })
                .to_string()
        });
        let value = row.text("value").map(|value| mask::setting(name, value));
        Some((plain(name), Object { value, attributes, ..Object::default() }))
    };
    Ok(vec![listing("setting", None, &settings, setting), listing("database", None, &databases, named)])
}

/// Indexes: read often, because a dropped one explains much.
pub async fn indexes(
    connection: &mut Connection,
    engine: Engine,
    database: Option<&str>,
) -> Result<Vec<Listing>, Trouble> {
    match engine {
        Engine::Postgresql => {
            let reading = connection.read(POSTGRES_INDEXES).await?;
            Ok(vec![listing("index", database, &reading, index)])
        }
        _ => Ok(by_database("index", &connection.read(MYSQL_INDEXES).await?)),
    }
}

/// Tables with their columns, and extensions. Fills the names by which lock waits are told.
pub async fn tables(
    connection: &mut Connection,
    engine: Engine,
    database: Option<&str>,
    names: &mut RelationNames,
) -> Result<Vec<Listing>, Trouble> {
    if engine != Engine::Postgresql {
        let listings = by_database("table", &connection.read(MYSQL_TABLES).await?);
        return Ok(with_columns(listings, &connection.read(MYSQL_COLUMNS).await?));
    }
    let tables = connection.read(POSTGRES_TABLES).await?;
    if let Some(database) = database {
        names.retain(|(of, _), _| of != database);
        for row in tables.iter() {
            if let (Some(oid), Some(name)) = (row.int("oid"), row.text("name")) {
                names.insert((database.to_owned(), oid), name.to_owned());
            }
        }
    }
    let extensions = connection.read(POSTGRES_EXTENSIONS).await?;
    Ok(vec![listing("table", database, &tables, named), listing("extension", database, &extensions, named)])
}

fn plain(name: &str) -> Name {
    Name { schema: None, parent: None, name: name.to_owned() }
}

fn named(row: Row<'_>) -> Option<(Name, Object)> {
    let name = Name { schema: row.string("schema"), parent: None, name: row.string("name")? };
    let object = Object {
        value: row.string("value"),
        rows: row.int("rows"),
        size_bytes: row.int("size_bytes"),
        attributes: None,
    };
    Some((name, object))
}

fn index(row: Row<'_>) -> Option<(Name, Object)> {
    let name = Name { schema: row.string("schema"), parent: row.string("parent"), name: row.string("name")? };
    let attributes = row.truth("valid").map(|valid| {
        json!({ "valid": valid, "unique": row.truth("is_unique"), "primary": row.truth("is_primary") }).to_string()
    });
    let object =
        Object { value: row.string("value"), rows: row.int("rows"), size_bytes: row.int("size_bytes"), attributes };
    Some((name, object))
}

fn listing(
    kind: &'static str,
    database: Option<&str>,
    reading: &Reading,
    each: impl Fn(Row<'_>) -> Option<(Name, Object)>,
) -> Listing {
    let objects: BTreeMap<Name, Object> = reading.iter().filter_map(each).collect();
    Listing { kind, database: database.map(str::to_owned), objects, cut: reading.rows.len() >= OBJECTS_MAX }
}

/// Tables with the columns of another answer.
fn with_columns(mut listings: Vec<Listing>, columns: &Reading) -> Vec<Listing> {
    for row in columns.iter() {
        let (Some(database), Some(name)) = (row.text("db"), row.text("name")) else { continue };
        let listing = listings.iter_mut().find(|l| l.database.as_deref() == Some(database));
        if let Some(table) = listing.and_then(|l| l.objects.get_mut(&plain(name))) {
            table.value = row.string("value");
        }
    }
    listings
}

/// One listing for each schema of the answer.
fn by_database(kind: &'static str, reading: &Reading) -> Vec<Listing> {
    let mut found: BTreeMap<String, BTreeMap<Name, Object>> = BTreeMap::new();
    for row in reading.iter() {
        if let (Some(database), Some((name, object))) = (row.string("db"), index(row)) {
            found.entry(database).or_default().insert(name, object);
        }
    }
    let cut = reading.rows.len() >= OBJECTS_MAX;
    found.into_iter().map(|(database, objects)| Listing { kind, database: Some(database), objects, cut }).collect()
}
