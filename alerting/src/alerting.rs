//! The whole room at work: groups evaluated at their slots, what happens written down, told and delivered.
//!
//! [`Alerting::tick`] and [`Alerting::deliver`] do the work of a moment; [`Alerting::run`] calls them when they are due. Only
//! the clock handed in at the start is read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diagnosis::verdict::Trees;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use query::Querier;
use serde_json::{Value, json};
use storage::Store;
use tokio::sync::Notify;

use crate::active::{Active, Happening};
use crate::builtin;
use crate::config::Settings;
use crate::deliver;
use crate::dispatch::{Dispatcher, FlushKey, Step};
use crate::evaluate::Evaluator;
use crate::evidence::{AGAIN_MS, Collector};
use crate::group::{Group, rule_gone};
use crate::history::{self, Remembered};
use crate::ledger::{Entry, Page, Subject, rule_group, subject, subject_of_note};
use crate::message::AlertNote;
use crate::outbox::{Outbox, Parcel, Settled};
use crate::prometheus_json::{self, RulesFilter};
use crate::rule::{RuleGroup, Source};
use crate::rule_file::{self, RuleFileError};
use crate::silence::Silence;
use crate::state::{Change, Phase, Track, restored_active_at_ms};
use crate::told::Told;

/// `for` goes on at least this long after a restart (Prometheus' for-grace-period), milliseconds.
const GRACE_MS: i64 = 10 * 60_000;
/// Longest sleep between looks at what is due, milliseconds.
const IDLE_MS_MAX: i64 = 1_000;
/// Most evidence bundles collected at once; further alerts wait for a place.
const EVIDENCE_AT_ONCE_MAX: usize = 8;
/// Most alerts one answer gives.
const ALERTS_MAX: usize = 10_000;

/// Milliseconds since 1970-01-01 UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Why alerting can't start or reload; what ran before runs on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A rule file is wrong.
    #[error("{0}")]
    Rules(#[from] RuleFileError),
    /// The folder of the outbox can't be used.
    #[error("alerting state in {folder}: {source}")]
    State {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP client can't be made.
    #[error("http client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Alerting at work. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Alerting(Arc<Inner>);

struct Inner {
    settings: Mutex<Arc<Settings>>,
    store: Store,
    querier: Querier,
    tenant: String,
    clock: Clock,
    groups: tokio::sync::RwLock<Vec<Arc<tokio::sync::Mutex<Group>>>>,
    pipeline: Mutex<Pipeline>,
    silences: Mutex<Vec<Silence>>,
    outbox: Outbox,
    client: reqwest::Client,
    due: Notify,
    outgoing: Notify,
    evidence: Collector,
    evidence_places: Arc<tokio::sync::Semaphore>,
}

struct Pipeline {
    dispatcher: Dispatcher,
    told: Told,
}

impl Alerting {
    /// Loads rules, remembers what lived before, opens the outbox in `folder`. Nothing is evaluated before the first
    /// [`Alerting::tick`].
    pub async fn start(
        settings: Settings,
        store: Store,
        querier: Querier,
        tenant: &str,
        folder: PathBuf,
        clock: Clock,
    ) -> Result<Alerting, StartError> {
        let groups = load(&settings)?;
        let state = |source| StartError::State { folder: folder.clone(), source };
        let (outbox, told_in_outbox) = Outbox::open(&folder.join("outbox")).map_err(state)?;
        let mut told = Told::open(&folder.join("told.json")).map_err(state)?;
        told_in_outbox.into_iter().for_each(|(key, entry)| told.set(key, entry));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let now_ms = clock();
        let mut groups: Vec<Group> = groups.into_iter().map(|g| Group::new(g, now_ms)).collect();
        let mut orphans = Vec::new();
        match history::living(&querier, tenant, now_ms).await {
            Ok(remembered) => orphans = restore(&mut groups, remembered, now_ms),
            Err(e) => tracing::error!(error = e, "alerts of earlier lives can't be read; they begin anew"),
        }
        let evidence = Collector { querier: querier.clone(), tenant: tenant.into(), trees: Arc::new(Trees::builtin()) };
        let alerting = Alerting(Arc::new(Inner {
            settings: Mutex::new(Arc::new(settings)),
            store,
            querier,
            tenant: tenant.into(),
            clock,
            groups: tokio::sync::RwLock::new(Vec::new()),
            pipeline: Mutex::new(Pipeline { dispatcher: Dispatcher::default(), told }),
            silences: Mutex::default(),
            outbox,
            client,
            due: Notify::new(),
            outgoing: Notify::new(),
            evidence,
            evidence_places: Arc::new(tokio::sync::Semaphore::new(EVIDENCE_AT_ONCE_MAX)),
        }));
        for group in &groups {
            let firing = group.rules.iter().flat_map(|r| r.active.values()).filter(|a| a.is_firing());
            firing.for_each(|alert| alerting.reintroduce(alert, &group.group, now_ms));
        }
        *alerting.0.groups.write().await = groups.into_iter().map(|g| Arc::new(tokio::sync::Mutex::new(g))).collect();
        for (group, alert) in orphans {
            let gone = rule_gone(alert, now_ms);
            alerting.happened(&[(gone, None)], &group, now_ms);
        }
        Ok(alerting)
    }

    /// Reads the rule files again; what they change takes effect at once, all of it or, on an error, nothing.
    pub async fn reload(&self, settings: Settings) -> Result<(), StartError> {
        let fresh = load(&settings)?;
        let now_ms = (self.0.clock)();
        let mut groups = self.0.groups.write().await;
        let mut old: BTreeMap<(String, String), Group> = BTreeMap::new();
        for group in groups.drain(..) {
            // waits for an evaluation under way; one that waits behind us finds a group without rules
            let mut group = group.lock().await;
            let empty = Group::new(RuleGroup { rules: Vec::new(), ..group.group.clone() }, now_ms);
            let group = std::mem::replace(&mut *group, empty);
            old.insert((group.group.file.clone(), group.group.name.clone()), group);
        }
        let mut gone: Vec<(String, Active)> = Vec::new();
        for rules in fresh {
            let mut group = Group::new(rules, now_ms);
            if let Some(before) = old.remove(&(group.group.file.clone(), group.group.name.clone())) {
                let name = rule_group(&group.group.name, &group.group.file);
                gone.extend(group.take_over(before).into_iter().map(|(_, alert)| (name.clone(), alert)));
            }
            groups.push(Arc::new(tokio::sync::Mutex::new(group)));
        }
        for group in old.into_values() {
            let name = rule_group(&group.group.name, &group.group.file);
            gone.extend(group.rules.into_iter().flat_map(|r| r.active.into_values()).map(|a| (name.clone(), a)));
        }
        *self.0.settings.lock() = Arc::new(settings);
        drop(groups);
        for (group, alert) in gone {
            self.happened(&[(rule_gone(alert, now_ms), None)], &group, now_ms);
        }
        self.0.due.notify_one();
        Ok(())
    }

    /// The config in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.lock().clone()
    }

    /// Replaces the silences in force.
    pub fn set_silences(&self, silences: Vec<Silence>) {
        *self.0.silences.lock() = silences;
    }

    /// Evaluates every group whose slot has come, and puts what is to be told into the outbox.
    pub async fn tick(&self, now_ms: i64) {
        let groups = self.0.groups.read().await;
        let evaluator = self.evaluator();
        let mut under_way: FuturesUnordered<_> = groups.iter().map(|g| self.evaluate(g, &evaluator, now_ms)).collect();
        while under_way.next().await.is_some() {
            self.flush(now_ms);
        }
        drop(under_way);
        drop(groups);
        self.flush(now_ms);
    }

    fn evaluator(&self) -> Evaluator {
        let settings = self.settings();
        Evaluator {
            querier: self.0.querier.clone(),
            tenant: self.0.tenant.clone(),
            external_labels: settings.external_labels.clone(),
            external_url: settings.external_url.clone(),
        }
    }

    async fn evaluate(&self, group: &tokio::sync::Mutex<Group>, evaluator: &Evaluator, now_ms: i64) {
        let mut group = group.lock().await;
        let happenings = group.evaluate(evaluator, &self.0.store, now_ms, &*self.0.clock).await;
        let name = rule_group(&group.group.name, &group.group.file);
        let with_expr: Vec<(Happening, Option<String>)> = happenings
            .into_iter()
            .map(|(rule, happening)| {
                let expr = match &group.group.rules[rule].source {
                    Source::Promql { expr, .. } => Some(watched(expr)),
                    Source::Sql(_) => None,
                };
                (happening, expr)
            })
            .collect();
        drop(group);
        self.happened(&with_expr, &name, now_ms);
    }

    /// Writes steps down, hands them to the pipeline, and has evidence collected for what began to fire.
    fn happened(&self, happenings: &[(Happening, Option<String>)], rule_group: &str, now_ms: i64) {
        let mut page = Page::default();
        let settings = self.settings();
        for (happening, expr) in happenings {
            page.add_happening(happening, rule_group);
            let subject = subject(&happening.alert, rule_group);
            let mut note = happening.alert.note(&settings.external_labels, &settings.external_url, rule_group);
            match happening.transition.change {
                Change::Fired => self.collect_evidence(happening.alert.clone(), expr.clone(), subject.clone()),
                Change::LevelChanged { .. } => {}
                Change::Resolved => {
                    note.ends_at_ms = Some(happening.ts_ms);
                    note.end_reason = Some(happening.transition.reason.word().into());
                }
                Change::BackToPending => {
                    note.ends_at_ms = Some(happening.ts_ms);
                    note.end_reason = Some(happening.transition.reason.word().into());
                }
                Change::Pending | Change::Dropped | Change::Blinded | Change::Sighted => continue,
            }
            for step in self.route(&settings, &note, now_ms) {
                page.add_step(&step, now_ms);
            }
        }
        page.write(&self.0.store, &self.0.tenant, now_ms);
    }

    fn route(&self, settings: &Settings, note: &AlertNote, now_ms: i64) -> Vec<Step> {
        let Some(root) = &settings.route else { return Vec::new() };
        let labels = proto::Labels::from_pairs(&note.labels);
        let mut pipeline = self.0.pipeline.lock();
        pipeline.dispatcher.update(root, &labels, note, now_ms)
    }

    /// An alert that fired before the restart joins its groups again, without a new row in the ledger.
    fn reintroduce(&self, alert: &Active, group: &RuleGroup, now_ms: i64) {
        let settings = self.settings();
        let name = rule_group(&group.name, &group.file);
        let note = alert.note(&settings.external_labels, &settings.external_url, &name);
        self.route(&settings, &note, now_ms);
    }

    /// Puts the messages of groups that are due into the outbox.
    fn flush(&self, now_ms: i64) {
        let settings = self.settings();
        let silences = self.0.silences.lock().clone();
        let mut page = Page::default();
        let mut pipeline = self.0.pipeline.lock();
        let Pipeline { dispatcher, told } = &mut *pipeline;
        let out = dispatcher.flush(&settings, &silences, told, now_ms);
        for step in &out.steps {
            page.add_step(step, now_ms);
        }
        let any = !out.parcels.is_empty();
        for (parcel, key, entry) in out.parcels {
            let message = parcel.clone();
            match self.0.outbox.put(parcel, key.clone(), entry.clone()) {
                Ok(_) => told.set(key, entry),
                Err(e) => self.note_message(&mut page, &message, "failed", "outbox_full", &e, now_ms),
            }
        }
        if any {
            if let Err(e) = told.save(now_ms) {
                tracing::error!(error = %e, "what was told can't be written down; it is remembered in memory");
            }
            self.0.outgoing.notify_one();
        }
        drop(pipeline);
        page.write(&self.0.store, &self.0.tenant, now_ms);
    }

    /// Sends what may leave now, every lane beside the others, and waits for the answers. Gives how many attempts there were.
    pub async fn deliver(&self, now_ms: i64) -> usize {
        let due = self.0.outbox.take_due(now_ms);
        let attempts: FuturesUnordered<_> = due.iter().map(|parcel| self.attempt(parcel)).collect();
        attempts.count().await
    }

    async fn attempt(&self, parcel: &Parcel) {
        let settings = self.settings();
        let receiver = settings.receivers.get(&parcel.message.receiver);
        let channel = receiver.and_then(|r| r.channels.get(parcel.channel)).filter(|c| c.kind() == parcel.kind);
        let receipt = match channel {
            Some(channel) => deliver::send(&self.0.client, channel, parcel).await,
            None => deliver::Receipt { outcome: deliver::Outcome::Refused, detail: "the receiver is gone".into() },
        };
        let now_ms = (self.0.clock)();
        let settled = self.0.outbox.settle(parcel, &receipt, now_ms);
        let mut page = Page::default();
        let (event, reason) = match settled {
            Settled::Sent => ("sent", parcel.message.why.words()),
            Settled::Retry(_) => ("retry", "again_later"),
            Settled::Failed => ("failed", "given_up"),
        };
        if event != "sent" {
            let receiver = &parcel.message.receiver;
            tracing::warn!(
                receiver,
                channel = parcel.kind,
                key = parcel.key,
                answer = receipt.detail,
                "a message was not taken"
            );
        }
        self.note_message(&mut page, parcel, event, reason, &receipt.detail, now_ms);
        page.write(&self.0.store, &self.0.tenant, now_ms);
        self.0.outgoing.notify_one();
    }

    /// A ledger row for every alert of a message.
    fn note_message(&self, page: &mut Page, parcel: &Parcel, event: &str, reason: &str, answer: &str, now_ms: i64) {
        let detail = json!({ "channel": parcel.kind, "key": parcel.key, "answer": answer }).to_string();
        for note in &parcel.message.alerts {
            page.add(&Entry {
                subject: &subject_of_note(note),
                ts_ms: now_ms,
                event,
                value: note.value,
                reason: Some(reason),
                texts: None,
                receiver: Some(&parcel.message.receiver),
                detail: Some(detail.clone()),
            });
        }
    }

    /// Beside everything else: messages never wait for it.
    fn collect_evidence(&self, alert: Active, expr: Option<String>, subject: Subject) {
        let this = self.clone();
        tokio::spawn(async move {
            for again in [false, true] {
                if again {
                    tokio::time::sleep(Duration::from_millis(AGAIN_MS as u64)).await;
                }
                let Ok(_place) = this.0.evidence_places.acquire().await else { return };
                let now_ms = (this.0.clock)();
                let evidence = this.0.evidence.collect(&alert, expr.as_deref(), now_ms).await;
                let mut page = Page::default();
                page.add(&Entry {
                    subject: &subject,
                    ts_ms: (this.0.clock)(),
                    event: "evidence",
                    value: None,
                    reason: Some(if again { "completed" } else { "at_firing" }),
                    texts: None,
                    receiver: None,
                    detail: serde_json::to_string(&evidence).ok(),
                });
                page.write(&this.0.store, &this.0.tenant, now_ms);
            }
        });
    }

    /// Works until the future is dropped: evaluates, flushes and delivers when something is due.
    pub async fn run(&self) {
        tokio::join!(self.run_rules(), self.run_outbox());
    }

    async fn run_rules(&self) {
        loop {
            let now_ms = (self.0.clock)();
            let mut next_ms = now_ms + IDLE_MS_MAX;
            for group in self.0.groups.read().await.iter() {
                // a group that is still at work misses its slot; the others don't wait for it
                let Ok(free) = group.try_lock() else { continue };
                if free.next_slot_ms() <= now_ms {
                    let (this, group) = (self.clone(), group.clone());
                    tokio::spawn(async move {
                        let evaluator = this.evaluator();
                        this.evaluate(&group, &evaluator, now_ms).await;
                        this.flush(now_ms);
                    });
                    next_ms = next_ms.min(now_ms + free.group.interval_ms);
                } else {
                    next_ms = next_ms.min(free.next_slot_ms());
                }
            }
            self.flush(now_ms);
            next_ms = next_ms.min(self.0.pipeline.lock().dispatcher.next_due_ms().unwrap_or(i64::MAX));
            self.pause_until(next_ms, &self.0.due).await;
        }
    }

    async fn run_outbox(&self) {
        loop {
            for parcel in self.0.outbox.take_due((self.0.clock)()) {
                let this = self.clone();
                tokio::spawn(async move { this.attempt(&parcel).await });
            }
            let next_ms = self.0.outbox.next_due_ms().unwrap_or(i64::MAX);
            self.pause_until(next_ms.min((self.0.clock)() + IDLE_MS_MAX), &self.0.outgoing).await;
        }
    }

    async fn pause_until(&self, then_ms: i64, sooner: &Notify) {
        let pause = Duration::from_millis((then_ms - (self.0.clock)()).clamp(1, IDLE_MS_MAX) as u64);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = sooner.notified() => {}
        }
    }

    /// `data` of Prometheus' `/api/v1/rules`.
    pub async fn rules_json(&self, filter: &RulesFilter) -> Value {
        let mut groups = Vec::new();
        for group in self.0.groups.read().await.iter() {
            groups.extend(prometheus_json::group(&*group.lock().await, filter));
        }
        json!({ "groups": groups })
    }

    /// `data` of Prometheus' `/api/v1/alerts`.
    pub async fn alerts_json(&self) -> Value {
        let mut alerts = Vec::new();
        for group in self.0.groups.read().await.iter() {
            let group = group.lock().await;
            alerts.extend(group.rules.iter().flat_map(|r| r.active.values()).map(prometheus_json::alert));
        }
        json!({ "alerts": alerts })
    }

    /// One alert, living or ended, with its timeline and evidence.
    pub async fn alert(&self, id: &str) -> Result<Option<Value>, String> {
        let Some(mut alert) = history::alert(&self.0.querier, &self.0.tenant, id).await? else { return Ok(None) };
        for (group, active) in self.living().await {
            if active.id == id {
                let (timeline, evidence) = (alert["timeline"].take(), alert["evidence"].take());
                alert = described(&active, &group);
                alert["timeline"] = timeline;
                alert["evidence"] = evidence;
            }
        }
        Ok(Some(alert))
    }

    /// Alerts without evidence: `state` is firing, pending, resolved or all; worst and latest first.
    pub async fn alerts(&self, state: &str, limit: usize) -> Result<Vec<Value>, String> {
        let limit = limit.min(ALERTS_MAX);
        let mut living = self.living().await;
        living.retain(|(_, a)| state == "all" || a.track.phase.name() == state);
        living.sort_by_key(|(_, a)| {
            (!a.is_firing(), std::cmp::Reverse(a.track.level), std::cmp::Reverse(a.track.active_at_ms))
        });
        let mut alerts: Vec<Value> = living.iter().take(limit).map(|(group, a)| described(a, group)).collect();
        if matches!(state, "all" | "resolved") && alerts.len() < limit {
            alerts.extend(history::ended(&self.0.querier, &self.0.tenant, limit - alerts.len()).await?);
        }
        Ok(alerts)
    }

    async fn living(&self) -> Vec<(String, Active)> {
        let mut living = Vec::new();
        for group in self.0.groups.read().await.iter() {
            let group = group.lock().await;
            let active = group.rules.iter().flat_map(|r| r.active.values());
            living.extend(active.map(|a| (group.group.name.clone(), a.clone())));
        }
        living
    }

    /// How many messages wait to be taken.
    pub fn messages_waiting(&self) -> usize {
        self.0.outbox.len()
    }

    /// What a receiver was last told of a group, for tests and pages.
    pub fn told_at_ms(&self, key: &FlushKey) -> Option<i64> {
        self.0.pipeline.lock().told.get(key).map(|t| t.at_ms)
    }
}

/// What a rule watches: of a comparison its left side, so that the series is there before and after it is an alert.
fn watched(expr: &query::promql::Expr) -> String {
    match expr.unparen() {
        query::promql::Expr::Binary(b) if b.op.is_comparison() && !b.return_bool => b.left.to_string(),
        other => other.to_string(),
    }
}

fn described(alert: &Active, group: &str) -> Value {
    json!({
        "id": alert.id, "fingerprint": alert.fingerprint.to_string(),
        "rule": alert.labels.get(crate::active::ALERT_NAME), "group": group, "state": alert.track.phase.name(),
        "level": alert.track.level.name(), "labels": alert.labels, "annotations": alert.annotations,
        "value": alert.track.value.is_finite().then_some(alert.track.value),
        "active_at_ms": alert.track.active_at_ms, "fired_at_ms": alert.track.fired_at_ms,
        "resolved_at_ms": null, "blind": alert.track.blind,
    })
}

/// Built-in rules and rule files.
fn load(settings: &Settings) -> Result<Vec<RuleGroup>, RuleFileError> {
    let mut groups = match settings.builtin_rules {
        true => builtin::groups(settings.evaluation_interval_ms)?,
        false => Vec::new(),
    };
    groups.extend(rule_file::load(&settings.rules, &settings.base, settings.evaluation_interval_ms)?);
    groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    Ok(groups)
}

/// Puts remembered alerts into their rules; gives back those whose rule is gone, with group and file.
fn restore(groups: &mut [Group], remembered: Vec<Remembered>, now_ms: i64) -> Vec<(String, Active)> {
    let mut orphans = Vec::new();
    for alert in remembered {
        let place =
            groups.iter_mut().filter(|g| rule_group(&g.group.name, &g.group.file) == alert.rule_group).find_map(|g| {
                let index = g.group.rules.iter().position(|rule| {
                    let fits = |(name, template): &(String, crate::template::Template)| {
                        template.source().contains("{{") || alert.labels.get(name).unwrap_or("") == template.source()
                    };
                    rule.name == alert.rule && rule.alerting().is_some() && rule.labels.iter().all(fits)
                })?;
                let alerting = g.group.rules[index].alerting()?;
                let for_ms = alerting.levels.iter().map(|l| l.for_ms).max().unwrap_or(alerting.for_ms);
                Some((&mut g.rules[index], for_ms))
            });
        let (state, for_ms) = match place {
            Some((state, for_ms)) => (Some(state), for_ms),
            None => (None, 0),
        };
        let group = alert.rule_group.clone();
        let active = revived(alert, for_ms, now_ms);
        match state {
            Some(state) => {
                state.active.insert(active.fingerprint, active);
            }
            None => orphans.push((group, active)),
        }
    }
    orphans
}

fn revived(alert: Remembered, for_ms: i64, now_ms: i64) -> Active {
    let seen_ms = alert.last_seen_ms.unwrap_or(now_ms);
    let active_at_ms = match alert.firing {
        true => alert.active_at_ms,
        false if for_ms >= GRACE_MS => restored_active_at_ms(alert.active_at_ms, seen_ms, for_ms, GRACE_MS, now_ms),
        // short waits go on where they stopped: the stop does not count
        false => alert.active_at_ms + (now_ms - seen_ms).max(0),
    };
    let mut since_ms = [None; 3];
    since_ms[..=alert.level as usize].fill(Some(active_at_ms));
    let mut result_labels = alert.labels.to_builder();
    result_labels.remove(crate::active::ALERT_NAME);
    let track = Track {
        phase: if alert.firing { Phase::Firing } else { Phase::Pending },
        level: alert.level,
        active_at_ms,
        fired_at_ms: alert.fired_at_ms.filter(|_| alert.firing),
        keep_firing_since_ms: None,
        since_ms,
        value: alert.value,
        blind: false,
    };
    Active {
        id: alert.id,
        fingerprint: alert.fingerprint,
        labels: alert.labels,
        result_labels: result_labels.build(),
        annotations: alert.annotations,
        track,
    }
}
