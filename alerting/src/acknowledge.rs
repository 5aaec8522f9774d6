//! Who has taken an alert on: it is not repeated until it gets worse or ends.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::journal::Journal;
use crate::level::Level;

/// Most alerts acknowledged at once.
const ACKNOWLEDGED_MAX: usize = 100_000;

/// That somebody has taken an alert on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// When, milliseconds.
    pub at_ms: i64,
    /// Who.
    pub by: String,
    /// What they said.
    pub comment: String,
    /// How bad it was then.
    pub level: Level,
}

#[derive(Serialize, Deserialize)]
struct Record {
    alert_id: String,
    acknowledgement: Option<Acknowledgement>,
}

/// Every acknowledged alert by its id.
#[derive(Debug, Default)]
pub struct Acknowledged {
    alerts: BTreeMap<String, Acknowledgement>,
    journal: Journal,
}

impl Acknowledged {
    /// Reads those of earlier lives.
    pub fn open(path: &Path) -> io::Result<Acknowledged> {
        let (journal, records) = Journal::open::<Record>(path)?;
        let mut alerts = BTreeMap::new();
        for record in records {
            match record.acknowledgement {
                Some(one) => drop(alerts.insert(record.alert_id, one)),
                None => drop(alerts.remove(&record.alert_id)),
            }
        }
        Ok(Acknowledged { alerts, journal })
    }

    /// Of one alert.
    pub fn get(&self, alert_id: &str) -> Option<&Acknowledgement> {
        self.alerts.get(alert_id)
    }

    /// Whether an alert that is now at `level` need not be repeated.
    pub fn covers(&self, alert_id: &str, level: Level) -> bool {
        self.alerts.get(alert_id).is_some_and(|a| level <= a.level)
    }

    /// Takes an alert on (`Some`) or back (`None`); on disk when this returns. `false`: nothing changed.
    pub fn set(&mut self, alert_id: &str, acknowledgement: Option<Acknowledgement>) -> io::Result<bool> {
        if acknowledgement.is_none() && !self.alerts.contains_key(alert_id) {
            return Ok(false);
        }
        if acknowledgement.is_some() && self.alerts.len() >= ACKNOWLEDGED_MAX {
            return Err(io::Error::other(format!("{ACKNOWLEDGED_MAX} alerts are acknowledged already")));
        }
        self.journal.append(&[Record { alert_id: alert_id.into(), acknowledgement: acknowledgement.clone() }])?;
        match acknowledgement {
            Some(one) => drop(self.alerts.insert(alert_id.into(), one)),
            None => drop(self.alerts.remove(alert_id)),
        }
        let living: Vec<Record> = self
            .alerts
            .iter()
            .map(|(id, a)| Record { alert_id: id.clone(), acknowledgement: Some(a.clone()) })
            .collect();
        self.journal.tidy(&living)?;
        Ok(true)
    }
}
