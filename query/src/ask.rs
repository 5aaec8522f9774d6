//! What comes with a question besides its text: when, how long, who asks; and what is told of it afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use crate::promql::Stats;

/// Told questions that may wait for whoever writes them down; more are counted and lost.
const WAITING_MAX: usize = 4096;

/// When a PromQL query is evaluated, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    At(i64),
    /// At `start_ms`, `start_ms + step_ms`, … up to `end_ms`.
    Steps {
        /// The first time.
        start_ms: i64,
        /// No time lies after it.
        end_ms: i64,
        /// Their distance.
        step_ms: i64,
    },
}

impl When {
    /// First time, last time and distance; the distance of one time is 0.
    pub fn times(self) -> (i64, i64, i64) {
        match self {
            When::At(at_ms) => (at_ms, at_ms, 0),
            When::Steps { start_ms, end_ms, step_ms } => (start_ms, end_ms, step_ms),
        }
    }
}

/// A PromQL question.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose data.
    pub tenant: &'a str,
    /// Its text.
    pub query: &'a str,
    /// When.
    pub when: When,
    /// How far an instant selector looks back, milliseconds; the limits' if left out.
    pub lookback_ms: Option<i64>,
    /// How long it may run, milliseconds; never longer than the limits say.
    pub timeout_ms: Option<u64>,
    /// Whether to count the samples of each step.
    pub per_step_stats: bool,
}

impl<'a> Ask<'a> {
    /// A question with nothing special about it.
    pub fn new(tenant: &'a str, query: &'a str, when: When) -> Ask<'a> {
        Ask { tenant, query, when, lookback_ms: None, timeout_ms: None, per_step_stats: false }
    }
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asker {
    /// The program itself.
    #[default]
    Own,
    /// Somebody at the HTTP port.
    Http {
        /// Their address, without port; empty if unknown.
        client: String,
        /// `GET` or `POST`.
        method: String,
        /// Without parameters.
        path: String,
    },
    /// A group of rules.
    Rules {
        /// Its file.
        file: String,
        /// Its name.
        group: String,
    },
}

/// The question of a finished query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// PromQL.
    Promql {
        /// Its text.
        query: String,
        /// When it was evaluated.
        when: When,
    },
    /// SQL: its text.
    Sql(String),
}

/// What is told of a question once it has ended.
#[derive(Clone, Debug)]
pub struct Told {
    /// Who asked.
    pub asker: Arc<Asker>,
    /// What.
    pub question: Question,
    /// From its arrival to its end.
    pub took: Duration,
    /// What it cost; nothing is known of SQL and of failures.
    pub stats: Option<Stats>,
    /// Why it has no answer.
    pub error: Option<String>,
}

/// Where finished questions are told. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub struct Teller {
    sender: mpsc::Sender<Told>,
    lost: Arc<AtomicU64>,
}

impl Teller {
    /// A teller, and where what it tells arrives.
    pub fn new() -> (Teller, mpsc::Receiver<Told>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Teller { sender, lost: Arc::default() }, receiver)
    }

    /// Questions that nobody was told of because too many waited.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn tell(&self, told: Told) {
        if self.sender.try_send(told).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
