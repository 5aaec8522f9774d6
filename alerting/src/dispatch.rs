//! From alert to message: route, group, then the stages of [`STAGES`], then the gate before each receiver, then the outbox.
//! Pure; time is an argument.

use std::collections::{BTreeMap, BTreeSet};

use proto::Labels;

use crate::acknowledge::Acknowledged;
use crate::config::{InhibitRule, Route, Settings};
use crate::fingerprint::Fnv;
use crate::gate::{Gate, Item, Verdict};
use crate::inhibit::{Firing, Sources};
use crate::message::{AlertNote, Message, Why};
use crate::outbox::Parcel;
use crate::silence::Silence;
use crate::told::{Told, ToldEntry};
use crate::{dedup, digest, inhibit, mute, silence};

mod group;

use group::{Group, Ready};

/// Most groups at once; alerts beyond are told in a group of their route alone.
pub const GROUPS_MAX: usize = 100_000;

/// What every stage can see.
pub struct View<'a> {
    /// The moment, milliseconds.
    pub now_ms: i64,
    /// Inhibition rules.
    pub inhibit_rules: &'a [InhibitRule],
    /// Which alerts may inhibit.
    pub sources: &'a Sources<'a>,
    /// Silences.
    pub silences: &'a [Silence],
    /// Alerts somebody has taken on.
    pub acknowledged: &'a Acknowledged,
    /// What was told so far.
    pub told: &'a Told,
    /// Whether everything is to be as in Alertmanager.
    pub as_alertmanager: bool,
}

/// A group on its way to one channel of one receiver. Stages take alerts out of it.
pub struct Flush {
    /// Receiver, channel and group.
    pub key: FlushKey,
    /// Whether the channel wants to hear of ends.
    pub send_resolved: bool,
    /// Milliseconds.
    pub repeat_interval_ms: i64,
    /// Why the route says nothing at this time, if it does.
    pub muted_by: Option<String>,
    /// What would be told.
    pub alerts: Vec<AlertNote>,
    /// What was taken out: the alert, the stage, and why.
    pub withheld: Vec<(AlertNote, &'static str, String)>,
    /// Set by the last stage: why there is something to tell; `None`: there is not.
    pub why: Option<Why>,
    /// There was something to tell, but of ends alone, of which the channel does not want to hear.
    pub ends_untold: bool,
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

/// The pipeline after grouping, in order; the gate follows.
pub const STAGES: [(&str, Stage); 4] =
    [("mute", mute::stage), ("inhibit", inhibit::stage), ("silence", silence::stage), ("dedup", dedup::stage)];

/// Something the ledger should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The alert.
    pub alert: AlertNote,
    /// grouped, muted, inhibited, silenced, deduplicated, held, digested.
    pub event: &'static str,
    /// Why, as a word or key.
    pub reason: String,
    /// To whom.
    pub receiver: String,
    /// JSON.
    pub detail: Option<String>,
}

impl Step {
    fn new(alert: &AlertNote, event: &'static str, reason: impl Into<String>, receiver: &str) -> Step {
        Step { alert: alert.clone(), event, reason: reason.into(), receiver: receiver.into(), detail: None }
    }
}

/// The groups and what is in them.
#[derive(Debug, Default)]
pub struct Dispatcher {
    groups: BTreeMap<String, Group>,
    gates: BTreeMap<String, Gate>,
    /// Every alert that fires, routed or not.
    notes: BTreeMap<String, AlertNote>,
    firing: Firing,
}

/// A message to send, with what is to be remembered as told once it is in the outbox.
pub type Outgoing = (Parcel, Vec<(FlushKey, ToldEntry)>);

/// What comes out of one look at the groups.
#[derive(Debug, Default)]
pub struct Dispatched {
    /// Messages.
    pub parcels: Vec<Outgoing>,
    /// For the ledger.
    pub steps: Vec<Step>,
    /// Ends that are not told: the receiver's memory of the beginning is to go.
    pub forget: Vec<(FlushKey, String)>,
    /// What is to be remembered as told though no message says so.
    pub remember: Vec<(FlushKey, ToldEntry)>,
}

/// What operators have said, beside the settings.
pub struct Wishes<'a> {
    /// Silences.
    pub silences: &'a [Silence],
    /// Acknowledged alerts.
    pub acknowledged: &'a Acknowledged,
}

impl Dispatcher {
    /// Takes note of an alert that begins, changes or ends, without routing it.
    pub fn see(&mut self, labels: &Labels, note: &AlertNote) {
        if note.is_firing() {
            self.firing.insert(note.fingerprint.clone(), labels.clone());
            self.notes.insert(note.fingerprint.clone(), note.clone());
        } else {
            self.firing.remove(&note.fingerprint);
            self.notes.remove(&note.fingerprint);
        }
    }

    /// Every alert that fires, with its labels.
    pub fn living(&self) -> impl Iterator<Item = (&AlertNote, &Labels)> {
        self.notes.values().filter_map(|note| Some((note, self.firing.get(&note.fingerprint)?)))
    }

    /// A firing alert by its fingerprint.
    pub fn note(&self, fingerprint: &str) -> Option<&AlertNote> {
        self.notes.get(fingerprint)
    }

    /// Firing alerts by fingerprint.
    pub fn firing(&self) -> &Firing {
        &self.firing
    }

    /// Receiver, labels and alerts of every group.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>, Vec<&AlertNote>)> {
        self.groups.values().map(|g| (g.receiver.as_str(), &g.labels, g.alerts.values().collect()))
    }

    /// Takes the present state of one alert: it joins, changes in, or ends in, every group it is routed to.
    pub fn update(&mut self, root: &Route, labels: &Labels, note: &AlertNote, now_ms: i64) -> Vec<Step> {
        self.place(root, labels, note, (true, false), now_ms)
    }

    /// An alert of an earlier life joins its groups again; that it was told of already is not worth a row in the ledger.
    pub fn rejoin(&mut self, root: &Route, labels: &Labels, note: &AlertNote, now_ms: i64) {
        self.place(root, labels, note, (false, false), now_ms);
    }

    /// An alert that ended in an earlier life, whose end was not told to all who were told of it.
    pub fn rejoin_end(&mut self, root: &Route, labels: &Labels, note: &AlertNote, now_ms: i64) {
        self.place(root, labels, note, (false, true), now_ms);
    }

    /// Other routes are in force: what fires joins the groups it has now, and groups that are still there go on where they
    /// were. Ends that may not be told yet come along.
    pub fn reroute(&mut self, root: Option<&Route>, firing: &[AlertNote], now_ms: i64) {
        let before = std::mem::take(self);
        self.gates = before.gates;
        let ended = before.groups.values().flat_map(|g| g.alerts.values()).filter(|a| !a.is_firing()).cloned();
        let mut ended: Vec<AlertNote> = ended.collect();
        let fires: BTreeSet<&str> = firing.iter().map(|f| f.fingerprint.as_str()).collect();
        ended.retain(|e| !fires.contains(e.fingerprint.as_str()));
        for note in firing.iter().chain(&ended) {
            let labels = Labels::from_pairs(&note.labels);
            match root {
                Some(root) => drop(self.place(root, &labels, note, (false, true), now_ms)),
                None => self.see(&labels, note),
            }
        }
        for (name, group) in before.groups {
            if let Some(now) = self.groups.get_mut(&name) {
                now.go_on(group, now_ms);
            }
        }
    }

    /// `news`: the ledger hears if it is not told; `ends_too`: an end makes the group it is told in.
    fn place(
        &mut self,
        root: &Route,
        labels: &Labels,
        note: &AlertNote,
        (news, ends_too): (bool, bool),
        now_ms: i64,
    ) -> Vec<Step> {
        self.see(labels, note);
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
            let key = format!("{}:{}", route.key, Labels::from_pairs(&group_labels));
            let name = format!("{key}\u{0}{}", route.receiver);
            if !note.is_firing() && !ends_too && !self.groups.contains_key(&name) {
                continue; // the end of something nobody waits for
            }
            let group = self.groups.entry(name).or_insert_with(|| Group::new(route, &key, group_labels));
            if group.take(note, news, now_ms) {
                steps.push(Step::new(note, "grouped", key, &route.receiver));
            }
        }
        steps
    }

    /// When the next group is due, milliseconds.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.groups.values().map(Group::due_ms).min()
    }

    /// Looks at every group that is due: what is to be told goes out as parcels.
    pub fn flush(&mut self, settings: &Settings, wishes: &Wishes<'_>, told: &Told, now_ms: i64) -> Dispatched {
        let mut out = Dispatched::default();
        let due: Vec<String> =
            self.groups.iter().filter(|(_, g)| g.due_ms() <= now_ms).map(|(k, _)| k.clone()).collect();
        if due.is_empty() {
            return out;
        }
        let sources = Sources::of(&settings.inhibit_rules, &self.firing);
        let view = View {
            now_ms,
            inhibit_rules: &settings.inhibit_rules,
            sources: &sources,
            silences: wishes.silences,
            acknowledged: wishes.acknowledged,
            told,
            as_alertmanager: settings.as_alertmanager,
        };
        let mut ready: BTreeMap<String, Vec<Ready>> = BTreeMap::new();
        for name in due {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let flushes = group.look(settings, &view, &mut out);
            if flushes.is_empty() {
                if group.settle(false, settings.as_alertmanager, now_ms) {
                    self.groups.remove(&name);
                }
            } else {
                ready.entry(group.receiver.clone()).or_default().push(Ready { name, flushes });
            }
        }
        for (receiver, ready) in ready {
            self.tell(&receiver, ready, settings, told, now_ms, &mut out);
        }
        out
    }

    /// What has something to say to one receiver, past its gate.
    fn tell(
        &mut self,
        receiver: &str,
        ready: Vec<Ready>,
        settings: &Settings,
        told: &Told,
        now_ms: i64,
        out: &mut Dispatched,
    ) {
        let Some(limit) = settings.receivers.get(receiver).map(|r| r.rate_limit) else { return };
        let items: Vec<Item> = ready.iter().filter_map(|r| Some(r.item(self.groups.get(&r.name)?))).collect();
        let verdicts = match settings.as_alertmanager {
            true => vec![Verdict::Alone; items.len()],
            false => self.gates.entry(receiver.into()).or_default().plan(limit, &items, now_ms),
        };
        let mut together: BTreeMap<&'static str, Vec<Ready>> = BTreeMap::new();
        for (ready, verdict) in ready.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Together(cause) => together.entry(cause).or_default().push(ready),
                Verdict::Alone => {
                    let Some(group) = self.groups.get(&ready.name) else { continue };
                    for flush in ready.flushes {
                        out.parcels.push(parcel(flush, group, settings, told, now_ms));
                    }
                    self.settle(&ready.name, settings, now_ms);
                }
                Verdict::Hold(until_ms, cause) => {
                    let Some(group) = self.groups.get_mut(&ready.name) else { continue };
                    out.steps.extend(group.hold(&ready, until_ms, cause));
                }
            }
        }
        for (cause, ready) in together {
            if let [one] = ready.as_slice() {
                // one that waited alone is an ordinary message
                let name = one.name.clone();
                for flush in ready.into_iter().flat_map(|r| r.flushes) {
                    let Some(group) = self.groups.get(&name) else { continue };
                    out.parcels.push(parcel(flush, group, settings, told, now_ms));
                }
                self.settle(&name, settings, now_ms);
                continue;
            }
            let names: Vec<String> = ready.iter().map(|r| r.name.clone()).collect();
            out.digest(receiver, cause, ready, settings, told, now_ms);
            names.iter().for_each(|name| self.settle(name, settings, now_ms));
        }
    }

    fn settle(&mut self, name: &str, settings: &Settings, now_ms: i64) {
        if self.groups.get_mut(name).is_some_and(|g| g.settle(true, settings.as_alertmanager, now_ms)) {
            self.groups.remove(name);
        }
    }
}

impl Dispatched {
    /// One message a channel about many groups; a ledger row for every alert in it.
    fn digest(
        &mut self,
        receiver: &str,
        cause: &'static str,
        ready: Vec<Ready>,
        settings: &Settings,
        told: &Told,
        now_ms: i64,
    ) {
        let mut channels: BTreeMap<usize, Vec<Flush>> = BTreeMap::new();
        for flush in ready.into_iter().flat_map(|r| r.flushes) {
            channels.entry(flush.key.channel).or_default().push(flush);
        }
        let mut noted = BTreeSet::new();
        for (index, flushes) in channels {
            let Some(channel) = settings.receivers.get(receiver).and_then(|r| r.channels.get(index)) else { continue };
            let storm = cause == crate::gate::STORM;
            let entry = |f: &Flush| (f.key.clone(), ToldEntry { storm, ..ToldEntry::of(&f.alerts, now_ms) });
            let entries: Vec<(FlushKey, ToldEntry)> = flushes.iter().map(entry).collect();
            let mut hash = Fnv::default();
            hash.text("digest").text(receiver).text(&index.to_string());
            for flush in &flushes {
                hash_of(&mut hash, flush, told);
            }
            let key = format!("{:016x}", hash.0);
            let groups = flushes.len();
            let why = flushes.iter().filter_map(|f| f.why).next().unwrap_or(Why::First);
            let mut alerts: Vec<AlertNote> = flushes.into_iter().flat_map(|f| f.alerts).collect();
            sort(&mut alerts);
            let counted = digest::digest(&alerts, groups, cause);
            let detail = serde_json::json!({ "key": key, "groups": groups, "alerts": alerts.len() }).to_string();
            for alert in alerts.iter().filter(|a| noted.insert((a.id.clone(), a.is_firing()))) {
                self.steps.push(Step { detail: Some(detail.clone()), ..Step::new(alert, "digested", cause, receiver) });
            }
            alerts.truncate(digest::ALERTS_MAX);
            let mut message = Message {
                receiver: receiver.into(),
                group_key: format!("{{}}:digest:{cause}"),
                group_labels: BTreeMap::new(),
                why,
                alerts,
                external_url: settings.external_url.clone(),
                made_at_ms: now_ms,
                digest: Some(counted),
            };
            message.group_labels = message.common(|a| &a.labels);
            message.group_labels.retain(|name, _| name == crate::active::ALERT_NAME);
            self.parcels.push((Parcel::new(key, index, channel.kind(), message), entries));
        }
    }
}

/// Firing first, worst first, oldest first, then by labels.
fn sort(alerts: &mut [AlertNote]) {
    alerts.sort_by(|a, b| {
        (b.is_firing(), b.level, a.starts_at_ms, &a.labels).cmp(&(a.is_firing(), a.level, b.starts_at_ms, &b.labels))
    });
}

/// What makes a message the same when it is made again after a crash.
fn hash_of(hash: &mut Fnv, flush: &Flush, told: &Told) {
    hash.text(&flush.key.receiver).text(&flush.key.channel.to_string()).text(&flush.key.group_key);
    hash.text(flush.why.map_or("", Why::words));
    hash.text(&told.get(&flush.key).map_or(0, |t| t.at_ms).to_string());
    for alert in &flush.alerts {
        hash.text(&alert.fingerprint).text(alert.status()).text(alert.level.name());
    }
}

fn parcel(mut flush: Flush, group: &Group, settings: &Settings, told: &Told, now_ms: i64) -> Outgoing {
    sort(&mut flush.alerts);
    let entry = ToldEntry { storm: group.in_storm, ..ToldEntry::of(&flush.alerts, now_ms) };
    let mut hash = Fnv::default();
    hash_of(&mut hash, &flush, told);
    let index = flush.key.channel;
    let channel = settings.receivers.get(&flush.key.receiver).and_then(|r| r.channels.get(index));
    let message = Message {
        receiver: flush.key.receiver.clone(),
        group_key: group.key.clone(),
        group_labels: group.labels.clone(),
        why: flush.why.unwrap_or(Why::First),
        alerts: flush.alerts,
        external_url: settings.external_url.clone(),
        made_at_ms: now_ms,
        digest: None,
    };
    let kind = channel.map_or("", |c| c.kind());
    (Parcel::new(format!("{:016x}", hash.0), index, kind, message), vec![(flush.key, entry)])
}

/// The routes an alert takes: the deepest that matches, and further siblings where `continue` says so.
pub(crate) fn matching<'a>(route: &'a Route, labels: &Labels, found: &mut Vec<&'a Route>) {
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
