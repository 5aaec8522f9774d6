//! A group: alerts told together, when they are due, and what the ledger knows of their being withheld.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dispatched, Flush, FlushKey, STAGES, Step, View};
use crate::config::{Route, Settings};
use crate::gate::Item;
use crate::level::Level;
use crate::message::{AlertNote, Why};
use crate::mute::RouteTimes;
use crate::told::ToldEntry;

/// Alertmanager looks for empty groups this often, and their ticks go on until then, milliseconds.
const EMPTY_MS: i64 = 30_000;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) receiver: String,
    pub(super) key: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) alerts: BTreeMap<String, AlertNote>,
    /// Since when nothing is in it.
    empty_since_ms: Option<i64>,
    /// Its receiver heard of it in a storm's message.
    pub(super) in_storm: bool,
    wait_ms: i64,
    interval_ms: i64,
    repeat_ms: i64,
    times: RouteTimes,
    /// Since when there is something new.
    changed_at_ms: Option<i64>,
    /// Something got worse: no waiting.
    urgent: bool,
    last_flush_ms: Option<i64>,
    last_message_ms: Option<i64>,
    /// The gate keeps it until then, milliseconds; and why.
    held: Option<(i64, &'static str)>,
    /// The gate kept it before, and it was not told since.
    waited: bool,
    /// Ids of alerts with news since the last look.
    fresh: BTreeSet<String>,
    /// Per alert id: what the ledger already knows of its being withheld.
    withheld: BTreeMap<String, String>,
}

/// A group with something to say, per channel.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) flushes: Vec<Flush>,
}

impl Ready {
    /// What the gate sees of it.
    pub(super) fn item(&self, group: &Group) -> Item {
        let alerts = || self.flushes.iter().flat_map(|f| &f.alerts);
        let firing = alerts().filter(|a| a.is_firing()).map(|a| a.level).max();
        Item {
            begins: self.flushes.iter().all(|f| f.why == Some(Why::First)),
            waited: group.waited,
            in_storm: group.in_storm,
            level: firing.or_else(|| alerts().map(|a| a.level).max()).unwrap_or(Level::Notice),
            rule: alerts().next().and_then(|a| a.labels.get("alertname").cloned()).unwrap_or_default(),
        }
    }
}

impl Group {
    pub(super) fn new(route: &Route, key: &str, labels: BTreeMap<String, String>) -> Group {
        Group {
            receiver: route.receiver.clone(),
            key: key.into(),
            labels,
            alerts: BTreeMap::new(),
            empty_since_ms: None,
            in_storm: false,
            wait_ms: route.group_wait_ms,
            interval_ms: route.group_interval_ms,
            repeat_ms: route.repeat_interval_ms,
            times: route.times.clone(),
            changed_at_ms: None,
            urgent: false,
            last_flush_ms: None,
            last_message_ms: None,
            held: None,
            waited: false,
            fresh: BTreeSet::new(),
            withheld: BTreeMap::new(),
        }
    }

    /// The same group under the same route, whose settings may have changed: it goes on where it was.
    pub(super) fn go_on(&mut self, before: Group, now_ms: i64) {
        let joined = self.alerts.keys().any(|fingerprint| !before.alerts.contains_key(fingerprint));
        let changed_at_ms = before.changed_at_ms.or(joined.then_some(now_ms));
        *self = Group {
            alerts: std::mem::take(&mut self.alerts),
            wait_ms: self.wait_ms,
            interval_ms: self.interval_ms,
            repeat_ms: self.repeat_ms,
            times: std::mem::take(&mut self.times),
            changed_at_ms,
            ..before
        };
    }

    /// Takes an alert's present state; whether it differs from the one before. `news`: the ledger hears if it is not told.
    pub(super) fn take(&mut self, note: &AlertNote, news: bool, now_ms: i64) -> bool {
        let before = self.alerts.insert(note.fingerprint.clone(), note.clone());
        let differs = |b: &AlertNote| b.is_firing() != note.is_firing() || b.level != note.level || b.id != note.id;
        if before.as_ref().is_some_and(|b| !differs(b)) {
            return false;
        }
        let rose = |b: &AlertNote| b.is_firing() && note.is_firing() && b.level < note.level;
        self.urgent |= before.as_ref().is_some_and(rose);
        // an alert that has waited elsewhere does not wait again
        let began_ms = if self.last_flush_ms.is_none() { note.starts_at_ms.min(now_ms) } else { now_ms };
        self.changed_at_ms = Some(self.changed_at_ms.map_or(began_ms, |at| at.min(began_ms)));
        if news {
            self.fresh.insert(note.id.clone());
        }
        true
    }

    /// When it is to be looked at next.
    pub(super) fn due_ms(&self) -> i64 {
        if let Some((until_ms, _)) = self.held {
            return until_ms;
        }
        let again = self.last_flush_ms.map_or(i64::MAX, |at| at.saturating_add(self.interval_ms));
        let changed = match self.changed_at_ms {
            None => i64::MAX,
            Some(at) if self.urgent => at,
            Some(at) => {
                (at + self.wait_ms).max(self.last_message_ms.map_or(i64::MIN, |m| m.saturating_add(self.interval_ms)))
            }
        };
        again.min(changed)
    }

    /// Every channel's view of it past the stages, of those that have something to say; why others have not goes to the ledger.
    pub(super) fn look(&mut self, settings: &Settings, view: &View<'_>, out: &mut Dispatched) -> Vec<Flush> {
        self.held = None;
        let channels = settings.receivers.get(&self.receiver).map_or(&[][..], |r| &r.channels);
        let mut flushes = Vec::new();
        let mut repeated = BTreeSet::new();
        for (index, channel) in channels.iter().enumerate() {
            let key = FlushKey { receiver: self.receiver.clone(), channel: index, group_key: self.key.clone() };
            let mut flush = Flush {
                key,
                send_resolved: channel.send_resolved(),
                repeat_interval_ms: self.repeat_ms,
                muted_by: self.times.muted_by(view.now_ms),
                alerts: self.alerts.values().cloned().collect(),
                withheld: Vec::new(),
                why: None,
                ends_untold: false,
            };
            self.in_storm |= view.told.get(&flush.key).is_some_and(|t| t.storm);
            for (_, stage) in STAGES {
                stage(&mut flush, view);
            }
            for (alert, stage, reason) in &flush.withheld {
                if !alert.is_firing() && !view.as_alertmanager {
                    out.forget.push((flush.key.clone(), alert.fingerprint.clone()));
                }
                let event = match *stage {
                    "inhibit" => "inhibited",
                    "mute" => "muted",
                    _ => "silenced",
                };
                if self.withheld.insert(alert.id.clone(), reason.clone()).as_ref() != Some(reason) {
                    out.steps.push(Step::new(alert, event, reason.clone(), &self.receiver));
                }
            }
            for alert in &flush.alerts {
                self.withheld.remove(&alert.id);
            }
            if flush.ends_untold {
                out.remember.push((flush.key.clone(), ToldEntry::of(&flush.alerts, view.now_ms)));
            }
            if flush.why.is_some() {
                flushes.push(flush);
            } else {
                let fresh = flush.alerts.into_iter().filter(|a| self.fresh.contains(&a.id));
                repeated.extend(fresh.map(|a| a.fingerprint));
            }
        }
        if flushes.is_empty() {
            let known = repeated.iter().filter_map(|f| self.alerts.get(f));
            out.steps.extend(known.map(|a| Step::new(a, "deduplicated", "already_told", &self.receiver)));
        }
        flushes
    }

    /// The gate keeps it; a ledger row for each alert, once a reason.
    pub(super) fn hold(&mut self, ready: &Ready, until_ms: i64, cause: &'static str) -> Vec<Step> {
        self.held = Some((until_ms, cause));
        self.waited = true;
        let mut steps = Vec::new();
        for alert in ready.flushes.iter().flat_map(|f| &f.alerts) {
            let reason = format!("held: {cause} {}", alert.status());
            if self.withheld.insert(alert.id.clone(), reason.clone()).as_ref() != Some(&reason) {
                let detail = serde_json::json!({ "until_ms": until_ms }).to_string();
                steps.push(Step { detail: Some(detail), ..Step::new(alert, "held", cause, &self.receiver) });
            }
        }
        steps
    }

    /// It was looked at, and told of if `said`; whether it can go.
    pub(super) fn settle(&mut self, said: bool, as_alertmanager: bool, now_ms: i64) -> bool {
        self.last_flush_ms = Some(now_ms);
        self.changed_at_ms = None;
        self.urgent = false;
        self.held = None;
        self.waited = false;
        self.fresh.clear();
        if said || as_alertmanager {
            self.last_message_ms = Some(now_ms);
        }
        self.alerts.retain(|_, a| a.is_firing());
        let ids: BTreeSet<&String> = self.alerts.values().map(|a| &a.id).collect();
        self.withheld.retain(|id, _| ids.contains(id));
        if !self.alerts.is_empty() {
            self.empty_since_ms = None;
            return false;
        }
        let since_ms = *self.empty_since_ms.get_or_insert(now_ms);
        !as_alertmanager || now_ms - since_ms >= EMPTY_MS
    }
}
