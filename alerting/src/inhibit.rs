//! The inhibit stage: alerts made needless by another that fires are not told.

use std::collections::BTreeMap;

use proto::Labels;

use crate::config::InhibitRule;
use crate::dispatch::{Flush, View};

/// Every alert that fires, by its fingerprint.
pub type Firing = BTreeMap<String, Labels>;

/// Per rule: the firing alerts that may inhibit, by the values of the labels that must be equal. Made once a look, so that
/// a thousand alerts are not compared with a thousand others.
#[derive(Debug, Default)]
pub struct Sources<'a>(Vec<Equal<'a>>);

/// Fingerprints and labels by the values of the labels that must be equal.
type Equal<'a> = BTreeMap<Vec<&'a str>, Vec<(&'a str, &'a Labels)>>;

impl<'a> Sources<'a> {
    /// Finds them.
    pub fn of(rules: &[InhibitRule], firing: &'a Firing) -> Sources<'a> {
        let of_rule = |rule: &InhibitRule| {
            let mut sources = Equal::new();
            for (fingerprint, labels) in firing.iter().filter(|(_, labels)| rule.source.matches(labels)) {
                sources.entry(values(rule, labels)).or_default().push((fingerprint, labels));
            }
            sources
        };
        Sources(rules.iter().map(of_rule).collect())
    }

    /// The fingerprint of an alert that inhibits these labels. An alert never inhibits itself, nor does one that matches both
    /// sides inhibit another that does (as Alertmanager has it).
    pub fn inhibitor(&self, rules: &[InhibitRule], labels: &Labels, fingerprint: &str) -> Option<&'a str> {
        rules.iter().zip(&self.0).filter(|(rule, sources)| !sources.is_empty() && rule.target.matches(labels)).find_map(
            |(rule, sources)| {
                let both_sides = rule.source.matches(labels);
                let equal = sources.get(&values(rule, labels))?;
                let allowed = |of: &Labels| !(both_sides && rule.target.matches(of));
                equal.iter().find(|(other, of)| *other != fingerprint && allowed(of)).map(|(other, _)| *other)
            },
        )
    }
}

fn values<'a>(rule: &InhibitRule, labels: &'a Labels) -> Vec<&'a str> {
    rule.equal.iter().map(|name| labels.get(name).unwrap_or("")).collect()
}

/// Takes out every alert a rule's target matches while an alert its source matches fires with equal labels. Ends go through,
/// unless everything is to be as in Alertmanager.
pub fn stage(flush: &mut Flush, view: &View<'_>) {
    if view.inhibit_rules.is_empty() {
        return;
    }
    let mut withheld = Vec::new();
    flush.alerts.retain(|alert| {
        let labels = Labels::from_pairs(&alert.labels);
        let asked = alert.is_firing() || view.as_alertmanager;
        let by = asked.then(|| view.sources.inhibitor(view.inhibit_rules, &labels, &alert.fingerprint)).flatten();
        if let Some(by) = by {
            withheld.push((alert.clone(), "inhibit", format!("inhibited by {by}")));
        }
        by.is_none()
    });
    flush.withheld.extend(withheld);
}
