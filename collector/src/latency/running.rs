//! Statements seen to run and then to end, out of readings of the sessions: durations where no log tells of them.
//!
//! Only those seen in two readings count: of these every one is seen that took longer than two intervals, so what is counted
//! is complete above that, not a sample in which the long ones are too many.

use std::collections::HashMap;

use super::Ended;
use crate::{
    config::Engine,
    databases::{activity::Session, connection::dialect, fingerprint},
};

/// A statement younger than this is not remembered: it costs nothing while all are short, milliseconds.
const AGE_MIN_MS: f64 = 1_000.0;
/// Readings further apart tell nothing about when something ended, milliseconds.
const GAP_MAX_MS: i64 = 60_000;
/// How far the server's clock and ours may be apart within one reading, milliseconds.
const SLACK_MS: f64 = 100.0;

/// What ran at the last reading.
#[derive(Debug, Default)]
pub struct Running {
    read_ms: Option<i64>,
    seen: HashMap<i64, Seen>,
}

#[derive(Debug)]
struct Seen {
    text: String,
    age_ms: f64,
    readings: u32,
}

impl Running {
    /// Takes a reading, and gives what ended since the one before. How long that took is known to half the time between
    /// the two.
    pub fn read(&mut self, engine: Engine, sessions: &[Session], now_ms: i64) -> Vec<Ended> {
        let passed_ms = self.read_ms.map_or(0, |before| now_ms - before);
        self.read_ms = Some(now_ms);
        let mut before = std::mem::take(&mut self.seen);
        if !(0..=GAP_MAX_MS).contains(&passed_ms) {
            before.clear();
        }
        for session in sessions.iter().filter(|s| is_running(engine, s)) {
            let (Some(age_ms), Some(text)) = (session.query_ms, &session.text) else { continue };
            if age_ms < AGE_MIN_MS {
                continue;
            }
            // The one of the last reading had begun before it.
            let is_same = |s: &Seen| s.text == *text && age_ms + SLACK_MS >= passed_ms as f64;
            let readings = match before.get(&session.pid).is_some_and(is_same) {
                true => before.remove(&session.pid).map_or(0, |s| s.readings),
                false => 0,
            };
            self.seen.insert(session.pid, Seen { text: text.clone(), age_ms, readings: readings + 1 });
        }
        let ended = before.into_values().filter(|s| s.readings >= 2).map(|s| Ended {
            fingerprint: fingerprint(dialect(engine), &s.text).id,
            source: "activity",
            ts_ms: now_ms,
            seconds: (s.age_ms + passed_ms as f64 / 2.0) / 1000.0,
        });
        ended.collect()
    }
}

/// Whether it runs a client's statement.
fn is_running(engine: Engine, session: &Session) -> bool {
    let is_client = engine != Engine::Postgresql || session.backend.as_deref() == Some("client backend");
    is_client && session.state.as_deref() == Some("active")
}
