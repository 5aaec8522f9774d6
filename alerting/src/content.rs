//! What every message says about an alert, in both languages: subject, heading, facts, verdict. How it looks is each
//! channel's own.

use std::fmt::Write;

use chrono::{DateTime, FixedOffset};
use diagnosis::verdict::Finding;

use crate::deliver::Telling;
use crate::forecast::words::chinese;
use crate::level::Level;
use crate::message::{AlertNote, Language, Message};
use crate::template::humanize_duration;

/// Longest subject, characters.
const SUBJECT_CHARS_MAX: usize = 200;
/// Reasons of a verdict that are told.
pub const REASONS_MAX: usize = 3;

/// How a channel speaks: its language, and the time zone of the times it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    /// The language.
    pub language: Language,
    /// Minutes east of UTC.
    pub offset_minutes: i32,
}

impl Voice {
    /// `2026-08-22 18:01:05 +08:00`, `2026-08-22 10:01:05 UTC`.
    pub fn moment(&self, ms: i64) -> String {
        let zone = if self.offset_minutes == 0 { "UTC" } else { "%:z" };
        self.format(ms, &format!("%Y-%m-%d %H:%M:%S {zone}"))
    }

    /// `08-22 18:01`.
    pub fn short_moment(&self, ms: i64) -> String {
        self.format(ms, "%m-%d %H:%M")
    }

    fn format(&self, ms: i64, format: &str) -> String {
        let zone = FixedOffset::east_opt(self.offset_minutes * 60);
        match DateTime::from_timestamp_millis(ms).zip(zone) {
            Some((time, zone)) => time.with_timezone(&zone).format(format).to_string(),
            None => String::new(),
        }
    }
}

/// The words of one language.
pub struct Words {
    /// An alert that began.
    pub firing: &'static str,
    /// An alert that ended.
    pub resolved: &'static str,
    level: [&'static str; 3],
    began: &'static str,
    ended: &'static str,
    lasted: &'static str,
    value: &'static str,
    reason: &'static str,
    runbook: &'static str,
    /// Before the labels.
    pub labels: &'static str,
    /// The verdict.
    pub verdict: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// Before the evidence.
    pub evidence: &'static str,
    /// The link to the alert's page.
    pub open: &'static str,
    /// After the number of alerts left out.
    pub more: &'static str,
    /// Who sent it.
    pub sent_by: &'static str,
    /// Between name and value.
    pub colon: &'static str,
}

const ENGLISH: Words = Words {
    firing: "firing",
    resolved: "resolved",
    level: ["notice", "warning", "critical"],
    began: "began",
    ended: "ended",
    lasted: "lasted",
    value: "value",
    reason: "why it ended",
    runbook: "what to do",
    labels: "labels",
    verdict: "likely cause",
    advice: "advice",
    evidence: "evidence",
    open: "evidence and history",
    more: "more alerts not shown",
    sent_by: "Sent by Tidewatch",
    colon: ": ",
};

const CHINESE: Words = Words {
    firing: "告警",
    resolved: "已恢复",
    level: ["提示", "警告", "严重"],
    began: "开始",
    ended: "结束",
    lasted: "持续",
    value: "数值",
    reason: "恢复原因",
    runbook: "处理建议",
    labels: "标签",
    verdict: "可能原因",
    advice: "建议",
    evidence: "证据",
    open: "现场证据与历史",
    more: "条告警未列出",
    sent_by: "由观潮 Tidewatch 发送",
    colon: "：",
};

/// The words of a language.
pub fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Chinese => &CHINESE,
    }
}

/// A level in a language.
pub fn level(level: Level, language: Language) -> &'static str {
    words(language).level[level as usize]
}

/// Firing or resolved, in a language.
pub fn state(alert: &AlertNote, language: Language) -> &'static str {
    if alert.is_firing() { words(language).firing } else { words(language).resolved }
}

/// A verdict's title.
pub fn title(finding: &Finding, language: Language) -> &str {
    in_language(language, &finding.title, &finding.title_zh)
}

/// A verdict's advice.
pub fn advice(finding: &Finding, language: Language) -> &str {
    in_language(language, &finding.advice, &finding.advice_zh)
}

/// A verdict's first reasons.
pub fn reasons(finding: &Finding, language: Language) -> &[String] {
    let translated = language == Language::Chinese && !finding.reasons_zh.is_empty();
    let reasons = if translated { &finding.reasons_zh } else { &finding.reasons };
    &reasons[..reasons.len().min(REASONS_MAX)]
}

fn in_language<'a>(language: Language, english: &'a str, chinese: &'a str) -> &'a str {
    if language == Language::Chinese && !chinese.is_empty() { chinese } else { english }
}

fn reason_word(reason: &str, language: Language) -> &str {
    if language == Language::English {
        return match reason {
            "condition_false" => "the condition no longer holds",
            "recovered" => "the recovery condition is met",
            "keep_firing_over" => "the condition has not held for the rule's keep_firing_for",
            "rule_gone" => "the rule was removed",
            "no_data" => "what the rule watched gives no value any more",
            "limit_exceeded" => "the rule found more than its limit allows",
            "for_raised" => "the rule now asks the condition to hold for longer",
            other => other,
        };
    }
    match reason {
        "condition_false" => "触发条件不再成立",
        "recovered" => "已满足恢复条件",
        "keep_firing_over" => "触发条件在保持时间内未再成立",
        "rule_gone" => "规则已被删除",
        "no_data" => "监控对象不再有数据",
        "limit_exceeded" => "告警数量超过规则的上限",
        "for_raised" => "规则的持续时间已调长",
        other => other,
    }
}

/// `[critical 2] LockPileup: 12 sessions wait …`, on one line.
pub fn subject(message: &Message, language: Language) -> String {
    let words = words(language);
    let state = match message.firing() {
        0 => words.resolved.to_string(),
        n => format!("{} {n}", level(message.level(), language)),
    };
    let mut subject = format!("[{state}]");
    if let Some(digest) = &message.digest {
        let _ = write!(subject, " {}", crate::digest::text(digest, language).replace('\n', "; "));
    } else if let Some(first) = message.alerts.first() {
        let label = |name: &str| first.labels.get(name).map_or("", |v| v.as_str());
        let summary = first.annotation("summary", language);
        let what = if summary.is_empty() { label("instance") } else { summary };
        let _ = write!(subject, " {}{}{what}", label("alertname"), words.colon);
    }
    // no line ends: they would begin a new header
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shorten(&subject, SUBJECT_CHARS_MAX)
}

/// `firing · critical · LockPileup`.
pub fn heading(alert: &AlertNote, language: Language) -> String {
    let name = alert.labels.get("alertname").map_or("", |n| n.as_str());
    format!("{} · {} · {name}", state(alert, language), level(alert.level, language))
}

/// Something said about an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// What is said about an alert beside its summary, in order: times, value, why it ended, runbook.
pub fn facts(alert: &AlertNote, voice: Voice) -> Vec<Fact> {
    let words = words(voice.language);
    let mut facts = Vec::new();
    let mut say = |name: &'static str, value: String| facts.push(Fact { name, value });
    if let Some(value) = alert.value {
        say(words.value, query::promql::number::format_g(value));
    }
    say(words.began, voice.moment(alert.starts_at_ms));
    if let Some(end) = alert.ends_at_ms {
        say(words.ended, voice.moment(end));
        let lasted_ms = end - alert.starts_at_ms;
        say(
            words.lasted,
            match voice.language {
                Language::English => humanize_duration((lasted_ms / 1000) as f64),
                Language::Chinese => chinese(lasted_ms),
            },
        );
    }
    if let Some(reason) = &alert.end_reason {
        say(words.reason, reason_word(reason, voice.language).into());
    }
    let runbook = alert.annotation("runbook", voice.language);
    if !runbook.is_empty() && alert.is_firing() {
        say(words.runbook, runbook.into());
    }
    facts
}

/// The verdict of an alert that fires, as facts: likely cause with its first reason, and advice; empty while none is known.
pub fn verdict(alert: &AlertNote, telling: &Telling<'_>, language: Language) -> Vec<Fact> {
    let words = words(language);
    let Some(finding) = telling.finding(&alert.id).filter(|_| alert.is_firing()) else { return Vec::new() };
    let cause = match reasons(finding, language).first() {
        Some(reason) => format!("{}{}{reason}", title(finding, language), words.colon),
        None => title(finding, language).into(),
    };
    vec![
        Fact { name: words.verdict, value: cause },
        Fact { name: words.advice, value: advice(finding, language).into() },
    ]
}

/// The first characters of a text, with an ellipsis where something was cut.
pub fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.into(),
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
    }
}

/// A message for unit tests.
#[cfg(test)]
pub mod sample {
    use std::collections::BTreeMap;

    use super::*;
    use crate::known::Known;
    use crate::message::Why;

    /// One alert that fires, or ended after 90 seconds.
    pub fn message(firing: bool) -> Message {
        let pairs =
            |p: &[(&str, &str)]| p.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<BTreeMap<_, _>>();
        let alert = AlertNote {
            id: "a".into(),
            fingerprint: "00".into(),
            level: Level::Critical,
            labels: pairs(&[("alertname", "LockPileup"), ("instance", "db<1>")]),
            annotations: pairs(&[
                ("summary", "12 sessions wait\nfor pid 7"),
                ("summary_zh", "12 个会话在等待"),
                ("runbook", "kill 7"),
            ]),
            starts_at_ms: 1_000_000,
            ends_at_ms: (!firing).then_some(1_090_000),
            value: Some(12.0),
            end_reason: (!firing).then(|| "condition_false".into()),
            link: "http://t/alert/a".into(),
            rule_group: String::new(),
        };
        Message {
            receiver: "r".into(),
            group_key: "{}".into(),
            group_labels: BTreeMap::new(),
            why: Why::First,
            alerts: vec![alert],
            external_url: "http://t".into(),
            made_at_ms: 1_000_000,
            digest: None,
        }
    }

    /// Told without a verdict.
    pub fn telling(message: &Message) -> Telling<'_> {
        Telling { message, key: "0011223344556677", known: &NOTHING, now_ms: 1_000_500 }
    }

    static NOTHING: BTreeMap<String, std::sync::Arc<Known>> = BTreeMap::new();

    /// What is known of the sample's alert.
    pub fn known() -> BTreeMap<String, std::sync::Arc<Known>> {
        let finding = Finding {
            verdict: "lock_pileup".into(),
            title: "lock pile-up".into(),
            title_zh: "锁堆积".into(),
            reasons: vec!["pid 7 blocks 12 sessions".into()],
            reasons_zh: vec!["会话 7 阻塞了 12 个会话".into()],
            advice: "end the transaction of pid 7".into(),
            advice_zh: "结束会话 7 的事务".into(),
        };
        let lines = vec![("pid 7 <app>: UPDATE t".to_string(), "会话 7 <app>：UPDATE t".to_string())];
        BTreeMap::from([("a".to_string(), std::sync::Arc::new(Known { finding: Some(finding), lines }))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_one_line_in_both_languages() {
        use Language::{Chinese, English};
        let (firing, ended) = (sample::message(true), sample::message(false));
        assert_eq!(subject(&firing, English), "[critical 1] LockPileup: 12 sessions wait for pid 7");
        assert_eq!(subject(&firing, Chinese), "[严重 1] LockPileup：12 个会话在等待");
        assert_eq!(subject(&ended, Chinese), "[已恢复] LockPileup：12 个会话在等待");
    }

    #[test]
    fn times_are_of_the_channels_zone() {
        let voice = |offset_minutes| Voice { language: Language::English, offset_minutes };
        assert_eq!(voice(0).moment(1_760_000_000_000), "2025-10-09 08:53:20 UTC");
        assert_eq!(voice(480).moment(1_760_000_000_000), "2025-10-09 16:53:20 +08:00");
        assert_eq!(voice(-210).short_moment(1_760_000_000_000), "10-09 05:23");
    }

    #[test]
    fn the_verdict_is_told_while_the_alert_fires() {
        let known = sample::known();
        for (firing, language, expected) in [
            (true, Language::English, "lock pile-up: pid 7 blocks 12 sessions|end the transaction of pid 7"),
            (true, Language::Chinese, "锁堆积：会话 7 阻塞了 12 个会话|结束会话 7 的事务"),
            (false, Language::English, ""),
        ] {
            let message = sample::message(firing);
            let telling = Telling { known: &known, ..sample::telling(&message) };
            let facts = verdict(&message.alerts[0], &telling, language);
            assert_eq!(facts.into_iter().map(|f| f.value).collect::<Vec<_>>().join("|"), expected);
        }
    }
}
