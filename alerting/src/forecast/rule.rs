//! A rule that watches what is to come: `forecast:` in a rule file.
//!
//! Its value is the time until the limit is reached, in seconds; its levels say within which time that is worth how much:
//! a level is entered when the limit is reached `within` its time and left when it is not reached within a quarter more.

use diagnosis::forecast::{Direction, Threshold};
use query::promql::Expr;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Ask;
use crate::level::Level;
use crate::rule::{LevelRule, Side};

/// A level is left when the limit is farther away than this many times the level's time.
pub const RECOVERY: f64 = 1.25;
/// Share of values the intervals hold unless said, between 0 and 1.
pub const CONFIDENCE: f64 = 0.8;
/// Most series of one rule unless said.
pub const SERIES_MAX: usize = 200;
/// Most series a rule may be given.
pub const SERIES_END: usize = 2_000;
/// A forecast is made anew after this part of its horizon …
const REFRESH_PART: i64 = 200;
/// … and at least this often, milliseconds.
const REFRESH_MS_MAX: i64 = 10 * 60_000;

/// As written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawForecast {
    expr: Spanned<String>,
    horizon: Spanned<String>,
    crosses: Spanned<RawCrosses>,
    confidence: Option<Spanned<f64>>,
    history: Option<Spanned<String>>,
    step: Option<Spanned<String>>,
    series_max: Option<Spanned<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCrosses {
    above: Option<f64>,
    below: Option<f64>,
}

/// What a forecast rule asks.
#[derive(Clone, Debug)]
pub struct ForecastSource {
    /// The tree of the expression that is foreseen.
    pub expr: Box<Expr>,
    /// How far ahead the rule looks, milliseconds; the question looks a quarter farther, so that recovery is seen.
    pub horizon_ms: i64,
    /// The limit.
    pub threshold: Threshold,
    /// The question.
    pub ask: Ask,
}

impl ForecastSource {
    /// How old a forecast may be that is still used, milliseconds.
    pub fn refresh_ms(&self) -> i64 {
        (self.horizon_ms / REFRESH_PART).min(REFRESH_MS_MAX)
    }

    /// The level of a rule that names none.
    pub fn only_level(&self, level: Level, for_ms: i64) -> LevelRule {
        level_rule(level, self.horizon_ms, for_ms)
    }
}

/// A level that is entered when the limit is reached within `within_ms`.
pub fn level_rule(level: Level, within_ms: i64, for_ms: i64) -> LevelRule {
    let threshold = within_ms as f64 / 1000.0;
    LevelRule { level, side: Side::Below, threshold, recover: threshold * RECOVERY, for_ms }
}

/// Line and text of what is wrong.
pub(crate) type Wrong = (u64, String);

impl RawForecast {
    /// Checks everything; errors name the field and what is allowed.
    pub(crate) fn check(self) -> Result<ForecastSource, Wrong> {
        let wrong = |line: u64, field: &str, why: String| (line, format!("field forecast.{field}: {why}"));
        let span = |text: &Spanned<String>, field: &str| {
            let line = text.referenced.line();
            match query::promql::number::parse_duration_ms(&text.value) {
                Ok(ms) if ms > 0 => Ok(ms),
                Ok(_) => Err(wrong(line, field, "must be longer than 0".into())),
                Err(e) => Err(wrong(line, field, format!("{e}; allowed are texts like 4h, 2d"))),
            }
        };
        let at_expr = self.expr.referenced.line();
        let expr = query::promql::parse(&self.expr.value)
            .map_err(|e| wrong(at_expr, "expr", format!("could not parse expression: {e}")))?;
        let horizon_ms = span(&self.horizon, "horizon")?;
        let at_crosses = self.crosses.referenced.line();
        let threshold = match (self.crosses.value.above, self.crosses.value.below) {
            (Some(value), None) if value.is_finite() => Threshold { direction: Direction::Above, value },
            (None, Some(value)) if value.is_finite() => Threshold { direction: Direction::Below, value },
            _ => return Err(wrong(at_crosses, "crosses", "exactly one of above and below must be set".into())),
        };
        let confidence = match &self.confidence {
            None => CONFIDENCE,
            Some(share) if (0.5..1.0).contains(&share.value) => share.value,
            Some(at) => return Err(wrong(at.referenced.line(), "confidence", "allowed is 0.5 to below 1".into())),
        };
        let series_max = match &self.series_max {
            None => SERIES_MAX,
            Some(count) if (1..=SERIES_END).contains(&count.value) => count.value,
            Some(at) => {
                return Err(wrong(at.referenced.line(), "series_max", format!("allowed is 1 to {SERIES_END}")));
            }
        };
        let ask = Ask {
            query: self.expr.value,
            horizon_ms: (horizon_ms as f64 * RECOVERY) as i64,
            history_ms: self.history.as_ref().map(|h| span(h, "history")).transpose()?,
            step_ms: self.step.as_ref().map(|s| span(s, "step")).transpose()?,
            confidence,
            threshold: Some(threshold),
            finest_ms: 1_000,
            series_max,
        };
        let at_spans = self.step.as_ref().or(self.history.as_ref()).unwrap_or(&self.horizon).referenced.line();
        ask.spans().map_err(|e| wrong(at_spans, "step", e))?;
        Ok(ForecastSource { expr: Box::new(expr), horizon_ms, threshold, ask })
    }
}

/// What people read where a rule has no annotations: name and template.
pub(crate) const ANNOTATIONS: [(&str, &str); 4] = [
    (
        "summary",
        "{{ with $labels.instance }}{{ . }}: {{ end }}{{ $forecast.series }} {{ if $forecast.reaches }}reaches \
         {{ humanize $forecast.threshold }} {{ $forecast.when }}, back-tested error {{ $forecast.error }}\
         {{ else }}does not reach {{ humanize $forecast.threshold }} within {{ $forecast.horizon }}{{ end }}",
    ),
    (
        "summary_zh",
        "{{ with $labels.instance }}{{ . }}：{{ end }}{{ $forecast.series }} {{ if $forecast.reaches }}{{ $forecast.when_zh }}达到 \
         {{ humanize $forecast.threshold }}，回测误差 {{ $forecast.error }}\
         {{ else }}预计 {{ $forecast.horizon_zh }}内不会达到 {{ humanize $forecast.threshold }}{{ end }}",
    ),
    (
        "description",
        "Now {{ humanize $forecast.value }}. Back-tested error {{ $forecast.error }} (MASE; seasonal-naive \
         {{ $forecast.baseline_error }}); the interval held {{ $forecast.coverage }} of the past. Model {{ $forecast.model }}.",
    ),
    (
        "description_zh",
        "当前值 {{ humanize $forecast.value }}。回测误差 {{ $forecast.error }}（MASE；季节性朴素法为 {{ $forecast.baseline_error }}），\
         区间覆盖了过去的 {{ $forecast.coverage }}。模型 {{ $forecast.model }}。",
    ),
];
