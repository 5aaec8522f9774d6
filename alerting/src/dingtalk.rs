//! DingTalk: a group's custom robot, markdown, signed with timestamp and secret.
//!
//! Sources: the vendor's pages on custom robots and their security settings. A robot takes 20 messages a minute; the
//! signature is base64(HMAC-SHA256(secret, "timestamp\nsecret")) and good for an hour.

use serde_json::{Value, json};

use crate::answer_codes::{Codes, MINUTE_MS, Means, receipt};
use crate::content::{subject, words};
use crate::deliver::{Receipt, Telling};
use crate::exchange::{Reply, exchange};
use crate::robot::{Robot, bounded, paragraphs, plain};
use crate::secret::Secret;
use crate::signing::{base64, hmac_sha256};

/// Longest markdown, bytes.
const TEXT_BYTES_MAX: usize = 5_000;

/// What `errcode` means.
pub const CODES: Codes = &[
    ("0", Means::Taken),
    ("-1", Means::Again(None)),
    ("130101", Means::Again(Some(MINUTE_MS))),
    ("130102", Means::Again(Some(MINUTE_MS))),
    ("410100", Means::Again(Some(MINUTE_MS))),
    ("90018", Means::Again(Some(MINUTE_MS))),
    ("300001", Means::Refused),
    ("310000", Means::Refused),
    ("400013", Means::Refused),
    ("400101", Means::Refused),
    ("400102", Means::Refused),
    ("400105", Means::Refused),
    ("400106", Means::Refused),
    ("430101", Means::Refused),
    ("430102", Means::Refused),
    ("430103", Means::Refused),
    ("430104", Means::Refused),
    ("40035", Means::Refused),
    ("34016", Means::Refused),
    ("404", Means::Refused),
];

/// One attempt.
pub async fn send(client: &reqwest::Client, robot: &Robot, telling: &Telling<'_>) -> Receipt {
    let Ok(mut url) = robot.url.expose().parse::<reqwest::Url>() else {
        return Receipt::refused("the address is none");
    };
    if let Some(secret) = &robot.sign_secret {
        let timestamp = telling.now_ms;
        url.query_pairs_mut()
            .append_pair("timestamp", &timestamp.to_string())
            .append_pair("sign", &sign(timestamp, secret));
    }
    let request = client.post(url).json(&body(robot, telling));
    receipt(exchange(request, robot.timeout_ms, telling.now_ms).await, code, CODES)
}

fn sign(timestamp_ms: i64, secret: &Secret) -> String {
    base64(&hmac_sha256(secret.expose().as_bytes(), format!("{timestamp_ms}\n{}", secret.expose()).as_bytes()))
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
            let mut lines = vec![format!("#### {}\n", p.heading)];
            lines.extend(Some(p.summary).filter(|s| !s.is_empty()).map(|s| s + "\n"));
            lines.extend(p.facts.iter().map(|f| format!("- **{}**{}{}", f.name, words.colon, f.value)));
            lines.extend(p.link.map(|link| format!("\n[{}]({link})", words.open)));
            lines.join("\n")
        })
        .collect();
    let at: String = robot.at.iter().map(|mobile| format!(" @{mobile}")).collect();
    let at = if at.is_empty() { at } else { format!("\n\n{}", at.trim_start()) };
    let text = bounded(&texts, telling, language, TEXT_BYTES_MAX.saturating_sub(at.len())) + &at;
    json!({
        "msgtype": "markdown",
        "markdown": {"title": plain(&subject(telling.message, language)), "text": text},
        "at": {"atMobiles": robot.at, "isAtAll": false},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_the_description_says() {
        // by: printf '1600000000000\nSECabc' | openssl dgst -sha256 -hmac SECabc -binary | base64
        assert_eq!(sign(1_600_000_000_000, &Secret::new("SECabc")), "ABcUcMOwyGGKmiNbHqEbhvKpuIGkMXqT1gAGfAAmnk8=");
    }
}
