//! From config and earlier lives to a room at work.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use query::Querier;
use storage::Store;
use tokio::sync::Notify;

use super::collect::{EVIDENCE_AT_ONCE_MAX, EVIDENCE_WAITING_MAX, Looking};
use super::{Alerting, Clock, Inner, Pipeline, StartError};
use crate::acknowledge::Acknowledged;
use crate::active::Active;
use crate::builtin;
use crate::config::Settings;
use crate::dispatch::Dispatcher;
use crate::evidence::Collector;
use crate::forecast::kept::Forecasts;
use crate::group::Group;
use crate::history::{self, Remembered};
use crate::known::Known;
use crate::ledger::rule_group;
use crate::outbox::Outbox;
use crate::outside;
use crate::rule::RuleGroup;
use crate::rule_file::{self, RuleFileError};
use crate::rule_numbers::RuleNumbers;
use crate::silences::Silences;
use crate::state::{Phase, Track, restored_active_at_ms};
use crate::told::Told;

/// `for` goes on at least this long after a restart (Prometheus' for-grace-period), milliseconds.
const GRACE_MS: i64 = 10 * 60_000;

/// Alerts whose evidence is read again at the start.
const KNOWN_AGAIN_MAX: usize = 100;

/// Alerts whose ends are looked for together.
const ENDS_AT_ONCE: usize = 1_000;

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
        let trees = Arc::new(crate::trees::load(&settings)?);
        let state = |source| StartError::State { folder: folder.clone(), source };
        let (outbox, told_in_outbox) = Outbox::open(&folder.join("outbox")).map_err(state)?;
        let mut told = Told::open(&folder.join("told.json")).map_err(state)?;
        told_in_outbox.into_iter().for_each(|(key, entry)| told.set(key, entry));
        let acknowledged = Acknowledged::open(&folder.join("acknowledged.journal")).map_err(state)?;
        let silences = Silences::open(&folder.join("silences.journal"), clock()).map_err(state)?;
        let client = crate::exchange::client()?;
        let now_ms = clock();
        let mut groups: Vec<Group> = groups.into_iter().map(|g| Group::new(g, now_ms)).collect();
        let mut orphans = Vec::new();
        match history::living(&querier, tenant, now_ms).await {
            Ok(remembered) => orphans = restore(&mut groups, remembered, now_ms),
            Err(e) => tracing::error!(error = e, "alerts of earlier lives can't be read; they begin anew"),
        }
        let evidence = Collector {
            querier: querier.clone(),
            tenant: tenant.into(),
            trees: Arc::new(Mutex::new(trees)),
            forecasts: Forecasts::default(),
        };
        let alerting = Alerting(Arc::new(Inner {
            settings: Mutex::new(Arc::new(settings)),
            store,
            querier,
            tenant: tenant.into(),
            clock,
            groups: tokio::sync::RwLock::new(Vec::new()),
            pipeline: Mutex::new(Pipeline { dispatcher: Dispatcher::default(), told, acknowledged }),
            silences: Mutex::new(silences),
            outside: Mutex::default(),
            outbox,
            known: Mutex::default(),
            client,
            due: Notify::new(),
            outgoing: Notify::new(),
            evidence,
            evidence_places: Arc::new(tokio::sync::Semaphore::new(EVIDENCE_AT_ONCE_MAX)),
            evidence_waiting: Arc::new(tokio::sync::Semaphore::new(EVIDENCE_WAITING_MAX)),
            looking: Looking::default(),
            numbers: RuleNumbers::default(),
        }));
        alerting.0.numbers.keep(groups.iter());
        for group in &groups {
            let firing = group.rules.iter().flat_map(|r| r.active.values()).filter(|a| a.is_firing());
            let name = rule_group(&group.group.name, &group.group.file);
            firing.for_each(|alert| alerting.reintroduce(alert, &name, now_ms));
        }
        alerting.know_again(&groups).await;
        *alerting.0.groups.write().await = groups.into_iter().map(|g| Arc::new(tokio::sync::Mutex::new(g))).collect();
        let timeout_ms = alerting.settings().resolve_timeout_ms;
        let (posted, gone): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|(group, _)| group == outside::RULE_GROUP);
        for (group, alert) in posted {
            // whoever posted it has as long as ever to post it again
            alerting.reintroduce(&alert, &group, now_ms);
            alerting.0.outside.lock().remember(alert, now_ms + timeout_ms);
        }
        alerting.rules_gone(gone, now_ms).await;
        alerting.tell_ends(now_ms).await;
        Ok(alerting)
    }

    /// Alerts somebody was told of that ended before the restart, too late for their group to tell it, join it again.
    async fn tell_ends(&self, now_ms: i64) {
        let told: Vec<String> = {
            let pipeline = self.0.pipeline.lock();
            let ended = |fingerprint: &&str| pipeline.dispatcher.note(fingerprint).is_none();
            pipeline.told.firing().into_iter().filter(ended).map(str::to_string).collect()
        };
        let settings = self.settings();
        let Some(root) = &settings.route else { return };
        for part in told.chunks(ENDS_AT_ONCE) {
            let part: Vec<&str> = part.iter().map(String::as_str).collect();
            let ends = match history::ends(&self.0.querier, &self.0.tenant, &part, now_ms).await {
                Ok(ends) => ends,
                Err(e) => return tracing::error!(error = e, "ends of earlier lives can't be read; they are not told"),
            };
            for (alert, ended_at_ms, reason) in ends {
                let group = alert.rule_group.clone();
                let mut note = self.note(&settings, &revived(alert, 0, now_ms), &group);
                (note.ends_at_ms, note.end_reason) = (Some(ended_at_ms), Some(reason));
                let labels = proto::Labels::from_pairs(&note.labels);
                self.0.pipeline.lock().dispatcher.rejoin_end(root, &labels, &note, now_ms);
            }
        }
    }

    /// What was known of alerts that fired before the restart is known again, for messages about them.
    async fn know_again(&self, groups: &[Group]) {
        let active = groups.iter().flat_map(|g| &g.rules).flat_map(|r| r.active.values());
        let firing: Vec<&str> = active.filter(|a| a.is_firing()).map(|a| a.id.as_str()).take(KNOWN_AGAIN_MAX).collect();
        match history::latest_evidence(&self.0.querier, &self.0.tenant, &firing).await {
            Ok(evidence) => {
                let mut known = self.0.known.lock();
                evidence.iter().for_each(|(id, evidence)| known.set(id, Known::of(evidence)));
            }
            Err(e) => tracing::warn!(error = e, "evidence of earlier lives can't be read; messages go without it"),
        }
    }

    /// An alert that fired before the restart joins its groups again, without a new row in the ledger.
    fn reintroduce(&self, alert: &Active, group: &str, now_ms: i64) {
        let settings = self.settings();
        let note = self.note(&settings, alert, group);
        let labels = proto::Labels::from_pairs(&note.labels);
        let mut pipeline = self.0.pipeline.lock();
        match &settings.route {
            Some(root) => pipeline.dispatcher.rejoin(root, &labels, &note, now_ms),
            None => pipeline.dispatcher.see(&labels, &note),
        }
    }
}

/// Built-in rules and rule files.
pub(super) fn load(settings: &Settings) -> Result<Vec<RuleGroup>, RuleFileError> {
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
            Some(state) => state.adopt(active),
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
        keep_firing_since_ms: alert.keep_firing_since_ms.filter(|_| alert.firing),
        since_ms,
        value: alert.value,
        blind: false,
        flapping: false,
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
