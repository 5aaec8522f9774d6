//! What templates see of a forecast as `$forecast`, and how times read in it.

use diagnosis::forecast::{Direction, SeriesReport};

/// A named piece of `$forecast`.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// A text, empty where there is nothing to say.
    Text(String),
    /// A number.
    Number(f64),
}

/// The pieces of `$forecast` by name.
pub type Words = Vec<(&'static str, Word)>;

/// Longest name of a series in a message, characters.
const SERIES_CHARS_MAX: usize = 120;

/// Everything there is to say of a forecast at `now_ms`; `expr` is what was foreseen, `horizon_ms` how far the rule looks.
pub fn words(report: &SeriesReport, value: f64, expr: &str, horizon_ms: i64, now_ms: i64) -> Words {
    let until = |ts_ms: Option<i64>| ts_ms.map(|ts_ms| (ts_ms - now_ms).max(0));
    let (at, from, to) = (until(report.reaches_at_ms), until(report.reaches_from_ms), until(report.reaches_to_ms));
    let seen_ms = report.forecast.last().map_or(horizon_ms, |p| p.0 - now_ms).min(horizon_ms).max(0);
    let reaches = |language: fn(i64) -> String| at.map(language).unwrap_or_default();
    let range = |language: fn(i64) -> String, beyond: fn(String) -> String| match (at, from) {
        (Some(_), Some(from)) => {
            let (from, to) = (language(from), to.map_or_else(|| beyond(language(seen_ms)), language));
            if from == to { to } else { format!("{from} – {to}") }
        }
        _ => String::new(),
    };
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let held = percent(report.confidence);
    let (en, zh) = (range(english, |d| format!("more than {d}")), range(chinese, |d| format!("超过 {d}")));
    // what is there already has no interval
    let (when, when_zh) = match at.map(|ms| ms < 1000) {
        None => (String::new(), String::new()),
        Some(true) => ("now".into(), "现在已".into()),
        Some(false) => (
            format!("in {} ({held}: {en})", reaches(english)),
            format!("预计 {}后（{held} 区间：{zh}）", reaches(chinese)),
        ),
    };
    let error = |mase: Option<f64>| mase.map_or_else(|| "?".into(), |m| format!("{m:.2}"));
    let crosses = match report.crosses {
        Some(Direction::Above) => "above",
        Some(Direction::Below) => "below",
        None => "",
    };
    let text = |text: String| Word::Text(text);
    vec![
        ("reaches", text(reaches(english))),
        ("reaches_zh", text(reaches(chinese))),
        ("range", text(en)),
        ("range_zh", text(zh)),
        ("when", text(when)),
        ("when_zh", text(when_zh)),
        ("horizon", text(english(seen_ms))),
        ("horizon_zh", text(chinese(seen_ms))),
        ("value", Word::Number(value)),
        ("threshold", Word::Number(report.threshold.unwrap_or(f64::NAN))),
        ("crosses", text(crosses.into())),
        ("confidence", text(held)),
        ("coverage", text(percent(report.coverage))),
        ("error", text(error(report.mase))),
        ("baseline_error", text(error(report.mase_baseline))),
        ("model", text(report.model.clone())),
        ("since", text(report.since.clone())),
        ("series", text(cut(expr))),
    ]
}

fn cut(expr: &str) -> String {
    let line = expr.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() > SERIES_CHARS_MAX {
        true => line.chars().take(SERIES_CHARS_MAX).chain(['…']).collect(),
        false => line,
    }
}

/// `2 d 4 h`: the two largest units, rounded down.
pub fn english(ms: i64) -> String {
    spoken(ms, ["d", "h", "min", "s"], "now")
}

/// `2 天 4 小时`.
pub fn chinese(ms: i64) -> String {
    spoken(ms, ["天", "小时", "分钟", "秒"], "立刻")
}

fn spoken(ms: i64, units: [&str; 4], now: &str) -> String {
    let seconds = ms.max(0) / 1000;
    let counts = [seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60];
    let Some(first) = counts.iter().position(|n| *n > 0) else { return now.into() };
    let said = (first..units.len().min(first + 2)).filter(|i| counts[*i] > 0);
    said.map(|i| format!("{} {}", counts[i], units[i])).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_two_units() {
        for (seconds, en, zh) in [
            (0, "now", "立刻"),
            (45, "45 s", "45 秒"),
            (3_600, "1 h", "1 小时"),
            (187_200, "2 d 4 h", "2 天 4 小时"),
            (86_400 + 59, "1 d", "1 天"),
            (3_725, "1 h 2 min", "1 小时 2 分钟"),
        ] {
            assert_eq!((english(seconds * 1000).as_str(), chinese(seconds * 1000).as_str()), (en, zh));
        }
    }

    #[test]
    fn what_is_not_reached_has_no_time_and_what_is_has_a_range() {
        let report = SeriesReport {
            threshold: Some(90.0),
            confidence: 0.8,
            coverage: 0.83,
            mase: Some(0.424),
            forecast: vec![(400_000_000, 0.0, 0.0, 0.0)],
            ..SeriesReport::default()
        };
        let find = |words: &Words, name: &str| words.iter().find(|(n, _)| *n == name).map(|(_, w)| w.clone());
        let text = |text: &str| Some(Word::Text(text.into()));
        let none = words(&report, 1.0, "x", 345_600_000, 0);
        assert_eq!((find(&none, "reaches"), find(&none, "when")), (text(""), text("")));
        // no more is claimed than was foreseen
        let brief = SeriesReport { forecast: vec![(10_800_000, 0.0, 0.0, 0.0)], ..report.clone() };
        assert_eq!(find(&words(&brief, 1.0, "x", 345_600_000, 0), "horizon"), text("3 h"));
        let report = SeriesReport { reaches_at_ms: Some(187_200_000), reaches_from_ms: Some(158_400_000), ..report };
        let some = words(&report, 1.0, "x", 345_600_000, 0);
        assert_eq!(find(&some, "range"), Some(Word::Text("1 d 20 h – more than 4 d".into())));
        assert_eq!(find(&some, "range_zh"), Some(Word::Text("1 天 20 小时 – 超过 4 天".into())));
        assert_eq!(find(&some, "error"), Some(Word::Text("0.42".into())));
        assert_eq!(find(&some, "when"), text("in 2 d 4 h (80 %: 1 d 20 h – more than 4 d)"));
        assert_eq!(find(&some, "when_zh"), text("预计 2 天 4 小时后（80 % 区间：1 天 20 小时 – 超过 4 天）"));
        let sure =
            SeriesReport { reaches_from_ms: Some(187_200_000), reaches_to_ms: Some(187_201_000), ..report.clone() };
        assert_eq!(find(&words(&sure, 1.0, "x", 345_600_000, 0), "range"), text("2 d 4 h"));
        // past the limit already
        let there = SeriesReport { reaches_at_ms: Some(0), reaches_from_ms: Some(0), reaches_to_ms: Some(0), ..report };
        let there = words(&there, 95.0, "x", 345_600_000, 60_000);
        assert_eq!((find(&there, "when"), find(&there, "when_zh")), (text("now"), text("现在已")));
    }
}
