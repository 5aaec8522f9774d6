//! Feishu and Lark: a group's custom robot, an interactive card, signed with timestamp and secret.
//!
//! Sources: the vendor's guide to custom robots and its pages on cards. A robot takes 100 messages a minute and 5 a
//! second, a body at most 20 KB. The signature is base64(HMAC-SHA256("timestamp\nsecret", "")), the timestamp in seconds.
//! Every text in the card is `plain_text`, so that nothing in it is markup.

use serde_json::{Value, json};

use crate::answer_codes::{Codes, MINUTE_MS, Means, receipt};
use crate::content::{subject, words};
use crate::deliver::{Receipt, Telling};
use crate::exchange::{Reply, exchange};
use crate::level::Level;
use crate::robot::{Robot, left_out, paragraphs, plain};
use crate::secret::Secret;
use crate::signing::{base64, hmac_sha256};

/// Longest body, bytes, with room for what surrounds the texts.
const BODY_BYTES_MAX: usize = 18_000;

/// What `code` means. 9499 is both a malformed request and, with its own words, too many of them; see [`code`].
pub const CODES: Codes = &[
    ("0", Means::Taken),
    ("11232", Means::Again(Some(MINUTE_MS))),
    ("11233", Means::Again(Some(MINUTE_MS))),
    ("9499 too many", Means::Again(Some(MINUTE_MS))),
    ("99991400", Means::Again(Some(MINUTE_MS))),
    ("10002", Means::Again(None)),
    ("9499", Means::Refused),
    ("19001", Means::Refused),
    ("19002", Means::Refused),
    ("19003", Means::Refused),
    ("19005", Means::Refused),
    ("19007", Means::Refused),
    ("19021", Means::Refused),
    ("19022", Means::Refused),
    ("19024", Means::Refused),
    ("19036", Means::Refused),
    ("11246", Means::Refused),
    ("230099", Means::Refused),
];

/// One attempt.
pub async fn send(client: &reqwest::Client, robot: &Robot, telling: &Telling<'_>) -> Receipt {
    let mut body = body(robot, telling);
    if let Some(secret) = &robot.sign_secret {
        let seconds = telling.now_ms.div_euclid(1000);
        body["timestamp"] = seconds.to_string().into();
        body["sign"] = sign(seconds, secret).into();
    }
    let request = client.post(robot.url.expose()).json(&body);
    receipt(exchange(request, robot.timeout_ms, telling.now_ms).await, code, CODES)
}

fn sign(seconds: i64, secret: &Secret) -> String {
    base64(&hmac_sha256(format!("{seconds}\n{}", secret.expose()).as_bytes(), b""))
}

fn code(reply: &Reply) -> Option<String> {
    let body = reply.json();
    let code = body["code"].as_i64().or_else(|| body["StatusCode"].as_i64())?;
    let words = body["msg"].as_str().unwrap_or("").to_lowercase();
    Some(if code == 9499 && words.contains("too many") { "9499 too many".into() } else { code.to_string() })
}

/// The body without its signature.
pub fn body(robot: &Robot, telling: &Telling<'_>) -> Value {
    let language = robot.voice.language;
    let words = words(language);
    let text = |content: &str| json!({"tag": "plain_text", "content": content});
    let mut elements = Vec::new();
    let (mut shown, mut bytes) = (0, 0);
    for p in paragraphs(telling, robot.voice) {
        let mut part =
            vec![json!({"tag": "div", "text": text(&p.heading)}), json!({"tag": "div", "text": text(&p.summary)})];
        let facts: Vec<String> = p.facts.iter().map(|f| format!("{}{}{}", f.name, words.colon, f.value)).collect();
        part.push(json!({"tag": "div", "text": text(&facts.join("\n"))}));
        if let Some(link) = p.link {
            let button = json!({"tag": "button", "type": "primary", "text": text(words.open), "url": link});
            part.push(json!({"tag": "action", "actions": [button]}));
        }
        part.push(json!({"tag": "hr"}));
        bytes += part.iter().map(|e| e.to_string().len()).sum::<usize>();
        if bytes > BODY_BYTES_MAX && shown > 0 {
            break;
        }
        elements.extend(part);
        shown += 1;
    }
    elements.pop(); // the last line
    elements.extend(left_out(telling, shown, language).map(|note| json!({"tag": "div", "text": text(&note)})));
    let template = match (telling.message.firing(), telling.message.level()) {
        (0, _) => "green",
        (_, Level::Critical) => "red",
        (_, Level::Warning) => "orange",
        (_, Level::Notice) => "blue",
    };
    json!({
        "msg_type": "interactive",
        "card": {
            "config": {"wide_screen_mode": true},
            "header": {"template": template, "title": text(&plain(&subject(telling.message, language)))},
            "elements": elements,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_the_description_says() {
        // by: printf '' | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf '1600000000\nabc' | xxd -p) -binary | base64
        assert_eq!(sign(1_600_000_000, &Secret::new("abc")), "6L6POH2rt4SuqaKjbCNoZ7H6Z3R3OevLdHc4Q+A+cEY=");
    }

    #[test]
    fn too_many_requests_have_the_code_of_malformed_ones() {
        for (body, expected) in [
            (r#"{"code":0,"msg":"success"}"#, Some("0")),
            (r#"{"StatusCode":0,"StatusMessage":"success"}"#, Some("0")),
            (r#"{"code":9499,"msg":"too many request"}"#, Some("9499 too many")),
            (r#"{"code":9499,"msg":"Bad Request"}"#, Some("9499")),
            ("<html>", None),
        ] {
            let reply = Reply { status: 200, retry_after_ms: None, body: body.into() };
            assert_eq!(code(&reply).as_deref(), expected, "{body}");
        }
    }
}
