//! Numbers and times in the words of Prometheus' template functions (prometheus/prometheus, template/template.go).

use gotmpl::Value;
use query::promql::number::format_g;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// A value as Go's `%v` prints it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Nil => "<no value>".into(),
        Value::Float(v) => format_g(*v),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Map(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", show(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// Go's `%.4g`.
pub(super) fn four_digits(v: f64) -> String {
    if !v.is_finite() {
        return format_g(v);
    }
    let text = format!("{v:.3e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => s.to_string(),
    };
    if (-4..4).contains(&exponent) {
        return trim(&format!("{v:.*}", (3 - exponent).max(0) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

fn scaled_down(v: f64, by: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let (mut v, mut prefix) = (v, "");
    for p in prefixes {
        if v.abs() < by {
            break;
        }
        prefix = p;
        v /= by;
    }
    (v, prefix)
}

fn scaled_up(v: f64) -> (f64, &'static str) {
    let (mut v, mut prefix) = (v, "");
    for p in SMALL {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = p;
        v *= 1000.0;
    }
    (v, prefix)
}

/// `1234567` → `1.235M`.
pub fn humanize(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return four_digits(v);
    }
    let (v, prefix) = if v.abs() >= 1.0 { scaled_down(v, 1000.0, &LARGE) } else { scaled_up(v) };
    four_digits(v) + prefix
}

/// `1048576` → `1Mi`.
pub(super) fn humanize_1024(v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return four_digits(v);
    }
    let (v, prefix) = scaled_down(v, 1024.0, &BINARY);
    four_digits(v) + prefix
}

/// Seconds: `3661` → `1h 1m 1s`.
pub fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return four_digits(seconds);
    }
    if seconds == 0.0 {
        return "0s".into();
    }
    if seconds.abs() < 1.0 {
        let (v, prefix) = scaled_up(seconds);
        return format!("{}{prefix}s", four_digits(v));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let size = seconds.abs();
    let whole = size as i64;
    let (days, hours, minutes, rest) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {rest}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {rest}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {rest}s")
    } else {
        format!("{sign}{}s", four_digits(size))
    }
}

/// `0.123` → `12.3%`.
pub(super) fn humanize_percentage(v: f64) -> String {
    four_digits(v * 100.0) + "%"
}

/// Unix seconds as Go prints a UTC time, to the millisecond; the error says what is out of range.
pub(super) fn humanize_timestamp(seconds: f64) -> Result<String, String> {
    if !seconds.is_finite() {
        return Ok(four_digits(seconds));
    }
    let out_of_range = || {
        format!(
            "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
            show(&Value::Float(seconds))
        )
    };
    if (seconds * 1e9).abs() >= i64::MAX as f64 {
        return Err(out_of_range());
    }
    // Go converts to nanoseconds first and cuts to whole milliseconds
    let ms = ((seconds * 1e9) as i64).div_euclid(1_000_000);
    let time = chrono::DateTime::from_timestamp_millis(ms).ok_or_else(out_of_range)?;
    let fraction = match time.timestamp_subsec_millis() {
        0 => String::new(),
        ms => format!(".{ms:03}").trim_end_matches('0').to_string(),
    };
    Ok(format!("{}{fraction} +0000 UTC", time.format("%Y-%m-%d %H:%M:%S")))
}

/// Seconds as Go prints a `time.Duration`: `1h2m3.5s`.
pub(super) fn go_duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    let size = seconds.abs();
    if size == 0.0 {
        return "0s".into();
    }
    if size < 1.0 {
        let nanoseconds = (size * 1e9).round();
        let (v, unit) = match nanoseconds {
            n if n >= 1e6 => (n / 1e6, "ms"),
            n if n >= 1e3 => (n / 1e3, "µs"),
            n => (n, "ns"),
        };
        return format!("{sign}{v}{unit}");
    }
    let whole = size as i64;
    let rest = (((size - (whole - whole % 60) as f64) * 1e9).round()) / 1e9;
    match (whole / 3600, whole / 60 % 60) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, minutes) => format!("{sign}{minutes}m{rest}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}
