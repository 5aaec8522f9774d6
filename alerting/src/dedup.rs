//! The dedup stage: says whether what is left differs from what the receiver was last told (Alertmanager's DedupStage,
//! with a rise of level as news and without repeating
//! what someone acknowledged).

use crate::dispatch::{Flush, View};
use crate::message::{AlertNote, Why};
use crate::told::ToldEntry;

/// Sets `why`; without anything new it stays `None`. Ends nobody was told the beginning of are left out.
pub fn stage(flush: &mut Flush, view: &View<'_>) {
    let told = view.told.get(&flush.key);
    flush.alerts.retain(|a| a.is_firing() || told.is_some_and(|t| t.firing.contains_key(&a.fingerprint)));
    flush.why = reason(flush, told, view);
    if !flush.send_resolved {
        flush.alerts.retain(|a| a.is_firing());
        if flush.alerts.is_empty() {
            flush.why = None;
        }
    }
}

fn reason(flush: &Flush, told: Option<&ToldEntry>, view: &View<'_>) -> Option<Why> {
    let mut firing = flush.alerts.iter().filter(|a| a.is_firing()).peekable();
    let any_firing = firing.peek().is_some();
    let Some(told) = told.filter(|t| !t.firing.is_empty()) else { return any_firing.then_some(Why::First) };
    if firing.any(|a| told.firing.get(&a.fingerprint).is_none_or(|level| *level < a.level)) {
        return Some(Why::NewAlerts);
    }
    let ended = flush.alerts.iter().any(|a| !a.is_firing());
    match (any_firing, ended) {
        (false, true) => Some(Why::AllResolved),
        (true, true) if flush.send_resolved => Some(Why::SomeResolved),
        (true, _) if view.now_ms - told.at_ms >= flush.repeat_interval_ms && !known(flush, view) => Some(Why::Repeat),
        _ => None,
    }
}

/// Whether someone acknowledged every alert that fires, at its level or a worse one: then it is not repeated.
fn known(flush: &Flush, view: &View<'_>) -> bool {
    let known = |a: &AlertNote| view.acknowledged.get(&a.id).is_some_and(|k| k.level >= a.level);
    flush.alerts.iter().filter(|a| a.is_firing()).all(known)
}
