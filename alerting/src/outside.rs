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
    /// When it ends unless it is posted again, milliseconds.
    pub ends_at_ms: i64,
    /// When it was last posted, milliseconds.
    pub posted_at_ms: i64,
    /// Whether its sender said when it ends.
    end_is_said: bool,
}

/// What a posted alert changes.
#[derive(Clone, Debug)]
pub enum Taken {
    /// One that was not known fires.
    Begun(Happening),
    /// One that fired has ended.
    Ended(Happening),
    /// One that fires has other texts or began earlier: told with the next message, not news in itself.
    Changed(Active),
    /// Nothing.
    Same,
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
    end_is_said: bool,
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
            end_is_said: end.is_some(),
            link: self.generator_url.unwrap_or_default(),
        })
    }
}

impl Outside {
    /// Takes a posted alert. One that is posted again is merged as Alertmanager does: the earlier beginning holds, and an end
    /// its sender named, if it is the later one. The error says that there are too many.
    pub fn take(&mut self, posted: Checked, now_ms: i64) -> Result<Taken, String> {
        let fingerprint = Fingerprint::of(&posted.labels);
        let over = posted.ends_at_ms <= now_ms;
        let Some(known) = self.0.get_mut(&fingerprint) else {
            if over {
                return Ok(Taken::Same); // the end of what is not known to fire
            }
            if self.0.len() >= ALERTS_MAX {
                return Err(format!("{ALERTS_MAX} alerts from outside fire already"));
            }
            let active = active(posted.labels, posted.annotations, posted.starts_at_ms);
            let one = OutsideAlert {
                active: active.clone(),
                link: posted.link,
                ends_at_ms: posted.ends_at_ms,
                posted_at_ms: now_ms,
                end_is_said: posted.end_is_said,
            };
            self.0.insert(fingerprint, one);
            let transition = Transition { change: Change::Fired, reason: Reason::Posted };
            return Ok(Taken::Begun(Happening { alert: active, transition, ts_ms: now_ms }));
        };
        let changed = known.active.annotations != posted.annotations
            || known.link != posted.link
            || posted.starts_at_ms < known.active.track.active_at_ms;
        known.posted_at_ms = now_ms;
        known.link = posted.link;
        known.active.annotations = posted.annotations;
        known.active.track.active_at_ms = known.active.track.active_at_ms.min(posted.starts_at_ms);
        if over {
            let known = self.0.remove(&fingerprint);
            return Ok(known.map_or(Taken::Same, |k| Taken::Ended(end(k.active, Reason::PostedEnd, posted.ends_at_ms))));
        }
        if !known.end_is_said || known.ends_at_ms <= posted.ends_at_ms {
            known.ends_at_ms = posted.ends_at_ms;
            known.end_is_said = posted.end_is_said;
        }
        Ok(if changed { Taken::Changed(known.active.clone()) } else { Taken::Same })
    }

    /// One of an earlier life, to be posted again before `ends_at_ms`.
    pub fn remember(&mut self, active: Active, ends_at_ms: i64) {
        let one = OutsideAlert {
            link: String::new(),
            ends_at_ms,
            posted_at_ms: active.track.active_at_ms,
            end_is_said: false,
            active,
        };
        self.0.insert(one.active.fingerprint, one);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn post(outside: &mut Outside, now_ms: i64, start: &str, end: &str, text: &str) -> String {
        let some = |text: &str| (!text.is_empty()).then(|| format!("1970-01-01T00:00:{text}Z"));
        let labels = BTreeMap::from([("alertname".into(), "A".into()), ("empty".into(), String::new())]);
        let annotations = BTreeMap::from([("summary".into(), text.into())]);
        let posted = Posted { labels, annotations, starts_at: some(start), ends_at: some(end), generator_url: None };
        match outside.take(posted.check(now_ms, 10_000).expect("good"), now_ms).expect("room") {
            Taken::Begun(h) => format!("begun {}", h.alert.track.active_at_ms),
            Taken::Ended(h) => format!("ended {}", h.ts_ms),
            Taken::Changed(a) => format!("changed {}", a.track.active_at_ms),
            Taken::Same => "same".into(),
        }
    }

    #[test]
    fn posted_again_is_merged_and_not_posted_again_ends() {
        let mut outside = Outside::default();
        assert_eq!(post(&mut outside, 5_000, "", "04", "x"), "same", "an end of what did not fire");
        assert_eq!(post(&mut outside, 5_000, "", "", "x"), "begun 5000");
        assert_eq!(post(&mut outside, 8_000, "06", "", "x"), "same");
        assert_eq!(post(&mut outside, 9_000, "03", "", "x"), "changed 3000");
        assert_eq!(post(&mut outside, 9_000, "04", "40", "y"), "changed 3000");
        assert_eq!(post(&mut outside, 10_000, "04", "", "y"), "same");
        assert_eq!(outside.next_end_ms(), Some(40_000), "an end that was named holds if it is the later one");
        assert_eq!(post(&mut outside, 20_000, "04", "15", "y"), "ended 15000");
        assert_eq!(post(&mut outside, 21_000, "21", "", "y"), "begun 21000");
        assert!(outside.expire(30_999).is_empty());
        let ended = outside.expire(31_000);
        assert_eq!((ended.len(), ended[0].ts_ms, outside.next_end_ms()), (1, 31_000, None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |name: &str, start: &str, end: &str| Posted {
            labels: BTreeMap::from([(name.into(), "x".into())]),
            starts_at: Some(start.into()),
            ends_at: Some(end.into()),
            ..Posted::default()
        };
        let zero = "0001-01-01T00:00:00Z"; // Go's way to say nothing
        assert!(with("a", zero, zero).check(1, 1).is_ok());
        for (posted, words) in [
            (Posted::default(), "at least one label pair required"),
            (with("a-b", zero, zero), "invalid name"),
            (with("a", "yesterday", zero), "\"yesterday\" is not a time"),
            (with("a", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"), "start time must be before end time"),
        ] {
            let error = posted.check(1, 1).expect_err("wrong");
            assert!(error.contains(words), "{error}");
        }
    }
}
