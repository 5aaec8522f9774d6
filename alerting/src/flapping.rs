//! Whether an alert flaps: begins and ends so often that its messages say nothing new. Pure: times in, a verdict out.
//!
//! Each beginning and each end counts one and fades with a half-life. The score that makes an alert flap is higher than the
//! one that lets it be steady again, so that the flag itself does not flap.

use std::collections::VecDeque;

/// After this long a change counts half, milliseconds.
pub const HALF_LIFE_MS: i64 = 600_000;
/// From this score on an alert flaps: six changes within a few minutes.
pub const FLAPPING_FROM: f64 = 5.0;
/// Below this score it is steady again: about eighteen minutes without a change.
pub const STEADY_BELOW: f64 = 1.5;
/// Changes remembered of one alert; with this many within a half-life it flaps in any case.
const CHANGES_MAX: usize = 16;

const _: () = assert!(STEADY_BELOW < FLAPPING_FROM && FLAPPING_FROM * 2.0 < CHANGES_MAX as f64);

/// The changes of one label set of one rule, over all its lives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flaps {
    changes_ms: VecDeque<i64>,
    flapping: bool,
}

impl Flaps {
    /// It began to fire, or resolved.
    pub fn changed(&mut self, ts_ms: i64) {
        if self.changes_ms.len() == CHANGES_MAX {
            self.changes_ms.pop_front();
        }
        self.changes_ms.push_back(ts_ms);
    }

    /// How many changes count at a moment.
    pub fn score(&self, now_ms: i64) -> f64 {
        let weight = |then_ms: &i64| 0.5f64.powf((now_ms - then_ms).max(0) as f64 / HALF_LIFE_MS as f64);
        self.changes_ms.iter().map(weight).sum()
    }

    /// Whether it flaps at a moment.
    pub fn judge(&mut self, now_ms: i64) -> bool {
        let score = self.score(now_ms);
        self.flapping = if self.flapping { score >= STEADY_BELOW } else { score >= FLAPPING_FROM };
        self.flapping
    }

    /// Whether there is nothing left to remember.
    pub fn is_over(&self, now_ms: i64) -> bool {
        !self.flapping && self.score(now_ms) < 0.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    /// Changes at these minutes; expected: the minutes, of a hundred, at which the verdict turns.
    fn check(changes: &[i64], expected: &[i64]) {
        let (mut flaps, mut turned, mut before) = (Flaps::default(), Vec::new(), false);
        for minute in 0..100 {
            changes.iter().filter(|c| **c == minute).for_each(|_| flaps.changed(minute * MINUTE_MS));
            let now = flaps.judge(minute * MINUTE_MS);
            if now != before {
                turned.push(minute);
            }
            before = now;
        }
        assert_eq!(turned, expected, "{changes:?}");
    }

    #[test]
    fn many_changes_flap_and_a_calm_while_ends_it() {
        check(&[], &[]);
        check(&[0, 1, 2, 3], &[]);
        check(&[0, 1, 2, 3, 4, 5], &[5, 23]);
        // once an hour is no flapping, however long it goes on
        check(&[0, 10, 60, 70], &[]);
        // a change now and then keeps it flapping for longer
        check(&[0, 1, 2, 3, 4, 5, 20, 22, 40], &[5, 34]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_fades() {
        let mut flaps = Flaps::default();
        (0..10_000).for_each(|i| flaps.changed(i * 1000));
        assert_eq!(flaps.changes_ms.len(), CHANGES_MAX);
        assert!(flaps.judge(10_000_000) && !flaps.is_over(10_000_000));
        assert!(!flaps.judge(100_000_000) && flaps.is_over(100_000_000));
    }
}
