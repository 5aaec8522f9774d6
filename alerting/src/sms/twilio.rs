//! SMS by Twilio: `POST /2010-04-01/Accounts/{sid}/Messages.json` with basic authentication, one request a number.
//!
//! Sources: the vendor's pages on the Message resource and on its error codes. A 429 was not processed and is safe to
//! send again. The text is free, at most 1 600 characters.

use futures::future::join_all;

use super::fit::FreeText;
use super::{AT_ONCE_MAX, Answer, Call, answer, broken};
use crate::answer_codes::{Codes, HOUR_MS, MINUTE_MS, Means};
use crate::exchange::{Reply, exchange};
use crate::secret::Secret;

/// The public endpoint.
pub const ENDPOINT: &str = "https://api.twilio.com";
/// Most characters of a text.
pub const TEXT_CHARS_MAX: usize = 1_600;
/// Most characters unless the config says otherwise: four segments of Chinese text.
pub const TEXT_CHARS: usize = 268;
/// The text unless the config has its own.
pub const TEXT: &str = "[{state} {level}] {rule} {instance}: {summary} {link}";

/// What the codes in answers mean.
pub const CODES: Codes = &[
    ("20429", Means::Again(Some(1_000))),
    ("14107", Means::Again(Some(MINUTE_MS))),
    ("21611", Means::Again(Some(MINUTE_MS))),
    ("30001", Means::Again(Some(MINUTE_MS))),
    ("30022", Means::Again(Some(MINUTE_MS))),
    ("63038", Means::Again(Some(HOUR_MS))),
    ("20500", Means::Again(None)),
    ("20503", Means::Again(None)),
    ("20001", Means::Refused),
    ("20003", Means::Refused),
    ("20005", Means::Refused),
    ("20006", Means::Refused),
    ("20008", Means::Refused),
    ("20404", Means::Refused),
    ("20403", Means::Refused),
    ("21211", Means::Refused),
    ("21212", Means::Refused),
    ("21217", Means::Refused),
    ("21265", Means::Refused),
    ("21266", Means::Refused),
    ("21267", Means::Refused),
    ("21408", Means::Refused),
    ("21601", Means::Refused),
    ("21602", Means::Refused),
    ("21603", Means::Refused),
    ("21604", Means::Refused),
    ("21606", Means::Refused),
    ("21608", Means::Refused),
    ("21610", Means::Refused),
    ("21612", Means::Refused),
    ("21614", Means::Refused),
    ("21617", Means::Refused),
    ("21635", Means::Refused),
    ("21659", Means::Refused),
    ("21660", Means::Refused),
    ("21661", Means::Refused),
    ("21701", Means::Refused),
    ("21703", Means::Refused),
    ("21704", Means::Refused),
    ("30002", Means::Refused),
    ("30004", Means::Refused),
    ("30005", Means::Refused),
    ("30006", Means::Refused),
    ("30007", Means::Refused),
];

/// An account with a sender.
#[derive(Clone, Debug)]
pub struct Twilio {
    /// Where to.
    pub endpoint: reqwest::Url,
    /// The account's SID.
    pub account_sid: String,
    /// Who logs in: the account, or an API key's SID.
    pub user: String,
    /// The account's token, or the API key's secret.
    pub auth_token: Secret,
    /// The sender.
    pub sender: Sender,
    /// What is said.
    pub text: FreeText,
    /// Its most characters.
    pub text_chars_max: usize,
}

/// Who messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A number or alphanumeric sender.
    From(String),
    /// A messaging service's SID, which picks the number.
    Service(String),
}

/// One request a number, some at once.
pub async fn send(twilio: &Twilio, call: &Call<'_>, numbers: &[String]) -> Vec<(String, Answer)> {
    let text = twilio.text.fill(call.telling, call.voice, twilio.text_chars_max);
    let mut answers = Vec::new();
    for some in numbers.chunks(AT_ONCE_MAX) {
        let said = join_all(some.iter().map(|number| send_one(twilio, call, number, &text))).await;
        answers.extend(some.iter().cloned().zip(said));
    }
    answers
}

async fn send_one(twilio: &Twilio, call: &Call<'_>, number: &str, text: &str) -> Answer {
    let mut url = twilio.endpoint.clone();
    url.set_path(&format!("/2010-04-01/Accounts/{}/Messages.json", twilio.account_sid));
    let sender = match &twilio.sender {
        Sender::From(from) => ("From", from.as_str()),
        Sender::Service(sid) => ("MessagingServiceSid", sid.as_str()),
    };
    let request = call.client.post(url).basic_auth(&twilio.user, Some(twilio.auth_token.expose())).form(&[
        ("To", number),
        sender,
        ("Body", text),
    ]);
    match exchange(request, call.timeout_ms, call.telling.now_ms).await {
        Ok(reply) => read(&reply),
        Err(e) => broken(&e),
    }
}

fn read(reply: &Reply) -> Answer {
    let body = reply.json();
    let code = ["code", "error_code"].iter().find_map(|name| body[*name].as_i64()).map(|code| code.to_string());
    let words = ["message", "error_message"].iter().find_map(|name| body[*name].as_str()).unwrap_or("");
    match (body["sid"].as_str(), &code) {
        (Some(sid), None) if reply.is_success() && sid.starts_with("SM") => {
            Answer { means: Some(Means::Taken), words: format!("sid {sid} {}", body["status"].as_str().unwrap_or("")) }
        }
        _ => answer(reply, code.as_deref(), words, CODES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_from_the_body() {
        for (status, body, expected) in [
            (201, r#"{"sid":"SM1","status":"queued","error_code":null}"#, Some(Means::Taken)),
            (201, r#"{"sid":"SM1","status":"failed","error_code":30005}"#, Some(Means::Refused)),
            (429, r#"{"code":20429,"message":"m","status":429}"#, Some(Means::Again(Some(5_000)))),
            (400, r#"{"code":21211,"message":"m","status":400}"#, Some(Means::Refused)),
            (401, r#"{"code":20003,"message":"m","status":401}"#, Some(Means::Refused)),
            (400, r#"{"code":21999,"message":"m","status":400}"#, None),
            (503, "busy", Some(Means::Again(Some(5_000)))),
            (200, "<html>", None),
        ] {
            let retry_after_ms = matches!(status, 429 | 503).then_some(5_000);
            let reply = Reply { status, retry_after_ms, body: body.into() };
            assert_eq!(read(&reply).means, expected, "{status} {body}");
        }
    }
}
