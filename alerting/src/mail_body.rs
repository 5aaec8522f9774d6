//! Subject, text and HTML of a mail, in English and Chinese.

use std::fmt::Write;

use crate::level::Level;
use crate::message::{AlertNote, Language, Message};
use crate::template::humanize_duration;

/// Most alerts written out in one mail; the rest is counted.
const ALERTS_MAX: usize = 50;
/// Longest subject, characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// The words of one language.
struct Words {
    firing: &'static str,
    resolved: &'static str,
    level: [&'static str; 3],
    began: &'static str,
    ended: &'static str,
    lasted: &'static str,
    value: &'static str,
    reason: &'static str,
    runbook: &'static str,
    labels: &'static str,
    open: &'static str,
    more: &'static str,
    sent_by: &'static str,
    colon: &'static str,
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
    open: "现场证据与历史",
    more: "条告警未列出",
    sent_by: "由观潮 Tidewatch 发送",
    colon: "：",
};

fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Chinese => &CHINESE,
    }
}

fn level_word(words: &Words, level: Level) -> &'static str {
    words.level[level as usize]
}

fn reason_word(reason: &str, language: Language) -> &str {
    if language == Language::English {
        return match reason {
            "condition_false" => "the condition no longer holds",
            "recovered" => "the recovery condition is met",
            "keep_firing_over" => "the condition has not held for the rule's keep_firing_for",
            "rule_gone" => "the rule was removed",
            other => other,
        };
    }
    match reason {
        "condition_false" => "触发条件不再成立",
        "recovered" => "已满足恢复条件",
        "keep_firing_over" => "触发条件在保持时间内未再成立",
        "rule_gone" => "规则已被删除",
        other => other,
    }
}

/// `[critical 2] LockPileup db1: 12 sessions wait …`
pub fn subject(message: &Message, language: Language) -> String {
    let words = words(language);
    let firing = message.firing();
    let state = match firing {
        0 => words.resolved.to_string(),
        n => format!("{} {n}", level_word(words, message.level())),
    };
    let mut subject = format!("[{state}]");
    if let Some(first) = message.alerts.first() {
        let label = |name: &str| first.labels.get(name).map_or("", |v| v.as_str());
        let summary = first.annotation("summary", language);
        let what = if summary.is_empty() { label("instance") } else { summary };
        let _ = write!(subject, " {}{}{what}", label("alertname"), words.colon);
    }
    // no line ends: they would begin a new header
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match subject.chars().count() > SUBJECT_CHARS_MAX {
        true => subject.chars().take(SUBJECT_CHARS_MAX - 1).chain(['…']).collect(),
        false => subject,
    }
}

/// Name and value of what is said about one alert, in order.
fn facts<'a>(alert: &'a AlertNote, language: Language) -> Vec<(&'static str, std::borrow::Cow<'a, str>)> {
    let words = words(language);
    let mut facts: Vec<(&'static str, std::borrow::Cow<'a, str>)> = Vec::new();
    facts.push((words.began, crate::message::rfc3339(alert.starts_at_ms).into()));
    if let Some(end) = alert.ends_at_ms {
        facts.push((words.ended, crate::message::rfc3339(end).into()));
        facts.push((words.lasted, humanize_duration(((end - alert.starts_at_ms) / 1000) as f64).into()));
    }
    if let Some(value) = alert.value {
        facts.push((words.value, query::promql::number::format_g(value).into()));
    }
    if let Some(reason) = &alert.end_reason {
        facts.push((words.reason, reason_word(reason, language).into()));
    }
    let runbook = alert.annotation("runbook", language);
    if !runbook.is_empty() && alert.is_firing() {
        facts.push((words.runbook, runbook.into()));
    }
    let labels: Vec<String> = alert.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
    facts.push((words.labels, labels.join(", ").into()));
    facts
}

fn heading(alert: &AlertNote, language: Language) -> String {
    let words = words(language);
    let state = if alert.is_firing() { words.firing } else { words.resolved };
    let name = alert.labels.get("alertname").map_or("", |n| n.as_str());
    format!("{state} · {} · {name}", level_word(words, alert.level))
}

/// The plain text.
pub fn text(message: &Message, language: Language) -> String {
    let words = words(language);
    let mut out = String::new();
    for alert in message.alerts.iter().take(ALERTS_MAX) {
        let _ = writeln!(out, "{}", heading(alert, language));
        for name in ["summary", "description"] {
            let line = alert.annotation(name, language);
            if !line.is_empty() {
                let _ = writeln!(out, "{line}");
            }
        }
        for (name, value) in facts(alert, language) {
            let _ = writeln!(out, "  {name}{}{value}", words.colon);
        }
        let _ = writeln!(out, "  {}{}{}\n", words.open, words.colon, alert.link);
    }
    if message.alerts.len() > ALERTS_MAX {
        let _ = writeln!(out, "{} {}\n", message.alerts.len() - ALERTS_MAX, words.more);
    }
    let _ = writeln!(out, "{} {}", words.sent_by, message.external_url);
    out
}

fn escape(text: &str) -> String {
    gotmpl::html_escape(text)
}

/// The HTML: tables and inline styles only, which every mail reader shows.
pub fn html(message: &Message, language: Language) -> String {
    let words = words(language);
    let lang = if language == Language::Chinese { "zh" } else { "en" };
    let mut out = format!(
        "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\"></head>\
         <body style=\"margin:0;padding:16px;background:#f4f6f8;font-family:system-ui,'PingFang SC','Noto Sans CJK SC',sans-serif;color:#1c2733\">"
    );
    for alert in message.alerts.iter().take(ALERTS_MAX) {
        let color = match (alert.is_firing(), alert.level) {
            (false, _) => "#2e7d4f",
            (true, Level::Critical) => "#b3261e",
            (true, Level::Warning) => "#b26a00",
            (true, Level::Notice) => "#33658a",
        };
        let _ = write!(
            out,
            "<div style=\"max-width:680px;margin:0 auto 16px;background:#fff;border-left:4px solid {color};padding:12px 16px\">\
             <div style=\"color:{color};font-size:13px;font-weight:600\">{}</div>\
             <div style=\"font-size:17px;font-weight:600;margin:4px 0\">{}</div><div style=\"margin:0 0 8px\">{}</div>\
             <table style=\"font-size:13px;border-collapse:collapse\">",
            escape(&heading(alert, language)),
            escape(alert.annotation("summary", language)),
            escape(alert.annotation("description", language)),
        );
        for (name, value) in facts(alert, language) {
            let _ = write!(
                out,
                "<tr><td style=\"color:#667;padding:2px 12px 2px 0;vertical-align:top;white-space:nowrap\">{}</td>\
                 <td style=\"padding:2px 0;word-break:break-word\">{}</td></tr>",
                escape(name),
                escape(&value).replace('\n', "<br>"),
            );
        }
        out.push_str("</table>");
        if alert.link.starts_with("http") {
            let _ =
                write!(out, "<p style=\"margin:8px 0 0\"><a href=\"{}\">{}</a></p>", escape(&alert.link), words.open);
        }
        out.push_str("</div>");
    }
    if message.alerts.len() > ALERTS_MAX {
        let _ = write!(out, "<p>{} {}</p>", message.alerts.len() - ALERTS_MAX, words.more);
    }
    let _ = write!(out, "<p style=\"font-size:12px;color:#667\">{}</p></body></html>", words.sent_by);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Why;
    use std::collections::BTreeMap;

    fn message(firing: bool) -> Message {
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
        }
    }

    #[test]
    fn both_languages_say_what_happened() {
        use Language::{Chinese, English};
        assert_eq!(subject(&message(true), English), "[critical 1] LockPileup: 12 sessions wait for pid 7");
        assert_eq!(subject(&message(true), Chinese), "[严重 1] LockPileup：12 个会话在等待");
        assert_eq!(subject(&message(false), Chinese), "[已恢复] LockPileup：12 个会话在等待");
        for (firing, language, parts) in [
            (true, English, ["what to do: kill 7", "value: 12", "http://t/alert/a"]),
            (true, Chinese, ["处理建议：kill 7", "数值：12", "12 个会话在等待"]),
            (false, English, ["lasted: 1m 30s", "why it ended: the condition no longer holds", "resolved · critical"]),
            (false, Chinese, ["持续：1m 30s", "恢复原因：触发条件不再成立", "已恢复 · 严重"]),
        ] {
            let text = text(&message(firing), language);
            for part in parts {
                assert!(text.contains(part), "{part} in\n{text}");
            }
        }
        let html = html(&message(true), English);
        assert!(html.contains("db&lt;1&gt;") && !html.contains("db<1>"), "{html}");
    }
}
