//! Numbers, strings and durations in the forms Go's standard library gives them, which are the forms users of
//! Prometheus read: `%g`, `'f', -1`, `%q`, `1h30m`.

/// A float as Go's `%g` writes it: shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub fn format_g(v: f64) -> String {
    if let Some(special) = special(v) {
        return special.into();
    }
    let (negative, digits, exponent) = shortest(v);
    if !(-4..6).contains(&exponent) { scientific(negative, &digits, exponent) } else { format_f(v) }
}

/// A float as Go's `FormatFloat(v, 'f', -1, 64)` writes it: never an exponent.
pub fn format_f(v: f64) -> String {
    let mut out = String::new();
    put_f(&mut out, v);
    out
}

/// Appends the same.
fn put_f(out: &mut String, v: f64) {
    if let Some(special) = special(v) {
        return out.push_str(special);
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(v);
    if !text.contains('e') {
        return out.push_str(text.strip_suffix(".0").unwrap_or(text));
    }
    let (negative, digits, exponent) = shortest(v);
    if negative {
        out.push('-');
    }
    match usize::try_from(exponent) {
        Ok(exponent) => {
            let (whole, fraction) = digits.split_at((exponent + 1).min(digits.len()));
            out.push_str(whole);
            out.extend(std::iter::repeat_n('0', exponent + 1 - whole.len()));
            if !fraction.is_empty() {
                out.push('.');
                out.push_str(fraction);
            }
        }
        Err(_) => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
            out.push_str(&digits);
        }
    }
}

/// Appends a float as Prometheus' JSON has it: like [`format_f`], with an exponent below 1e-6 and from 1e21.
pub fn put_json(out: &mut String, v: f64) {
    let size = v.abs();
    if size != 0.0 && v.is_finite() && !(1e-6..1e21).contains(&size) {
        let (negative, digits, exponent) = shortest(v);
        out.push_str(&scientific(negative, &digits, exponent));
    } else {
        put_f(out, v);
    }
}

/// The same as text of its own.
pub fn format_json(v: f64) -> String {
    let mut out = String::new();
    put_json(&mut out, v);
    out
}

/// A float as OpenMetrics writes it in a label: `1.0`, `0.25`, `1e-05`.
pub fn format_open_metrics(v: f64) -> String {
    let text = format_g(v);
    if v.is_finite() && !text.contains(['e', '.']) { text + ".0" } else { text }
}

fn special(v: f64) -> Option<&'static str> {
    match v {
        v if v.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Sign, shortest decimal digits that read back as `v`, and the decimal exponent of the first digit. Of two such numbers at the
/// same distance the even one, as in Go; the standard library takes the larger.
fn shortest(v: f64) -> (bool, String, i32) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(v.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    let before_point = whole.len() as i32 - (all.len() - digits.len()) as i32;
    let exponent = exponent.parse::<i32>().unwrap_or(0) + before_point - 1;
    match digits.trim_end_matches('0') {
        "" => (v.is_sign_negative(), "0".into(), 0),
        digits => (v.is_sign_negative(), digits.into(), exponent),
    }
}

fn scientific(negative: bool, digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if negative { "-" } else { "" };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.abs())
}

/// A string as Go's `%q` writes it; bytes that are not UTF-8 become `\x..`.
pub fn go_quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\u{7}' => out.push_str("\\a"),
                '\u{8}' => out.push_str("\\b"),
                '\u{b}' => out.push_str("\\v"),
                '\u{c}' => out.push_str("\\f"),
                c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// Milliseconds of each duration unit, longest first: the order in which a duration must name them.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Parses `1h30m` into milliseconds. The error is Prometheus' wording.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {}", go_quote(text.as_bytes()));
    let overflow = || "duration out of range".to_string();
    match text {
        "0" => return Ok(0),
        "" => return Err("empty duration string".into()),
        _ => {}
    }
    let (mut rest, mut next_unit, mut total) = (text, 0, 0i64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let tail = &rest[digits..];
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS.iter().position(|(name, _)| *name == &tail[..letters]).ok_or_else(invalid)?;
        if digits == 0 || unit < next_unit {
            return Err(invalid());
        }
        let amount: i64 = rest[..digits].parse().map_err(|_| overflow())?;
        total = amount.checked_mul(UNITS[unit].1).and_then(|ms| total.checked_add(ms)).ok_or_else(overflow)?;
        (rest, next_unit) = (&tail[letters..], unit + 1);
    }
    // Go keeps durations in nanoseconds: what does not fit there is refused.
    total.checked_mul(1_000_000).map(|_| total).ok_or_else(overflow)
}

/// Writes milliseconds as Prometheus writes a duration: `1h30m`, `0s`.
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let (mut rest, mut out) = (ms.unsigned_abs() as i64, String::new());
    if ms < 0 {
        out.push('-');
    }
    for (name, size) in UNITS {
        // Years and weeks are only used where nothing smaller remains.
        let exact_only = matches!(name, "y" | "w");
        let count = rest / size;
        if count == 0 || (exact_only && rest % size != 0) {
            continue;
        }
        out.push_str(&format!("{count}{name}"));
        rest -= count * size;
    }
    out
}

/// Parses a number literal: decimal, hexadecimal, `Inf`, `NaN`, digits grouped by `_`.
pub fn parse_number(text: &str) -> Option<f64> {
    let clean = text.replace('_', "");
    let lower = clean.to_ascii_lowercase();
    match lower.as_str() {
        "inf" | "+inf" => return Some(f64::INFINITY),
        "-inf" => return Some(f64::NEG_INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    if let Some(hex) = lower.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return i64::from_str_radix(&lower[1..], 8).ok().map(|n| n as f64);
    }
    if !lower.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    lower.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (v, g, f, json) in [
            (0.0, "0", "0", "0"),
            (1.5, "1.5", "1.5", "1.5"),
            (-0.0, "-0", "-0", "-0"),
            (0.00001, "1e-05", "0.00001", "0.00001"),
            (0.0000001, "1e-07", "0.0000001", "1e-07"),
            (123456.0, "123456", "123456", "123456"),
            (1e21, "1e+21", "1000000000000000000000", "1e+21"),
            (1e6, "1e+06", "1000000", "1000000"),
            (1e20, "1e+20", "100000000000000000000", "100000000000000000000"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
            (f64::NAN, "NaN", "NaN", "NaN"),
        ] {
            assert_eq!((format_g(v).as_str(), format_f(v).as_str(), format_json(v).as_str()), (g, f, json), "{v}");
        }
        assert_eq!(format_open_metrics(1.0), "1.0");
    }

    #[test]
    fn digits_are_the_fewest_that_read_back_and_of_two_the_even() {
        // as Go 1.26 writes them
        for (v, text) in
            [(6072642916795853.0 / 4.0, "1518160729198963.2"), (6072642916795855.0 / 4.0, "1518160729198963.8")]
        {
            assert_eq!((format_f(v).as_str(), format_json(v).as_str()), (text, text));
        }
        let random = &mut fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let decimal =
                random.i64(-1_000_000_000..1_000_000_000) as f64 / [1.0, 10.0, 1000.0, 1e6][random.usize(0..4)];
            for v in [decimal, 1.0 / decimal, f64::from_bits(random.u64(..))] {
                if !v.is_finite() {
                    continue;
                }
                let (plain, standard) = (format_f(v), format!("{v}"));
                for text in [&plain, &format_g(v), &format_json(v)] {
                    assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(v.to_bits()), "{text} {v}");
                }
                assert!(plain.len() == standard.len() && !plain.contains('e'), "{plain} {standard}");
            }
        }
    }

    #[test]
    fn durations_go_both_ways() {
        for (text, ms) in [("1h30m", 5_400_000), ("5ms", 5), ("1y", 31_536_000_000), ("10s53ms", 10_053)] {
            assert_eq!(parse_duration_ms(text), Ok(ms));
            assert_eq!(format_duration_ms(ms), text);
        }
        for bad in ["5mm", "30s1m", "m", "1h1h", ""] {
            assert!(parse_duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quoting_shows_broken_bytes() {
        assert_eq!(go_quote(b"a\xc5z"), r#""a\xc5z""#);
        assert_eq!(go_quote(b"a\"\n"), r#""a\"\n""#);
    }
}
