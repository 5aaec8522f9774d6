//! The ways servers write a moment, read into milliseconds.

use chrono::{Local, NaiveDate, NaiveDateTime, TimeZone};

/// Zone names that are not offsets and not this host's own, hours east of Greenwich.
const ZONES: [(&str, f64); 14] = [
    ("UTC", 0.0),
    ("GMT", 0.0),
    ("Z", 0.0),
    ("CET", 1.0),
    ("CEST", 2.0),
    ("EET", 2.0),
    ("EEST", 3.0),
    ("MSK", 3.0),
    ("JST", 9.0),
    ("KST", 9.0),
    ("EST", -5.0),
    ("EDT", -4.0),
    ("PST", -8.0),
    ("PDT", -7.0),
];

/// `2026-11-22 15:42:53.123 UTC`, `2026-11-22T15:42:53.123456Z`, `…+08:00`, `261122 15:42:53`. A moment without zone, or with
/// a name not known here, is taken in this host's own zone.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let (naive, rest) = date_and_time(text)?;
    let zone = rest.trim();
    let offset_s = if zone.is_empty() {
        None
    } else if let Some((_, hours)) = ZONES.iter().find(|(name, _)| *name == zone) {
        Some((hours * 3600.0) as i64)
    } else {
        numeric_offset_s(zone)
    };
    match offset_s {
        Some(offset_s) => Some(naive.and_utc().timestamp_millis() - offset_s * 1000),
        None => Local.from_local_datetime(&naive).earliest().map(|t| t.timestamp_millis()),
    }
}

fn date_and_time(text: &str) -> Option<(NaiveDateTime, &str)> {
    let number = |s: &str| s.parse::<u32>().ok();
    let separator = text.find(['T', ' '])?;
    let (date, time) = (&text[..separator], text[separator + 1..].trim_start());
    let date = match date.len() {
        10 => NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?,
        6 if date.is_ascii() => {
            let year = 2000 + number(&date[..2])? as i32;
            NaiveDate::from_ymd_opt(year, number(&date[2..4])?, number(&date[4..])?)?
        }
        _ => return None,
    };
    let end = time.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.' || c == ',')).unwrap_or(time.len());
    let (clock, rest) = time.split_at(end);
    let (clock, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, ""));
    let mut parts = clock.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let ms = format!("{fraction:0<3}").get(..3).and_then(|f| f.parse().ok())?;
    Some((date.and_hms_milli_opt(hour, minute, second, ms)?, rest))
}

/// `+08`, `-0330`, `+05:30`.
fn numeric_offset_s(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
    if !digits.is_ascii() || !(2..=4).contains(&digits.len()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let minutes: i64 = if minutes.is_empty() { 0 } else { minutes.parse().ok()? };
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_every_server() {
        let noon = 1_795_608_000_000; // 2026-11-25T12:00:00Z
        for (text, want) in [
            ("2026-11-25 12:00:00.250 UTC", Some(noon + 250)),
            ("2026-11-25 12:00:00 GMT", Some(noon)),
            ("2026-11-25T12:00:00.123456Z", Some(noon + 123)),
            ("2026-11-25T20:00:00.5+08:00", Some(noon + 500)),
            ("2026-11-25 20:00:00.007 +08", Some(noon + 7)),
            ("2026-11-25 08:30:00 -0330", Some(noon)),
            ("2026-11-25 13:00:00 CET", Some(noon)),
            ("2026-13-25 12:00:00 UTC", None),
            ("2026-11-25", None),
            ("LOG: 12:00:00", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
        let local = NaiveDate::from_ymd_opt(2026, 11, 25).and_then(|d| d.and_hms_opt(9, 5, 1));
        let local = local.and_then(|t| Local.from_local_datetime(&t).earliest()).map(|t| t.timestamp_millis());
        assert_eq!(parse("261125  9:05:01"), local);
        assert_eq!(parse("2026-11-25  9:05:01"), local);
    }
}
