//! One window over a series that the source need not show sample by sample: what `min_over_time` and its like, and rates, want to
//! know of it. A store can tell most of it by the statistics of its chunks.

use super::function_over_time::{larger, smaller};
use super::function_rate::Reach;
use super::value::is_absent;

/// What of a window must be exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digested {
    /// How many samples, smallest and largest value, first and last sample.
    Extremes,
    /// The same, and where a counter was reset.
    Resets,
}

impl Digested {
    /// What a range function of this name wants to know of a window, if that is no more than a digest says.
    pub(super) fn of(function: &str) -> Option<Digested> {
        match function {
            "count_over_time"
            | "present_over_time"
            | "first_over_time"
            | "last_over_time"
            | "min_over_time"
            | "max_over_time"
            | "ts_of_first_over_time"
            | "ts_of_last_over_time"
            | "delta" => Some(Digested::Extremes),
            "rate" | "increase" => Some(Digested::Resets),
            _ => None,
        }
    }
}

/// Floats that follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// When the first is, milliseconds.
    pub first_ms: i64,
    /// When the last is, milliseconds.
    pub last_ms: i64,
    /// How many, at least one.
    pub count: u64,
    /// The first value.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The smallest value, the first of equal ones; NaN only if all are.
    pub min: f64,
    /// The largest value, the first of equal ones; NaN only if all are.
    pub max: f64,
}

/// What is known of a series' window: one run of all its floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    run: Run,
    /// The values before each reset, in order of time.
    before_resets: Vec<f64>,
}

impl Digest {
    /// Joins runs (without a reset inside, if that matters) and samples, each in ascending order of time; staleness markers are left
    /// out. `None` if a sample lies in a run, or nothing is left.
    pub fn join(runs: &[Run], times: &[i64], values: &[f64]) -> Option<Digest> {
        let mut digest: Option<Digest> = None;
        let mut add = |run: Run| match &mut digest {
            None => {
                digest = Some(Digest { run, before_resets: Vec::new() });
                true
            }
            Some(digest) => digest.push(run),
        };
        let mut samples = times.iter().zip(values).filter(|(_, value)| !is_absent(**value)).peekable();
        let sample =
            |(&t, &v): (&i64, &f64)| Run { first_ms: t, last_ms: t, count: 1, first: v, last: v, min: v, max: v };
        for run in runs {
            while let Some(next) = samples.next_if(|(time, _)| **time < run.first_ms) {
                add(sample(next)).then_some(())?;
            }
            add(*run).then_some(())?;
        }
        samples.try_for_each(|next| add(sample(next)).then_some(()))?;
        digest
    }

    /// Puts a run behind; false if it does not lie there.
    fn push(&mut self, next: Run) -> bool {
        let run = &mut self.run;
        if next.first_ms <= run.last_ms {
            return false;
        }
        if next.first < run.last {
            self.before_resets.push(run.last);
        }
        run.min = smaller(run.min, next.min);
        run.max = larger(run.max, next.max);
        (run.last_ms, run.last) = (next.last_ms, next.last);
        run.count += next.count;
        true
    }

    /// How many samples the window has.
    pub(super) fn count(&self) -> u64 {
        self.run.count
    }

    /// The value of a function that [`Digested::of`] knows, for the window between `start_ms` (exclusive) and `end_ms`.
    pub(super) fn value(&self, function: &str, (start_ms, end_ms): (i64, i64)) -> Option<f64> {
        let Run { first_ms, last_ms, count, first, last, min, max } = self.run;
        let seconds = |ms: i64| ms as f64 / 1000.0;
        Some(match function {
            "count_over_time" => count as f64,
            "present_over_time" => 1.0,
            "first_over_time" => first,
            "last_over_time" => last,
            "min_over_time" => min,
            "max_over_time" => max,
            "ts_of_first_over_time" => seconds(first_ms),
            "ts_of_last_over_time" => seconds(last_ms),
            "delta" | "increase" | "rate" if count < 2 => return None,
            "delta" | "increase" | "rate" => {
                let is_counter = function != "delta";
                let resets = if is_counter { &self.before_resets[..] } else { &[] };
                let difference = resets.iter().fold(last - first, |sum, before| sum + before);
                let reach = Reach::of((first_ms, last_ms), count as usize, (start_ms, end_ms), None);
                let to_zero = (is_counter && difference > 0.0 && first >= 0.0).then(|| first / difference);
                let factor = reach.factor(to_zero);
                difference * if function == "rate" { factor / seconds(end_ms - start_ms) } else { factor }
            }
            _ => return None,
        })
    }
}
