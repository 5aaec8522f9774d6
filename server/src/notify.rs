//! `tidewatch notify test`: a test message through every channel of a receiver, with what came of each.

use std::collections::BTreeMap;

use alerting::config::Settings;
use alerting::deliver::{self, Outcome, Telling};
use alerting::level::Level;
use alerting::message::{AlertNote, Message, Why};
use alerting::outbox::Parcel;
use anyhow::bail;

/// Sends to every channel in turn, prints a line for each, and fails if a channel did not take the message.
pub async fn test(settings: &Settings, receiver: &str, now_ms: fn() -> i64) -> anyhow::Result<()> {
    let Some(channels) = settings.receivers.get(receiver).map(|r| &r.channels) else {
        let known = settings.receivers.keys().cloned().collect::<Vec<_>>().join(", ");
        bail!("{receiver:?} is not a receiver; there are: {known}");
    };
    if channels.is_empty() {
        bail!("receiver {receiver:?} has no channels");
    }
    let client = alerting::exchange::client()?;
    let mut failed = 0;
    for (index, channel) in channels.iter().enumerate() {
        let now_ms = now_ms();
        let message = message(receiver, &settings.external_url, now_ms);
        let parcel = Parcel::new(format!("{now_ms:016x}"), index, channel.kind(), message);
        let known = BTreeMap::new();
        let telling = Telling { message: &parcel.message, key: &parcel.key, known: &known, now_ms };
        let receipt = deliver::send(&client, channel, &parcel, &telling).await;
        for tried in &receipt.tried {
            println!("{} {index}: {} {}: {}", channel.kind(), tried.by, tried.outcome, tried.detail);
        }
        let word = match receipt.outcome {
            Outcome::Taken => "sent",
            Outcome::Again { .. } => "not taken, could be tried again",
            Outcome::Refused => "refused",
        };
        failed += usize::from(receipt.outcome != Outcome::Taken);
        println!("{} {index}: {word}: {}", channel.kind(), receipt.detail);
    }
    if failed > 0 {
        bail!("{failed} of {} channels of {receiver:?} did not take the message", channels.len());
    }
    Ok(())
}

/// A notice that says what it is.
fn message(receiver: &str, external_url: &str, now_ms: i64) -> Message {
    let pairs = |pairs: &[(&str, String)]| pairs.iter().map(|(n, v)| (n.to_string(), v.clone())).collect();
    let alert = AlertNote {
        id: format!("test-{now_ms}"),
        fingerprint: format!("{now_ms:016x}"),
        level: Level::Notice,
        labels: pairs(&[
            ("alertname", "TestMessage".into()),
            ("instance", "tidewatch".into()),
            ("severity", Level::Notice.name().into()),
        ]),
        annotations: pairs(&[
            ("summary", format!("TEST: a test message to receiver {receiver}; nothing is wrong")),
            ("summary_zh", format!("测试：发给接收人 {receiver} 的测试消息，一切正常")),
        ]),
        starts_at_ms: now_ms,
        ends_at_ms: None,
        value: None,
        end_reason: None,
        link: external_url.into(),
        rule_group: String::new(),
    };
    Message {
        receiver: receiver.into(),
        group_key: "{}:{test=\"true\"}".into(),
        group_labels: BTreeMap::from([("test".into(), "true".into())]),
        why: Why::First,
        alerts: vec![alert],
        external_url: external_url.into(),
        made_at_ms: now_ms,
        digest: None,
    }
}
