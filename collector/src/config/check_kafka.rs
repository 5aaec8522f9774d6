//! The topic to send to, from raw to checked.

use proto::{
    batch::ENCODED_BYTES_MAX,
    kafka::{Connection, Mechanism, Sasl, Tls, VALUE_BYTES_DEFAULT, is_broker, is_topic},
};

use super::{
    Compression, ConfigError, KafkaConfig,
    check::{Place, parse_bytes},
    raw::{RawKafka, RawKafkaTls, RawSasl},
};

/// Smallest batch bound that is of use, bytes.
const VALUE_BYTES_MIN: u64 = 64 << 10;

pub(super) fn check_kafka(place: &Place<'_>, raw: RawKafka) -> Result<KafkaConfig, ConfigError> {
    if !is_topic(&raw.topic.value) {
        return place.refuse(&raw.topic, "kafka.topic", "1 to 249 letters, digits, '.', '_' or '-'");
    }
    if raw.brokers.is_empty() {
        return Err(place.error(raw.topic.referenced, "kafka.brokers: at least one host:port must be given"));
    }
    for (i, broker) in raw.brokers.iter().enumerate() {
        if !is_broker(&broker.value) {
            return place.refuse(broker, &format!("kafka.brokers[{i}]"), "host:port");
        }
    }
    let value_bytes_max = match &raw.value_bytes_max {
        None => VALUE_BYTES_DEFAULT,
        Some(text) => match parse_bytes(&text.value) {
            Some(bytes) if (VALUE_BYTES_MIN..=ENCODED_BYTES_MAX as u64).contains(&bytes) => bytes as usize,
            _ => return place.refuse(text, "kafka.value_bytes_max", "64KiB to 8MiB, written like 1000000 or 4MiB"),
        },
    };
    let words = [Compression::None, Compression::Zstd].map(|c| (c.as_str(), c));
    let compression = match &raw.compression {
        None => Compression::None,
        Some(text) => place.choice(text, "kafka.compression", &words)?,
    };
    let connection = Connection {
        brokers: raw.brokers.into_iter().map(|b| b.value).collect(),
        tls: raw.tls.map(|tls| check_tls(place, tls)).transpose()?,
        sasl: raw.sasl.map(|sasl| check_sasl(place, sasl)).transpose()?,
    };
    Ok(KafkaConfig { connection, topic: raw.topic.value, value_bytes_max, compression })
}

fn check_tls(place: &Place<'_>, raw: RawKafkaTls) -> Result<Tls, ConfigError> {
    let identity = match (raw.cert_file, raw.key_file) {
        (Some(cert), Some(key)) => Some((cert.value.into(), key.value.into())),
        (None, None) => None,
        (Some(half), None) | (None, Some(half)) => {
            let message = "kafka.tls: cert_file and key_file are given both or not at all";
            return Err(place.error(half.referenced, message));
        }
    };
    Ok(Tls { ca_file: raw.ca_file, identity })
}

fn check_sasl(place: &Place<'_>, raw: RawSasl) -> Result<Sasl, ConfigError> {
    Ok(Sasl {
        mechanism: place.choice(&raw.mechanism, "kafka.sasl.mechanism", &Mechanism::WORDS)?,
        username: place.name(&raw.username, "kafka.sasl.username")?.to_string(),
        password_file: raw.password_file,
    })
}
