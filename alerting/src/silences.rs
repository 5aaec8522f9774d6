//! Every silence there is, as Alertmanager keeps them: changing one that can't be changed in place ends it and makes another;
//! ended ones are kept for a while. Each change is in a journal before it is answered.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::journal::Journal;
use crate::matcher::Matchers;
use crate::silence::{Condition, Recurrence, Silence, SilenceState};

/// How long ended silences are kept, milliseconds (Alertmanager's data retention).
const KEPT_MS: i64 = 120 * 3_600_000;
/// Most silences, ended ones included.
const SILENCES_MAX: usize = 10_000;
/// Most conditions of one.
const CONDITIONS_MAX: usize = 100;
/// Longest text of one, bytes.
const TEXT_BYTES_MAX: usize = 8_192;

/// A silence as asked for and as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Which one to change; empty: a new one.
    #[serde(default)]
    pub id: String,
    /// Whose alerts.
    pub matchers: Vec<Condition>,
    /// Milliseconds.
    pub starts_at_ms: i64,
    /// Milliseconds.
    pub ends_at_ms: i64,
    /// When it was last changed, milliseconds.
    #[serde(default)]
    pub updated_at_ms: i64,
    /// Who asked.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Windows.
    #[serde(default)]
    pub recurrence: Option<Recurrence>,
}

/// Why a silence can't be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum SilenceError {
    /// There is none of that id.
    #[error("silence {0} not found")]
    NotFound(String),
    /// What is wrong with it.
    #[error("{0}")]
    Invalid(String),
    /// It is not on disk, so it is not in force.
    #[error("the silence can't be kept: {0}")]
    Disk(#[from] io::Error),
}

fn invalid<T>(text: impl Into<String>) -> Result<T, SilenceError> {
    Err(SilenceError::Invalid(text.into()))
}

/// All silences.
#[derive(Debug, Default)]
pub struct Silences {
    all: BTreeMap<String, Silence>,
    snapshot: Arc<Vec<Silence>>,
    journal: Journal,
}

impl Silences {
    /// Reads those of earlier lives.
    pub fn open(path: &Path, now_ms: i64) -> io::Result<Silences> {
        let (journal, records) = Journal::open::<Wanted>(path)?;
        let mut silences = Silences { journal, ..Silences::default() };
        for record in records {
            match compile(record) {
                Ok(silence) => drop(silences.all.insert(silence.id.clone(), silence)),
                Err(e) => tracing::error!(error = %e, "a silence in the journal can't be read; it is left out"),
            }
        }
        silences.prune(now_ms);
        Ok(silences)
    }

    /// All of them, for a look at the groups; cheap.
    pub fn snapshot(&self) -> Arc<Vec<Silence>> {
        self.snapshot.clone()
    }

    /// One.
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.all.get(id)
    }

    /// Makes or changes one; gives its id. `new_id` is used if another must be made.
    pub fn set(&mut self, mut wanted: Wanted, new_id: String, now_ms: i64) -> Result<String, SilenceError> {
        wanted.updated_at_ms = now_ms;
        if wanted.ends_at_ms <= wanted.starts_at_ms {
            return invalid("start time must be before end time");
        }
        if wanted.ends_at_ms <= now_ms {
            return invalid("end time can't be in the past");
        }
        let before = match wanted.id.as_str() {
            "" => None,
            id => Some(self.all.get(id).ok_or_else(|| SilenceError::NotFound(id.into()))?.clone()),
        };
        let mut changes = Vec::new();
        match before {
            Some(before) if can_change(&before, &wanted, now_ms) => {}
            before => {
                if let Some(before) = before.filter(|b| b.state(now_ms) != SilenceState::Expired) {
                    changes.push(ended(&before, now_ms));
                }
                wanted.id = new_id;
                wanted.starts_at_ms = wanted.starts_at_ms.max(now_ms);
            }
        }
        if !self.all.contains_key(&wanted.id) && self.all.len() >= SILENCES_MAX {
            self.prune(now_ms);
            if self.all.len() >= SILENCES_MAX {
                return invalid(format!("there are {SILENCES_MAX} silences already"));
            }
        }
        let id = wanted.id.clone();
        compile(wanted.clone())?;
        changes.push(wanted);
        self.put(changes, now_ms)?;
        Ok(id)
    }

    /// Ends one now.
    pub fn expire(&mut self, id: &str, now_ms: i64) -> Result<(), SilenceError> {
        let Some(silence) = self.all.get(id) else { return Err(SilenceError::NotFound(id.into())) };
        if silence.ends_at_ms <= now_ms {
            return invalid(format!("silence {id} already expired"));
        }
        let change = ended(silence, now_ms);
        self.put(vec![change], now_ms)
    }

    fn put(&mut self, changes: Vec<Wanted>, now_ms: i64) -> Result<(), SilenceError> {
        self.journal.append(&changes)?;
        for change in changes {
            let silence = compile(change)?;
            self.all.insert(silence.id.clone(), silence);
        }
        self.prune(now_ms);
        Ok(())
    }

    fn prune(&mut self, now_ms: i64) {
        self.all.retain(|_, s| now_ms - s.ends_at_ms < KEPT_MS);
        self.snapshot = Arc::new(self.all.values().cloned().collect());
        let living: Vec<Wanted> = self.all.values().map(wanted_of).collect();
        if let Err(e) = self.journal.tidy(&living) {
            tracing::error!(error = %e, "the journal of silences can't be tidied");
        }
    }
}

/// Whether a silence can be changed in place (Alertmanager's rule): its conditions stay; one in force keeps its beginning, one
/// that is over can't come back.
fn can_change(before: &Silence, wanted: &Wanted, now_ms: i64) -> bool {
    if before.conditions != wanted.matchers || before.recurrence.as_ref().map(|(r, _)| r) != wanted.recurrence.as_ref()
    {
        return false;
    }
    match now_ms {
        now if now >= before.ends_at_ms => false,
        now if now >= before.starts_at_ms => before.starts_at_ms == wanted.starts_at_ms,
        now => wanted.starts_at_ms >= now,
    }
}

/// The same silence, over now.
fn ended(silence: &Silence, now_ms: i64) -> Wanted {
    let starts_at_ms = silence.starts_at_ms.min(now_ms);
    Wanted { starts_at_ms, ends_at_ms: now_ms, updated_at_ms: now_ms, ..wanted_of(silence) }
}

fn wanted_of(silence: &Silence) -> Wanted {
    Wanted {
        id: silence.id.clone(),
        matchers: silence.conditions.clone(),
        starts_at_ms: silence.starts_at_ms,
        ends_at_ms: silence.ends_at_ms,
        updated_at_ms: silence.updated_at_ms,
        created_by: silence.created_by.clone(),
        comment: silence.comment.clone(),
        recurrence: silence.recurrence.as_ref().map(|(r, _)| r.clone()),
    }
}

fn compile(wanted: Wanted) -> Result<Silence, SilenceError> {
    if wanted.matchers.is_empty() || wanted.matchers.len() > CONDITIONS_MAX {
        return invalid(format!("invalid silence: between 1 and {CONDITIONS_MAX} matchers are allowed"));
    }
    let texts = wanted.matchers.iter().map(|m| m.name.len() + m.value.len()).sum::<usize>();
    if texts + wanted.comment.len() + wanted.created_by.len() > TEXT_BYTES_MAX {
        return invalid(format!("invalid silence: its texts are longer than {TEXT_BYTES_MAX} bytes"));
    }
    let matchers = Matchers::of_conditions(&wanted.matchers).or_else(invalid)?;
    if matchers.matches(&proto::Labels::empty()) {
        return invalid("invalid silence: at least one matcher must not match the empty string");
    }
    let recurrence = match wanted.recurrence {
        Some(recurrence) => {
            let window = recurrence.check().or_else(invalid)?;
            Some((recurrence, window))
        }
        None => None,
    };
    Ok(Silence {
        id: wanted.id,
        matchers,
        conditions: wanted.matchers,
        starts_at_ms: wanted.starts_at_ms,
        ends_at_ms: wanted.ends_at_ms,
        updated_at_ms: wanted.updated_at_ms,
        created_by: wanted.created_by,
        comment: wanted.comment,
        recurrence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(id: &str, value: &str, from: i64, to: i64) -> Wanted {
        let matcher = Condition { name: "a".into(), value: value.into(), is_regex: false, is_equal: true };
        Wanted {
            id: id.into(),
            matchers: vec![matcher],
            starts_at_ms: from,
            ends_at_ms: to,
            updated_at_ms: 0,
            created_by: "dba".into(),
            comment: "why".into(),
            recurrence: None,
        }
    }

    #[test]
    fn changes_end_and_renew_as_alertmanager_does_and_survive() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("silences");
        let mut silences = Silences::open(&path, 0).expect("new");
        let states = |s: &Silences, now| {
            s.all.values().map(|s| format!("{}:{}", s.id, s.state(now).name())).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(silences.set(wanted("", "x", 5, 100), "1".into(), 10).expect("new"), "1");
        // longer: in place; other conditions: the old one ends, another begins
        assert_eq!(silences.set(wanted("1", "x", 10, 200), "2".into(), 20).expect("longer"), "1");
        assert_eq!(silences.set(wanted("1", "y", 10, 200), "3".into(), 30).expect("other"), "3");
        assert_eq!(states(&silences, 30), "1:expired 3:active");
        silences.expire("3", 40).expect("ends");
        assert!(matches!(silences.expire("3", 41), Err(SilenceError::Invalid(_))));
        assert!(matches!(silences.expire("4", 41), Err(SilenceError::NotFound(_))));
        assert!(matches!(silences.set(wanted("4", "x", 50, 60), "5".into(), 41), Err(SilenceError::NotFound(_))));
        assert_eq!(silences.set(wanted("3", "y", 50, 60), "6".into(), 45).expect("an ended one is made anew"), "6");
        for bad in [wanted("", "", 50, 60), wanted("", "x", 60, 50), wanted("", "x", 1, 2)] {
            assert!(matches!(silences.set(bad, "7".into(), 45), Err(SilenceError::Invalid(_))));
        }
        let again = Silences::open(&path, 46).expect("again");
        assert_eq!(states(&again, 46), "1:expired 3:expired 6:pending");
        let later = Silences::open(&path, KEPT_MS + 50).expect("later");
        assert_eq!(states(&later, KEPT_MS + 50), "6:expired");
    }
}
