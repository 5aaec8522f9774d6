//! Sends one message over one channel and says what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use diagnosis::verdict::Finding;

use crate::config::Channel;
use crate::known::Known;
use crate::message::{Language, Message};
use crate::outbox::Parcel;
use crate::sms::Progress;
use crate::{dingtalk, feishu, mail, slack, sms, webhook, wecom};

/// First pause after a failed attempt, milliseconds; doubled after each.
const BACKOFF_MS: i64 = 1_000;
/// Longest pause, milliseconds.
pub const BACKOFF_MS_MAX: i64 = 5 * 60_000;
/// Longest pause a peer can ask for, milliseconds.
const RETRY_AFTER_MS_MAX: i64 = 3_600_000;

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What to do now.
    pub outcome: Outcome,
    /// The peer's words: its message id, or why not.
    pub detail: String,
    /// The peers asked in this attempt, where a channel has several.
    pub tried: Vec<Tried>,
    /// What the recipients have gone through by now, where they go separate ways.
    pub progress: Option<Progress>,
}

/// One peer asked in an attempt, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The peer's name.
    pub by: String,
    /// taken, again, refused, unclear.
    pub outcome: String,
    /// Its words.
    pub detail: String,
}

/// What is told in one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// The message.
    pub message: &'a Message,
    /// Its idempotency key.
    pub key: &'a str,
    /// What is known of its alerts by now, by alert id.
    pub known: &'a BTreeMap<String, Arc<Known>>,
    /// The moment, milliseconds.
    pub now_ms: i64,
}

impl Telling<'_> {
    /// The verdict on an alert, when known.
    pub fn finding(&self, alert_id: &str) -> Option<&Finding> {
        self.known.get(alert_id)?.finding.as_ref()
    }

    /// Lines of evidence of an alert.
    pub fn lines(&self, alert_id: &str, language: Language) -> Vec<&str> {
        let lines = self.known.get(alert_id).map_or(&[][..], |k| &k.lines);
        lines.iter().map(|(e, c)| if language == Language::Chinese { c.as_str() } else { e.as_str() }).collect()
    }
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: the peer has it.
    Taken,
    /// Try again, not before the peer's wish in milliseconds if it has one.
    Again {
        /// From Retry-After.
        retry_after_ms: Option<i64>,
    },
    /// Nothing: the peer will never take it.
    Refused,
}

impl Receipt {
    fn of(outcome: Outcome, detail: impl Into<String>) -> Receipt {
        Receipt { outcome, detail: detail.into(), tried: Vec::new(), progress: None }
    }

    /// The peer has it.
    pub fn taken(detail: impl Into<String>) -> Receipt {
        Receipt::of(Outcome::Taken, detail)
    }

    /// To be tried again, not before the peer's wish.
    pub fn again(detail: impl Into<String>, retry_after_ms: Option<i64>) -> Receipt {
        Receipt::of(Outcome::Again { retry_after_ms }, detail)
    }

    /// The peer will never take it.
    pub fn refused(detail: impl Into<String>) -> Receipt {
        Receipt::of(Outcome::Refused, detail)
    }
}

/// The pause after the attempt of that number (from 1): doubling, spread by up to a quarter by the parcel's key so that
/// receivers are not met by all at once; longer if the peer asked for it.
pub fn pause_ms(attempt: u32, key: &str, retry_after_ms: Option<i64>) -> i64 {
    let doubled = BACKOFF_MS.saturating_mul(1 << (attempt.saturating_sub(1)).min(20)).min(BACKOFF_MS_MAX);
    let spread = doubled / 4 * i64::from(key.bytes().fold(0u8, |a, b| a.wrapping_mul(31).wrapping_add(b))) / 256;
    (doubled + spread).max(retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX))
}

/// One attempt over any channel. No request of it takes longer than the channel's timeout.
pub async fn send(client: &reqwest::Client, channel: &Channel, parcel: &Parcel, telling: &Telling<'_>) -> Receipt {
    match channel {
        Channel::Webhook(hook) => webhook::send(client, hook, telling).await,
        Channel::Mail(mail) => mail::send(mail, telling).await,
        Channel::Sms(sms) => sms::send(client, sms, telling, &parcel.progress).await,
        Channel::DingTalk(robot) => dingtalk::send(client, robot, telling).await,
        Channel::WeCom(robot) => wecom::send(client, robot, telling).await,
        Channel::Feishu(robot) => feishu::send(client, robot, telling).await,
        Channel::Slack(robot) => slack::send(client, robot, telling).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_honour_the_peer() {
        let pauses: Vec<i64> = (1..=12).map(|n| pause_ms(n, "", None)).collect();
        assert_eq!(pauses[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(pauses[11], BACKOFF_MS_MAX);
        assert_eq!(pause_ms(1, "", Some(30_000)), 30_000);
        assert_eq!(pause_ms(1, "", Some(i64::MAX)), RETRY_AFTER_MS_MAX);
        assert!((1_000..=1_250).contains(&pause_ms(1, "abcdef", None)));
    }
}
