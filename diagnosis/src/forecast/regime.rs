//! Which part of a series tells of its future: after a reset, a cleanup or a lasting shift of its level only what follows
//! counts, and so after its growth changed; unless jumps belong to a season, or a season needs what lies before them.

use super::line::Line;
use super::order::{median, range, spread};
use super::season::{CYCLES_MIN, seasons};
use super::series::POINTS_MIN;

/// A step between neighbours is a jump if it is this many times the usual spread of steps …
const JUMP_SPREADS: f64 = 8.0;
/// … and if what lies after it differs lastingly by this part of the series' range.
const SHIFT_PART: f64 = 0.08;
/// … and by this many times the noise around it.
const SHIFT_NOISES: f64 = 5.0;
/// More shifts than this in both directions are the nature of the series, not events.
const SHIFTS_MAX: usize = 6;
/// Its growth has changed if the difference, over the newer part, is this many times the noise …
const TREND_NOISES: f64 = 14.0;
/// … and the newer part is straight: what the line leaves is at most this part of the difference.
const TREND_ROUGH_MAX: f64 = 0.12;

/// A series that was reset this often always in the same region is believed to be reset there again …
const RENEWALS_MIN: usize = 3;
/// … if that region is at most this part of the series' range.
const RENEWAL_SPAN_MAX: f64 = 0.3;

/// Why a series begins where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// All that was asked for counts.
    Beginning,
    /// Its level shifted: a reset, a cleanup, a move.
    Shift,
    /// Its growth changed.
    TrendChange,
}

impl Since {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Since::Beginning => "beginning",
            Since::Shift => "level_shift",
            Since::TrendChange => "trend_change",
        }
    }
}

/// The part that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Regime {
    /// Position of its first value in the series.
    pub start: usize,
    /// Its values; where a season needed what lies before a shift, that part is moved to the level after it.
    pub values: Vec<f64>,
    /// Its seasons in steps, shortest first.
    pub seasons: Vec<usize>,
    /// Why it begins there.
    pub since: Since,
    /// Where it was reset again and again, if it was.
    pub renewal: Option<Renewal>,
}

/// A series that grows (or shrinks) and is reset always in the same region: a cleanup when a disk is nearly full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renewal {
    /// It is reset downward; else upward.
    pub is_down: bool,
    /// Where resets began at the earliest.
    pub first: f64,
    /// Where they began at the latest: it never went beyond.
    pub last: f64,
    /// The farthest it fell back to.
    pub back: f64,
}

/// The region a series is reset in, if its shifts are resets.
fn renewal(values: &[f64], shifts: &[Shift]) -> Option<Renewal> {
    let is_down = shifts.last()?.by < 0.0;
    let resets: Vec<&Shift> = shifts.iter().filter(|s| (s.by < 0.0) == is_down).collect();
    if resets.len() < RENEWALS_MIN || resets.len() * 5 < shifts.len() * 4 {
        return None;
    }
    let most = |all: &mut dyn Iterator<Item = f64>| all.fold(f64::NEG_INFINITY, f64::max);
    let least = |all: &mut dyn Iterator<Item = f64>| all.fold(f64::INFINITY, f64::min);
    let peaks: Vec<f64> = resets.iter().map(|s| values[s.at - 1]).collect();
    let (low, high) = (least(&mut peaks.iter().copied()), most(&mut peaks.iter().copied()));
    let after = &mut resets.iter().map(|s| values[s.at]);
    let (first, last, back) = if is_down { (low, high, least(after)) } else { (high, low, most(after)) };
    (high - low <= RENEWAL_SPAN_MAX * range(values)).then_some(Renewal { is_down, first, last, back })
}

/// A lasting change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shift {
    /// Position of the first value at the new level.
    at: usize,
    /// By how much.
    by: f64,
}

/// Finds the part that counts.
pub fn regime(values: &[f64], step_ms: i64) -> Regime {
    let n = values.len();
    let whole =
        |values: Vec<f64>, seasons| Regime { start: 0, values, seasons, since: Since::Beginning, renewal: None };
    if range(values) == 0.0 {
        return whole(values.to_vec(), Vec::new());
    }
    let shifts = shifts(values);
    let at: Vec<usize> = shifts.iter().map(|s| s.at).collect();
    let seasonal = seasons(values, step_ms, &at);
    let lone: Vec<Shift> = shifts.iter().filter(|s| !repeats(s, &shifts, &seasonal)).copied().collect();
    let down = lone.iter().filter(|s| s.by < 0.0).count();
    let restless = lone.len() > SHIFTS_MAX && (down * 5 > lone.len() && down * 5 < lone.len() * 4);
    let last = lone.last().copied().filter(|_| !restless);
    let Some(last) = last else {
        if !seasonal.is_empty() {
            return whole(values.to_vec(), seasonal);
        }
        return match trend_change(values) {
            Some(start) => Regime {
                start,
                values: values[start..].to_vec(),
                seasons: Vec::new(),
                since: Since::TrendChange,
                renewal: None,
            },
            None => whole(values.to_vec(), Vec::new()),
        };
    };
    let level = spliced(values, &lone);
    let seasonal = if seasonal.is_empty() { seasons(&level, step_ms, &[]) } else { seasonal };
    let after = &values[last.at..];
    let longest = seasonal.last().copied().unwrap_or(0);
    if !seasonal.is_empty() && after.len() < CYCLES_MIN * longest {
        return Regime { start: 0, values: level, seasons: seasonal, since: Since::Shift, renewal: None };
    }
    let start = match trend_change(after) {
        Some(offset) if seasonal.is_empty() => last.at + offset,
        _ => last.at,
    };
    let since = if start == last.at { Since::Shift } else { Since::TrendChange };
    debug_assert!(start < n);
    Regime { start, values: values[start..].to_vec(), seasons: seasonal, since, renewal: renewal(values, &lone) }
}

/// Every lasting change of level, in order.
fn shifts(values: &[f64]) -> Vec<Shift> {
    let n = values.len();
    let window = (n / 50).clamp(3, 24);
    let steps: Vec<f64> = values.windows(2).map(|w| w[1] - w[0]).collect();
    let (usual, bound) = (median(&steps), JUMP_SPREADS * spread(&steps));
    let total = range(values);
    let is_jump = |d: f64| (d - usual).abs() > bound.max(1e-9 * total);
    // jumps that follow one another closely are one event
    let mut events: Vec<(usize, usize)> = Vec::new();
    for (i, d) in steps.iter().enumerate().filter(|(_, d)| is_jump(**d)) {
        match events.last_mut() {
            Some((first, last)) if i - *last <= 2 && (d - usual).signum() == (steps[*first] - usual).signum() => {
                *last = i
            }
            _ => events.push((i, i)),
        }
    }
    if events.len() > n / 4 {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (first, last) in events {
        let before = &values[(first + 1).saturating_sub(window)..=first];
        let after = &values[last + 1..(last + 1 + window).min(n)];
        if before.len() < 2 || after.len() < 2 {
            continue;
        }
        let (b, a) = (Line::through(before), Line::through(after));
        let by = a.at(0.0) - b.at(before.len() as f64);
        let jump = values[last + 1] - values[first];
        let noise = spread(&b.residuals(before)).max(spread(&a.residuals(after))).max(bound / JUMP_SPREADS);
        let lasting = median(after) - median(before) - usual * window as f64;
        let same_way = by * jump > 0.0 && lasting * jump > 0.0;
        if same_way && by.abs() > 0.5 * jump.abs() && by.abs() > SHIFT_PART * total && by.abs() > SHIFT_NOISES * noise {
            found.push(Shift { at: last + 1, by });
        }
    }
    found
}

/// Whether a season explains a shift: one of its kind lies a period before it, or after the first of them.
fn repeats(shift: &Shift, all: &[Shift], seasons: &[usize]) -> bool {
    let like = |other: &Shift| other.by * shift.by > 0.0 && (0.4..2.5).contains(&(other.by / shift.by));
    seasons.iter().any(|period| {
        let slack = (period / 10).max(2);
        all.iter().any(|other| {
            let distance = other.at.abs_diff(shift.at);
            like(other) && other.at != shift.at && distance.abs_diff(*period) <= slack
        })
    })
}

/// The series with everything before each shift moved to the level after it.
fn spliced(values: &[f64], shifts: &[Shift]) -> Vec<f64> {
    let mut level = values.to_vec();
    for shift in shifts {
        level[..shift.at].iter_mut().for_each(|v| *v += shift.by);
    }
    level
}

/// Where the growth of a series changed lastingly, if it did: the newer part that differs most from what lies before it.
fn trend_change(values: &[f64]) -> Option<usize> {
    let n = values.len();
    let mut best: Option<(f64, usize)> = None;
    let mut length = POINTS_MIN;
    while length * 2 <= n {
        let (older, newer) = (&values[n.saturating_sub(3 * length)..n - length], &values[n - length..]);
        let (before, now) = (Line::through(older), Line::through(newer));
        let change = (now.slope - before.slope).abs() * length as f64;
        let rough = spread(&now.residuals(newer));
        let noise = rough.max(spread(&before.residuals(older)));
        if change > TREND_NOISES * noise && rough < TREND_ROUGH_MAX * change && change > 0.01 * range(values) {
            let score = change / noise.max(1e-12);
            if best.is_none_or(|(s, _)| score > s) {
                best = Some((score, n - length));
            }
        }
        length = (length * 3 / 2).max(length + 1);
    }
    best.map(|(_, start)| start)
}
