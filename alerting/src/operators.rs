//! What operators decided: silences and acknowledgements, kept in a journal so that they survive a crash.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dispatch::Decisions;
use crate::journal::Journal;
use crate::level::Level;
use crate::recurrence::{RawRecurrence, Recurrence};
use crate::silence::{Condition, Silence, SilenceState, Wish};

/// How long an expired silence and the acknowledgement of an alert that is gone are remembered, milliseconds.
const AGE_MS_MAX: i64 = 120 * 3_600_000;
/// Most silences at once, expired ones included.
pub const SILENCES_MAX: usize = 10_000;
/// Most acknowledgements at once.
pub const ACKNOWLEDGED_MAX: usize = 10_000;

/// Someone knows of an alert and works on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// When, milliseconds.
    pub at_ms: i64,
    /// Who.
    pub by: String,
    /// What they said.
    pub comment: String,
    /// How bad the alert was; a worse one is told again.
    pub level: Level,
}

/// Acknowledgements by the alert's id.
pub type Acknowledged = BTreeMap<String, Acknowledgement>;

/// Why a decision could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Something in it is wrong: which field, and what is allowed.
    #[error("{0}")]
    Wrong(String),
    /// There is nothing of that id.
    #[error("there is no {what} {id:?}")]
    Unknown {
        /// silence or alert.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// It could not be written down, so it does not hold.
    #[error("it can't be written down: {0}")]
    Disk(#[from] io::Error),
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Silence(StoredSilence),
    Acknowledge { alert: String, acknowledgement: Acknowledgement },
    Unacknowledge { alert: String },
}

#[derive(Serialize, Deserialize)]
struct StoredSilence {
    id: String,
    conditions: Vec<Condition>,
    starts_at_ms: i64,
    ends_at_ms: i64,
    updated_at_ms: i64,
    created_by: String,
    comment: String,
    recurrence: Option<RawRecurrence>,
}

impl StoredSilence {
    fn of(silence: &Silence) -> StoredSilence {
        let wish = silence.wish.clone();
        StoredSilence {
            id: silence.id.clone(),
            conditions: wish.conditions,
            starts_at_ms: wish.starts_at_ms,
            ends_at_ms: wish.ends_at_ms,
            updated_at_ms: silence.updated_at_ms,
            created_by: wish.created_by,
            comment: wish.comment,
            recurrence: wish.recurrence.map(|r| r.raw().clone()),
        }
    }

    fn revive(self) -> Result<Silence, String> {
        let wish = Wish {
            conditions: self.conditions,
            starts_at_ms: self.starts_at_ms,
            ends_at_ms: self.ends_at_ms,
            created_by: self.created_by,
            comment: self.comment,
            recurrence: self.recurrence.map(Recurrence::new).transpose()?,
        };
        Silence::new(self.id, wish, self.updated_at_ms)
    }
}

/// The decisions that hold or held lately.
#[derive(Debug)]
pub struct Operators {
    journal: Journal<Entry>,
    silences: BTreeMap<String, Silence>,
    acknowledged: Acknowledged,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry")
    }
}

impl Operators {
    /// Reads what was decided in earlier lives.
    pub fn open(path: &Path) -> io::Result<Operators> {
        let (journal, entries) = Journal::open(path)?;
        let (mut silences, mut acknowledged) = (BTreeMap::new(), BTreeMap::new());
        for entry in entries {
            match entry {
                Entry::Silence(stored) => {
                    let silence = stored
                        .revive()
                        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display())))?;
                    silences.insert(silence.id.clone(), silence);
                }
                Entry::Acknowledge { alert, acknowledgement } => drop(acknowledged.insert(alert, acknowledgement)),
                Entry::Unacknowledge { alert } => drop(acknowledged.remove(&alert)),
            }
        }
        Ok(Operators { journal, silences, acknowledged })
    }

    /// Every silence that is remembered.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values()
    }

    /// One silence.
    pub fn silence(&self, id: &str) -> Option<&Silence> {
        self.silences.get(id)
    }

    /// Every acknowledgement that is remembered.
    pub fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// What holds at a moment.
    pub fn decisions(&self, now_ms: i64) -> Decisions<'_> {
        let silences = self.silences.values().filter(|s| s.is_in_force(now_ms)).collect();
        Decisions { silences, acknowledged: &self.acknowledged }
    }

    /// Sets a silence and gives its id. With `id` the one of that id is changed: in place where only its end or comment differ
    /// (before its start also its start); otherwise it ends now and a new one takes its place, as Alertmanager does
    /// (silence/silence.go, `canUpdate`). `fresh_id` is taken for a new one.
    pub fn set_silence(
        &mut self,
        id: Option<&str>,
        mut wish: Wish,
        fresh_id: String,
        now_ms: i64,
    ) -> Result<String, OperatorError> {
        if wish.ends_at_ms < now_ms {
            return Err(OperatorError::Wrong("endsAt: must not lie in the past".into()));
        }
        let before = match id {
            Some(id) => Some(self.known(id)?.clone()),
            None => None,
        };
        if let Some(before) = before.as_ref().filter(|b| can_update(b, &wish, now_ms)) {
            let silence = Silence::new(before.id.clone(), wish, now_ms).map_err(OperatorError::Wrong)?;
            return self.keep(silence);
        }
        wish.starts_at_ms = wish.starts_at_ms.max(now_ms);
        let silence = Silence::new(fresh_id, wish, now_ms).map_err(OperatorError::Wrong)?;
        if self.silences.len() >= SILENCES_MAX {
            return Err(OperatorError::Wrong(format!("at most {SILENCES_MAX} silences are kept; expire some")));
        }
        if let Some(before) = before.filter(|b| b.state(now_ms) != SilenceState::Expired) {
            self.expire_silence(&before.id, now_ms)?;
        }
        self.keep(silence)
    }

    /// Ends a silence now.
    pub fn expire_silence(&mut self, id: &str, now_ms: i64) -> Result<(), OperatorError> {
        let mut silence = self.known(id)?.clone();
        match silence.state(now_ms) {
            SilenceState::Expired => return Err(OperatorError::Wrong(format!("silence {id} already expired"))),
            // an interval is never empty
            SilenceState::Pending => (silence.wish.starts_at_ms, silence.wish.ends_at_ms) = (now_ms - 1, now_ms),
            SilenceState::Active => {
                silence.wish.starts_at_ms = silence.wish.starts_at_ms.min(now_ms - 1);
                silence.wish.ends_at_ms = now_ms;
            }
        }
        silence.updated_at_ms = now_ms;
        self.keep(silence).map(drop)
    }

    fn known(&self, id: &str) -> Result<&Silence, OperatorError> {
        self.silences.get(id).ok_or_else(|| OperatorError::Unknown { what: "silence", id: id.into() })
    }

    fn keep(&mut self, silence: Silence) -> Result<String, OperatorError> {
        self.journal.append(&Entry::Silence(StoredSilence::of(&silence)))?;
        let id = silence.id.clone();
        self.silences.insert(id.clone(), silence);
        Ok(id)
    }

    /// Writes down that someone knows of an alert.
    pub fn acknowledge(&mut self, alert: &str, acknowledgement: Acknowledgement) -> Result<(), OperatorError> {
        if self.acknowledged.len() >= ACKNOWLEDGED_MAX && !self.acknowledged.contains_key(alert) {
            return Err(OperatorError::Wrong(format!("at most {ACKNOWLEDGED_MAX} acknowledgements are kept")));
        }
        let entry = Entry::Acknowledge { alert: alert.into(), acknowledgement: acknowledgement.clone() };
        self.journal.append(&entry)?;
        self.acknowledged.insert(alert.into(), acknowledgement);
        Ok(())
    }

    /// Takes an acknowledgement back; false: there was none.
    pub fn unacknowledge(&mut self, alert: &str) -> Result<bool, OperatorError> {
        if !self.acknowledged.contains_key(alert) {
            return Ok(false);
        }
        self.journal.append(&Entry::Unacknowledge { alert: alert.into() })?;
        self.acknowledged.remove(alert);
        Ok(true)
    }

    /// Forgets what is too old to matter: expired silences, and acknowledgements of alerts that `lives` does not know.
    pub fn forget(&mut self, lives: impl Fn(&str) -> bool, now_ms: i64) -> io::Result<()> {
        self.silences.retain(|_, s| now_ms - s.wish.ends_at_ms < AGE_MS_MAX);
        self.acknowledged.retain(|id, a| now_ms - a.at_ms < AGE_MS_MAX || lives(id));
        let silences = self.silences.values().map(|s| Entry::Silence(StoredSilence::of(s)));
        let acknowledged = self
            .acknowledged
            .iter()
            .map(|(id, a)| Entry::Acknowledge { alert: id.clone(), acknowledgement: a.clone() });
        let entries: Vec<Entry> = silences.chain(acknowledged).collect();
        self.journal.tidy(entries.into_iter())
    }
}

fn can_update(before: &Silence, wish: &Wish, now_ms: i64) -> bool {
    if before.wish.conditions != wish.conditions || before.wish.recurrence != wish.recurrence {
        return false;
    }
    match before.state(now_ms) {
        SilenceState::Active => wish.starts_at_ms == before.wish.starts_at_ms && wish.ends_at_ms >= now_ms,
        SilenceState::Pending => wish.starts_at_ms >= now_ms,
        SilenceState::Expired => false,
    }
}

#[cfg(test)]
mod tests;
