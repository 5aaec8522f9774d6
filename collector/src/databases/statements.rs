//! Statement statistics as deltas: what changed in a server's cumulative counters between two readings.
//!
//! The first reading is the baseline and gives nothing. A key that appears later brings all it has counted. A counter
//! that fell, or a reset the server tells of, begins the key anew: what it holds now happened since. Never negative.
//! What can't be known exactly is marked: `reset` (what came before the reset in this interval is lost), `evicted` and
//! `lower_bound` (the server threw entries out in this interval).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use proto::{Events, EventsBuilder, Table, Value};
use serde_json::json;

use super::fingerprint::{FINGERPRINT_VERSION, Fingerprint};
use crate::config::Engine;

/// Most keys remembered for one instance; further ones are left out and counted.
pub const STATEMENTS_MAX: usize = 20_000;
/// Longest text taken from a server, bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Counters of a statement, in the order of [`COLUMNS`].
pub type Counters = [Option<f64>; COLUMNS.len()];

/// Columns of `statement_stats` that are differences. `true`: a whole number.
pub const COLUMNS: [(&str, bool); 18] = [
    ("calls", true),
    ("total_ms", false),
    ("rows", true),
    ("rows_examined", true),
    ("lock_ms", false),
    ("errors", true),
    ("no_index_used", true),
    ("tmp_disk_tables", true),
    ("sort_rows", true),
    ("blocks_hit", true),
    ("blocks_read", true),
    ("blocks_dirtied", true),
    ("blocks_written", true),
    ("temp_blocks_read", true),
    ("temp_blocks_written", true),
    ("io_read_ms", false),
    ("io_write_ms", false),
    ("wal_bytes", true),
];
/// Index of `calls`.
const CALLS: usize = 0;
/// Index of `total_ms`.
const TOTAL_MS: usize = 1;

/// The server's own identity of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Database or schema as the server keys it.
    pub database: Option<Arc<str>>,
    /// Role or account; `None` where the server does not tell them apart.
    pub user: Option<Arc<str>>,
    /// queryid or DIGEST; `None`: MySQL's row for everything it had no room for.
    pub native_id: Option<Arc<str>>,
    /// False: ran inside a function.
    pub toplevel: bool,
}

/// One row of the server's view.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Whose.
    pub key: Key,
    /// Counters as they stand.
    pub counters: Counters,
    /// Longest execution since its reset, milliseconds.
    pub max_ms: Option<f64>,
    /// When the server began to count this entry, where it tells.
    pub since: Option<Arc<str>>,
}

/// What the server tells about the view as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ViewState {
    /// When it was last reset, where it tells.
    pub stats_reset: Option<Arc<str>>,
    /// How many times it threw entries out, or lost statements for want of room.
    pub evictions: Option<f64>,
    /// Which run of the server this is, if a start empties the view.
    pub started: Option<i64>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Whose.
    pub key: Key,
    /// What was added since the last reading.
    pub counters: Counters,
    /// Longest execution since its reset.
    pub max_ms: Option<f64>,
    /// Marks, sorted.
    pub quality: Vec<&'static str>,
}

/// The counters of the last reading.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: HashMap<Key, (Counters, Option<Arc<str>>)>,
    state: Option<ViewState>,
    read_at_ms: i64,
    /// Keys left out because there were too many.
    pub left_out: u64,
}

/// What one reading gave.
#[derive(Debug, Default)]
pub struct Step {
    /// Statements that ran.
    pub deltas: Vec<Delta>,
    /// Since the last reading; 0 for the baseline.
    pub interval_ms: i64,
}

impl Ledger {
    /// Forgets everything: the next reading is a baseline.
    pub fn forget(&mut self) {
        *self = Ledger { left_out: self.left_out, ..Ledger::default() };
    }

    /// Whether there is a baseline.
    pub fn has_baseline(&self) -> bool {
        self.state.is_some()
    }

    /// Takes a reading; gives what happened since the last one.
    pub fn observe(&mut self, now_ms: i64, observations: Vec<Observation>, state: ViewState) -> Step {
        let before = self.state.replace(state.clone());
        let interval_ms = if before.is_some() { (now_ms - self.read_at_ms).max(0) } else { 0 };
        self.read_at_ms = now_ms;
        let all_reset =
            before.as_ref().is_some_and(|b| b.stats_reset != state.stats_reset || b.started != state.started);
        let evicted = before.as_ref().is_some_and(|b| match (b.evictions, state.evictions) {
            (Some(before), Some(now)) => now > before,
            _ => false,
        });
        let mut step = Step { deltas: Vec::new(), interval_ms };
        let mut entries = HashMap::with_capacity(observations.len());
        for seen in observations {
            if entries.len() >= STATEMENTS_MAX {
                self.left_out += 1;
                continue;
            }
            let last = self.entries.get(&seen.key);
            entries.insert(seen.key.clone(), (seen.counters, seen.since.clone()));
            if before.is_none() {
                continue;
            }
            let fell = |(last, since): &(Counters, Option<Arc<str>>)| {
                *since != seen.since
                    || seen.counters[..=TOTAL_MS]
                        .iter()
                        .zip(last)
                        .any(|(now, was)| matches!((now, was), (Some(n), Some(w)) if n < w))
            };
            let mut quality = Vec::new();
            let restart = all_reset || last.is_some_and(fell);
            let counters = match last {
                Some((last, _)) if !restart => difference(&seen.counters, last),
                _ => seen.counters,
            };
            if last.is_none() && evicted && !restart {
                quality.push("evicted");
            }
            if evicted {
                quality.push("lower_bound");
            }
            if restart {
                quality.push("reset");
            }
            if counters[CALLS].unwrap_or(0.0) > 0.0 {
                step.deltas.push(Delta { key: seen.key, counters, max_ms: seen.max_ms, quality });
            }
        }
        self.entries = entries;
        step
    }
}

fn difference(now: &Counters, last: &Counters) -> Counters {
    let mut out = *now;
    for (out, last) in out.iter_mut().zip(last) {
        if let (Some(value), Some(last)) = (out.as_mut(), last) {
            *value = (*value - last).max(0.0);
        }
    }
    out
}

/// What is known of one native id.
#[derive(Clone, Debug)]
pub struct Known {
    /// Identity, normalised text, tables, verb.
    pub fingerprint: Arc<Fingerprint>,
    /// The server gave only the beginning.
    pub truncated: bool,
    /// The text as the server shows it, for EXPLAIN; only where it holds no literals, and only if it is short.
    pub raw: Option<Arc<str>>,
}

/// Longest text kept for EXPLAIN, bytes.
pub const RAW_BYTES_MAX: usize = 8 * 1024;

/// Texts of the server's ids, bounded like the ledger.
#[derive(Debug, Default)]
pub struct Texts {
    known: HashMap<Arc<str>, Known>,
    announced: HashSet<(Option<Arc<str>>, Arc<str>)>,
}

impl Texts {
    /// What is known of an id.
    pub fn get(&self, native_id: &str) -> Option<&Known> {
        self.known.get(native_id)
    }

    /// Remembers an id; when there are too many, all are forgotten and read again.
    pub fn learn(&mut self, native_id: &str, known: Known) {
        if self.known.len() >= STATEMENTS_MAX {
            self.known.clear();
        }
        self.known.insert(native_id.into(), known);
    }

    /// Rows of `statements` for those of the deltas that were not announced before.
    pub fn announce(&mut self, engine: Engine, instance: &str, now_ms: i64, deltas: &[Delta]) -> Events {
        let mut rows = EventsBuilder::new(Table::Statements);
        if self.announced.len() >= STATEMENTS_MAX {
            self.announced.clear();
        }
        for delta in deltas {
            let Some(id) = &delta.key.native_id else { continue };
            let Some(known) = self.known.get(id) else { continue };
            if !self.announced.insert((delta.key.database.clone(), id.clone())) {
                continue;
            }
            let print = &known.fingerprint;
            rows.row(
                instance,
                now_ms,
                [
                    ("engine", engine.as_str().into()),
                    ("database", delta.key.database.clone().into()),
                    ("fingerprint", print.id.clone().into()),
                    ("fingerprint_version", FINGERPRINT_VERSION.into()),
                    ("native_id", id.clone().into()),
                    ("text", print.normalized_text.clone().into()),
                    ("truncated", known.truncated.into()),
                    ("command", print.command.as_str().into()),
                    ("tables", json!(print.tables).to_string().into()),
                ],
            );
        }
        rows.build()
    }
}

/// The fingerprint of statements whose text the server had no room for.
pub const OTHER_FINGERPRINT: &str = "0000000000000000";

/// A statement's load in one interval, several native ids of one fingerprint added up.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Database or schema.
    pub database: Option<Arc<str>>,
    /// Role or account.
    pub user: Option<Arc<str>>,
    /// Identity.
    pub fingerprint: Arc<str>,
    /// False: ran inside a function.
    pub toplevel: bool,
    /// One of the server's ids it was added up from.
    pub native_id: Option<Arc<str>>,
    /// Sums.
    pub counters: Counters,
    /// Largest.
    pub max_ms: Option<f64>,
    /// Marks, sorted, each once.
    pub quality: Vec<&'static str>,
}

/// Database, user, fingerprint, top level.
type LoadKey = (Option<Arc<str>>, Option<Arc<str>>, Arc<str>, bool);

impl Load {
    /// Executions.
    pub fn calls(&self) -> f64 {
        self.counters[CALLS].unwrap_or(0.0)
    }

    /// Time spent, milliseconds.
    pub fn total_ms(&self) -> f64 {
        self.counters[TOTAL_MS].unwrap_or(0.0)
    }
}

/// Adds deltas up by fingerprint. Those whose text is not known, and those `ours` says are our own, are left out.
pub fn loads(deltas: &[Delta], texts: &Texts, ours: impl Fn(&Fingerprint) -> bool) -> Vec<Load> {
    let mut sums: BTreeMap<LoadKey, Load> = BTreeMap::new();
    for delta in deltas {
        let (fingerprint, truncated) = match &delta.key.native_id {
            None => (Arc::from(OTHER_FINGERPRINT), false),
            Some(id) => match texts.get(id) {
                Some(known) if ours(&known.fingerprint) => continue,
                Some(known) => (known.fingerprint.id.clone(), known.truncated),
                None => continue,
            },
        };
        let key = (delta.key.database.clone(), delta.key.user.clone(), fingerprint.clone(), delta.key.toplevel);
        let load = sums.entry(key).or_insert_with(|| Load {
            database: delta.key.database.clone(),
            user: delta.key.user.clone(),
            fingerprint,
            toplevel: delta.key.toplevel,
            native_id: delta.key.native_id.clone(),
            counters: [None; COLUMNS.len()],
            max_ms: None,
            quality: Vec::new(),
        });
        for (sum, add) in load.counters.iter_mut().zip(&delta.counters) {
            if let Some(add) = add {
                *sum = Some(sum.unwrap_or(0.0) + add);
            }
        }
        load.max_ms = load.max_ms.into_iter().chain(delta.max_ms).reduce(f64::max);
        load.quality.extend(&delta.quality);
        if truncated {
            load.quality.push("truncated");
        }
        load.quality.sort_unstable();
        load.quality.dedup();
    }
    sums.into_values().collect()
}

/// Rows of `statement_stats`.
pub fn rows(engine: Engine, instance: &str, now_ms: i64, interval_ms: i64, loads: &[Load]) -> Events {
    let mut rows = EventsBuilder::new(Table::StatementStats);
    for load in loads {
        let quality = (!load.quality.is_empty()).then(|| load.quality.join(","));
        let fixed = [
            ("interval_ms", interval_ms.into()),
            ("engine", engine.as_str().into()),
            ("database", load.database.clone().into()),
            ("user", load.user.clone().into()),
            ("fingerprint", load.fingerprint.clone().into()),
            ("toplevel", load.toplevel.into()),
            ("max_ms", load.max_ms.into()),
            ("quality", quality.into()),
        ];
        let counters = COLUMNS.iter().zip(&load.counters).map(|((name, whole), value)| {
            let value = match value {
                None => Value::Null,
                Some(v) if *whole => Value::Int(v.round() as i64),
                Some(v) => Value::Float(*v),
            };
            (*name, value)
        });
        rows.row(instance, now_ms, fixed.into_iter().chain(counters));
    }
    rows.build()
}

#[cfg(test)]
#[path = "statements_tests.rs"]
mod tests;
