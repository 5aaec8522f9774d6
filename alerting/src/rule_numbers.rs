//! Numbers about rule groups, for the server's own metrics: read at any time, without waiting for an evaluation.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::group::{Group, Health};
use crate::ledger::rule_group;
use crate::sight::Cause;

/// One group's numbers after its last evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupNumbers {
    /// Rules it has.
    pub rules: u64,
    /// Rules evaluated since the group was loaded.
    pub evaluations: u64,
    /// Of these, how many failed.
    pub failures: u64,
    /// Slots that passed without an evaluation.
    pub missed_slots: u64,
    /// Rules whose last evaluation failed.
    pub failing: u64,
    /// Rules that can't see what they watch, by cause in the order of [`Cause::ALL`].
    pub blind: [u64; 3],
    /// How long the last evaluation took, seconds.
    pub seconds: f64,
    /// When it was, milliseconds.
    pub last_evaluation_ms: Option<i64>,
}

impl GroupNumbers {
    /// Of a group as it is.
    pub fn of(group: &Group) -> GroupNumbers {
        let causes =
            |cause| group.rules.iter().filter(|r| r.sight.blind().is_some_and(|b| b.cause == cause)).count() as u64;
        GroupNumbers {
            rules: group.rules.len() as u64,
            evaluations: group.evaluations,
            failures: group.failures,
            missed_slots: group.missed_slots,
            failing: group.rules.iter().filter(|r| matches!(r.health, Health::Err(_))).count() as u64,
            blind: Cause::ALL.map(causes),
            seconds: group.evaluation_s,
            last_evaluation_ms: group.last_evaluation_ms,
        }
    }
}

/// The numbers of every group, by group and file.
#[derive(Debug, Default)]
pub struct RuleNumbers(Mutex<BTreeMap<String, GroupNumbers>>);

impl RuleNumbers {
    /// Notes a group's numbers; a group whose rules a reload just took away is not heard.
    pub fn note(&self, group: &Group) {
        if group.rules.is_empty() {
            return;
        }
        self.0.lock().insert(rule_group(&group.group.name, &group.group.file), GroupNumbers::of(group));
    }

    /// Forgets every group but these.
    pub fn keep<'a>(&self, groups: impl Iterator<Item = &'a Group>) {
        let fresh = groups.map(|g| (rule_group(&g.group.name, &g.group.file), GroupNumbers::of(g))).collect();
        *self.0.lock() = fresh;
    }

    /// All of them.
    pub fn all(&self) -> Vec<(String, GroupNumbers)> {
        self.0.lock().iter().map(|(name, numbers)| (name.clone(), numbers.clone())).collect()
    }
}
