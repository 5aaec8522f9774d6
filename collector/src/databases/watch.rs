//! Watches one instance for as long as the collector runs: connects, reads what is due, says what is wrong, and tries
//! again with back-off. One task reads sessions on its own connection (`watch_activity`); this one reads all else.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    connection::{Connection, Cost, OwnStatements},
    identity::{Identity, grant_for},
    log_sources,
    mysql_statements::MysqlStatements,
    objects::Inventory,
    place::Members,
    plan::PlanBook,
    plans::SampleTexts,
    postgres_activity::RelationNames,
    postgres_statements::PostgresStatements,
    statements::Load,
    template::Template,
    trouble::{Class, Findings, Said, Trouble, event},
    watch_activity,
};
use crate::{
    config::{DatabaseConfig, Engine},
    source::{Context, Request, What},
};

/// Looks for something due.
const TICK: Duration = Duration::from_millis(500);
/// First wait after a failed connect; doubled up to the last.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Requests that wait for the activity task.
const ACTIVITY_REQUESTS_MAX: usize = 4;

/// What the two tasks of one instance share.
#[derive(Clone, Default)]
pub(super) struct Shared {
    /// What we ourselves send.
    pub own: OwnStatements,
    /// Texts that ran, for EXPLAIN.
    pub samples: Arc<Mutex<SampleTexts>>,
    /// Names behind oids.
    pub names: Arc<Mutex<RelationNames>>,
    /// Our connection ids there.
    pub sessions: Arc<Mutex<HashMap<&'static str, i64>>>,
    /// What the activity task's queries cost since last asked.
    pub cost: Arc<Mutex<Cost>>,
}

/// Statement statistics of either kind of server.
pub(super) enum Statements {
    /// pg_stat_statements.
    Postgres(PostgresStatements),
    /// performance_schema.
    Mysql(MysqlStatements),
}

/// Everything kept about one instance.
pub(super) struct Watch {
    pub config: DatabaseConfig,
    pub context: Context,
    pub shared: Shared,
    pub instance: Arc<str>,
    pub engine: Engine,
    pub identity: Option<Identity>,
    pub findings: Findings,
    pub missing_rights: HashMap<String, BTreeSet<String>>,
    pub families: HashSet<String>,
    pub due: HashMap<String, Instant>,
    pub slow_factor: HashMap<String, u32>,
    /// Groups whose first text this server does not know.
    pub read_otherwise: HashSet<String>,
    pub statements: Option<Statements>,
    pub statements_database: Option<String>,
    pub plans: PlanBook,
    pub recent: HashMap<Arc<str>, Load>,
    pub inventory: Inventory,
    pub databases: BTreeSet<String>,
    /// Who was seen in the cluster.
    pub members: Members,
    /// Seconds each thing took the last time.
    pub took_s: HashMap<String, f64>,
    /// What was left unread, by reason.
    pub skipped: HashMap<&'static str, u64>,
    pub cost: Cost,
    pub errors: HashMap<&'static str, u64>,
}

/// Watches until the context's shutdown.
pub async fn watch(config: DatabaseConfig, context: Context) {
    let mut watch = Watch {
        instance: config.display_name().into(),
        engine: config.engine,
        config,
        context,
        shared: Shared::default(),
        identity: None,
        findings: Findings::default(),
        missing_rights: HashMap::new(),
        families: HashSet::new(),
        due: HashMap::new(),
        slow_factor: HashMap::new(),
        read_otherwise: HashSet::new(),
        statements: None,
        statements_database: None,
        plans: PlanBook::default(),
        recent: HashMap::new(),
        inventory: Inventory::default(),
        databases: BTreeSet::new(),
        members: Members::default(),
        took_s: HashMap::new(),
        skipped: HashMap::new(),
        cost: Cost::default(),
        errors: HashMap::new(),
    };
    watch.shared.own.manners().set_share(watch.config.time_budget);
    let shutdown = watch.context.shutdown.clone();
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watch.run() => {}
    }
    watch.publish_end();
}

impl Watch {
    async fn run(&mut self) {
        let mut retry = RETRY_MIN;
        let mut side: Option<(mpsc::Receiver<Request>, mpsc::Sender<watch_activity::Ask>, Guard)> = None;
        loop {
            let lost = match self.connect().await {
                Ok(connection) => {
                    retry = RETRY_MIN;
                    let (requests, activity, _) = side.get_or_insert_with(|| self.open_side());
                    self.session(connection, requests, activity).await
                }
                Err(trouble) => trouble,
            };
            self.down(&lost);
            let until = Instant::now() + retry;
            while Instant::now() < until {
                self.publish_up(false);
                tokio::time::sleep(self.config.intervals.metrics.min(until - Instant::now())).await;
            }
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    /// The desk for requests and the task that reads sessions, once the instance's name is known.
    fn open_side(&self) -> (mpsc::Receiver<Request>, mpsc::Sender<watch_activity::Ask>, Guard) {
        let requests = self.context.desk.open(&self.instance);
        let (ask, asked) = mpsc::channel(ACTIVITY_REQUESTS_MAX);
        if self.template().is_some_and(|t| t.metrics_only) {
            return (requests, ask, Guard(None)); // it knows of no sessions
        }
        let task = watch_activity::run(
            self.config.clone(),
            self.context.clone(),
            self.shared.clone(),
            self.instance.clone(),
            self.engine,
            asked,
        );
        (requests, ask, Guard(Some(tokio::spawn(task))))
    }

    async fn connect(&mut self) -> Result<Connection, Trouble> {
        let opened = Connection::open(&self.config, None, &self.shared.own).await;
        let mut connection = match opened {
            // Its first database is gone: the instance is still there.
            Err(trouble) if trouble.class == Class::DatabaseDropped && self.config.database.is_some() => {
                let name = self.config.database.clone().unwrap_or_default();
                self.hold(&trouble, &name, None);
                let home = if self.engine == Engine::Postgresql { Some("postgres") } else { Some("") };
                Connection::open(&self.config, home, &self.shared.own).await?
            }
            other => other?,
        };
        let identity = Identity::read(&mut connection, &self.config).await?;
        self.meet(identity);
        Ok(connection)
    }

    /// Takes note of who answered.
    fn meet(&mut self, identity: Identity) {
        if let Some(session) = identity.session {
            self.shared.sessions.lock().insert("main", session);
        }
        let now_ms = self.context.clock.now_ms();
        // What was said of the address while nobody answered is over under that name.
        let named = identity.instance(&self.config);
        if named != self.instance {
            self.clear_connection_findings();
            self.instance = named;
        }
        self.engine = identity.engine;
        self.config.engine = identity.engine;
        if let Some(before) = &self.identity
            && !before.same_run(&identity)
        {
            let text = format!("the server was restarted; it runs since {}", rfc3339(identity.started_ms));
            self.context.outlet.send_events(event(self.engine, &self.instance, now_ms, Class::TargetRestarted, &text));
            let other_server = before.server_id != identity.server_id;
            match &mut self.statements {
                Some(Statements::Postgres(s)) if other_server || identity.version < 140_000 => s.ledger.forget(),
                Some(Statements::Mysql(s)) if other_server => s.ledger.forget(),
                _ => {}
            }
            self.due.clear();
        }
        if self.statements.is_none() {
            self.statements = Some(match identity.engine {
                Engine::Postgresql => Statements::Postgres(PostgresStatements::default()),
                _ => Statements::Mysql(MysqlStatements::default()),
            });
        }
        self.clear_connection_findings();
        self.read_otherwise.clear();
        let missing: Vec<(String, String)> = identity.missing_rights.clone();
        for right in ["pg_monitor", "PROCESS"] {
            match missing.iter().find(|(name, _)| name == right) {
                Some((_, grant)) => self.right_missing(right, "identity", grant, None),
                None => self.right_there(right, "identity"),
            }
        }
        if self.identity.as_ref().is_some_and(|before| before.place != identity.place) {
            self.publish_info_end();
        }
        self.identity = Some(identity);
        self.publish_target();
    }

    /// The template it is read by, once it is known who answers.
    pub(super) fn template(&self) -> Option<Arc<Template>> {
        self.identity.as_ref().map(|i| i.template(&self.config))
    }

    /// Works until the connection is of no use any more; the trouble says why.
    async fn session(
        &mut self,
        connection: Connection,
        requests: &mut mpsc::Receiver<Request>,
        activity: &mpsc::Sender<watch_activity::Ask>,
    ) -> Trouble {
        let Some(template) = self.template() else { return Trouble::new(Class::QueryFailed, "nobody answered") };
        let mut connection = Some(connection);
        if let Some(open) = connection.as_mut().filter(|_| !template.metrics_only) {
            for file in log_sources::read(open, &self.config, &self.instance, self.engine).await {
                let _ = self.context.log_files.try_send(file);
            }
        }
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let result = tokio::select! {
                Some(request) = requests.recv() => self.answer(&mut connection, request, activity).await,
                _ = ticks.tick() => self.work(&mut connection, &template).await,
            };
            if let Err(trouble) = result {
                self.count_error(trouble.class);
                if trouble.connection_lost() || connection.is_none() {
                    return trouble;
                }
                self.hold(&trouble, "reading", None);
            }
        }
    }

    /// Reads everything that is due. An error here means that the connection is lost.
    async fn work(&mut self, connection: &mut Option<Connection>, template: &Template) -> Result<(), Trouble> {
        let metrics = self.is_due("metrics", self.config.intervals.metrics);
        if self.shared.own.manners().pause_left().is_some() {
            if metrics {
                self.skip("lock_timeout");
                self.publish_up(true);
                self.publish_cost(connection);
            }
            return Ok(());
        }
        if metrics {
            self.read_place(connection).await?;
            self.read_metrics(connection, template).await?;
            self.publish_up(true);
        }
        if !template.metrics_only && !self.paused() {
            self.visit_databases(connection, template).await?;
        }
        let statements = self.config.intervals.statements;
        if !template.metrics_only && !self.paused() && self.is_due("statements", statements) && self.fits("statements")
        {
            let before = self.spent_s(connection);
            self.read_statements(connection).await?;
            self.took("statements", self.spent_s(connection) - before);
        }
        if metrics {
            self.publish_cost(connection);
        }
        Ok(())
    }

    /// Whether reading pauses because a query of ours waited for a lock in vain.
    pub(super) fn paused(&self) -> bool {
        self.shared.own.manners().pause_left().is_some()
    }

    /// Seconds our queries took on the main connection so far, those of connections that were left included.
    pub(super) fn spent_s(&self, connection: &Option<Connection>) -> f64 {
        self.cost.seconds + connection.as_ref().map_or(0.0, Connection::spent_s)
    }

    /// Whether what took as long as it did the last time fits in the time budget; else it is due again when it may.
    pub(super) fn fits(&mut self, what: &str) -> bool {
        let expected = self.took_s.get(what).copied().unwrap_or(0.0);
        let named = what.trim_end(); // a group of the instance stands without a database
        match self.shared.own.manners().fits(expected) {
            Ok(()) => {
                self.clear(Class::OverBudget, named);
                true
            }
            Err(wait) => {
                self.skip("budget");
                self.due.insert(what.to_owned(), Instant::now() + wait.max(TICK));
                let share = self.config.time_budget * 100.0;
                let text = format!(
                    "{named} took {expected:.3} s the last time, and the time budget of {share} % is used up: it waits"
                );
                self.hold(&Trouble::new(Class::OverBudget, text), named, None);
                false
            }
        }
    }

    /// Takes note of how long something took.
    pub(super) fn took(&mut self, what: &str, seconds: f64) {
        self.took_s.insert(what.to_owned(), seconds);
    }

    /// Something due was left unread.
    pub(super) fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    async fn answer(
        &mut self,
        connection: &mut Option<Connection>,
        request: Request,
        activity: &mpsc::Sender<watch_activity::Ask>,
    ) -> Result<(), Trouble> {
        let mut result = Ok(());
        let mut told = Ok(());
        for what in &request.what {
            match what {
                What::Activity => {
                    let (reply, done) = oneshot::channel();
                    told = match activity.send(reply).await {
                        Ok(()) => done.await.unwrap_or_else(|_| Err("the sessions were not read".into())),
                        Err(_) => Err("the sessions are not read at present".into()),
                    };
                }
                What::Statements => result = self.read_statements(connection).await,
                What::Plan => {
                    let load = request.fingerprint.as_ref().and_then(|f| self.recent.get(f)).cloned();
                    match load {
                        Some(load) => result = self.explain(connection, &[load]).await,
                        None => told = Err("no statement of that fingerprint was seen lately".into()),
                    }
                }
            }
            if result.is_err() {
                break;
            }
        }
        let answer = match (&result, told) {
            (Err(trouble), _) => Err(trouble.to_string()),
            (Ok(()), told) => told,
        };
        let _ = request.reply.send(answer);
        result
    }

    /// Whether it is time; if so, the next time is set.
    pub(super) fn is_due(&mut self, what: &str, interval: Duration) -> bool {
        let now = Instant::now();
        if self.due.get(what).is_some_and(|at| now < *at) {
            return false;
        }
        let factor = self.slow_factor.get(what).copied().unwrap_or(1);
        self.due.insert(what.to_owned(), now + interval * factor);
        true
    }

    /// The instance can't be read.
    fn down(&mut self, trouble: &Trouble) {
        self.count_error(trouble.class);
        let grant = (trouble.class == Class::AuthFailed).then(|| self.access_advice());
        self.hold(trouble, "", grant.as_deref());
        self.publish_up(false);
    }

    fn access_advice(&self) -> String {
        match self.engine {
            Engine::Postgresql => format!(
                "check the password of role {:?} and pg_hba.conf; a role is made by: tidewatch-collector grants --engine postgresql",
                self.config.user
            ),
            _ => format!(
                "check the password and host of account {:?}; an account is made by: tidewatch-collector grants --engine {}",
                self.config.user, self.engine
            ),
        }
    }

    fn clear_connection_findings(&mut self) {
        for class in [
            Class::TargetUnreachable,
            Class::TargetRestarting,
            Class::AuthFailed,
            Class::TooManyConnections,
            Class::QueryFailed,
            Class::TooSlow,
        ] {
            self.clear(class, "");
        }
        if let Some(name) = self.config.database.clone() {
            self.clear(Class::DatabaseDropped, &name);
        }
    }

    /// Says a trouble, if it is news.
    pub(super) fn hold(&mut self, trouble: &Trouble, what: &str, grant: Option<&str>) {
        let now_ms = self.context.clock.now_ms();
        let said = self.findings.hold(self.engine, &self.instance, now_ms, trouble, what, grant);
        self.say(said);
    }

    /// Says that a trouble is over, if it was one.
    pub(super) fn clear(&mut self, class: Class, what: &str) {
        let now_ms = self.context.clock.now_ms();
        let said = self.findings.clear(self.engine, &self.instance, now_ms, class, what);
        self.say(said);
    }

    fn say(&self, said: Option<Said>) {
        if let Some(said) = said {
            if let proto::Value::Text(body) = said.logs.get(0, "body") {
                tracing::warn!(instance = %self.instance, "{body}");
            }
            self.context.outlet.send_events(said.logs);
            self.context.outlet.send_events(said.objects);
        }
    }

    /// A right that `reader` needs is missing; said once however many need it.
    pub(super) fn right_missing(&mut self, right: &str, reader: &str, grant: &str, said: Option<&Trouble>) {
        self.missing_rights.entry(right.to_owned()).or_default().insert(reader.to_owned());
        let text = match said {
            Some(trouble) => format!("{} lacks {right}: {}", self.config.user, trouble.text),
            None => format!("{} lacks {right}: sessions and statements of others are hidden", self.config.user),
        };
        let trouble = Trouble::new(Class::MissingRight, text);
        let grant = grant_for(self.engine, grant, &self.config.user);
        self.hold(&trouble, right, Some(&grant));
    }

    /// `reader` could read: over, if nobody else misses the right.
    pub(super) fn right_there(&mut self, right: &str, reader: &str) {
        if let Some(readers) = self.missing_rights.get_mut(right) {
            readers.remove(reader);
            if readers.is_empty() {
                self.missing_rights.remove(right);
                self.clear(Class::MissingRight, right);
            }
        }
    }

    pub(super) fn count_error(&mut self, class: Class) {
        *self.errors.entry(class.as_str()).or_default() += 1;
        if class == Class::LockTimeout
            && let Some(pause) = self.shared.own.manners().lock_timeout()
        {
            let text = format!("a query of ours waited for a lock in vain: nothing is read for {} s", pause.as_secs());
            self.hold(&Trouble::new(Class::LockQueue, text), "", None);
        }
    }
}

/// Ends the activity task with its owner.
struct Guard(Option<tokio::task::JoinHandle<()>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn rfc3339(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).map_or_else(String::new, |t| t.to_rfc3339())
}
