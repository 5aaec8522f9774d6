//! Carries the spool's batches to a Kafka topic, beside [`crate::sender`], which carries them to the server itself.
//!
//! One batch of each class is on its way at a time, and is forgotten when the broker reports that it keeps it: so no batch
//! can overtake the one before it, whatever fails in between. A batch that was kept without our hearing of it is sent again
//! under the same number, and the server finds it to be a duplicate. Brokers that are away are waited for; nothing here
//! answers requests to read something now, because nothing on this way carries them.
//!
//! Reading order: `route` (which partition, and what it means to go another way) · `producer` (the client) · `numbers`.

pub mod numbers;
mod producer;
pub mod route;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use proto::{Class, tables::class_name};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, config::KafkaConfig, outlet::Way, sender::backoff, spool::SpoolError};
pub use numbers::Numbers;
use producer::{Report, Reports};
pub use producer::{look, open_probe};

/// Batches of one class on their way at a time.
const WINDOW_BATCHES: usize = 1;
/// Pause between two looks at what the client has to say: short behind something sent, doubled while nothing is said. A
/// thread that waits in the client instead costs most of a percent of a core: at the end of each wait it spins.
const POLL_PAUSE_MIN: Duration = Duration::from_millis(5);
/// Longest such pause.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Sayings taken in at one look.
const POLL_EVENTS_MAX: usize = 32;

/// What the sender needs.
#[derive(Clone, Debug)]
pub struct KafkaSender {
    /// Where to.
    pub config: KafkaConfig,
    /// What is to be sent.
    pub way: Way,
    /// Time of gaps made of refusals.
    pub clock: Clock,
    /// Where the partition is kept.
    pub data_dir: PathBuf,
    /// What it tells of itself.
    pub numbers: Arc<Numbers>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// Why a client ended.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// librdkafka or the brokers.
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    /// The password.
    #[error("kafka.sasl.password_file {path}: {source}")]
    Password {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The broker does not keep a batch.
    #[error("{class} #{sequence} was not taken: {error}")]
    Refused {
        /// Its class.
        class: &'static str,
        /// Its number.
        sequence: u64,
        /// Why.
        error: KafkaError,
    },
    /// The topic is not there, or its partitions can't be had.
    #[error("topic {topic:?}: {why}")]
    Topic {
        /// Which.
        topic: String,
        /// Why.
        why: String,
    },
    /// Where the partition is kept.
    #[error("{path}: {source}")]
    Route {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Our own disk.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// A batch on its way.
struct Sent {
    sequence: u64,
    bytes: usize,
}

impl KafkaSender {
    /// Sends until shutdown.
    pub async fn run(self) {
        let mut failures = 0u32;
        while !self.shutdown.is_cancelled() {
            let delivered = self.numbers.delivered_batches();
            let Err(error) = self.once().await else { return };
            failures = if self.numbers.delivered_batches() > delivered { 1 } else { failures.saturating_add(1) };
            self.numbers.disconnected(&self.config.topic, &error.to_string());
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(backoff(failures, fastrand::f64())) => {}
            }
        }
    }

    /// One client from beginning to end; `Ok` when shutdown ended it.
    async fn once(&self) -> Result<(), SendError> {
        // at most one report a class is on its way, so this is as bounded as they are
        let (told, mut reports) = mpsc::unbounded_channel();
        let producer =
            Arc::new(producer::open(&self.config, Reports::new(&self.config.topic, told, self.numbers.clone()))?);
        let ended = self.send(&producer, &mut reports).await;
        self.numbers.in_flight(0, 0);
        // closing waits for the client's threads
        let _ = tokio::task::spawn_blocking(move || drop(producer)).await;
        ended
    }

    async fn send(
        &self,
        producer: &Arc<BaseProducer<Reports>>,
        reports: &mut mpsc::UnboundedReceiver<Report>,
    ) -> Result<(), SendError> {
        let Some(partition) = self.partition(producer).await? else { return Ok(()) };
        let collector = {
            let mut spool = self.way.spool.lock();
            spool.send_all_again();
            spool.source().collector
        };
        let mut in_flight: BTreeMap<Class, Sent> = BTreeMap::new();
        let mut more = true;
        let mut pause = POLL_PAUSE_MIN;
        let mut poll_at = Instant::now();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = sleep_until(poll_at) => {
                    (0..POLL_EVENTS_MAX).for_each(|_| producer.poll(Duration::ZERO));
                    pause = (pause * 2).min(POLL_PAUSE_MAX);
                    poll_at = Instant::now() + pause;
                }
                Some(report) = reports.recv() => {
                    self.reported(report, &mut in_flight)?;
                    more = true;
                }
                () = self.way.appended.notified() => more = true,
                () = std::future::ready(()), if more => {
                    more = self.send_next(producer, &collector, partition, &mut in_flight)?;
                    if more {
                        pause = POLL_PAUSE_MIN;
                        poll_at = Instant::now() + pause;
                    }
                }
            }
            self.numbers.in_flight(in_flight.len(), in_flight.values().map(|s| s.bytes).sum());
        }
    }

    /// The partition of this spool; `None` if shutdown came first.
    async fn partition(&self, producer: &Arc<BaseProducer<Reports>>) -> Result<Option<i32>, SendError> {
        let source = self.way.spool.lock().source();
        let failed = |source| SendError::Route { path: route::path(&self.data_dir), source };
        if let Some(route) = route::read(&self.data_dir).map_err(failed)?
            && route.is_of(&self.config.topic, source.epoch)
        {
            return Ok(Some(route.partition));
        }
        let (topic, client) = (self.config.topic.clone(), producer.clone());
        let looking = tokio::task::spawn_blocking(move || look(&*client, &topic));
        let partitions = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(None),
            looked = looking => looked.map_err(|_| KafkaError::Canceled)??,
        };
        let route = route::Route::choose(&self.config.topic, source.epoch, &source.collector, partitions);
        route.write(&self.data_dir).map_err(failed)?;
        tracing::info!(topic = self.config.topic, partition = route.partition, partitions, "kafka: partition chosen");
        Ok(Some(route.partition))
    }

    /// Hands the next batch to the client; whether there may be more.
    fn send_next(
        &self,
        producer: &BaseProducer<Reports>,
        collector: &str,
        partition: i32,
        in_flight: &mut BTreeMap<Class, Sent>,
    ) -> Result<bool, SendError> {
        let mut spool = self.way.spool.lock();
        let Some(batch) = spool.next_unsent(WINDOW_BATCHES, self.clock.now_ms())? else { return Ok(false) };
        let (class, sequence) = (batch.class, batch.sequence);
        if batch.bytes.len() > self.config.value_bytes_max {
            let detail = format!("{} bytes exceed kafka.value_bytes_max", batch.bytes.len());
            spool.refused(class, sequence, 0, "too_large", &detail, self.clock.now_ms())?;
            return Ok(true);
        }
        let record = BaseRecord::with_opaque_to(&self.config.topic, class as usize);
        let sent = producer.send(record.partition(partition).key(collector).payload(&batch.bytes[..]));
        sent.map_err(|(error, _)| SendError::Refused { class: class_name(class), sequence, error })?;
        in_flight.insert(class, Sent { sequence, bytes: batch.bytes.len() });
        Ok(true)
    }

    /// Takes a report in. A batch that is too large for the broker is given up, and told as a gap; anything else that it does
    /// not take ends the client, and is sent again by the next.
    fn reported(&self, report: Report, in_flight: &mut BTreeMap<Class, Sent>) -> Result<(), SendError> {
        let Some(class) = i32::try_from(report.class).ok().and_then(|c| Class::try_from(c).ok()) else { return Ok(()) };
        let Some(Sent { sequence, bytes }) = in_flight.remove(&class) else { return Ok(()) };
        match report.result {
            Ok(()) => {
                self.way.spool.lock().acknowledged(class, sequence)?;
                self.numbers.delivered(&self.config.topic, bytes);
                Ok(())
            }
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                self.numbers.error(&error.to_string());
                let detail = format!("{bytes} bytes exceed the topic's max.message.bytes; lower kafka.value_bytes_max");
                let now_ms = self.clock.now_ms();
                Ok(self.way.spool.lock().refused(class, sequence, 0, "too_large", &detail, now_ms)?)
            }
            Err(error) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition) {
                    // the topic was made anew with fewer: another partition is chosen
                    let gone = route::forget(&self.data_dir);
                    gone.map_err(|source| SendError::Route { path: route::path(&self.data_dir), source })?;
                }
                Err(SendError::Refused { class: class_name(class), sequence, error })
            }
        }
    }
}

#[cfg(test)]
#[path = "kafka/tests.rs"]
mod tests;
