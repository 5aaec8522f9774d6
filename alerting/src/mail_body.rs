//! Text and HTML of a mail, in English and Chinese.
//!
//! The HTML is what mail readers agree on: tables, inline styles, no script, no picture from elsewhere. It fits a phone
//! (nothing is wider than the screen) and brings its own dark colours; readers that invert colours themselves find
//! enough contrast either way.

use std::fmt::Write;

use crate::content::{self, Fact, Voice, facts, heading, verdict, words};
use crate::deliver::Telling;
use crate::level::Level;
use crate::message::AlertNote;

/// Most alerts written out in one mail; the rest is counted.
const ALERTS_MAX: usize = 50;

/// The plain text.
pub fn text(telling: &Telling<'_>, voice: Voice) -> String {
    let words = words(voice.language);
    let message = telling.message;
    let mut out = String::new();
    if let Some(digest) = &message.digest {
        let _ = writeln!(out, "{}\n", crate::digest::text(digest, voice.language));
    }
    for alert in message.alerts.iter().take(ALERTS_MAX) {
        let _ = writeln!(out, "{}", heading(alert, voice.language));
        for name in ["summary", "description"] {
            let line = alert.annotation(name, voice.language);
            if !line.is_empty() {
                let _ = writeln!(out, "{line}");
            }
        }
        for Fact { name, value } in all_facts(alert, telling, voice) {
            let _ = writeln!(out, "  {name}{}{value}", words.colon);
        }
        for line in telling.lines(&alert.id, voice.language) {
            let _ = writeln!(out, "  {}{}{line}", words.evidence, words.colon);
        }
        let _ = writeln!(out, "  {}{}{}", words.labels, words.colon, labels(alert));
        let _ = writeln!(out, "  {}{}{}\n", words.open, words.colon, alert.link);
    }
    if message.alerts.len() > ALERTS_MAX {
        let _ = writeln!(out, "{} {}\n", message.alerts.len() - ALERTS_MAX, words.more);
    }
    let _ = writeln!(out, "{} {}", words.sent_by, message.external_url);
    out
}

fn all_facts(alert: &AlertNote, telling: &Telling<'_>, voice: Voice) -> Vec<Fact> {
    verdict(alert, telling, voice.language).into_iter().chain(facts(alert, voice)).collect()
}

fn labels(alert: &AlertNote) -> String {
    alert.labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(", ")
}

fn escape(text: &str) -> String {
    gotmpl::html_escape(text)
}

/// Escaped, lines kept.
fn lines(text: &str) -> String {
    escape(text.trim()).replace('\n', "<br>")
}

/// Colours by class, so that dark readers can have others; the light ones also stand inline for those that drop styles.
const STYLE: &str = "\
body{margin:0;padding:0;-webkit-text-size-adjust:100%}\
@media (prefers-color-scheme:dark){\
.page{background:#12171c!important}.card{background:#1c242c!important;border-color:#2d3843!important}\
.ink{color:#e8edf2!important}.soft{color:#9fb0c0!important}.box{background:#232d37!important}\
.line{border-color:#2d3843!important}a.text{color:#8ec7ff!important}}\
@media (max-width:480px){.pad{padding-left:16px!important;padding-right:16px!important}\
.wide{display:block!important;text-align:center!important}}";
const FONT: &str = "font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,'PingFang SC','Microsoft YaHei','Noto Sans CJK SC',\
                    'WenQuanYi Micro Hei',sans-serif";

fn color(alert: &AlertNote) -> &'static str {
    match (alert.is_firing(), alert.level) {
        (false, _) => "#2e7d4f",
        (true, Level::Critical) => "#b3261e",
        (true, Level::Warning) => "#a85d00",
        (true, Level::Notice) => "#2f6690",
    }
}

/// The HTML.
pub fn html(telling: &Telling<'_>, voice: Voice) -> String {
    let words = words(voice.language);
    let message = telling.message;
    let lang = if voice.language == crate::message::Language::Chinese { "zh-CN" } else { "en" };
    let preview = message.alerts.first().map_or("", |a| a.annotation("summary", voice.language));
    let mut out = format!(
        "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><meta name=\"supported-color-schemes\" content=\"light dark\">\
         <title>{}</title><style>{STYLE}</style></head><body class=\"page\" style=\"margin:0;background:#eef1f4\">\
         <div style=\"display:none;max-height:0;overflow:hidden\">{}</div>\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" class=\"page\" style=\"background:#eef1f4;{FONT}\">\
         <tr><td align=\"center\" style=\"padding:16px 8px\">",
        escape(&content::subject(message, voice.language)),
        escape(preview),
    );
    for alert in message.alerts.iter().take(ALERTS_MAX) {
        card(&mut out, alert, telling, voice);
    }
    if message.alerts.len() > ALERTS_MAX {
        let more = message.alerts.len() - ALERTS_MAX;
        let _ = write!(out, "<p class=\"ink\" style=\"color:#1c2733\">{more} {}</p>", words.more);
    }
    let from = match message.external_url.starts_with("http") {
        true => {
            format!(" · <a class=\"soft\" style=\"color:#5b6b7a\" href=\"{0}\">{0}</a>", escape(&message.external_url))
        }
        false => String::new(),
    };
    let _ = write!(
        out,
        "<p class=\"soft\" style=\"font-size:12px;color:#5b6b7a;margin:4px 0 0\">{}{from}</p></td></tr></table></body></html>",
        words.sent_by
    );
    out
}

fn card(out: &mut String, alert: &AlertNote, telling: &Telling<'_>, voice: Voice) {
    let words = words(voice.language);
    let color = color(alert);
    let label = |name: &str| alert.labels.get(name).map_or("", |v| v.as_str());
    let (summary, description) =
        (alert.annotation("summary", voice.language), alert.annotation("description", voice.language));
    let headline = if summary.is_empty() { label("alertname") } else { summary };
    let _ = write!(
        out,
        "<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" class=\"card\" style=\"max-width:640px;\
         margin:0 auto 16px;background:#ffffff;border:1px solid #d9e0e6;border-radius:8px;border-collapse:separate;overflow:hidden;text-align:left\">\
         <tr><td class=\"pad\" style=\"background:{color};color:#ffffff;padding:10px 24px;font-size:14px;font-weight:600;word-break:break-word\">\
         {} · {} <span style=\"font-weight:400;opacity:.9\">— {}</span></td></tr>\
         <tr><td class=\"pad\" style=\"padding:18px 24px 20px\">\
         <div class=\"ink\" style=\"font-size:20px;line-height:1.35;font-weight:600;color:#1c2733;word-break:break-word\">{}</div>\
         <div class=\"soft\" style=\"font-size:14px;color:#5b6b7a;margin:4px 0 0;word-break:break-word\">{}</div>",
        content::state(alert, voice.language),
        content::level(alert.level, voice.language),
        escape(label("alertname")),
        lines(headline),
        escape(label("instance")),
    );
    if !description.is_empty() {
        let _ = write!(
            out,
            "<div class=\"ink\" style=\"font-size:14px;line-height:1.5;color:#1c2733;margin:10px 0 0;word-break:break-word\">{}</div>",
            lines(description)
        );
    }
    cause(out, alert, telling, voice, color);
    let rows = facts(alert, voice);
    out.push_str("<table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" style=\"margin:14px 0 0;font-size:14px;line-height:1.45\">");
    for Fact { name, value } in rows {
        let _ = write!(
            out,
            "<tr><td class=\"soft\" style=\"color:#5b6b7a;padding:2px 16px 2px 0;vertical-align:top;white-space:nowrap\">{name}</td>\
             <td class=\"ink\" style=\"color:#1c2733;padding:2px 0;word-break:break-word\">{}</td></tr>",
            lines(&value),
        );
    }
    out.push_str("</table>");
    if alert.link.starts_with("http") {
        let _ = write!(
            out,
            "<div style=\"margin:18px 0 0\"><a class=\"wide\" href=\"{}\" style=\"display:inline-block;background:{color};color:#ffffff;\
             font-size:14px;font-weight:600;text-decoration:none;padding:10px 18px;border-radius:6px\">{}</a></div>",
            escape(&alert.link),
            words.open,
        );
    }
    let _ = write!(
        out,
        "<div class=\"soft line\" style=\"font-size:12px;line-height:1.5;color:#5b6b7a;border-top:1px solid #e4e9ee;margin:18px 0 0;\
         padding:10px 0 0;word-break:break-word\">{}</div></td></tr></table>",
        escape(&labels(alert)),
    );
}

/// The box with likely cause, reasons, advice, and the top of the evidence; nothing while none is known.
fn cause(out: &mut String, alert: &AlertNote, telling: &Telling<'_>, voice: Voice, color: &str) {
    let words = words(voice.language);
    let finding = telling.finding(&alert.id).filter(|_| alert.is_firing());
    let evidence = telling.lines(&alert.id, voice.language);
    if finding.is_none() && evidence.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" style=\"margin:14px 0 0\"><tr>\
         <td class=\"box ink\" style=\"background:#f3f6f8;border-left:4px solid {color};padding:12px 14px;font-size:14px;line-height:1.5;\
         color:#1c2733;word-break:break-word\">"
    );
    let name = |name: &str| format!("<div class=\"soft\" style=\"font-size:12px;color:#5b6b7a\">{name}</div>");
    if let Some(finding) = finding {
        let reasons = content::reasons(finding, voice.language);
        let reasons: String = reasons.iter().map(|r| format!("<div>{}</div>", escape(r))).collect();
        let _ = write!(
            out,
            "{}<div style=\"font-weight:600\">{}</div>{reasons}<div style=\"height:8px\"></div>{}<div style=\"font-weight:600\">{}</div>",
            name(words.verdict),
            escape(content::title(finding, voice.language)),
            name(words.advice),
            lines(content::advice(finding, voice.language)),
        );
    }
    if !evidence.is_empty() {
        let gap = if finding.is_some() { "<div style=\"height:8px\"></div>" } else { "" };
        let _ = write!(out, "{gap}{}", name(words.evidence));
        for line in evidence {
            let _ = write!(
                out,
                "<div style=\"font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px\">{}</div>",
                escape(line)
            );
        }
    }
    out.push_str("</td></tr></table>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::sample;
    use crate::message::Language::{Chinese, English};

    #[test]
    fn both_languages_say_what_happened() {
        let known = sample::known();
        for (firing, language, parts) in [
            (true, English, ["what to do: kill 7", "value: 12", "http://t/alert/a", "likely cause: lock pile-up"]),
            (true, Chinese, ["处理建议：kill 7", "数值：12", "12 个会话在等待", "建议：结束会话 7 的事务"]),
            (
                false,
                English,
                ["lasted: 1m 30s", "why it ended: the condition no", "resolved · critical", "evidence: pid 7"],
            ),
            (false, Chinese, ["持续：1 分钟 30 秒", "恢复原因：触发条件不再成立", "已恢复 · 严重", "证据：会话 7"]),
        ] {
            let message = sample::message(firing);
            let telling = Telling { known: &known, ..sample::telling(&message) };
            let text = text(&telling, Voice { language, offset_minutes: 0 });
            for part in parts {
                assert!(text.contains(part), "{part} in\n{text}");
            }
        }
    }

    #[test]
    fn html_is_escaped_and_whole_with_and_without_a_verdict() {
        let (message, known) = (sample::message(true), sample::known());
        let voice = Voice { language: English, offset_minutes: 0 };
        let bare = html(&sample::telling(&message), voice);
        let with = html(&Telling { known: &known, ..sample::telling(&message) }, voice);
        assert!(!bare.contains("likely cause") && with.contains("likely cause") && with.contains("pid 7 &lt;app&gt;"));
        for html in [bare, with] {
            assert!(html.contains("db&lt;1&gt;") && !html.contains("db<1>"), "{html}");
            for tag in ["table", "tr", "td", "div", "body", "html"] {
                let opened = html.matches(&format!("<{tag} ")).count() + html.matches(&format!("<{tag}>")).count();
                assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
            }
        }
    }
}
