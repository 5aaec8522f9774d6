//! What the main task reads: metrics, statements, and one database after the other for objects, tables and plans.

use std::{collections::BTreeSet, time::Duration};

use proto::{EventsBuilder, Table, samples::SamplesBuilder};

use super::{
    connection::Connection,
    metrics::take,
    object_queries,
    objects::Listing,
    plan, plans,
    postgres_statements::Loads,
    statements::{self, Load},
    template::{Group, Template},
    trouble::{Class, Trouble, event},
    watch::{Statements, Watch},
};
use crate::config::Engine;

/// Indexes are listed at least this often; a plan that changed asks for them at once. A visit costs a server a connection for
/// each database, whose catalog caches are empty, and another one home.
const INDEX_INTERVAL: Duration = Duration::from_secs(60);
/// Most databases visited in one round.
const DATABASES_VISITED_MAX: usize = 50;
/// A group that was too slow is read this many times less often at most.
const SLOW_FACTOR_MAX: u32 = 32;
/// Statements whose load is remembered for requests.
const RECENT_MAX: usize = 5_000;

const DATABASES_SQL: &str = "select /* tidewatch */ datname, current_database() as home from pg_database
  where datallowconn and not datistemplate and has_database_privilege(oid, 'connect') order by datname limit 50";
const EXTENSION_SQL: &str = "select /* tidewatch */ 1 as there from pg_extension where extname = 'pg_stat_statements'";
const LOADED_SQL: &str = "select /* tidewatch */ (setting like '%pg_stat_statements%')::int as loaded from pg_settings where name = 'shared_preload_libraries'";

/// The open connection, or the trouble that it is gone.
fn open(connection: &mut Option<Connection>) -> Result<&mut Connection, Trouble> {
    connection.as_mut().ok_or_else(|| Trouble::new(Class::TargetUnreachable, "the connection was given up"))
}

impl Watch {
    /// Every group of the instance that is due.
    pub(super) async fn read_metrics(
        &mut self,
        connection: &mut Option<Connection>,
        template: &Template,
    ) -> Result<(), Trouble> {
        self.read_groups(open(connection)?, template, false, "").await
    }

    async fn read_groups(
        &mut self,
        connection: &mut Connection,
        template: &Template,
        every_database: bool,
        database: &str,
    ) -> Result<(), Trouble> {
        let Some(identity) = self.identity.clone() else { return Ok(()) };
        let mut out = SamplesBuilder::default();
        let fitting = template.groups_for(identity.version, identity.role());
        for group in fitting.filter(|g| g.every_database == every_database) {
            if self.paused() {
                self.skip("lock_timeout");
                continue;
            }
            let key = format!("group {} {database}", group.name);
            // A little early rather than one metrics interval late.
            let interval = group.interval(self.config.intervals.metrics).saturating_sub(Duration::from_millis(400));
            if !self.is_due(&key, interval) || !self.fits(&key) {
                continue;
            }
            let before = connection.spent_s();
            let read = self.read_group(connection, group).await;
            self.took(&key, connection.spent_s() - before);
            match read {
                Ok(reading) => {
                    let now_ms = self.context.clock.now_ms();
                    let base = self.base();
                    let taken = take(group, &reading, &base, now_ms, &mut out, &mut self.families);
                    if taken.rows_left_out > 0 {
                        tracing::warn!(instance = %self.instance, group = group.name, rows = taken.rows_left_out, "left out: too many");
                    }
                    self.group_works(group, &key);
                }
                Err(trouble) if trouble.connection_lost() => return Err(trouble),
                Err(trouble) => self.group_fails(group, &key, &trouble),
            }
        }
        self.context.outlet.send_samples(out);
        Ok(())
    }

    /// Asks the text the server knows; which of the two that is, is asked once for each connection.
    async fn read_group(
        &mut self,
        connection: &mut Connection,
        group: &Group,
    ) -> Result<super::reading::Reading, Trouble> {
        let Some(other) = &group.sql_else else { return connection.read(&group.sql).await };
        if !self.read_otherwise.contains(&group.name) {
            match connection.read(&group.sql).await {
                Err(trouble) if trouble.class == Class::MissingObject => {
                    self.read_otherwise.insert(group.name.clone());
                }
                result => return result,
            }
        }
        connection.read(other).await
    }

    fn group_works(&mut self, group: &Group, key: &str) {
        self.slow_factor.remove(key);
        self.shared.own.manners().answered();
        self.clear(Class::LockQueue, "");
        for class in [Class::TooSlow, Class::LockTimeout, Class::MissingObject, Class::QueryFailed] {
            self.clear(class, &group.name);
        }
        if let Some(grant) = &group.grant {
            self.right_there(right_of(grant), &group.name);
        }
    }

    fn group_fails(&mut self, group: &Group, key: &str, trouble: &Trouble) {
        self.count_error(trouble.class);
        if matches!(trouble.class, Class::TooSlow | Class::LockTimeout) {
            let factor = self.slow_factor.entry(key.to_owned()).or_insert(1);
            *factor = (*factor * 2).min(SLOW_FACTOR_MAX);
        }
        match (&group.grant, trouble.class) {
            (Some(grant), Class::MissingRight) => {
                let grant = grant.clone();
                self.right_missing(right_of(&grant), &group.name, &grant, Some(trouble));
            }
            _ => self.hold(trouble, &group.name, None),
        }
    }

    /// Objects, per-database metrics, and where the statement statistics live.
    pub(super) async fn visit_databases(
        &mut self,
        connection: &mut Option<Connection>,
        template: &Template,
    ) -> Result<(), Trouble> {
        let interval = self.config.intervals.objects.min(INDEX_INTERVAL);
        if !self.is_due("visit", interval) {
            return Ok(());
        }
        if self.shared.own.manners().server_queues() {
            self.skip("lock_queue");
            return Ok(());
        }
        if !self.fits("visit") {
            return Ok(());
        }
        let before = self.spent_s(connection);
        let result = self.visit_each(connection, template).await;
        self.took("visit", self.spent_s(connection) - before);
        result
    }

    async fn visit_each(&mut self, connection: &mut Option<Connection>, template: &Template) -> Result<(), Trouble> {
        let full = self.is_due("objects", self.config.intervals.objects);
        if full {
            let listings = object_queries::instance(open(connection)?, self.engine).await;
            self.take_listings(listings, "settings")?;
        }
        if self.engine != Engine::Postgresql {
            return self.visit_one(open(connection)?, template, None, full).await;
        }
        let answer = open(connection)?.read(DATABASES_SQL).await?;
        let home = answer.first().and_then(|r| r.string("home")).unwrap_or_default();
        let names: Vec<String> =
            answer.iter().filter_map(|r| r.string("datname")).filter(|d| self.config.databases.allows(d)).collect();
        debug_assert!(names.len() <= DATABASES_VISITED_MAX);
        let there: BTreeSet<String> = names.iter().cloned().collect();
        self.note_dropped(&there);
        let mut statements_in = None;
        if there.contains(&home) {
            let at_home = open(connection)?;
            self.visit_one(at_home, template, Some(&home), full).await?;
            if !at_home.read(EXTENSION_SQL).await?.rows.is_empty() {
                statements_in = Some(home.clone());
            }
        }
        for name in names.iter().filter(|n| **n != home) {
            if self.paused() {
                break;
            }
            self.move_to(connection, Some(name)).await?;
            let Some(visiting) = connection.as_mut() else { continue };
            self.visit_one(visiting, template, Some(name), full).await?;
            if statements_in.is_none() && !visiting.read(EXTENSION_SQL).await?.rows.is_empty() {
                statements_in = Some(name.clone());
            }
        }
        if names.iter().any(|n| *n != home) {
            self.move_to(connection, None).await?;
        }
        self.note_extension(open(connection)?, statements_in).await
    }

    async fn visit_one(
        &mut self,
        connection: &mut Connection,
        template: &Template,
        database: Option<&str>,
        full: bool,
    ) -> Result<(), Trouble> {
        let indexes = object_queries::indexes(connection, self.engine, database).await;
        self.take_listings(indexes, "indexes")?;
        if full {
            let mut names = std::mem::take(&mut *self.shared.names.lock());
            let tables = object_queries::tables(connection, self.engine, database, &mut names).await;
            *self.shared.names.lock() = names;
            self.take_listings(tables, "tables")?;
        }
        self.read_groups(connection, template, true, database.unwrap_or("")).await
    }

    fn take_listings(&mut self, listings: Result<Vec<Listing>, Trouble>, what: &str) -> Result<(), Trouble> {
        match listings {
            Ok(listings) => {
                for listing in listings {
                    let now_ms = self.context.clock.now_ms();
                    let (rows, changes) = self.inventory.observe(self.engine, &self.instance, now_ms, listing);
                    self.context.outlet.send_events(rows);
                    for table in changes.iter().filter_map(|c| c.table.as_deref()) {
                        self.plans.touch(table);
                    }
                    if !changes.is_empty() {
                        // What it did to the plans is asked for soon.
                        self.due.remove("statements");
                    }
                }
                for class in [Class::TooSlow, Class::LockTimeout, Class::QueryFailed, Class::MissingRight] {
                    self.clear(class, what);
                }
                Ok(())
            }
            Err(trouble) if trouble.connection_lost() => Err(trouble),
            Err(trouble) => {
                self.count_error(trouble.class);
                self.hold(&trouble, what, None);
                Ok(())
            }
        }
    }

    fn note_dropped(&mut self, there: &BTreeSet<String>) {
        let now_ms = self.context.clock.now_ms();
        for name in self.databases.difference(there) {
            let text = format!("database {name} is gone: its objects and metrics are no longer read");
            self.context.outlet.send_events(event(self.engine, &self.instance, now_ms, Class::DatabaseDropped, &text));
            self.due.remove("objects");
        }
        self.databases = there.clone();
        self.inventory.forget_databases(there);
    }

    async fn note_extension(&mut self, connection: &mut Connection, found: Option<String>) -> Result<(), Trouble> {
        const WHAT: &str = "pg_stat_statements";
        // Without pg_monitor the server does not show the setting: then reading will tell.
        let loaded = connection.read(LOADED_SQL).await?.first().and_then(|r| r.truth("loaded")) != Some(false);
        if found.is_some() && loaded {
            self.clear(Class::MissingExtension, WHAT);
        } else {
            let (text, grant) = match (loaded, found.is_some()) {
                (false, _) => (
                    "pg_stat_statements is not loaded: no statement statistics from this instance",
                    "shared_preload_libraries = 'pg_stat_statements' in postgresql.conf, restart, then CREATE EXTENSION pg_stat_statements;",
                ),
                (true, _) => (
                    "no database has the extension pg_stat_statements: no statement statistics from this instance",
                    "CREATE EXTENSION pg_stat_statements;",
                ),
            };
            self.hold(&Trouble::new(Class::MissingExtension, text), WHAT, Some(grant));
        }
        let found = found.filter(|_| loaded);
        if self.statements_database.is_none() && found.is_some() {
            // The baseline at once: what runs from now on is counted.
            self.due.remove("statements");
        }
        self.statements_database = found;
        Ok(())
    }

    /// Leaves the database and goes to another (`None`: home). Only one of the two is ever open.
    async fn move_to(&mut self, connection: &mut Option<Connection>, database: Option<&str>) -> Result<(), Trouble> {
        if let Some(mut open) = connection.take() {
            self.add_cost(open.take_cost());
            open.close().await;
        }
        let opened = Connection::open(&self.config, database, &self.shared.own).await;
        match (opened, database) {
            (Ok(open), _) => *connection = Some(open),
            (Err(trouble), None) if trouble.class == Class::DatabaseDropped => {
                let home = Some(super::postgres::MAINTENANCE_DATABASE);
                *connection = Some(Connection::open(&self.config, home, &self.shared.own).await?);
            }
            (Err(trouble), None) => return Err(trouble),
            (Err(trouble), Some(name)) => {
                if trouble.class == Class::TargetUnreachable {
                    return Err(trouble);
                }
                // It was dropped since it was listed, or we may not enter.
                tracing::debug!(database = name, %trouble, "not visited");
            }
        }
        Ok(())
    }

    /// Statement statistics, then the plans they make worth asking for.
    pub(super) async fn read_statements(&mut self, connection: &mut Option<Connection>) -> Result<(), Trouble> {
        let now_ms = self.context.clock.now_ms();
        let away = match (self.engine, &self.statements_database, &self.config.database) {
            (Engine::Postgresql, None, _) => return Ok(()),
            (Engine::Postgresql, Some(there), home) => {
                let home = home.as_deref().unwrap_or(super::postgres::MAINTENANCE_DATABASE);
                (there != home).then(|| there.clone())
            }
            _ => None,
        };
        if let Some(there) = &away {
            self.move_to(connection, Some(there)).await?;
        }
        let own = self.shared.own.clone();
        let result = match (&mut self.statements, connection.as_mut()) {
            (Some(Statements::Postgres(s)), Some(open)) => s.read(open, now_ms, &own).await,
            (Some(Statements::Mysql(s)), Some(open)) => s.read(open, now_ms, &own).await,
            _ => Err(Trouble::new(Class::DatabaseDropped, "the database of pg_stat_statements is gone")),
        };
        if away.is_some() {
            self.move_to(connection, None).await?;
        }
        match result {
            Ok(loads) => {
                for class in [Class::InstrumentationOff, Class::MissingRight, Class::TooSlow, Class::QueryFailed] {
                    self.clear(class, "statements");
                }
                self.publish_statements(now_ms, &loads);
                let due: Vec<Load> = self.plans.due(now_ms, &loads.loads).into_iter().cloned().collect();
                self.explain(connection, &due).await
            }
            Err(trouble) if trouble.connection_lost() => Err(trouble),
            Err(trouble) => {
                self.count_error(trouble.class);
                match trouble.class {
                    Class::MissingExtension | Class::MissingObject | Class::DatabaseDropped => {
                        self.statements_database = None;
                        self.due.remove("visit");
                    }
                    Class::InstrumentationOff => {
                        self.hold(
                            &trouble,
                            "statements",
                            Some("performance_schema = ON in the server's configuration, restart"),
                        );
                    }
                    _ => self.hold(&trouble, "statements", None),
                }
                Ok(())
            }
        }
    }

    fn publish_statements(&mut self, now_ms: i64, loads: &Loads) {
        let texts = match &mut self.statements {
            Some(Statements::Postgres(s)) => &mut s.texts,
            Some(Statements::Mysql(s)) => &mut s.texts,
            None => return,
        };
        let known = texts.announce(self.engine, &self.instance, now_ms, &loads.step.deltas);
        self.context.outlet.send_events(known);
        let rows = statements::rows(self.engine, &self.instance, now_ms, loads.step.interval_ms, &loads.loads);
        self.context.outlet.send_events(rows);
        if self.recent.len() >= RECENT_MAX {
            self.recent.clear();
        }
        for load in &loads.loads {
            self.recent.insert(load.fingerprint.clone(), load.clone());
        }
    }

    /// Explains statements, database by database.
    pub(super) async fn explain(&mut self, connection: &mut Option<Connection>, loads: &[Load]) -> Result<(), Trouble> {
        if loads.is_empty() || self.paused() || self.shared.own.manners().server_queues() {
            return Ok(());
        }
        let mut rows = EventsBuilder::new(Table::Plans);
        let result = if self.engine == Engine::Postgresql {
            self.explain_postgres(connection, loads, &mut rows).await
        } else {
            self.explain_mysql(open(connection)?, loads, &mut rows).await
        };
        self.context.outlet.send_events(rows.build());
        result
    }

    async fn explain_postgres(
        &mut self,
        connection: &mut Option<Connection>,
        loads: &[Load],
        rows: &mut EventsBuilder,
    ) -> Result<(), Trouble> {
        let version = self.identity.as_ref().map_or(0, |i| i.version);
        let databases: BTreeSet<&str> = loads.iter().filter_map(|l| l.database.as_deref()).collect();
        let home = self.config.database.clone().unwrap_or_else(|| super::postgres::MAINTENANCE_DATABASE.into());
        let mut moved = false;
        for database in databases {
            if database != home || moved {
                self.move_to(connection, Some(database)).await?;
                moved = true;
            }
            let Some(open) = connection.as_mut() else { continue };
            for load in loads.iter().filter(|l| l.database.as_deref() == Some(database)) {
                let now_ms = self.context.clock.now_ms();
                let Some(Statements::Postgres(statements)) = &self.statements else { break };
                let Some(known) = load.native_id.as_deref().and_then(|id| statements.texts.get(id)).cloned() else {
                    continue;
                };
                let plan = match &known.raw {
                    Some(raw) if !known.truncated => plans::postgres(open, version, raw).await?,
                    _ => None,
                };
                let tables = &known.fingerprint.tables;
                if let Some(previous) = self.plans.learn(now_ms, load, tables, plan.as_ref())
                    && let Some(plan) = &plan
                {
                    if previous.is_some() {
                        self.due.remove("visit"); // an index that went away is what a changed plan asks about first
                    }
                    plan::row(rows, self.engine, &self.instance, now_ms, load, plan, previous, "generic");
                }
            }
        }
        if moved {
            self.move_to(connection, None).await?;
        }
        Ok(())
    }

    async fn explain_mysql(
        &mut self,
        connection: &mut Connection,
        loads: &[Load],
        rows: &mut EventsBuilder,
    ) -> Result<(), Trouble> {
        for load in loads {
            let now_ms = self.context.clock.now_ms();
            let sample = self.shared.samples.lock().get(&load.fingerprint);
            let Some(Statements::Mysql(statements)) = &self.statements else { return Ok(()) };
            let sample = match sample {
                Some(sample) => Some(sample),
                None => statements.sample(connection, load.native_id.as_deref()).await?,
            };
            // Without a text that ran there is nothing to explain yet: tried again when one was seen.
            let Some((schema, text)) = sample else { continue };
            let Some(known) = load.native_id.as_deref().and_then(|id| statements.texts.get(id)).cloned() else {
                continue;
            };
            let schema = schema.or_else(|| load.database.as_deref().map(str::to_owned));
            let plan = plans::mysql(connection, schema.as_deref(), &text).await?;
            let tables = &known.fingerprint.tables;
            if let Some(previous) = self.plans.learn(now_ms, load, tables, plan.as_ref())
                && let Some(plan) = &plan
            {
                if previous.is_some() {
                    self.due.remove("visit"); // an index that went away is what a changed plan asks about first
                }
                plan::row(rows, self.engine, &self.instance, now_ms, load, plan, previous, "sample");
            }
        }
        Ok(())
    }
}

/// `GRANT PROCESS ON …` gives PROCESS, `GRANT pg_monitor TO …` gives pg_monitor.
fn right_of(grant: &str) -> &str {
    let rest = grant.strip_prefix("GRANT ").unwrap_or(grant);
    let end = [" ON ", " TO "].iter().filter_map(|w| rest.find(w)).min().unwrap_or(rest.len());
    &rest[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_names_its_right() {
        assert_eq!(right_of("GRANT REPLICA MONITOR ON *.* TO {user}"), "REPLICA MONITOR");
        assert_eq!(right_of("GRANT pg_monitor TO {user}"), "pg_monitor");
    }
}
