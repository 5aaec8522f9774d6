//! Sends one message over one channel and says what came of it.

use crate::config::Channel;
use crate::message::Message;
use crate::outbox::Parcel;
use crate::{mail, webhook};

/// First pause after a failed attempt, milliseconds; doubled after each.
const BACKOFF_MS: i64 = 1_000;
/// Longest pause, milliseconds.
const BACKOFF_MS_MAX: i64 = 5 * 60_000;
/// Longest pause a peer can ask for, milliseconds.
const RETRY_AFTER_MS_MAX: i64 = 3_600_000;

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What to do now.
    pub outcome: Outcome,
    /// The peer's words.
    pub detail: String,
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
    pub(crate) fn taken(detail: impl Into<String>) -> Receipt {
        Receipt { outcome: Outcome::Taken, detail: detail.into() }
    }

    pub(crate) fn again(detail: impl Into<String>, retry_after_ms: Option<i64>) -> Receipt {
        Receipt { outcome: Outcome::Again { retry_after_ms }, detail: detail.into() }
    }

    pub(crate) fn refused(detail: impl Into<String>) -> Receipt {
        Receipt { outcome: Outcome::Refused, detail: detail.into() }
    }
}

/// The pause after the attempt of that number (from 1): doubling, spread by up to a quarter by the parcel's key so that
/// receivers are not met by all at once; longer if the peer asked for it.
pub fn pause_ms(attempt: u32, key: &str, retry_after_ms: Option<i64>) -> i64 {
    let doubled = BACKOFF_MS.saturating_mul(1 << (attempt.saturating_sub(1)).min(20)).min(BACKOFF_MS_MAX);
    let spread = doubled / 4 * i64::from(key.bytes().fold(0u8, |a, b| a.wrapping_mul(31).wrapping_add(b))) / 256;
    (doubled + spread).max(retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX))
}

/// One attempt. Never longer than the channel's timeout.
pub async fn send(client: &reqwest::Client, channel: &Channel, parcel: &Parcel) -> Receipt {
    let message: &Message = &parcel.message;
    match channel {
        Channel::Webhook(hook) => webhook::send(client, hook, message, &parcel.key).await,
        Channel::Mail(mail) => mail::send(mail, message, &parcel.key).await,
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
