//! What Alertmanager's API asks: alerts with what suppresses them, groups, receivers; and alerts that others post.

use std::collections::BTreeMap;

use proto::Labels;
use serde_json::{Value, json};

use super::Alerting;
use crate::active::Happening;
use crate::alertmanager_json::{self as shape, Suppressed};
use crate::config::{Route, Settings};
use crate::dispatch::matching;
use crate::inhibit::Sources;
use crate::matcher::Matchers;
use crate::message::AlertNote;
use crate::outside::{Posted, RULE_GROUP, Taken};
use crate::silence::Silence;

/// An alert's `endsAt` while it fires: this long from now, milliseconds.
const FIRES_ON_MS: i64 = 4 * 60_000;

/// Which alerts are wanted.
#[derive(Clone, Debug)]
pub struct AlertsFilter {
    /// Those nothing suppresses.
    pub active: bool,
    /// Those silenced.
    pub silenced: bool,
    /// Those inhibited.
    pub inhibited: bool,
    /// By label.
    pub matchers: Matchers,
    /// Receivers by name.
    pub receiver: Option<regex::Regex>,
}

impl Alerting {
    /// Takes alerts that others post: all that are right, and says of the others what is wrong.
    pub async fn take_posted(&self, posted: Vec<Posted>) -> Result<(), String> {
        let now_ms = (self.0.clock)();
        let timeout_ms = self.settings().resolve_timeout_ms;
        let (mut happenings, mut changed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut outside = self.0.outside.lock();
            for one in posted {
                let taken = one.check(now_ms, timeout_ms).and_then(|checked| outside.take(checked, now_ms));
                match taken {
                    Ok(Taken::Begun(one) | Taken::Ended(one)) => happenings.push((one, None)),
                    Ok(Taken::Changed(alert)) => changed.push(alert),
                    Ok(Taken::Same) => {}
                    Err(e) => errors.push(e),
                }
            }
        }
        self.happened(&happenings, RULE_GROUP, now_ms).await;
        let settings = self.settings();
        for alert in changed {
            let note = self.note(&settings, &alert, RULE_GROUP);
            self.route(&note, now_ms);
        }
        self.0.due.notify_one();
        errors.dedup();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    /// Ends posted alerts that were not posted again in time.
    pub(super) async fn expire_posted(&self, now_ms: i64) {
        let ended: Vec<(Happening, Option<String>)> =
            self.0.outside.lock().expire(now_ms).into_iter().map(|h| (h, None)).collect();
        if !ended.is_empty() {
            self.happened(&ended, RULE_GROUP, now_ms).await;
        }
    }

    /// What keeps each firing alert from being told, by fingerprint; nothing for those told.
    pub(super) fn suppressed(&self) -> BTreeMap<String, Suppressed> {
        let (settings, silences, now_ms) = (self.settings(), self.silences(), (self.0.clock)());
        let pipeline = self.0.pipeline.lock();
        let sources = Sources::of(&settings.inhibit_rules, pipeline.dispatcher.firing());
        let living = pipeline.dispatcher.living();
        let of = |(note, labels): (&AlertNote, &Labels)| {
            let found = suppressed(&settings, &sources, &silences, note, labels, now_ms);
            (found.state() != "active").then(|| (note.fingerprint.clone(), found))
        };
        living.filter_map(of).collect()
    }

    /// When posted alerts were updated and end, by fingerprint; and the same for those of our rules.
    fn times(&self) -> (BTreeMap<String, (i64, i64)>, (i64, i64)) {
        let now_ms = (self.0.clock)();
        let outside = self.0.outside.lock();
        let posted = outside.iter().map(|o| (o.active.fingerprint.to_string(), (o.posted_at_ms, o.ends_at_ms)));
        (posted.collect(), (now_ms, now_ms + FIRES_ON_MS))
    }

    /// `GET /api/v2/alerts`.
    pub fn alertmanager_alerts(&self, filter: &AlertsFilter) -> Vec<Value> {
        let (settings, suppressed, (times, ours)) = (self.settings(), self.suppressed(), self.times());
        let pipeline = self.0.pipeline.lock();
        let one = |(note, labels): (&AlertNote, &Labels)| {
            let found = suppressed.get(&note.fingerprint).cloned().unwrap_or_default();
            let receivers = receivers_of(&settings, labels);
            wanted(filter, labels, &receivers, &found)
                .then(|| shape::alert(note, &receivers, &found, times.get(&note.fingerprint).copied().unwrap_or(ours)))
        };
        pipeline.dispatcher.living().filter_map(one).collect()
    }

    /// `GET /api/v2/alerts/groups`.
    pub fn alertmanager_groups(&self, filter: &AlertsFilter) -> Vec<Value> {
        let (suppressed, (times, ours)) = (self.suppressed(), self.times());
        let pipeline = self.0.pipeline.lock();
        let mut groups = Vec::new();
        for (receiver, labels, notes) in pipeline.dispatcher.groups() {
            let alerts: Vec<Value> = notes
                .into_iter()
                .filter(|note| note.is_firing())
                .filter_map(|note| {
                    let found = suppressed.get(&note.fingerprint).cloned().unwrap_or_default();
                    let to = [receiver.to_string()];
                    let times = times.get(&note.fingerprint).copied().unwrap_or(ours);
                    wanted(filter, &Labels::from_pairs(&note.labels), &to, &found)
                        .then(|| shape::alert(note, &to, &found, times))
                })
                .collect();
            if !alerts.is_empty() {
                groups.push(json!({ "labels": labels, "receiver": { "name": receiver }, "alerts": alerts }));
            }
        }
        groups
    }
}

fn wanted(filter: &AlertsFilter, labels: &Labels, receivers: &[String], found: &Suppressed) -> bool {
    (filter.active || found.state() != "active")
        && (filter.silenced || found.silenced_by.is_empty())
        && (filter.inhibited || found.inhibited_by.is_empty())
        && filter.matchers.matches(labels)
        && filter.receiver.as_ref().is_none_or(|r| receivers.iter().any(|name| r.is_match(name)))
}

fn suppressed(
    settings: &Settings,
    sources: &Sources<'_>,
    silences: &[Silence],
    note: &AlertNote,
    labels: &Labels,
    now_ms: i64,
) -> Suppressed {
    let by = sources.inhibitor(&settings.inhibit_rules, labels, &note.fingerprint);
    Suppressed {
        silenced_by: silences.iter().filter(|s| s.mutes(labels, now_ms)).map(|s| s.id.clone()).collect(),
        inhibited_by: by.map(str::to_string).into_iter().collect(),
    }
}

fn receivers_of(settings: &Settings, labels: &Labels) -> Vec<String> {
    let mut routes: Vec<&Route> = Vec::new();
    if let Some(root) = &settings.route {
        matching(root, labels, &mut routes);
    }
    let mut names: Vec<String> = routes.into_iter().map(|r| r.receiver.clone()).collect();
    names.dedup();
    names
}
