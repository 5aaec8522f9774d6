//! The inhibit stage: alerts made needless by another that fires are not told.

use std::collections::BTreeMap;

use crate::config::InhibitRule;
use crate::dispatch::{Flush, View};
use proto::Labels;

/// Takes out every firing alert that a rule's target matches while an alert its source matches fires with equal labels.
/// An alert never inhibits itself, nor does one that matches both sides inhibit another that does (as Alertmanager has it).
pub fn stage(flush: &mut Flush, view: &View<'_>) {
    if view.inhibit_rules.is_empty() {
        return;
    }
    let mut withheld = Vec::new();
    flush.alerts.retain(|alert| {
        let labels = Labels::from_pairs(&alert.labels);
        let by = alert
            .is_firing()
            .then(|| inhibitor(&labels, &alert.fingerprint, view.inhibit_rules, view.firing))
            .flatten();
        if let Some(by) = &by {
            withheld.push((alert.clone(), "inhibit", format!("inhibited by {by}")));
        }
        by.is_none()
    });
    flush.withheld.extend(withheld);
}

/// Fingerprint of an alert that makes one with these labels needless.
pub fn inhibitor(
    labels: &Labels,
    fingerprint: &str,
    rules: &[InhibitRule],
    firing: &BTreeMap<String, Labels>,
) -> Option<String> {
    let value = |of: &Labels, name: &str| of.get(name).unwrap_or("").to_string();
    rules.iter().filter(|rule| rule.target.matches(labels)).find_map(|rule| {
        let both_sides = rule.source.matches(labels);
        let source = firing.iter().find(|(other, of)| {
            other.as_str() != fingerprint
                && rule.source.matches(of)
                && !(both_sides && rule.target.matches(of))
                && rule.equal.iter().all(|name| value(of, name) == value(labels, name))
        });
        source.map(|(other, _)| other.clone())
    })
}
