//! How long statements take, as histograms of one fixed layout: those of two minutes, instances or shards merge by adding.
//!
//! Servers keep sums; single executions are told by logs (`logs/execution`), by sessions that were seen to run and to end
//! (`running`), and by MySQL's own histogram (`collector/templates/mysql.yaml`, group `statement_latency`, which folds the
//! server's finer buckets into these). Each source has its label, because each leaves out something else: a log what its
//! threshold keeps silent, sessions what is shorter than two readings. `board` bounds the number of series.

mod board;
pub mod running;

use std::{collections::BTreeMap, sync::Arc};

use proto::{
    Events, Table, Value,
    samples::{Family, STALE_MARKER_BITS, SamplesBuilder},
};

use self::board::Board;
use crate::{config::Engine, databases::metrics::Base, outlet::Outlet};

/// The histogram's name; its series are this with `_bucket`, `_sum` and `_count`.
pub const METRIC: &str = "tidewatch_statement_latency_seconds";
/// Label of all statements that have no series of their own.
pub const OTHER: &str = "other";
/// Time between two publications, milliseconds.
pub const PUBLISH_INTERVAL_MS: i64 = 30_000;
/// An execution that ended longer ago belongs to no rate of now: it is counted and left out, milliseconds.
pub const LATE_MS: i64 = 5 * 60_000;
/// Number of bounds; behind the last lies one more bucket without end.
pub const BOUNDS: usize = 21;
/// Upper bounds of the buckets, seconds: powers of two of a millisecond, from an eighth of one to 131.072 s.
pub const BOUNDS_S: [f64; BOUNDS] = bounds_s();

const fn bounds_s() -> [f64; BOUNDS] {
    let mut bounds = [0.001 / 8.0; BOUNDS];
    let mut i = 1;
    while i < BOUNDS {
        bounds[i] = bounds[i - 1] * 2.0;
        i += 1;
    }
    bounds
}

/// Executions by how long they took.
#[derive(Clone, Debug, Default, PartialEq)]
struct Histogram {
    counts: [u64; BOUNDS + 1],
    sum_s: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        self.counts[BOUNDS_S.partition_point(|bound| *bound < seconds)] += 1;
        self.sum_s += seconds;
    }

    /// Its series, cumulative as Prometheus has them.
    fn push(&self, out: &mut SamplesBuilder, name: &Name<'_>, now_ms: i64) {
        let mut below = 0;
        let bounds = BOUNDS_S.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (count, bound) in self.counts.iter().zip(bounds) {
            below += count;
            name.push(out, "_bucket", Some(&bound), now_ms, below as f64);
        }
        name.push(out, "_count", None, now_ms, below as f64);
        name.push(out, "_sum", None, now_ms, self.sum_s);
    }

    /// Says that its series end.
    fn push_end(out: &mut SamplesBuilder, name: &Name<'_>, now_ms: i64) {
        let stale = f64::from_bits(STALE_MARKER_BITS);
        for bound in BOUNDS_S.iter().map(f64::to_string).chain(["+Inf".to_owned()]) {
            name.push(out, "_bucket", Some(&bound), now_ms, stale);
        }
        name.push(out, "_count", None, now_ms, stale);
        name.push(out, "_sum", None, now_ms, stale);
    }
}

/// Whose histogram it is.
struct Name<'a> {
    base: &'a Base,
    source: &'static str,
    fingerprint: &'a str,
}

impl Name<'_> {
    fn push(&self, out: &mut SamplesBuilder, ending: &str, bound: Option<&str>, now_ms: i64, value: f64) {
        let labels = [("source", self.source), ("fingerprint", self.fingerprint)];
        let labels = labels.into_iter().chain(bound.map(|b| ("le", b)));
        self.base.push(out, &format!("{METRIC}{ending}"), labels, now_ms, value);
    }
}

/// One execution that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Of which statement.
    pub fingerprint: Arc<str>,
    /// What tells of it: log_duration, auto_explain, slow_log or activity.
    pub source: &'static str,
    /// When it ended, milliseconds.
    pub ts_ms: i64,
    /// How long it took.
    pub seconds: f64,
}

/// The executions in rows of `statement_samples`; of rows of other tables none.
pub fn of_rows(events: &Events) -> Vec<Ended> {
    if events.table != Table::StatementSamples {
        return Vec::new();
    }
    let of_row = |row| {
        let (Value::Text(fingerprint), Value::Text(source), Value::Float(ms)) =
            (events.get(row, "fingerprint"), events.get(row, "source"), events.get(row, "duration_ms"))
        else {
            return None;
        };
        let source = ["log_duration", "auto_explain", "slow_log"].into_iter().find(|s| *s == &*source)?;
        Some(Ended { fingerprint, source, ts_ms: events.ts_ms(row), seconds: ms / 1000.0 })
    };
    (0..events.rows()).filter_map(of_row).collect()
}

/// The histograms one task keeps; counters that begin when it does.
#[derive(Default)]
pub struct Latencies {
    boards: BTreeMap<(Arc<str>, &'static str), Board>,
    published_ms: Option<i64>,
    is_described: bool,
}

impl Latencies {
    /// Counts an execution of an instance; durations that are none are left out.
    pub fn observe(&mut self, instance: &Arc<str>, engine: Engine, ended: &Ended, now_ms: i64) {
        if !(ended.seconds.is_finite() && ended.seconds >= 0.0) {
            return;
        }
        let board = self.boards.entry((instance.clone(), ended.source));
        let board = board.or_insert_with(|| Board::new(Base::new(instance, engine.job()), ended.source));
        board.observe(&ended.fingerprint, ended.seconds, now_ms - ended.ts_ms > LATE_MS);
    }

    /// Sends every histogram if it is time to.
    pub fn publish(&mut self, now_ms: i64, outlet: &Outlet) {
        if self.boards.is_empty() || self.published_ms.is_some_and(|at| now_ms - at < PUBLISH_INTERVAL_MS) {
            return;
        }
        let before_ms = self.published_ms.unwrap_or(now_ms - PUBLISH_INTERVAL_MS);
        let mut out = SamplesBuilder::default();
        if !std::mem::replace(&mut self.is_described, true) {
            let help = "How long statements took, by what told of them".into();
            out.family(Family { name: METRIC.into(), kind: "histogram".into(), help, unit: "seconds".into() });
        }
        self.boards.retain(|_, board| board.publish(&mut out, before_ms, now_ms));
        self.published_ms = Some(now_ms);
        outlet.send_samples(out);
    }
}

#[cfg(test)]
mod tests;
