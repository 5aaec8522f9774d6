//! Slack: an incoming webhook, blocks.
//!
//! Sources: the vendor's pages on incoming webhooks, rate limits, formatting of text, and Block Kit. The body `ok` is the
//! receipt; a 429 says in Retry-After when to come back, one message a second is the rule. In `mrkdwn` only `&`, `<` and
//! `>` are escaped by the vendor's rules; what else could format is replaced before.

use serde_json::{Value, json};

use crate::answer_codes::{Codes, Means, receipt};
use crate::content::{shorten, subject, words};
use crate::deliver::{Receipt, Telling};
use crate::exchange::{Reply, exchange};
use crate::level::Level;
use crate::robot::{Robot, left_out, paragraphs, plain};

/// Longest text of a section, characters.
const SECTION_CHARS_MAX: usize = 3_000;

/// What the body's only word means.
pub const CODES: Codes = &[
    ("ok", Means::Taken),
    ("rate_limited", Means::Again(Some(1_000))),
    ("ratelimited", Means::Again(Some(1_000))),
    ("rollup_error", Means::Again(None)),
    ("fatal_error", Means::Again(None)),
    ("internal_error", Means::Again(None)),
    ("invalid_payload", Means::Refused),
    ("invalid_blocks", Means::Refused),
    ("invalid_attachments", Means::Refused),
    ("invalid_token", Means::Refused),
    ("no_text", Means::Refused),
    ("too_many_attachments", Means::Refused),
    ("no_service", Means::Refused),
    ("no_service_id", Means::Refused),
    ("no_team", Means::Refused),
    ("no_active_hooks", Means::Refused),
    ("team_disabled", Means::Refused),
    ("user_not_found", Means::Refused),
    ("channel_not_found", Means::Refused),
    ("channel_is_archived", Means::Refused),
    ("action_prohibited", Means::Refused),
    ("posting_to_general_channel_denied", Means::Refused),
];

/// One attempt.
pub async fn send(client: &reqwest::Client, robot: &Robot, telling: &Telling<'_>) -> Receipt {
    let request = client.post(robot.url.expose()).json(&body(robot, telling));
    receipt(exchange(request, robot.timeout_ms, telling.now_ms).await, code, CODES)
}

/// The body's word, if it is one and the status is not that of a limit.
fn code(reply: &Reply) -> Option<String> {
    let word = reply.body.trim();
    let is_word = !word.is_empty() && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (is_word && !reply.is_for_later()).then(|| word.into())
}

/// The body.
pub fn body(robot: &Robot, telling: &Telling<'_>) -> Value {
    let language = robot.voice.language;
    let words = words(language);
    let mrkdwn = |text: String| json!({"type": "mrkdwn", "text": shorten(&text, SECTION_CHARS_MAX), "verbatim": true});
    let mut blocks = Vec::new();
    let paragraphs = paragraphs(telling, robot.voice);
    for p in &paragraphs {
        let mut lines = vec![format!("*{}*", escape(&p.heading))];
        lines.extend(Some(escape(&p.summary)).filter(|s| !s.is_empty()));
        lines.extend(p.facts.iter().map(|f| format!("*{}*{}{}", f.name, words.colon, escape(&f.value))));
        lines.extend(p.link.as_ref().map(|link| format!("<{}|{}>", escape(link), words.open)));
        blocks.push(json!({"type": "section", "text": mrkdwn(lines.join("\n"))}));
    }
    if let Some(note) = left_out(telling, paragraphs.len(), language) {
        blocks.push(json!({"type": "section", "text": mrkdwn(note)}));
    }
    let color = match (telling.message.firing(), telling.message.level()) {
        (0, _) => "#2e7d4f",
        (_, Level::Critical) => "#b3261e",
        (_, Level::Warning) => "#b26a00",
        (_, Level::Notice) => "#33658a",
    };
    let text = escape(&plain(&subject(telling.message, language)));
    json!({"text": text, "attachments": [{"color": color, "blocks": blocks}]})
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ok_is_a_receipt() {
        for (status, body, expected) in [
            (200, "ok", Some("ok")),
            (403, "action_prohibited", Some("action_prohibited")),
            (429, "rate_limited", None),
            (200, "<html>ok</html>", None),
            (200, "", None),
        ] {
            let reply = Reply { status, retry_after_ms: None, body: body.into() };
            assert_eq!(code(&reply).as_deref(), expected, "{status} {body}");
        }
    }
}
