//! The topic that is read, from raw to checked.

use std::collections::BTreeSet;

use ingest::{KafkaSettings, kafka::Partitions};
use proto::kafka::{Connection, Mechanism, Sasl, Tls, is_broker, is_topic};
use serde_saphyr::Spanned;

use super::{
    check::{Checked, Place},
    raw::{RawKafka, RawKafkaTls, RawPartitions, RawSasl, Text},
};

/// What is put behind the topic's name to make that of its dead letters.
const DEAD_LETTER_SUFFIX: &str = ".dead-letter";
/// The word for no dead-letter topic.
const NONE: &str = "none";
/// Most partitions one server reads.
const PARTITIONS_MAX: u64 = 10_000;
const TOPICS: &str = "1 to 249 letters, digits, '.', '_' or '-'";

pub(super) fn check_kafka(place: &Place<'_>, raw: RawKafka) -> Checked<KafkaSettings> {
    if !is_topic(&raw.topic.value) {
        return place.refuse(&raw.topic, "kafka.topic", TOPICS);
    }
    if raw.brokers.is_empty() {
        return Err(place.error(raw.topic.referenced, "kafka.brokers: at least one host:port must be given"));
    }
    for (i, broker) in raw.brokers.iter().enumerate() {
        if !is_broker(&broker.value) {
            return place.refuse(broker, &format!("kafka.brokers[{i}]"), "host:port");
        }
    }
    let topic = raw.topic.value;
    let dead_letter_topic = match &raw.dead_letter_topic {
        None => Some(format!("{topic}{DEAD_LETTER_SUFFIX}")).filter(|name| is_topic(name)),
        Some(text) if text.value == NONE => None,
        Some(text) if is_topic(&text.value) && text.value != topic => Some(text.value.clone()),
        Some(text) => {
            let allowed = format!("{NONE}, or a topic other than kafka.topic: {TOPICS}");
            return place.refuse(text, "kafka.dead_letter_topic", &allowed);
        }
    };
    Ok(KafkaSettings {
        connection: Connection {
            brokers: raw.brokers.into_iter().map(|b| b.value).collect(),
            tls: raw.tls.map(|tls| check_tls(place, tls)).transpose()?,
            sasl: raw.sasl.map(|sasl| check_sasl(place, sasl)).transpose()?,
        },
        topic,
        partitions: check_partitions(place, raw.partitions)?,
        dead_letter_topic,
    })
}

fn check_partitions(place: &Place<'_>, raw: Option<Spanned<RawPartitions>>) -> Checked<Partitions> {
    let Some(raw) = raw else { return Ok(Partitions::All) };
    let refuse = |found: &str| {
        let allowed = format!("all, or a list of numbers from 0 to {}", PARTITIONS_MAX - 1);
        Err(place.error(raw.referenced, format!("kafka.partitions: {found} is not allowed; allowed: {allowed}")))
    };
    match &raw.value {
        RawPartitions::Word(word) if word == "all" => Ok(Partitions::All),
        RawPartitions::Word(word) => refuse(&format!("{word:?}")),
        RawPartitions::Numbers(numbers) if numbers.is_empty() => refuse("an empty list"),
        RawPartitions::Numbers(numbers) => match numbers.iter().find(|n| **n >= PARTITIONS_MAX) {
            Some(number) => refuse(&number.to_string()),
            None => Ok(Partitions::These(numbers.iter().map(|n| *n as u32).collect::<BTreeSet<u32>>())),
        },
    }
}

fn check_tls(place: &Place<'_>, raw: RawKafkaTls) -> Checked<Tls> {
    // read here only to say what is wrong with them now; the client reads them itself
    let file = |text: &Text, field: &str| place.read(text, field).map(|_| place.path(&text.value));
    let identity = match (&raw.cert_file, &raw.key_file) {
        (Some(cert), Some(key)) => Some((file(cert, "kafka.tls.cert_file")?, file(key, "kafka.tls.key_file")?)),
        (None, None) => None,
        (Some(half), None) | (None, Some(half)) => {
            let message = "kafka.tls: cert_file and key_file are given both or not at all";
            return Err(place.error(half.referenced, message));
        }
    };
    Ok(Tls { ca_file: raw.ca_file.as_ref().map(|ca| file(ca, "kafka.tls.ca_file")).transpose()?, identity })
}

fn check_sasl(place: &Place<'_>, raw: RawSasl) -> Checked<Sasl> {
    let word = raw.mechanism.value.as_str();
    let Some((_, mechanism)) = Mechanism::WORDS.into_iter().find(|(known, _)| *known == word) else {
        let words = Mechanism::WORDS.map(|(word, _)| word).join(", ");
        return place.refuse(&raw.mechanism, "kafka.sasl.mechanism", &words);
    };
    if raw.username.value.is_empty() || raw.username.value.chars().any(char::is_control) {
        return place.refuse(&raw.username, "kafka.sasl.username", "a name of printable text");
    }
    place.read(&raw.password_file, "kafka.sasl.password_file")?;
    let password_file = place.path(&raw.password_file.value);
    Ok(Sasl { mechanism, username: raw.username.value, password_file })
}
