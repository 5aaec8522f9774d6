//! The dedup stage: says whether what is left differs from what the receiver was last told (Alertmanager's DedupStage,
//! with a rise of level as news, and without repetition of what somebody has acknowledged).

use crate::dispatch::{Flush, View};
use crate::message::Why;
use crate::told::ToldEntry;

/// Sets `why`; without anything new it stays `None`. Ends nobody was told the beginning of are left out, unless everything
/// is to be as in Alertmanager.
pub fn stage(flush: &mut Flush, view: &View<'_>) {
    let told = view.told.get(&flush.key);
    if !view.as_alertmanager {
        flush.alerts.retain(|a| a.is_firing() || told.is_some_and(|t| t.firing.contains_key(&a.fingerprint)));
    }
    flush.why = if flush.alerts.is_empty() { None } else { reason(flush, told, view) };
    if !flush.send_resolved {
        flush.alerts.retain(|a| a.is_firing());
        if flush.alerts.is_empty() {
            flush.ends_untold = flush.why.is_some();
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
    let new_end = |a: &&crate::message::AlertNote| !a.is_firing() && !told.resolved.contains(&a.fingerprint);
    let ended = flush.alerts.iter().any(|a| new_end(&a));
    if !any_firing {
        return Some(Why::AllResolved);
    }
    if ended && flush.send_resolved {
        return Some(Why::SomeResolved);
    }
    let mut firing = flush.alerts.iter().filter(|a| a.is_firing());
    let open = firing.any(|a| !view.acknowledged.covers(&a.id, a.level));
    (open && view.now_ms - told.at_ms >= flush.repeat_interval_ms).then_some(Why::Repeat)
}
