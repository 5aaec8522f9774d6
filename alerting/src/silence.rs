//! The silence stage: what operators asked not to hear of for a while.

use crate::dispatch::{Flush, View};
use crate::matcher::Matchers;
use proto::Labels;

/// A silence, in force from `starts_at_ms` (inclusive) to `ends_at_ms` (exclusive).
#[derive(Clone, Debug)]
pub struct Silence {
    /// Unique.
    pub id: String,
    /// Whose alerts.
    pub matchers: Matchers,
    /// From when, milliseconds.
    pub starts_at_ms: i64,
    /// Until when, milliseconds.
    pub ends_at_ms: i64,
    /// Who asked.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// Takes out every alert a silence in force matches.
pub fn stage(flush: &mut Flush, view: &View<'_>) {
    let in_force = |s: &&Silence| s.starts_at_ms <= view.now_ms && view.now_ms < s.ends_at_ms;
    let silences: Vec<&Silence> = view.silences.iter().filter(in_force).collect();
    if silences.is_empty() {
        return;
    }
    let mut withheld = Vec::new();
    flush.alerts.retain(|alert| {
        let labels = Labels::from_pairs(&alert.labels);
        let by = silences.iter().find(|s| s.matchers.matches(&labels));
        if let Some(by) = by {
            withheld.push((alert.clone(), "silence", format!("silenced by {}", by.id)));
        }
        by.is_none()
    });
    flush.withheld.extend(withheld);
}
