//! The whole room at work: groups evaluated at their slots, what happens written down, told and delivered.
//!
//! [`Alerting::tick`] and [`Alerting::deliver`] do the work of a moment; [`Alerting::run`] calls them when they are due. Only
//! the clock handed in at the start is read. What it does stands in files of their own: `start`, `reload`, `tick`, `tell`
//! (from alert to receipt), `collect`, `operate` (silences, acknowledgements), `answer`, `alertmanager`, `explain`, `run`.

mod alertmanager;
mod answer;
mod collect;
mod explain;
mod operate;
mod reload;
mod run;
mod start;
mod tell;
mod tick;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use query::Querier;
use storage::Store;
use tokio::sync::Notify;

use self::collect::Looking;
use crate::acknowledge::Acknowledged;
use crate::config::Settings;
use crate::dispatch::{Dispatcher, FlushKey};
use crate::evidence::Collector;
use crate::group::Group;
use crate::known::KnownAlerts;
use crate::outbox::Outbox;
use crate::outside::Outside;
use crate::rule_file::RuleFileError;
use crate::rule_numbers::{GroupNumbers, RuleNumbers};
use crate::silences::Silences;
use crate::told::Told;

pub use alertmanager::AlertsFilter;
pub use operate::AcknowledgeError;

/// Milliseconds since 1970-01-01 UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Why alerting can't start or reload; what ran before runs on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A rule file is wrong.
    #[error("{0}")]
    Rules(#[from] RuleFileError),
    /// The folder of the outbox can't be used.
    #[error("alerting state in {folder}: {source}")]
    State {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP client can't be made.
    #[error("http client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Alerting at work. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Alerting(Arc<Inner>);

struct Inner {
    settings: Mutex<Arc<Settings>>,
    store: Store,
    querier: Querier,
    tenant: String,
    clock: Clock,
    groups: tokio::sync::RwLock<Vec<Arc<tokio::sync::Mutex<Group>>>>,
    pipeline: Mutex<Pipeline>,
    silences: Mutex<Silences>,
    outside: Mutex<Outside>,
    outbox: Outbox,
    known: Mutex<KnownAlerts>,
    client: reqwest::Client,
    due: Notify,
    outgoing: Notify,
    evidence: Collector,
    evidence_places: Arc<tokio::sync::Semaphore>,
    evidence_waiting: Arc<tokio::sync::Semaphore>,
    looking: Looking,
    numbers: RuleNumbers,
}

struct Pipeline {
    dispatcher: Dispatcher,
    told: Told,
    acknowledged: Acknowledged,
}

impl Alerting {
    /// The config in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.lock().clone()
    }

    /// Numbers about every rule group, by group and file.
    pub fn rule_numbers(&self) -> Vec<(String, GroupNumbers)> {
        self.0.numbers.all()
    }

    /// How many messages wait to be taken.
    pub fn messages_waiting(&self) -> usize {
        self.0.outbox.len()
    }

    /// What a receiver was last told of a group, for tests and pages.
    pub fn told_at_ms(&self, key: &FlushKey) -> Option<i64> {
        self.0.pipeline.lock().told.get(key).map(|t| t.at_ms)
    }
}
