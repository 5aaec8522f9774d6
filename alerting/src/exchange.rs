//! One HTTP request and its answer, both bounded; what can be said about it without knowing the peer.

use std::time::Duration;

use chrono::DateTime;

/// How much of an answer's body is read, bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How much of it is kept with a receipt, characters.
const DETAIL_CHARS_MAX: usize = 500;
/// How this program names itself to peers.
pub const USER_AGENT: &str = concat!("tidewatch/", env!("CARGO_PKG_VERSION"));

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// What Retry-After asks for, milliseconds.
    pub retry_after_ms: Option<i64>,
    /// The beginning of the body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The request never left: nothing can have been done with it.
    NotSent(String),
    /// It left and no answer came: it may have been done.
    NoAnswer(String),
}

impl Broken {
    /// In words, without the address, which may hold a secret.
    pub fn words(&self) -> &str {
        match self {
            Broken::NotSent(words) | Broken::NoAnswer(words) => words,
        }
    }
}

impl Reply {
    /// 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the status says that the same request can be taken later: 408, 425, 429 and 5xx.
    pub fn is_for_later(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..=599)
    }

    /// Status and the beginning of the body, for a receipt.
    pub fn detail(&self) -> String {
        let body: String = self.body.trim().chars().take(DETAIL_CHARS_MAX).collect();
        format!("{} {body}", self.status).trim_end().to_string()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// The client every channel shares: no redirects, so that a secret goes to no other host than the one configured.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).user_agent(USER_AGENT).build()
}

/// Sends the request and reads the answer; `now_ms` is what a date in Retry-After is measured from.
pub async fn exchange(request: reqwest::RequestBuilder, timeout_ms: u64, now_ms: i64) -> Result<Reply, Broken> {
    let mut answer = match request.timeout(Duration::from_millis(timeout_ms)).send().await {
        Ok(answer) => answer,
        Err(e) if e.is_connect() || e.is_builder() => return Err(Broken::NotSent(describe(&e))),
        Err(e) => return Err(Broken::NoAnswer(describe(&e))),
    };
    let status = answer.status().as_u16();
    let asked = answer.headers().get("retry-after").and_then(|v| v.to_str().ok());
    let retry_after_ms = asked.and_then(|text| retry_after_ms(text, now_ms));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= BODY_BYTES_MAX {
            body.truncate(BODY_BYTES_MAX);
            break;
        }
    }
    Ok(Reply { status, retry_after_ms, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Retry-After (RFC 9110, 10.2.3) in milliseconds from now: seconds, or an HTTP date. A past date is 0.
pub fn retry_after_ms(text: &str, now_ms: i64) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return (seconds >= 0).then(|| seconds.saturating_mul(1000));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.timestamp_millis() - now_ms).max(0))
}

/// The error with its causes, without the address, which may hold a secret.
fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timeout".to_string() } else { "can't send".to_string() };
    let mut source = std::error::Error::source(error);
    while let Some(e) = source {
        text.push_str(": ");
        text.push_str(&e.to_string());
        source = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now_ms = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110
        for (text, expected) in [
            ("120", Some(120_000)),
            (" 0 ", Some(0)),
            ("-1", None),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after_ms(text, now_ms), expected, "{text:?}");
        }
    }
}
