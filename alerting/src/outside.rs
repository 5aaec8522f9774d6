//! Alerts that others post (a Prometheus, vmalert, a script), in the form of Alertmanager's API: checked, and kept until they
//! end or are not posted again in time. They go through the same groups, silences and ledger as our own.

use std::collections::BTreeMap;

use proto::Labels;
use serde::Deserialize;

use crate::active::{Active, Happening};
use crate::fingerprint::Fingerprint;
use crate::level::{Level, SEVERITY_LABEL};
use crate::state::{Change, Phase, Reason, Track, Transition};

/// Group and file under which the ledger keeps them.
pub const RULE_GROUP: &str = "outside;";
/// Most of them at once.
const ALERTS_MAX: usize = 100_000;

/// An alert as posted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Posted {
    /// Labels; those without value are left out.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339; now.
    pub starts_at: Option<String>,
    /// RFC 3339; not yet.
    pub ends_at: Option<String>,
    /// Link.
    #[serde(rename = "generatorURL")]
    pub generator_url: Option<String>,
}

/// One that fires.
#[derive(Clone, Debug)]
pub struct OutsideAlert {
    /// As alerts of rules are.
    pub active: Active,
    /// Where it was made; empty: unknown.
    pub link: String,
    ends_at_ms: i64,
}

/// Those that fire.
#[derive(Debug, Default)]
pub struct Outside(BTreeMap<Fingerprint, OutsideAlert>);

/// What is in force of a posted alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    labels: Labels,
    annotations: BTreeMap<String, String>,
    starts_at_ms: i64,
    ends_at_ms: i64,
    link: String,
}

impl Posted {
    /// Checks it; the error says what is wrong.
    pub fn check(self, now_ms: i64, resolve_timeout_ms: i64) -> Result<Checked, String> {
        let mut labels = self.labels;
        labels.retain(|_, value| !value.is_empty());
        if labels.is_empty() {
            return Err("at least one label pair required".into());
        }
        if let Some(name) = labels.keys().find(|n| !query::promql::matcher::is_plain_name(n)) {
            return Err(format!("invalid label set: invalid name {name:?}"));
        }
        let moment = |text: &Option<String>| match text.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => match chrono::DateTime::parse_from_rfc3339(text) {
                // the year 1 is how Go writes that there is no time
                Ok(time) => Ok(Some(time.timestamp_millis()).filter(|ms| *ms > -62_000_000_000_000)),
                Err(e) => Err(format!("{text:?} is not a time: {e}")),
            },
        };
        let (start, end) = (moment(&self.starts_at)?, moment(&self.ends_at)?);
        let starts_at_ms = start.or(end).unwrap_or(now_ms);
        let ends_at_ms = end.unwrap_or(now_ms + resolve_timeout_ms);
        if ends_at_ms < starts_at_ms {
            return Err("start time must be before end time".into());
        }
        Ok(Checked {
            labels: Labels::from_pairs(&labels),
            annotations: self.annotations,
            starts_at_ms,
            ends_at_ms,
            link: self.generator_url.unwrap_or_default(),
        })
    }
}

impl Outside {
    /// Takes a posted alert; what that changes, `None` if nothing. The error says that there are too many.
    pub fn take(&mut self, posted: Checked, now_ms: i64) -> Result<Option<Happening>, String> {
        let fingerprint = Fingerprint::of(&posted.labels);
        let over = posted.ends_at_ms <= now_ms;
        if let Some(known) = self.0.get_mut(&fingerprint) {
            if over {
                let known = self.0.remove(&fingerprint);
                return Ok(known.map(|k| end(k.active, Reason::PostedEnd, posted.ends_at_ms)));
            }
            known.ends_at_ms = posted.ends_at_ms;
            known.link = posted.link;
            if known.active.annotations == posted.annotations {
                return Ok(None);
            }
            // told anew with the next message; not news in itself
            known.active.annotations = posted.annotations;
            return Ok(None);
        }
        let active = active(posted.labels, posted.annotations, posted.starts_at_ms);
        if over {
            return Ok(Some(end(active, Reason::PostedEnd, posted.ends_at_ms)));
        }
        if self.0.len() >= ALERTS_MAX {
            return Err(format!("{ALERTS_MAX} alerts from outside fire already"));
        }
        let one = OutsideAlert { active: active.clone(), link: posted.link, ends_at_ms: posted.ends_at_ms };
        self.0.insert(fingerprint, one);
        let transition = Transition { change: Change::Fired, reason: Reason::Posted };
        Ok(Some(Happening { alert: active, transition, ts_ms: now_ms }))
    }

    /// One of an earlier life, to be posted again before `ends_at_ms`.
    pub fn remember(&mut self, active: Active, ends_at_ms: i64) {
        self.0.insert(active.fingerprint, OutsideAlert { active, link: String::new(), ends_at_ms });
    }

    /// Ends those that were not posted again in time.
    pub fn expire(&mut self, now_ms: i64) -> Vec<Happening> {
        let over: Vec<Fingerprint> = self.0.iter().filter(|(_, a)| a.ends_at_ms <= now_ms).map(|(f, _)| *f).collect();
        let ended = over.iter().filter_map(|f| self.0.remove(f));
        ended.map(|a| end(a.active, Reason::TimedOut, a.ends_at_ms)).collect()
    }

    /// When the next one ends by itself, milliseconds.
    pub fn next_end_ms(&self) -> Option<i64> {
        self.0.values().map(|a| a.ends_at_ms).min()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &OutsideAlert> {
        self.0.values()
    }

    /// One.
    pub fn get(&self, fingerprint: Fingerprint) -> Option<&OutsideAlert> {
        self.0.get(&fingerprint)
    }
}

fn active(labels: Labels, annotations: BTreeMap<String, String>, starts_at_ms: i64) -> Active {
    let fingerprint = Fingerprint::of(&labels);
    let level = Level::from_severity(labels.get(SEVERITY_LABEL));
    let mut since_ms = [None; 3];
    since_ms[level as usize] = Some(starts_at_ms);
    Active {
        id: Active::make_id(fingerprint, starts_at_ms),
        fingerprint,
        result_labels: labels.clone(),
        labels,
        annotations,
        track: Track {
            phase: Phase::Firing,
            level,
            active_at_ms: starts_at_ms,
            fired_at_ms: Some(starts_at_ms),
            keep_firing_since_ms: None,
            since_ms,
            value: f64::NAN,
            blind: false,
            flapping: false,
        },
    }
}

fn end(alert: Active, reason: Reason, ts_ms: i64) -> Happening {
    Happening { alert, transition: Transition { change: Change::Resolved, reason }, ts_ms }
}
