//! WeCom (企业微信): a group's robot, markdown of at most 4 096 bytes.
//!
//! Source: the vendor's page on group robots. A robot takes 20 messages a minute. The key stands in the address; there
//! is no signature.

use serde_json::{Value, json};

use crate::answer_codes::{Codes, MINUTE_MS, Means, receipt};
use crate::content::words;
use crate::deliver::{Receipt, Telling};
use crate::exchange::{Reply, exchange};
use crate::robot::{Robot, bounded, paragraphs};

/// Longest markdown, bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// What `errcode` means.
pub const CODES: Codes = &[
    ("0", Means::Taken),
    ("-1", Means::Again(None)),
    ("45009", Means::Again(Some(MINUTE_MS))),
    ("45033", Means::Again(Some(1_000))),
    ("45047", Means::Again(Some(MINUTE_MS))),
    ("93000", Means::Refused),
    ("93004", Means::Refused),
    ("93008", Means::Refused),
    ("93017", Means::Refused),
    ("40001", Means::Refused),
    ("40008", Means::Refused),
    ("40058", Means::Refused),
    ("40035", Means::Refused),
    ("44004", Means::Refused),
    ("45002", Means::Refused),
    ("47001", Means::Refused),
    ("60020", Means::Refused),
];

/// One attempt.
pub async fn send(client: &reqwest::Client, robot: &Robot, telling: &Telling<'_>) -> Receipt {
    let request = client.post(robot.url.expose()).json(&body(robot, telling));
    receipt(exchange(request, robot.timeout_ms, telling.now_ms).await, code, CODES)
}

fn code(reply: &Reply) -> Option<String> {
    reply.json()["errcode"].as_i64().map(|code| code.to_string())
}

/// The body.
pub fn body(robot: &Robot, telling: &Telling<'_>) -> Value {
    let language = robot.voice.language;
    let words = words(language);
    let texts: Vec<String> = paragraphs(telling, robot.voice)
        .into_iter()
        .map(|p| {
            let color = if p.firing { "warning" } else { "info" };
            let mut lines = vec![format!("**<font color=\"{color}\">{}</font>**", p.heading)];
            lines.extend(Some(p.summary).filter(|s| !s.is_empty()));
            lines.extend(
                p.facts.iter().map(|f| format!("><font color=\"comment\">{}</font>{}{}", f.name, words.colon, f.value)),
            );
            lines.extend(p.link.map(|link| format!("[{}]({link})", words.open)));
            lines.join("\n")
        })
        .collect();
    let at: String = robot.at.iter().map(|user| format!("<@{user}>")).collect();
    let at = if at.is_empty() { at } else { format!("\n{at}") };
    let text = bounded(&texts, telling, language, TEXT_BYTES_MAX.saturating_sub(at.len())) + &at;
    json!({"msgtype": "markdown", "markdown": {"content": text}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Voice, sample};
    use crate::message::Language;
    use crate::secret::Secret;

    #[test]
    fn the_body_stays_within_4096_bytes() {
        let mut message = sample::message(true);
        message.alerts[0].annotations.insert("summary_zh".into(), "会话在等待锁".repeat(500));
        message.alerts[0].annotations.insert("runbook_zh".into(), "结束会话".repeat(500));
        message.alerts = vec![message.alerts[0].clone(); 9];
        let robot = Robot {
            url: Secret::new("http://w"),
            sign_secret: None,
            at: vec!["zhang".into()],
            voice: Voice { language: Language::Chinese, offset_minutes: 480 },
            send_resolved: true,
            timeout_ms: 1,
        };
        let body = body(&robot, &sample::telling(&message));
        let text = body["markdown"]["content"].as_str().expect("a text");
        assert!(text.len() <= TEXT_BYTES_MAX && text.ends_with("条告警未列出\n<@zhang>"), "{} {text}", text.len());

        // without a summary there is no empty line, and what is over is coloured so
        message.alerts.truncate(1);
        message.alerts[0].annotations.clear();
        message.alerts[0].ends_at_ms = Some(1);
        let body = super::body(&robot, &sample::telling(&message));
        let text = body["markdown"]["content"].as_str().expect("a text");
        assert!(text.starts_with("**<font color=\"info\">") && !text.contains("\n\n"), "{text}");
    }
}
