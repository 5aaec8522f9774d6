//! From alert to message: route, group, then the stages of [`STAGES`], then the outbox. Pure; time is an argument.

use std::collections::{BTreeMap, BTreeSet};

use proto::Labels;

use crate::config::{InhibitRule, Route, Settings};
use crate::fingerprint::Fnv;
use crate::message::{AlertNote, Message, Why};
use crate::operators::Acknowledged;
use crate::outbox::Parcel;
use crate::silence::Silence;
use crate::told::{Told, ToldEntry};
use crate::{dedup, inhibit, silence};

/// Most groups at once; alerts beyond are told in a group of their route alone.
pub const GROUPS_MAX: usize = 100_000;

/// What every stage can see.
pub struct View<'a> {
    /// The moment, milliseconds.
    pub now_ms: i64,
    /// Inhibition rules.
    pub inhibit_rules: &'a [InhibitRule],
    /// Labels of every alert that fires, with its fingerprint.
    pub firing: &'a BTreeMap<String, Labels>,
    /// Silences in force.
    pub silences: &'a [&'a Silence],
    /// What operators know of already.
    pub acknowledged: &'a Acknowledged,
    /// What was told so far.
    pub told: &'a Told,
}

/// What operators decided, as it holds at a moment.
pub struct Decisions<'a> {
    /// Silences in force.
    pub silences: Vec<&'a Silence>,
    /// Acknowledgements by the alert's id.
    pub acknowledged: &'a Acknowledged,
}

/// A group on its way to one channel of one receiver. Stages take alerts out of it.
pub struct Flush {
    /// Receiver, channel and group.
    pub key: FlushKey,
    /// Whether the channel wants to hear of ends.
    pub send_resolved: bool,
    /// Milliseconds.
    pub repeat_interval_ms: i64,
    /// What would be told.
    pub alerts: Vec<AlertNote>,
    /// What was taken out: the alert, the stage, and why.
    pub withheld: Vec<(AlertNote, &'static str, String)>,
    /// Set by the last stage: why there is something to tell; `None`: there is not.
    pub why: Option<Why>,
}

/// Identifies what was told to whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct FlushKey {
    /// The receiver's name.
    pub receiver: String,
    /// Index of the channel in the receiver.
    pub channel: usize,
    /// Route and labels of the group.
    pub group_key: String,
}

/// A step of the pipeline.
type Stage = fn(&mut Flush, &View<'_>);

/// The pipeline after grouping, in order.
pub const STAGES: [(&str, Stage); 3] =
    [("inhibit", inhibit::stage), ("silence", silence::stage), ("dedup", dedup::stage)];

/// Something the ledger should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The alert.
    pub alert: AlertNote,
    /// grouped, inhibited, silenced.
    pub event: &'static str,
    /// Why, as a word or key.
    pub reason: String,
    /// To whom.
    pub receiver: String,
}

#[derive(Debug)]
struct Group {
    receiver: String,
    key: String,
    labels: BTreeMap<String, String>,
    wait_ms: i64,
    interval_ms: i64,
    repeat_ms: i64,
    alerts: BTreeMap<String, AlertNote>,
    changed_at_ms: Option<i64>,
    last_flush_ms: Option<i64>,
    last_message_ms: Option<i64>,
    /// Per alert id: what the ledger already knows of its being withheld.
    withheld: BTreeMap<String, String>,
}

impl Group {
    /// When it is to be looked at next.
    fn due_ms(&self) -> i64 {
        let again = self.last_flush_ms.map_or(i64::MAX, |at| at.saturating_add(self.interval_ms));
        let changed = self.changed_at_ms.map_or(i64::MAX, |at| {
            (at + self.wait_ms).max(self.last_message_ms.map_or(i64::MIN, |m| m.saturating_add(self.interval_ms)))
        });
        again.min(changed)
    }
}

/// The groups and what is in them.
#[derive(Debug, Default)]
pub struct Dispatcher {
    groups: BTreeMap<String, Group>,
}

/// What comes out of one look at the groups.
#[derive(Debug, Default)]
pub struct Dispatched {
    /// Messages to send, with what is to be remembered as told once they are in the outbox.
    pub parcels: Vec<(Parcel, FlushKey, ToldEntry)>,
    /// For the ledger.
    pub steps: Vec<Step>,
}

impl Dispatcher {
    /// Takes the present state of one alert: it joins, changes in, or ends in, every group it is routed to.
    pub fn update(&mut self, root: &Route, labels: &Labels, note: &AlertNote, now_ms: i64) -> Vec<Step> {
        let mut routes = Vec::new();
        matching(root, labels, &mut routes);
        let mut steps = Vec::new();
        for route in routes {
            let group_labels: BTreeMap<String, String> = labels
                .iter()
                .filter(|(name, _)| route.group_by.as_ref().is_none_or(|by| by.contains(*name)))
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect();
            let full = self.groups.len() >= GROUPS_MAX;
            let group_labels = if full { BTreeMap::new() } else { group_labels };
            let key = format!("{}:{}", route.key, Labels::from_pairs(&group_labels).to_string().replace(", ", ","));
            let group = self.groups.entry(format!("{key}\u{0}{}", route.receiver)).or_insert_with(|| Group {
                receiver: route.receiver.clone(),
                key: key.clone(),
                labels: group_labels,
                wait_ms: route.group_wait_ms,
                interval_ms: route.group_interval_ms,
                repeat_ms: route.repeat_interval_ms,
                alerts: BTreeMap::new(),
                changed_at_ms: None,
                last_flush_ms: None,
                last_message_ms: None,
                withheld: BTreeMap::new(),
            });
            let before = group.alerts.insert(note.fingerprint.clone(), note.clone());
            let news = before
                .as_ref()
                .is_none_or(|b| b.is_firing() != note.is_firing() || b.level != note.level || b.id != note.id);
            if news {
                group.changed_at_ms.get_or_insert(now_ms);
                let receiver = route.receiver.clone();
                steps.push(Step { alert: note.clone(), event: "grouped", reason: key, receiver });
            }
        }
        steps
    }

    /// When the next group is due, milliseconds.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.groups.values().map(Group::due_ms).min()
    }

    /// Looks at every group that is due: what is to be told goes out as parcels.
    pub fn flush(&mut self, settings: &Settings, decisions: &Decisions<'_>, told: &Told, now_ms: i64) -> Dispatched {
        let mut out = Dispatched::default();
        let due: Vec<String> =
            self.groups.iter().filter(|(_, g)| g.due_ms() <= now_ms).map(|(k, _)| k.clone()).collect();
        if due.is_empty() {
            return out;
        }
        let firing = self.firing();
        let view = View {
            now_ms,
            inhibit_rules: &settings.inhibit_rules,
            firing: &firing,
            silences: &decisions.silences,
            acknowledged: decisions.acknowledged,
            told,
        };
        for name in due {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let channels = settings.receivers.get(&group.receiver).map_or(&[][..], |r| &r.channels);
            let mut said = false;
            for (index, channel) in channels.iter().enumerate() {
                let key = FlushKey { receiver: group.receiver.clone(), channel: index, group_key: group.key.clone() };
                let mut flush = Flush {
                    key,
                    send_resolved: channel.send_resolved(),
                    repeat_interval_ms: group.repeat_ms,
                    alerts: group.alerts.values().cloned().collect(),
                    withheld: Vec::new(),
                    why: None,
                };
                for (_, stage) in STAGES {
                    stage(&mut flush, &view);
                }
                for (alert, stage, reason) in &flush.withheld {
                    let event = if *stage == "inhibit" { "inhibited" } else { "silenced" };
                    if group.withheld.insert(alert.id.clone(), reason.clone()).as_ref() != Some(reason) {
                        let (receiver, reason) = (group.receiver.clone(), reason.clone());
                        out.steps.push(Step { alert: alert.clone(), event, reason, receiver });
                    }
                }
                if let Some(why) = flush.why {
                    said = true;
                    out.parcels.push(parcel(flush, why, group, channel.kind(), settings, told, now_ms));
                }
            }
            group.last_flush_ms = Some(now_ms);
            group.changed_at_ms = None;
            if said {
                group.last_message_ms = Some(now_ms);
            }
            group.alerts.retain(|_, a| a.is_firing());
            let alerts: BTreeSet<&String> = group.alerts.values().map(|a| &a.id).collect();
            group.withheld.retain(|id, _| alerts.contains(id));
            if group.alerts.is_empty() {
                self.groups.remove(&name);
            }
        }
        out
    }

    /// The groups as they are: receiver, labels, alerts.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>, impl Iterator<Item = &AlertNote>)> {
        self.groups.values().map(|g| (g.receiver.as_str(), &g.labels, g.alerts.values()))
    }

    /// Labels of every alert that fires in a group, by fingerprint.
    pub fn firing(&self) -> BTreeMap<String, Labels> {
        let alerts = self.groups.values().flat_map(|g| g.alerts.values()).filter(|a| a.is_firing());
        alerts.map(|a| (a.fingerprint.clone(), Labels::from_pairs(&a.labels))).collect()
    }
}

fn parcel(
    flush: Flush,
    why: Why,
    group: &Group,
    kind: &'static str,
    settings: &Settings,
    told: &Told,
    now_ms: i64,
) -> (Parcel, FlushKey, ToldEntry) {
    let mut alerts = flush.alerts;
    alerts.sort_by(|a, b| {
        (b.is_firing(), b.level, a.starts_at_ms, &a.fingerprint).cmp(&(
            a.is_firing(),
            a.level,
            b.starts_at_ms,
            &b.fingerprint,
        ))
    });
    let entry = ToldEntry::of(&alerts, now_ms);
    let mut hash = Fnv::default();
    hash.text(&flush.key.receiver).text(&flush.key.channel.to_string()).text(&flush.key.group_key).text(why.words());
    hash.text(&told.get(&flush.key).map_or(0, |t| t.at_ms).to_string());
    for alert in &alerts {
        hash.text(&alert.fingerprint).text(alert.status()).text(alert.level.name());
    }
    let message = Message {
        receiver: flush.key.receiver.clone(),
        group_key: group.key.clone(),
        group_labels: group.labels.clone(),
        why,
        alerts,
        external_url: settings.external_url.clone(),
        made_at_ms: now_ms,
    };
    let parcel = Parcel::new(format!("{:016x}", hash.0), flush.key.channel, kind, message);
    (parcel, flush.key, entry)
}

/// The routes an alert takes: the deepest that matches, and further siblings where `continue` says so.
pub fn matching<'a>(route: &'a Route, labels: &Labels, found: &mut Vec<&'a Route>) {
    let before = found.len();
    for child in &route.routes {
        if child.matchers.matches(labels) {
            matching(child, labels, found);
            if !child.go_on {
                break;
            }
        }
    }
    if found.len() == before {
        found.push(route);
    }
}

#[cfg(test)]
mod tests;
