//! The loop: fetch, store with the offset, wait where there is no room, put aside what can never be stored.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use proto::{Batch, BatchError, Class, DEFAULT_TENANT, refusal::Refusal, tables::class_name};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use storage::{Consumed, Origin};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{EndError, KafkaSettings, Message, Status, Watcher, dead_letter::DeadLetters, place::Begin};
use crate::{
    Admission, Admitted, Collectors, Counters, Door, Refused, batch_header,
    gap::Gap,
    rows::{instances, with_no_rows, with_rows},
};

/// Batches between reading and the disk; beyond, nothing is read.
const IN_FLIGHT_MAX: usize = 256;
/// Encoded batches past this are decoded off the loop's thread, bytes.
const DECODE_INLINE_BYTES_MAX: usize = 64 << 10;
/// How often brokers are asked which partitions there are: new ones are read from then on.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How long brokers may take to answer that.
const LOOK_TIMEOUT: Duration = Duration::from_secs(8);
/// Pause before a batch that found no room is tried again.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// A partition that is read.
#[derive(Default)]
struct Partition {
    /// The offset behind the last message that was stored or passed over.
    next: u64,
    /// The offset behind the last message that was fetched: those between are in hand.
    fetched: u64,
    waits: Option<Wait>,
    /// What had been fetched when it began to wait, in order. Fetching stops then, so it stays short.
    behind: VecDeque<Message>,
}

/// Why a partition is not read on.
enum Wait {
    /// The store has no room. The message was refused for good before, if there is a verdict.
    Room { message: Message, verdict: Option<Refused>, until: Instant },
    /// Its message is on its way to the dead-letter topic.
    Letter,
}

/// What the brokers said about the topic.
struct Look {
    stream: String,
    all: BTreeSet<u32>,
    /// Of partitions not read yet: their oldest offset and the one behind their newest.
    ends: BTreeMap<u32, (u64, u64)>,
}

/// A batch reached the disk, or did not.
struct Landed {
    tenant: Arc<str>,
    collector: Arc<str>,
    class: Class,
    result: Result<Admitted, Refused>,
}

/// What became of a dead letter.
struct Lettered {
    message: Message,
    refused: Refused,
    kept: Result<(), String>,
}

pub(crate) struct Reader {
    settings: KafkaSettings,
    admission: Admission,
    collectors: Collectors,
    status: Arc<Status>,
    consumer: Arc<StreamConsumer<Watcher>>,
    /// The cluster's id and the topic: what offsets are stored under. Empty before the brokers answered.
    stream: String,
    partitions: BTreeMap<u32, Partition>,
    missing: Vec<u32>,
    in_flight: FuturesUnordered<BoxFuture<'static, Landed>>,
    is_unsynced: bool,
    dead_letters: Option<DeadLetters>,
    letters: FuturesUnordered<BoxFuture<'static, Lettered>>,
}

impl Reader {
    pub(crate) fn new(
        settings: KafkaSettings,
        admission: Admission,
        collectors: Collectors,
        status: Arc<Status>,
        consumer: Arc<StreamConsumer<Watcher>>,
    ) -> Reader {
        Reader {
            settings,
            admission,
            collectors,
            status,
            consumer,
            stream: String::new(),
            partitions: BTreeMap::new(),
            missing: Vec::new(),
            in_flight: FuturesUnordered::new(),
            is_unsynced: false,
            dead_letters: None,
            letters: FuturesUnordered::new(),
        }
    }

    /// Reads until told to stop (`Ok`) or until the client can't go on.
    pub(crate) async fn run(mut self, stop: &CancellationToken) -> Result<(), EndError> {
        let consumer = self.consumer.clone();
        let ended = self.read(&consumer, stop).await;
        while self.in_flight.next().await.is_some() {} // what was read is stored, whatever ended the reading
        // closing waits for the client's threads
        let _ = tokio::task::spawn_blocking(move || drop((self, consumer))).await;
        ended
    }

    async fn read(&mut self, consumer: &StreamConsumer<Watcher>, stop: &CancellationToken) -> Result<(), EndError> {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looking: Option<JoinHandle<Result<Look, String>>> = None;
        loop {
            let room_at = self.partitions.values().filter_map(Partition::room_at).min();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(landed) = self.in_flight.next(), if !self.in_flight.is_empty() => self.landed(landed),
                Some(lettered) = self.letters.next(), if !self.letters.is_empty() => {
                    let partition = lettered.message.partition;
                    self.lettered(lettered);
                    self.go_on(partition).await?;
                }
                _ = looks.tick(), if looking.is_none() => looking = Some(self.look()),
                looked = async { looking.as_mut()?.await.ok() }, if looking.is_some() => {
                    looking = None;
                    match looked {
                        Some(Ok(look)) => self.assign(&look)?,
                        Some(Err(why)) => self.status.disconnected(&self.settings.topic, &why),
                        None => {}
                    }
                }
                () = sleep_until(room_at.unwrap_or_else(Instant::now)), if room_at.is_some() => self.try_again().await?,
                received = consumer.recv(), if self.in_flight.len() < IN_FLIGHT_MAX => match received {
                    Ok(message) => self.received(&message).await?,
                    Err(error @ KafkaError::MessageConsumptionFatal(_)) => return Err(error.into()),
                    Err(_) => {} // counted and said by the client's context
                },
            }
        }
        if let Some(looking) = looking {
            let _ = looking.await; // it holds the client
        }
        Ok(())
    }

    /// Asks the brokers which partitions there are, off the loop.
    fn look(&self) -> JoinHandle<Result<Look, String>> {
        let (consumer, settings) = (self.consumer.clone(), self.settings.clone());
        let read: BTreeSet<u32> = self.partitions.keys().copied().collect();
        tokio::task::spawn_blocking(move || {
            let topic = settings.topic.as_str();
            let metadata = consumer.fetch_metadata(Some(topic), LOOK_TIMEOUT).map_err(|e| e.to_string())?;
            let found = metadata.topics().iter().find(|t| t.name() == topic).ok_or("no such topic")?;
            if let Some(error) = found.error() {
                return Err(format!("topic {topic:?}: {}", rdkafka::types::RDKafkaErrorCode::from(error)));
            }
            let cluster = consumer.client().fetch_cluster_id(LOOK_TIMEOUT).unwrap_or_default();
            let all: BTreeSet<u32> = found.partitions().iter().filter_map(|p| u32::try_from(p.id()).ok()).collect();
            let mut ends = BTreeMap::new();
            for partition in settings.partitions.of(&all).difference(&read) {
                // one without a leader is looked at again the next time
                if let Ok((low, high)) = consumer.fetch_watermarks(topic, *partition as i32, LOOK_TIMEOUT) {
                    ends.insert(*partition, (low.max(0) as u64, high.max(0) as u64));
                }
            }
            Ok(Look { stream: format!("{cluster}/{topic}"), all, ends })
        })
    }

    /// Begins to read the partitions that are ours and were not read yet.
    fn assign(&mut self, look: &Look) -> Result<(), EndError> {
        if self.stream.is_empty() {
            self.stream.clone_from(&look.stream);
        } else if self.stream != look.stream {
            return Err(EndError::OtherCluster(look.stream.clone()));
        }
        self.status.connected(&self.settings.topic, look.all.len());
        let missing = self.settings.partitions.missing(&look.all);
        if missing != self.missing {
            tracing::warn!(topic = self.settings.topic, ?missing, "kafka: the topic has no such partitions");
            self.missing = missing;
        }
        if look.ends.is_empty() {
            return Ok(());
        }
        let stored = self.admission.store().offsets(&self.stream);
        for (&partition, &(low, high)) in &look.ends {
            let begin = Begin::decide(stored.get(&partition).copied(), low, high);
            self.begins(partition, begin);
            self.partitions
                .insert(partition, Partition { next: begin.at(), fetched: begin.at(), ..Partition::default() });
            self.status.next(partition, begin.at());
            self.status.high(partition, high);
        }
        let mut list = TopicPartitionList::new();
        for (partition, state) in &self.partitions {
            let offset = Offset::Offset(i64::try_from(state.fetched).unwrap_or(i64::MAX));
            list.add_partition_offset(&self.settings.topic, *partition as i32, offset)?;
        }
        self.consumer.assign(&list)?;
        for (partition, _) in self.partitions.iter().filter(|(_, p)| p.waits.is_some()) {
            self.consumer.pause(&self.only(*partition))?;
        }
        Ok(())
    }

    fn begins(&self, partition: u32, begin: Begin) {
        let topic = self.settings.topic.as_str();
        match begin {
            Begin::Oldest(_) | Begin::Stored(_) => tracing::info!(topic, partition, ?begin, "kafka: partition is read"),
            Begin::Anew { .. } => tracing::warn!(topic, partition, ?begin, "kafka: the topic was made anew"),
            Begin::Lost { offsets, .. } => {
                tracing::warn!(topic, partition, ?begin, "kafka: the broker deleted what was not read yet");
                self.status.lost(offsets);
                let detail = format!("partition {partition}: {offsets} messages were deleted before they were read");
                self.note_gap(DEFAULT_TENANT, "", "", None, "kafka_deleted", &detail);
            }
        }
    }

    fn only(&self, partition: u32) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.settings.topic, partition as i32);
        list
    }

    async fn received(&mut self, message: &BorrowedMessage<'_>) -> Result<(), EndError> {
        let (Ok(partition), Ok(offset)) = (u32::try_from(message.partition()), u64::try_from(message.offset())) else {
            return Ok(());
        };
        let Some(state) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let key = message.key().unwrap_or_default().to_vec();
        let value = bytes::Bytes::copy_from_slice(message.payload().unwrap_or_default());
        self.status.read(partition, offset, value.len());
        self.admission.counters().received_bytes(Door::Kafka, value.len());
        state.fetched = offset + 1;
        let message = Message { partition, offset, key, value };
        if state.waits.is_some() {
            state.behind.push_back(message);
            return Ok(());
        }
        self.take(message).await
    }

    /// Stores a message, or begins to wait with it.
    async fn take(&mut self, message: Message) -> Result<(), EndError> {
        match decode(message.value.clone()).await {
            Ok(batch) => match self.admit(&batch, &message) {
                Ok(()) => self.passed(&message),
                Err(refused) if refused.reason.is_final() => self.refuse(message, refused)?,
                Err(refused) => self.wait_for_room(message, None, &refused)?,
            },
            Err(error) => {
                let is_large = matches!(error, BatchError::TooLarge { .. });
                let reason = if is_large { Refusal::TooLarge } else { Refusal::Malformed };
                let refused = self.admission.refuse(Door::Kafka, 0, Refused::new(reason, error.to_string()));
                self.refuse(message, refused)?;
            }
        }
        Ok(())
    }

    fn admit(&mut self, batch: &Batch, message: &Message) -> Result<(), Refused> {
        let (source, class) = (&batch.source, batch.class());
        let last = self.admission.store().last_sequence(&source.collector, source.epoch, class);
        let origin = Origin { collector: &source.collector, epoch: source.epoch, class, sequence: batch.sequence };
        let place = Some(Consumed { stream: &self.stream, partition: message.partition, offset: message.offset });
        let landing = with_rows(&batch.payload, &message.value, |rows| {
            self.admission.admit_read_at(Door::Kafka, &batch.tenant, Some(origin), rows, place)
        })?;
        let (tenant, collector) = (batch.tenant.clone(), source.collector.clone());
        self.in_flight.push(landing.map(move |result| Landed { tenant, collector, class, result }).boxed());
        if batch.sequence > last + 1 {
            let (first, last) = (last + 1, batch.sequence - 1);
            tracing::warn!(collector = %source.collector, class = class_name(class), first, last, "batches are missing");
            Counters::one(&self.admission.counters().missing_batches, last - first + 1);
            let detail = format!("batches #{first} to #{last} never arrived");
            self.note_gap(&batch.tenant, &source.collector, class_name(class), None, "sequence_gap", &detail);
        }
        self.collectors.batch_by_kafka(source, &batch.tenant, self.admission.now_ms(), instances(batch));
        Ok(())
    }

    /// The message is behind us.
    fn passed(&mut self, message: &Message) {
        if let Some(state) = self.partitions.get_mut(&message.partition) {
            if message.offset > state.next {
                self.status.lost(message.offset - state.next);
            }
            state.next = message.offset + 1;
        }
        self.status.next(message.partition, message.offset + 1);
    }

    /// It can never be stored: into the dead-letter topic with it, if there is one.
    fn refuse(&mut self, message: Message, refused: Refused) -> Result<(), EndError> {
        let (topic, reason) = (self.settings.topic.as_str(), refused.reason.as_str());
        let (partition, offset, detail) = (message.partition, message.offset, refused.detail.as_str());
        tracing::warn!(topic, partition, offset, reason, detail, "kafka: message refused");
        self.status.refused(refused.reason);
        let Some(letters) = self.dead_letters() else { return self.settle(message, refused) };
        self.wait(message.partition, Wait::Letter)?;
        let from = self.settings.topic.clone();
        self.letters.push(Box::pin(async move {
            let kept = letters.send(&from, &message, &refused).await;
            Lettered { message, refused, kept }
        }));
        Ok(())
    }

    fn dead_letters(&mut self) -> Option<DeadLetters> {
        let topic = self.settings.dead_letter_topic.as_deref()?;
        if self.dead_letters.is_none() {
            let watcher = self.consumer.context().as_ref().clone();
            match DeadLetters::open(&self.settings, topic, watcher) {
                Ok(letters) => self.dead_letters = Some(letters),
                Err(error) => {
                    self.status.dead_letter(false);
                    tracing::error!(topic, %error, "kafka: nothing can be put into the dead-letter topic");
                }
            }
        }
        self.dead_letters.clone()
    }

    fn lettered(&mut self, lettered: Lettered) {
        let Lettered { message, refused, kept } = lettered;
        self.status.dead_letter(kept.is_ok());
        if let Err(why) = kept {
            let topic = self.settings.dead_letter_topic.as_deref().unwrap_or("");
            let (partition, offset) = (message.partition, message.offset);
            tracing::error!(topic, partition, offset, why, "kafka: the dead-letter topic did not take a message");
        }
        if let Some(state) = self.partitions.get_mut(&message.partition) {
            state.waits = None;
        }
        if let Err(error) = self.settle(message, refused) {
            self.status.error(&error.to_string());
        }
    }

    /// Stores that a message was passed over: its offset, its number if it tells one, and a row of `gaps`.
    fn settle(&mut self, message: Message, refused: Refused) -> Result<(), EndError> {
        let place = Consumed { stream: &self.stream, partition: message.partition, offset: message.offset };
        let header = batch_header::read(&message.value);
        let numbered = header.as_ref().filter(|h| h.class != Class::AlertEvents).map(|h| {
            let origin = Origin { collector: &h.collector, epoch: h.epoch, class: h.class, sequence: h.sequence };
            with_no_rows(h.class, |rows| {
                self.admission.admit_read_at(Door::Kafka, DEFAULT_TENANT, Some(origin), rows, Some(place)).map(drop)
            })
        });
        let kept = match numbered {
            Some(Ok(())) => Ok(()),
            Some(Err(refused)) if !refused.reason.is_final() => Err(refused),
            _ => self.admission.store().consume(place, self.admission.now_ms()).map(drop).map_err(Refused::from),
        };
        if let Err(no_room) = kept {
            return self.wait_for_room(message, Some(refused), &no_room);
        }
        self.passed(&message);
        let (collector, class) = header.map_or((String::new(), ""), |h| (h.collector, class_name(h.class)));
        let at = format!("partition {} offset {}: {}", message.partition, message.offset, refused.detail);
        self.note_gap(DEFAULT_TENANT, &collector, class, None, &format!("refused_{}", refused.reason), &at);
        Ok(())
    }

    fn wait_for_room(&mut self, message: Message, verdict: Option<Refused>, why: &Refused) -> Result<(), EndError> {
        let partition = message.partition;
        tracing::debug!(partition, offset = message.offset, %why, "kafka: no room");
        self.wait(partition, Wait::Room { message, verdict, until: Instant::now() + ROOM_PAUSE })
    }

    fn wait(&mut self, partition: u32, wait: Wait) -> Result<(), EndError> {
        let list = self.only(partition);
        let Some(state) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let is_for_room = matches!(wait, Wait::Room { .. });
        state.waits = Some(wait);
        if self.status.paused(partition, true) && is_for_room {
            tracing::info!(topic = self.settings.topic, partition, "kafka: the store has no room, partition waits");
        }
        Ok(self.consumer.pause(&list)?)
    }

    /// Tries what waited for room.
    async fn try_again(&mut self) -> Result<(), EndError> {
        let now = Instant::now();
        let due = self.partitions.iter().filter(|(_, p)| p.room_at().is_some_and(|at| at <= now));
        for partition in due.map(|(number, _)| *number).collect::<Vec<_>>() {
            let waited = self.partitions.get_mut(&partition).and_then(|state| state.waits.take());
            match waited {
                Some(Wait::Room { message, verdict: None, .. }) => self.take(message).await?,
                Some(Wait::Room { message, verdict: Some(refused), .. }) => self.settle(message, refused)?,
                Some(Wait::Letter) | None => {}
            }
            self.go_on(partition).await?;
        }
        Ok(())
    }

    /// Takes what had been fetched before the wait, and has fetching go on, unless there is a reason to wait again.
    async fn go_on(&mut self, partition: u32) -> Result<(), EndError> {
        loop {
            let Some(state) = self.partitions.get_mut(&partition) else { return Ok(()) };
            if state.waits.is_some() {
                return Ok(());
            }
            let Some(message) = state.behind.pop_front() else { break };
            self.take(message).await?;
        }
        self.status.paused(partition, false);
        tracing::debug!(topic = self.settings.topic, partition, "kafka: partition goes on");
        Ok(self.consumer.resume(&self.only(partition))?)
    }

    fn landed(&mut self, landed: Landed) {
        let Landed { tenant, collector, class, result } = landed;
        match result {
            Ok(admitted) => {
                self.is_unsynced = false;
                let Admitted::Stored { refused, .. } = admitted else { return };
                for (reason, rows) in refused {
                    let reason = format!("refused_{reason}");
                    tracing::warn!(%collector, class = class_name(class), rows, reason, "rows refused");
                    let detail = "these rows of a batch read from kafka";
                    self.note_gap(&tenant, &collector, class_name(class), Some(rows), &reason, detail);
                }
            }
            // The rows are in the log's buffer and their offset with them: they get there together, or are read again.
            Err(why) => {
                if !std::mem::replace(&mut self.is_unsynced, true) {
                    tracing::warn!(%why, "kafka: what was read is not on disk yet");
                }
            }
        }
    }

    fn note_gap(&self, tenant: &str, collector: &str, class: &str, rows: Option<u64>, reason: &str, detail: &str) {
        let about = if collector.is_empty() { &self.settings.topic } else { collector };
        Gap { about, collector, class, rows, reason, detail }.note(&self.admission, tenant);
    }
}

impl Partition {
    /// When what waits for room is tried again.
    fn room_at(&self) -> Option<Instant> {
        match &self.waits {
            Some(Wait::Room { until, .. }) => Some(*until),
            _ => None,
        }
    }
}

async fn decode(value: bytes::Bytes) -> Result<Batch, BatchError> {
    if value.len() <= DECODE_INLINE_BYTES_MAX {
        return Batch::decode(&value);
    }
    let decoded = tokio::task::spawn_blocking(move || Batch::decode(&value)).await;
    decoded.unwrap_or_else(|e| Err(BatchError::Rule(format!("decoding: {e}"))))
}
