//! New rules and settings while everything runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::start::load;
use super::{Alerting, StartError};
use crate::active::Active;
use crate::config::Settings;
use crate::group::{Group, mark_stale};
use crate::ledger::rule_group;
use crate::outside;
use crate::rule::RuleGroup;

impl Alerting {
    /// Reads the rule files again; what they change takes effect at once, all of it or, on an error, nothing.
    pub async fn reload(&self, settings: Settings) -> Result<(), StartError> {
        let fresh = load(&settings)?;
        let trees = Arc::new(crate::trees::load(&settings)?);
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
        let mut fresh_groups = Vec::new();
        for rules in fresh {
            let mut group = Group::new(rules, now_ms);
            if let Some(before) = old.remove(&(group.group.file.clone(), group.group.name.clone())) {
                let name = rule_group(&group.group.name, &group.group.file);
                gone.extend(group.take_over(before).into_iter().map(|(_, alert)| (name.clone(), alert)));
            }
            fresh_groups.push(group);
        }
        self.0.numbers.keep(fresh_groups.iter());
        let mut firing: Vec<(String, Active)> = Vec::new();
        for group in &fresh_groups {
            let name = rule_group(&group.group.name, &group.group.file);
            firing.extend(group.rules.iter().flat_map(|r| r.active.values()).map(|a| (name.clone(), a.clone())));
        }
        groups.extend(fresh_groups.into_iter().map(|g| Arc::new(tokio::sync::Mutex::new(g))));
        for group in old.into_values() {
            mark_stale(&self.0.store, &self.0.tenant, group.written(), (now_ms, now_ms));
            let name = rule_group(&group.group.name, &group.group.file);
            gone.extend(group.rules.into_iter().flat_map(|r| r.active.into_values()).map(|a| (name.clone(), a)));
        }
        self.0.evidence.judge_by(trees);
        firing.extend(gone.iter().cloned());
        self.reroute(settings, firing, now_ms);
        drop(groups);
        self.rules_gone(gone, now_ms).await;
        self.0.due.notify_one();
        Ok(())
    }

    /// Puts settings in force, for alerts that fire already too: they go where the new routes lead.
    fn reroute(&self, settings: Settings, mut firing: Vec<(String, Active)>, now_ms: i64) {
        let outside =
            self.0.outside.lock().iter().map(|o| (outside::RULE_GROUP.into(), o.active.clone())).collect::<Vec<_>>();
        firing.extend(outside);
        firing.retain(|(_, alert)| alert.is_firing());
        let notes: Vec<_> = firing.iter().map(|(group, alert)| self.note(&settings, alert, group)).collect();
        let mut pipeline = self.0.pipeline.lock();
        pipeline.dispatcher.reroute(settings.route.as_ref(), &notes, now_ms);
        *self.0.settings.lock() = Arc::new(settings);
    }
}
