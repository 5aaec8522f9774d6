//! The state machine of one alert: a pure function on a virtual clock.
//!
//! Phase (pending, firing; inactive is the absence of a track) × level × flags. A reading of the rule's expression goes
//! in, the next track and the transitions with their reasons come out. Prometheus rules have one level, whose condition is
//! "the expression returned this label set"; rules with levels have a threshold, a `for` and a recovery condition each.

use crate::level::Level;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The condition holds, not yet for long enough.
    Pending,
    /// It held for long enough.
    Firing,
}

impl Phase {
    /// As Prometheus names it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
        }
    }
}

/// What is remembered about one alert between evaluations. Times are milliseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Where it stands.
    pub phase: Phase,
    /// How bad it is; while pending, the worst level under way.
    pub level: Level,
    /// When its condition first held.
    pub active_at_ms: i64,
    /// When it began to fire.
    pub fired_at_ms: Option<i64>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since_ms: Option<i64>,
    /// Per level, mildest first: since when its condition holds.
    pub since_ms: [Option<i64>; 3],
    /// The last value seen.
    pub value: f64,
    /// The rule can't see: the state is held.
    pub blind: bool,
    /// It begins and ends too often (`flapping`).
    pub flapping: bool,
}

/// One level's condition at this evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelReading {
    /// Which level.
    pub level: Level,
    /// How long the condition must hold.
    pub for_ms: i64,
    /// Whether it holds.
    pub holds: bool,
    /// Whether, once reached, the level stays: the recovery condition isn't met yet.
    pub stays: bool,
}

/// What one evaluation says about one alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading<'a> {
    /// The expression returned this label set.
    Seen {
        /// Its value.
        value: f64,
        /// The rule's levels, mildest first.
        levels: &'a [LevelReading],
    },
    /// The expression did not return this label set: its condition is false.
    Absent,
    /// The expression has no value for this label set, so that its levels can't be judged: what it watched is gone.
    NoData,
    /// The expression could not be evaluated, or looked at nothing.
    Blind,
    /// The expression's value is NaN: there is something, but no level says anything about it.
    NotANumber,
    /// The rule is no longer there.
    RuleGone,
    /// The rule found more than its group's `limit` allows.
    LimitExceeded,
}

/// A step in an alert's life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Became pending.
    Pending,
    /// Began to fire.
    Fired,
    /// Fires at another level.
    LevelChanged {
        /// The level before.
        from: Level,
    },
    /// Firing goes on as pending: `for` was raised.
    BackToPending,
    /// Was pending and is gone without having fired.
    Dropped,
    /// The condition ended; it fires on because of `keep_firing_for`.
    Kept,
    /// The condition holds again while it was kept.
    HoldsAgain,
    /// No longer fires.
    Resolved,
    /// The rule can't see; the state is held.
    Blinded,
    /// The rule sees again.
    Sighted,
    /// It begins and ends too often.
    Flapping,
    /// It no longer does.
    Steady,
}

impl Change {
    /// The event's name in the ledger.
    pub fn event(self) -> &'static str {
        match self {
            Change::Pending | Change::BackToPending => "pending",
            Change::Fired => "firing",
            Change::LevelChanged { .. } => "level",
            Change::Dropped => "inactive",
            Change::Kept => "keep_firing",
            Change::HoldsAgain => "holds_again",
            Change::Resolved => "resolved",
            Change::Blinded => "blind",
            Change::Sighted => "sighted",
            Change::Flapping => "flapping",
            Change::Steady => "steady",
        }
    }
}

/// Why a step was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The condition holds.
    ConditionHolds,
    /// It held for as long as the rule asks.
    HeldLongEnough,
    /// `for` was raised above the time it has held.
    ForRaised,
    /// The expression no longer returns this label set.
    ConditionFalse,
    /// The recovery condition of the level is met.
    Recovered,
    /// What the rule watched gives no value any more.
    NoData,
    /// The rule found more than its group's `limit` allows: all its alerts are dropped.
    LimitExceeded,
    /// `keep_firing_for` is over.
    KeptLongEnough,
    /// The rule was removed or changed its identity.
    RuleGone,
    /// Somebody outside posted it.
    Posted,
    /// Who posted it says that it is over.
    PostedEnd,
    /// Who posted it has not said so again in time.
    TimedOut,
    /// The query failed or its selectors match nothing.
    CannotSee,
    /// The value is NaN, which lies on no side of a threshold.
    NotANumber,
    /// The query answers again.
    SeesAgain,
    /// How often it began and ended lately.
    ChangeRate,
}

impl Reason {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Reason::ConditionHolds => "condition_holds",
            Reason::HeldLongEnough => "held_long_enough",
            Reason::ForRaised => "for_raised",
            Reason::ConditionFalse => "condition_false",
            Reason::Recovered => "recovered",
            Reason::NoData => "no_data",
            Reason::LimitExceeded => "limit_exceeded",
            Reason::KeptLongEnough => "keep_firing_over",
            Reason::RuleGone => "rule_gone",
            Reason::Posted => "posted",
            Reason::PostedEnd => "posted_end",
            Reason::TimedOut => "timed_out",
            Reason::CannotSee => "cannot_see",
            Reason::NotANumber => "not_a_number",
            Reason::SeesAgain => "sees_again",
            Reason::ChangeRate => "change_rate",
        }
    }
}

/// A step with its reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// What happened.
    pub change: Change,
    /// Why.
    pub reason: Reason,
}

/// The next state of an alert, given the one before (`None`: inactive), one reading, the rule's `keep_firing_for` in
/// milliseconds and the evaluation's time. `None` comes out when the alert is inactive (again).
pub fn step(
    before: Option<&Track>,
    reading: Reading<'_>,
    keep_firing_for_ms: i64,
    ts_ms: i64,
) -> (Option<Track>, Vec<Transition>) {
    match (before, reading) {
        (None, Reading::Seen { value, levels }) => begin(value, levels, ts_ms),
        (None, _) => (None, Vec::new()),
        (Some(track), Reading::Seen { value, levels }) => go_on(track, value, levels, keep_firing_for_ms, ts_ms),
        (Some(track), Reading::Absent) => {
            end(track.clone(), Vec::new(), Reason::ConditionFalse, keep_firing_for_ms, ts_ms)
        }
        (Some(track), Reading::NoData) => end(track.clone(), Vec::new(), Reason::NoData, keep_firing_for_ms, ts_ms),
        (Some(track), Reading::Blind) => hold(track, Reason::CannotSee),
        (Some(track), Reading::NotANumber) => hold(track, Reason::NotANumber),
        (Some(track), Reading::RuleGone) => (None, vec![cut_off(track, Reason::RuleGone)]),
        (Some(track), Reading::LimitExceeded) => (None, vec![cut_off(track, Reason::LimitExceeded)]),
    }
}

/// Stays as it was, and says once that this is not because it was looked at.
fn hold(track: &Track, reason: Reason) -> (Option<Track>, Vec<Transition>) {
    let steps = match track.blind {
        true => Vec::new(),
        false => vec![Transition { change: Change::Blinded, reason }],
    };
    (Some(Track { blind: true, ..track.clone() }), steps)
}

/// An end for a reason that lies in the rule, not in what it watches.
fn cut_off(track: &Track, reason: Reason) -> Transition {
    let change = if track.phase == Phase::Firing { Change::Resolved } else { Change::Dropped };
    Transition { change, reason }
}

fn begin(value: f64, levels: &[LevelReading], ts_ms: i64) -> (Option<Track>, Vec<Transition>) {
    let mut since_ms = [None; 3];
    for reading in levels.iter().filter(|l| l.holds) {
        since_ms[reading.level as usize] = Some(ts_ms);
    }
    let Some(level) = worst(&since_ms) else { return (None, Vec::new()) };
    let mut track = Track {
        phase: Phase::Pending,
        level,
        active_at_ms: ts_ms,
        fired_at_ms: None,
        keep_firing_since_ms: None,
        since_ms,
        value,
        blind: false,
        flapping: false,
    };
    let mut steps = vec![Transition { change: Change::Pending, reason: Reason::ConditionHolds }];
    if let Some(level) = raised(&track.since_ms, levels, ts_ms) {
        fire(&mut track, level, ts_ms);
        steps.push(Transition { change: Change::Fired, reason: Reason::HeldLongEnough });
    }
    (Some(track), steps)
}

fn go_on(
    before: &Track,
    value: f64,
    levels: &[LevelReading],
    keep_firing_for_ms: i64,
    ts_ms: i64,
) -> (Option<Track>, Vec<Transition>) {
    let mut track = Track { value, blind: false, ..before.clone() };
    let mut steps = Vec::new();
    if before.blind {
        steps.push(Transition { change: Change::Sighted, reason: Reason::SeesAgain });
    }
    let mut since_ms = [None; 3];
    for reading in levels {
        let i = reading.level as usize;
        let reached = before.phase == Phase::Firing && before.level >= reading.level;
        since_ms[i] = match reading.holds || reached && reading.stays {
            true => track.since_ms[i].or(Some(ts_ms)),
            false => None,
        };
    }
    track.since_ms = since_ms;
    let Some(under_way) = worst(&since_ms) else {
        return end(track, steps, Reason::Recovered, keep_firing_for_ms, ts_ms);
    };
    if track.keep_firing_since_ms.take().is_some() {
        steps.push(Transition { change: Change::HoldsAgain, reason: Reason::ConditionHolds });
    }
    match (before.phase, raised(&since_ms, levels, ts_ms)) {
        (Phase::Pending, Some(level)) => {
            fire(&mut track, level, ts_ms);
            steps.push(Transition { change: Change::Fired, reason: Reason::HeldLongEnough });
        }
        (Phase::Pending, None) => track.level = under_way,
        (Phase::Firing, Some(level)) if level > before.level => {
            track.level = level;
            steps.push(level_changed(before.level, Reason::HeldLongEnough));
        }
        (Phase::Firing, _) if since_ms[before.level as usize].is_some() => {
            // Prometheus' rules have one level; ours keep firing when a reload raises a level's `for`
            if let [only] = levels
                && ts_ms - track.active_at_ms < only.for_ms
            {
                back_to_pending(&mut track, &mut steps);
            }
        }
        // the level was left: a milder one whose condition holds needs no `for` on the way down
        (Phase::Firing, _) => match worst(&since_ms[..before.level as usize]) {
            Some(milder) => {
                track.level = milder;
                steps.push(level_changed(before.level, Reason::Recovered));
            }
            None => {
                track.level = under_way;
                back_to_pending(&mut track, &mut steps);
            }
        },
    }
    (Some(track), steps)
}

fn level_changed(from: Level, reason: Reason) -> Transition {
    Transition { change: Change::LevelChanged { from }, reason }
}

fn back_to_pending(track: &mut Track, steps: &mut Vec<Transition>) {
    track.phase = Phase::Pending;
    track.fired_at_ms = None;
    steps.push(Transition { change: Change::BackToPending, reason: Reason::ForRaised });
}

/// The condition holds no more.
fn end(
    mut track: Track,
    mut steps: Vec<Transition>,
    reason: Reason,
    keep_firing_for_ms: i64,
    ts_ms: i64,
) -> (Option<Track>, Vec<Transition>) {
    if track.phase == Phase::Pending {
        steps.push(Transition { change: Change::Dropped, reason });
        return (None, steps);
    }
    let mut reason = reason;
    if keep_firing_for_ms > 0 {
        if track.keep_firing_since_ms.is_none() {
            steps.push(Transition { change: Change::Kept, reason });
        }
        let since = *track.keep_firing_since_ms.get_or_insert(ts_ms);
        if ts_ms - since < keep_firing_for_ms {
            (track.blind, track.since_ms) = (false, [None; 3]);
            return (Some(track), steps);
        }
        reason = Reason::KeptLongEnough;
    }
    steps.push(Transition { change: Change::Resolved, reason });
    (None, steps)
}

fn fire(track: &mut Track, level: Level, ts_ms: i64) {
    track.phase = Phase::Firing;
    track.level = level;
    track.fired_at_ms = Some(ts_ms);
}

/// The worst level whose condition holds, of the mildest levels given.
fn worst(since_ms: &[Option<i64>]) -> Option<Level> {
    Level::ALL.into_iter().take(since_ms.len()).rev().find(|l| since_ms[*l as usize].is_some())
}

/// The worst level whose condition held for long enough.
fn raised(since_ms: &[Option<i64>; 3], levels: &[LevelReading], ts_ms: i64) -> Option<Level> {
    let held = |l: &&LevelReading| since_ms[l.level as usize].is_some_and(|since| ts_ms - since >= l.for_ms);
    levels.iter().filter(held).map(|l| l.level).max()
}

/// Where `for` goes on after a stop, by what Prometheus does (rules/manager.go, RestoreForState): over already → as it was;
/// nearly over → `grace_ms` from now; else the stop does not count. Gives the new `active_at_ms`.
pub fn restored_active_at_ms(active_at_ms: i64, last_seen_ms: i64, for_ms: i64, grace_ms: i64, now_ms: i64) -> i64 {
    let remaining_ms = for_ms - (last_seen_ms - active_at_ms);
    if remaining_ms <= 0 {
        active_at_ms
    } else if remaining_ms < grace_ms {
        now_ms + grace_ms - for_ms
    } else {
        active_at_ms + (now_ms - last_seen_ms)
    }
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
