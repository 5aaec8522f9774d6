//! The partitions of a Kafka topic: batches read in order, stored with the offset they were read at, and read on from there.
//!
//! Partitions are assigned, not handed out by a consumer group: where reading begins is what the store says. A batch that
//! was stored before is a duplicate by its (source, class, sequence), whichever offset it comes at. A partition waits when
//! the store has no room, and while a message that can never be stored is put into the dead-letter topic; the others go on.
//!
//! Reading order: `place` (where reading begins) · `status` (numbers) · `dead_letter` · `reader` (the loop).

pub mod dead_letter;
mod place;
mod reader;
pub mod status;

use std::{path::PathBuf, sync::Arc, time::Duration};

use proto::{batch::ENCODED_BYTES_MAX, kafka::Connection};
use rdkafka::{
    ClientConfig, ClientContext, Statistics,
    config::RDKafkaLogLevel,
    consumer::{ConsumerContext, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tokio_util::sync::CancellationToken;

use crate::{Admission, Collectors};
pub use place::Partitions;
pub use status::Status;

/// Memory for messages fetched ahead, KiB.
const FETCHED_KIB_MAX: usize = 32 << 10;
/// Largest answer to one fetch, bytes: the largest batch fits.
const FETCH_BYTES_MAX: usize = 2 * ENCODED_BYTES_MAX;
/// How often the client tells its numbers, milliseconds: lag is as old as this.
const STATISTICS_INTERVAL_MS: u64 = 5_000;
/// Pause before a client that could not go on is made anew.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

const _: () = assert!(FETCH_BYTES_MAX <= FETCHED_KIB_MAX << 10);

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// How brokers are reached.
    pub connection: Connection,
    /// The topic with the batches.
    pub topic: String,
    /// Which of its partitions.
    pub partitions: Partitions,
    /// Where messages go that can never be stored; `None`: they are only counted and told as gaps.
    pub dead_letter_topic: Option<String>,
}

/// Why a client ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndError {
    /// librdkafka or the brokers.
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    /// The password.
    #[error("sasl.password_file {path}: {source}")]
    Password { path: PathBuf, source: std::io::Error },
    /// Another cluster answers under the same names.
    #[error("the brokers are of another cluster than before: {0:?}")]
    OtherCluster(String),
}

/// One message as it was read.
pub(crate) struct Message {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: bytes::Bytes,
}

/// The reader of a topic.
pub struct Kafka {
    settings: KafkaSettings,
    admission: Admission,
    collectors: Collectors,
    status: Arc<Status>,
}

impl Kafka {
    /// A reader that stores through `admission`.
    pub fn new(settings: KafkaSettings, admission: Admission, collectors: Collectors) -> Kafka {
        Kafka { settings, admission, collectors, status: Arc::default() }
    }

    /// Its numbers.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    /// Reads until told to stop. Nothing else ends it: brokers that are away are waited for.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let ended = match open(&self.settings, &self.status) {
                Ok(consumer) => {
                    let reader = reader::Reader::new(
                        self.settings.clone(),
                        self.admission.clone(),
                        self.collectors.clone(),
                        self.status.clone(),
                        Arc::new(consumer),
                    );
                    reader.run(&stop).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                self.status.disconnected(&self.settings.topic, &error.to_string());
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(RESTART_PAUSE) => {}
                }
            }
        }
    }
}

fn open(settings: &KafkaSettings, status: &Arc<Status>) -> Result<StreamConsumer<Watcher>, EndError> {
    let mut config = client_config(settings)?;
    // A group is named because the client asks for one; nothing is committed to it.
    config.set("group.id", "tidewatch").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "earliest").set("isolation.level", "read_committed");
    config.set("queued.max.messages.kbytes", FETCHED_KIB_MAX.to_string());
    config.set("fetch.max.bytes", FETCH_BYTES_MAX.to_string());
    config.set("fetch.message.max.bytes", ENCODED_BYTES_MAX.to_string());
    config.set("receive.message.max.bytes", (2 * FETCH_BYTES_MAX).to_string());
    config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string());
    let watcher = Watcher { topic: settings.topic.clone(), status: status.clone() };
    Ok(config.create_with_context(watcher)?)
}

/// What every client of ours is made with.
fn client_config(settings: &KafkaSettings) -> Result<ClientConfig, EndError> {
    let password = match &settings.connection.sasl {
        None => String::new(),
        Some(sasl) => {
            let path = sasl.password_file.clone();
            let text = std::fs::read_to_string(&path).map_err(|source| EndError::Password { path, source })?;
            text.lines().next().unwrap_or("").to_owned()
        }
    };
    let mut config = ClientConfig::new();
    for (name, value) in settings.connection.properties(&password) {
        config.set(name, value);
    }
    config.set("client.id", "tidewatch");
    Ok(config)
}

/// Hears what a client says beside messages.
#[derive(Clone)]
pub(crate) struct Watcher {
    topic: String,
    status: Arc<Status>,
}

impl ClientContext for Watcher {
    /// librdkafka repeats itself at every attempt; what matters is said once by [`Status`].
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(?level, facility, line, "librdkafka");
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        for (number, partition) in &topic.partitions {
            if let (Ok(number), Ok(high)) = (u32::try_from(*number), u64::try_from(partition.hi_offset)) {
                self.status.high(number, high);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let what = format!("{error}: {reason}");
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => self.status.disconnected(&self.topic, &what),
            // one broker of several, or the same outage told by each connection
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => self.status.retried(&what),
            _ => self.status.error(&what),
        }
    }
}

impl ConsumerContext for Watcher {}
