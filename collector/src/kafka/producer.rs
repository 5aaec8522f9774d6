//! The client: how it is set up, and what it reports.

use std::{sync::Arc, time::Duration};

use proto::kafka::RECORD_OVERHEAD_BYTES;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, Producer, ProducerContext},
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::mpsc;

use super::{Numbers, SendError};
use crate::config::KafkaConfig;

/// How long batches of different classes may gather for one request, milliseconds.
const LINGER_MS: u64 = 5;
/// Batches the client may hold: one of each class is on its way at most.
const MESSAGES_MAX: usize = proto::tables::CLASSES_BY_IMPORTANCE.len();
/// How long brokers may take to say which partitions there are.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the broker made of a batch.
#[derive(Debug)]
pub(crate) struct Report {
    /// The batch's class, as on the wire.
    pub(crate) class: usize,
    pub(crate) result: Result<(), KafkaError>,
}

/// Hears what the client says.
pub(crate) struct Reports {
    topic: String,
    told: mpsc::UnboundedSender<Report>,
    numbers: Arc<Numbers>,
}

impl Reports {
    pub(crate) fn new(topic: &str, told: mpsc::UnboundedSender<Report>, numbers: Arc<Numbers>) -> Reports {
        Reports { topic: topic.to_owned(), told, numbers }
    }
}

impl ClientContext for Reports {
    /// librdkafka repeats itself at every attempt; what matters is said once by [`Numbers`].
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(?level, facility, line, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let what = format!("{error}: {reason}");
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => self.numbers.disconnected(&self.topic, &what),
            // one broker of several, or the same outage told by each connection
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => self.numbers.retried(&what),
            _ => self.numbers.error(&what),
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, class: usize) {
        let result = result.as_ref().map(drop).map_err(|(error, _)| error.clone());
        let _ = self.told.send(Report { class, result }); // nobody listens after the client's end
    }
}

pub(crate) fn open(config: &KafkaConfig, reports: Reports) -> Result<BaseProducer<Reports>, SendError> {
    let mut client = client_config(config)?;
    // Idempotence asks for acks=all, and keeps the client's own retries from writing twice. A batch never times out: it is
    // tried until it is kept, so that none is given up in the middle.
    client.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0");
    client.set("linger.ms", LINGER_MS.to_string()).set("compression.type", config.compression.as_str());
    client.set("message.max.bytes", (config.value_bytes_max + RECORD_OVERHEAD_BYTES).to_string());
    client.set("queue.buffering.max.messages", (MESSAGES_MAX + 1).to_string());
    let buffered_kib = (MESSAGES_MAX + 1) * (config.value_bytes_max + RECORD_OVERHEAD_BYTES) / 1024 + 1;
    client.set("queue.buffering.max.kbytes", buffered_kib.to_string());
    Ok(client.create_with_context(reports)?)
}

/// A client that only asks, for `check`.
pub fn open_probe(config: &KafkaConfig) -> Result<BaseProducer, SendError> {
    Ok(client_config(config)?.create()?)
}

/// What every client of ours is made with.
fn client_config(config: &KafkaConfig) -> Result<ClientConfig, SendError> {
    let password = match &config.connection.sasl {
        None => String::new(),
        Some(sasl) => {
            let path = sasl.password_file.clone();
            let text = std::fs::read_to_string(&path).map_err(|source| SendError::Password { path, source })?;
            text.lines().next().unwrap_or("").to_owned()
        }
    };
    let mut client = ClientConfig::new();
    for (name, value) in config.connection.properties(&password) {
        client.set(name, value);
    }
    client.set("client.id", "tidewatch-collector").set("socket.keepalive.enable", "true");
    Ok(client)
}

/// How many partitions the topic has. Waits for the brokers: not for a thread of the runtime.
pub fn look<C: ProducerContext>(client: &impl Producer<C>, topic: &str) -> Result<u32, SendError> {
    let refused = |why: String| SendError::Topic { topic: topic.to_owned(), why };
    let metadata = client.client().fetch_metadata(Some(topic), LOOK_TIMEOUT)?;
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    match found {
        None => Err(refused("it is not there".into())),
        Some(found) => match (found.error(), found.partitions().len()) {
            (Some(error), _) => Err(refused(Code::from(error).to_string())),
            (None, 0) => Err(refused("it has no partitions".into())),
            (None, partitions) => Ok(partitions as u32),
        },
    }
}
