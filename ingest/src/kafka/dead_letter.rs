//! The dead-letter topic: what can never be stored is kept there as it came, with the reason in its headers.

use std::time::Duration;

use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

use super::{EndError, KafkaSettings, Message, Watcher, client_config};
use crate::Refused;

/// How long the topic may take to keep a letter, milliseconds. Then reading goes on without it: a poison message never
/// stops its partition.
pub const LETTER_WAIT_MS_MAX: u64 = 10_000;
/// Letters that may wait for the broker at once.
const LETTERS_MAX: usize = 1_000;

/// The way to the topic.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    topic: String,
    producer: FutureProducer<Watcher>,
}

impl DeadLetters {
    /// A producer of its own; made when the first letter is written.
    pub(crate) fn open(settings: &KafkaSettings, topic: &str, watcher: Watcher) -> Result<DeadLetters, EndError> {
        let mut config = client_config(settings)?;
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", LETTER_WAIT_MS_MAX.to_string());
        config.set("queue.buffering.max.messages", LETTERS_MAX.to_string());
        config.set("message.max.bytes", super::FETCH_BYTES_MAX.to_string());
        let producer = config.create_with_context(watcher)?;
        Ok(DeadLetters { topic: topic.to_owned(), producer })
    }

    /// Resolves when the broker keeps it, or says why not.
    pub(crate) async fn send(&self, from: &str, message: &Message, refused: &Refused) -> Result<(), String> {
        let (partition, offset) = (message.partition.to_string(), message.offset.to_string());
        let headers = OwnedHeaders::new()
            .insert(Header { key: "tidewatch-reason", value: Some(refused.reason.as_str()) })
            .insert(Header { key: "tidewatch-detail", value: Some(refused.detail.as_str()) })
            .insert(Header { key: "tidewatch-topic", value: Some(from) })
            .insert(Header { key: "tidewatch-partition", value: Some(partition.as_str()) })
            .insert(Header { key: "tidewatch-offset", value: Some(offset.as_str()) });
        let record = FutureRecord::to(&self.topic).key(&message.key).payload(&message.value[..]).headers(headers);
        let sent = self.producer.send(record, Duration::ZERO).await;
        sent.map(|_| ()).map_err(|(error, _)| error.to_string())
    }
}
