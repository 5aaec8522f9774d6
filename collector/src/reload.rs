//! A changed configuration without a restart: sources that are gone end, new ones start, changed ones are ended and started
//! anew, and the rest goes on undisturbed. All or nothing: a file that is wrong, or that changes what only a restart can
//! change, changes nothing and is named in the log, in a metric and in a row of `logs`.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use parking_lot::Mutex;
use proto::{EventsBuilder, Table};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, ConfigError, DatabaseConfig, HostConfig, JournalConfig, ScrapeConfig},
    databases, host, logs,
    run::SOURCES_END_TIMEOUT,
    scrape,
    source::Context,
};

/// How reloading went so far. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reloads(Arc<Mutex<ReloadState>>);

/// The state of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReloadState {
    /// Files that were taken.
    pub taken: u64,
    /// Files that were refused.
    pub refused: u64,
    /// Why the last one was refused; `None` if it was taken.
    pub error: Option<ConfigError>,
}

impl Reloads {
    /// Now.
    pub fn state(&self) -> ReloadState {
        self.0.lock().clone()
    }

    fn note(&self, result: &Result<String, ConfigError>) {
        let mut state = self.0.lock();
        match result {
            Ok(_) => state.taken += 1,
            Err(_) => state.refused += 1,
        }
        state.error = result.as_ref().err().cloned();
    }
}

/// Everything that is read, by a name that stays the same when its settings change.
enum Wanted {
    Host(HostConfig),
    Database(Box<DatabaseConfig>),
    Job(Box<ScrapeConfig>),
    Journal(JournalConfig),
}

impl Wanted {
    /// Whether it would be read in the same way.
    fn same(&self, other: &Wanted) -> bool {
        match (self, other) {
            (Wanted::Host(a), Wanted::Host(b)) => a == b,
            (Wanted::Database(a), Wanted::Database(b)) => a == b,
            (Wanted::Journal(a), Wanted::Journal(b)) => a == b,
            // Its rules are patterns, which compare by their text; passwords don't show in it.
            (Wanted::Job(a), Wanted::Job(b)) => a.access == b.access && format!("{a:?}") == format!("{b:?}"),
            _ => false,
        }
    }

    fn start(&self, context: Context) -> JoinHandle<()> {
        match self {
            Wanted::Host(host) => tokio::spawn(host::watch(host.clone(), context)),
            Wanted::Database(database) => tokio::spawn(databases::watch((**database).clone(), context)),
            Wanted::Job(job) => tokio::spawn(scrape::watch((**job).clone(), context)),
            Wanted::Journal(journal) => tokio::spawn(logs::journal::watch(journal.clone(), context)),
        }
    }
}

fn wanted(config: &Config) -> BTreeMap<String, Wanted> {
    let mut all = BTreeMap::new();
    if let Some(host) = &config.host {
        all.insert("host".to_owned(), Wanted::Host(host.clone()));
    }
    for database in &config.databases {
        all.insert(format!("database {}", database.address), Wanted::Database(Box::new(database.clone())));
    }
    for job in &config.scrapes {
        all.insert(format!("job {}", job.job_name), Wanted::Job(Box::new(job.clone())));
    }
    for journal in &config.journals {
        all.insert(
            format!("journal {} of {}", journal.log.path.display(), journal.log.instance),
            Wanted::Journal(journal.clone()),
        );
    }
    all
}

struct Running {
    what: Wanted,
    end: CancellationToken,
    task: JoinHandle<()>,
}

/// The sources that run.
pub(crate) struct Sources {
    context: Context,
    running: BTreeMap<String, Running>,
}

impl Sources {
    pub(crate) fn new(context: Context) -> Sources {
        Sources { context, running: BTreeMap::new() }
    }

    /// Runs what is configured and nothing else; says what that changed.
    pub(crate) async fn apply(&mut self, config: &Config) -> String {
        let wanted = wanted(config);
        let goes_on = |name: &String, r: &Running| wanted.get(name).is_some_and(|w| w.same(&r.what));
        let ending: Vec<String> =
            self.running.iter().filter(|(name, r)| !goes_on(name, r)).map(|(name, _)| name.clone()).collect();
        let ended: Vec<Running> = ending.iter().filter_map(|name| self.running.remove(name)).collect();
        let changed = ending.iter().filter(|name| wanted.contains_key(*name)).count();
        end_all(ended).await; // before its successor starts: no instance has connections of both
        let mut started = 0;
        for (name, what) in wanted {
            if self.running.contains_key(&name) {
                continue;
            }
            started += 1;
            let end = self.context.shutdown.child_token();
            let task = what.start(Context { shutdown: end.clone(), ..self.context.clone() });
            self.running.insert(name, Running { what, end, task });
        }
        format!(
            "{} sources were added, {} removed, {changed} changed; {} go on",
            started - changed,
            ending.len() - changed,
            self.running.len() - started
        )
    }

    /// Ends everything.
    pub(crate) async fn end(self) {
        end_all(self.running.into_values().collect()).await;
    }
}

async fn end_all(sources: Vec<Running>) {
    sources.iter().for_each(|r| r.end.cancel());
    let until = tokio::time::Instant::now() + SOURCES_END_TIMEOUT;
    for mut source in sources {
        if tokio::time::timeout_at(until, &mut source.task).await.is_err() {
            tracing::warn!("a source did not end in time");
            source.task.abort();
        }
    }
}

/// The first setting that differs and needs a restart.
fn needs_restart(running: &Config, wanted: &Config) -> Option<&'static str> {
    [
        ("server or kafka", running.destination == wanted.destination),
        ("id", running.id == wanted.id),
        ("tenant", running.tenant == wanted.tenant),
        ("labels", running.labels == wanted.labels),
        ("data_dir", running.data_dir == wanted.data_dir),
        ("spool.bytes_max", running.spool_bytes_max == wanted.spool_bytes_max),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

/// Reads the file and takes it, or says why not.
pub(crate) async fn reload(
    file: &Path,
    running: &mut Config,
    sources: &mut Sources,
    orders: &mpsc::Sender<logs::Orders>,
    reloads: &Reloads,
    context: &Context,
) {
    let path = file.to_owned();
    let unknown = |message: String| ConfigError { file: file.display().to_string(), line: 0, column: 0, message };
    let read = tokio::task::spawn_blocking(move || Config::load(&path)).await;
    let read = read.unwrap_or_else(|e| Err(unknown(e.to_string())));
    let wanted = read.and_then(|config| match needs_restart(running, &config) {
        Some(field) => Err(unknown(format!("{field}: differs from what runs; allowed: the same until a restart"))),
        None => Ok(config),
    });
    let result = match wanted {
        Ok(config) => {
            let said = sources.apply(&config).await;
            let gone = context.desk.close_ended();
            let _ = orders.send(logs::Orders { configured: config.logs.clone(), gone }).await;
            *running = config;
            Ok(said)
        }
        Err(error) => Err(error),
    };
    reloads.note(&result);
    let (level, class, body) = match &result {
        Ok(said) => ("info", "config_reloaded", format!("configuration {} is read anew: {said}", file.display())),
        Err(e) => ("error", "config_refused", format!("the changed configuration is refused, nothing changes: {e}")),
    };
    match &result {
        Ok(_) => tracing::info!("{body}"),
        Err(_) => tracing::error!("{body}"),
    }
    let mut rows = EventsBuilder::new(Table::Logs);
    let columns = [
        ("stream", "collector".into()),
        ("engine", "collector".into()),
        ("level", level.into()),
        ("class", class.into()),
        ("body", body.into()),
    ];
    rows.row(&context.host, context.clock.now_ms(), columns);
    context.outlet.send_events(rows.build());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let of = |text: &str| Config::parse("c", text).unwrap();
        let base = "server: {address: 'http://h:1'}\ndata_dir: /x\n";
        let running = of(base);
        assert_eq!(needs_restart(&running, &of(&format!("{base}host: {{enabled: false}}\n"))), None);
        for (text, field) in [
            ("server: {address: 'http://h:2'}\ndata_dir: /x\n", "server or kafka"),
            ("server: {address: 'http://h:1'}\ndata_dir: /y\n", "data_dir"),
            ("server: {address: 'http://h:1'}\ndata_dir: /x\ntenant: t\n", "tenant"),
            ("server: {address: 'http://h:1'}\ndata_dir: /x\nlabels: {zone: a}\n", "labels"),
        ] {
            assert_eq!(needs_restart(&running, &of(text)), Some(field));
        }
    }

    #[test]
    fn a_source_is_the_same_if_nothing_of_it_changed() {
        let of = |more: &str| {
            let text = format!("server: {{address: 'http://h:1'}}\ndata_dir: /x\n{more}");
            wanted(&Config::parse("c", &text).unwrap())
        };
        let database = |more: &str| format!("databases: [{{engine: mysql, address: 'h:1', {more}}}]\n");
        let job =
            |more: &str| format!("scrape_configs: [{{job_name: j, static_configs: [{{targets: ['h:1']}}], {more}}}]\n");
        for (a, b, name, same) in [
            (database("user: a"), database("user: a"), "database h:1", true),
            (database("password: a"), database("password: b"), "database h:1", false),
            (database("time_budget: 5%"), database("time_budget: 6%"), "database h:1", false),
            (job("scrape_interval: 15s"), job("scrape_interval: 15s"), "job j", true),
            (job("scrape_interval: 15s"), job("scrape_interval: 16s"), "job j", false),
            (
                job("basic_auth: {username: u, password: a}"),
                job("basic_auth: {username: u, password: b}"),
                "job j",
                false,
            ),
        ] {
            let (a, b) = (of(&a), of(&b));
            assert_eq!(a[name].same(&b[name]), same, "{name}");
            assert!(a["host"].same(&b["host"]));
        }
    }
}
