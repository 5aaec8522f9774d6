//! Times and durations as Prometheus' API takes them: seconds with a fraction, RFC 3339, `5m`.

use chrono::{DateTime, SecondsFormat};
use query::promql::number;

/// Earliest time asked for where none is given: Prometheus' `minTime`, milliseconds.
pub const MIN_TIME_MS: i64 = i64::MIN / 1000 + 62_135_596_801 * 1000;
/// Latest time asked for where none is given: Prometheus' `maxTime`, milliseconds.
pub const MAX_TIME_MS: i64 = i64::MAX / 1000 - 62_135_596_801 * 1000;

/// A time in milliseconds.
pub fn parse_time_ms(text: &str) -> Result<i64, String> {
    let refused = || format!("cannot parse {} to a valid timestamp", number::go_quote(text.as_bytes()));
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        if ms.is_nan() || !(MIN_TIME_MS as f64..=MAX_TIME_MS as f64).contains(&ms) {
            return Err(refused());
        }
        return Ok(ms as i64);
    }
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(time.timestamp_millis()),
        // What Prometheus' clients send for "everything".
        Err(_) if text == "-292273086-05-16T16:47:06Z" => Ok(MIN_TIME_MS),
        Err(_) if text == "292277025-08-18T07:12:54.999999999Z" => Ok(MAX_TIME_MS),
        Err(_) => Err(refused()),
    }
}

/// A duration in milliseconds, not negative unless it is a number.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let quoted = || number::go_quote(text.as_bytes());
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * 1e9;
        if ns.is_nan() || ns > i64::MAX as f64 || ns < i64::MIN as f64 {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", quoted()));
        }
        return Ok((ns / 1e6) as i64);
    }
    number::parse_duration_ms(text).map_err(|_| format!("cannot parse {} to a valid duration", quoted()))
}

/// RFC 3339 with milliseconds, UTC.
pub fn format_ms(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("1435781430.781", Ok(1_435_781_430_781)),
            ("1.0005", Ok(1_001)),
            ("-5", Ok(-5_000)),
            ("1e3", Ok(1_000_000)),
            ("2015-06-03T13:21:58.555Z", Ok(1_433_337_718_555)),
            ("2015-06-03T14:21:58.555+01:00", Ok(1_433_337_718_555)),
            ("", Err("cannot parse \"\" to a valid timestamp")),
            ("foo", Err("cannot parse \"foo\" to a valid timestamp")),
            ("NaN", Err("cannot parse \"NaN\" to a valid timestamp")),
            ("1e40", Err("cannot parse \"1e40\" to a valid timestamp")),
            ("30", Ok(30_000)),
        ] {
            assert_eq!(parse_time_ms(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("15", Ok(15_000)),
            ("0.5", Ok(500)),
            ("5m", Ok(300_000)),
            ("1h30m", Ok(5_400_000)),
            ("", Err("cannot parse \"\" to a valid duration")),
            ("soon", Err("cannot parse \"soon\" to a valid duration")),
            ("1e10", Err("cannot parse \"1e10\" to a valid duration. It overflows int64")),
        ] {
            assert_eq!(parse_duration_ms(text), expected.map_err(str::to_owned), "{text}");
        }
    }
}
