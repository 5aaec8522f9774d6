//! The reader of a topic against librdkafka's mock cluster and a real store: what is read once, again, refused, or waits.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use ingest::{
    Admission, Collectors, Kafka, KafkaSettings,
    kafka::{Partitions, Status},
};
use proto::{Batch, EventsBuilder, Labels, Payload, Table, batch::Source, kafka::Connection, refusal::Refusal};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
    mocking::MockCluster,
    producer::{DefaultProducerContext, FutureProducer, FutureRecord},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use storage::{EventQuery, Store, StoreConfig};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// The only time there is in these tests, milliseconds.
const NOW_MS: i64 = 1_800_000_000_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);
const TOPIC: &str = "tidewatch";
const DEAD: &str = "tidewatch.dead-letter";

/// A mock cluster with one topic of three partitions, and a producer of records as a collector makes them.
struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: FutureProducer,
}

impl Broker {
    fn start() -> Broker {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 3, 1).unwrap();
        cluster.create_topic(DEAD, 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("enable.idempotence", "true");
        Broker { cluster, producer: config.create().unwrap() }
    }

    /// Its offset.
    async fn put(&self, partition: i32, value: &[u8]) -> i64 {
        let record = FutureRecord::to(TOPIC).key("c1").payload(value).partition(partition);
        self.producer.send(record, PATIENCE).await.unwrap().offset
    }

    /// What the dead-letter topic holds: value, reason, offset it had.
    fn dead_letters(&self) -> Vec<(Vec<u8>, String, String)> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers());
        config.set("group.id", "test").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(DEAD, 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut found = Vec::new();
        while let Some(Ok(message)) = consumer.poll(PATIENCE) {
            let headers = message.headers().unwrap();
            let header = |name: &str| {
                let header = headers.iter().find(|h| h.key == name).unwrap();
                String::from_utf8(header.value.unwrap().to_vec()).unwrap()
            };
            assert_eq!((header("tidewatch-topic"), message.key().unwrap()), (TOPIC.to_owned(), &b"c1"[..]));
            found.push((message.payload().unwrap().to_vec(), header("tidewatch-reason"), header("tidewatch-offset")));
        }
        found
    }
}

/// A store with a reader.
struct Server {
    store: Store,
    admission: Admission,
    collectors: Collectors,
    status: Arc<Status>,
    stop: CancellationToken,
    reading: JoinHandle<()>,
}

impl Server {
    async fn start(broker: &Broker, config: StoreConfig, change: impl FnOnce(&mut KafkaSettings)) -> Server {
        let store = Store::open(config, NOW_MS).await.unwrap();
        let admission = Admission::new(store.clone(), || NOW_MS);
        let collectors = Collectors::default();
        let mut settings = KafkaSettings {
            connection: Connection { brokers: vec![broker.cluster.bootstrap_servers()], tls: None, sasl: None },
            topic: TOPIC.into(),
            partitions: Partitions::All,
            dead_letter_topic: Some(DEAD.into()),
        };
        change(&mut settings);
        let kafka = Kafka::new(settings, admission.clone(), collectors.clone());
        let (status, stop) = (kafka.status(), CancellationToken::new());
        let reading = tokio::spawn(kafka.run(stop.clone()));
        Server { store, admission, collectors, status, stop, reading }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.reading.await.unwrap();
        drop(self.admission);
        self.store.close().await;
    }

    async fn rows(&self, table: Table) -> usize {
        let mut batches = self.store.snapshot("0").scan(table, &EventQuery::default()).await.unwrap();
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            rows += batch.unwrap().num_rows();
        }
        rows
    }

    /// Waits until every partition is read to its end, as far as this test filled it.
    async fn until_read(&self, offsets: &[u64]) {
        let next = |status: &Status| {
            let of = status.numbers().partitions;
            (0..offsets.len()).map(|p| of.get(&(p as u32)).map_or(0, |p| p.next)).collect::<Vec<_>>()
        };
        self.until(&format!("read to {offsets:?}"), |s| next(&s.status) == offsets).await;
    }

    async fn until(&self, what: &str, done: impl Fn(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.status.numbers());
            tokio::time::sleep(Duration::from_millis(5)).await; // poll interval
        }
    }

    fn count(&self, name: &str) -> u64 {
        self.admission.counters().value(name, &[("door", "kafka")])
    }
}

fn config(dir: &tempfile::TempDir) -> StoreConfig {
    StoreConfig { segment_bytes: 1 << 20, ..StoreConfig::at(dir.path()) }
}

fn events(collector: &str, sequence: u64, table: Table, rows: usize, body: &str) -> Vec<u8> {
    let mut events = EventsBuilder::new(table);
    for row in 0..rows {
        let cells: Vec<(&str, proto::Value)> = match table {
            Table::Logs => vec![("body", body.into())],
            _ => Vec::new(),
        };
        events.row("db1", NOW_MS + row as i64, cells);
    }
    let batch = Batch {
        source: Source { collector: collector.into(), epoch: 7 },
        sequence,
        tenant: "0".into(),
        sent_at_ms: NOW_MS,
        resource: Labels::empty(),
        payload: Payload::Events(events.build()),
    };
    batch.encode()
}

fn logs(collector: &str, sequence: u64, rows: usize) -> Vec<u8> {
    events(collector, sequence, Table::Logs, rows, "line")
}

#[tokio::test]
async fn every_partition_is_read_once_and_on_from_the_stored_offset() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    for sequence in 1..=5 {
        broker.put(0, &logs("c1", sequence, 1)).await;
        broker.put(2, &logs("c2", sequence, 1)).await;
    }
    broker.put(0, &logs("c1", 4, 1)).await; // a producer that sends again
    let server = Server::start(&broker, config(&dir), |_| {}).await;
    server.until_read(&[6, 0, 5]).await;
    server.until("landed", |s| s.count("tidewatch_ingest_duplicates_total") == 1).await;
    assert_eq!(server.rows(Table::Logs).await, 10);
    let collectors = server.collectors.list();
    assert_eq!((collectors.len(), collectors[0].door, collectors[0].batches), (2, "kafka", 6));
    assert!(server.status.numbers().connected);
    server.stop().await;

    // While the server is away more comes, the old among it.
    for sequence in 5..=7 {
        broker.put(0, &logs("c1", sequence, 1)).await;
    }
    let server = Server::start(&broker, config(&dir), |_| {}).await;
    server.until_read(&[9, 0, 5]).await;
    server.until("landed", |s| s.count("tidewatch_ingest_batches_total") == 2).await;
    assert_eq!(server.rows(Table::Logs).await, 12);
    let numbers = server.status.numbers();
    assert_eq!((numbers.messages, numbers.lost_offsets), (3, 0), "nothing before the stored offset was read again");
    assert!(numbers.partitions.values().all(|p| p.lag() == 0 && !p.paused), "{numbers:?}");
    assert_eq!(server.rows(Table::Gaps).await, 0);
    server.store.flush(NOW_MS).await.unwrap();
    server.stop().await;
    let store = Store::open(config(&dir), NOW_MS).await.unwrap();
    assert_eq!((store.stats().replayed_records, store.durable("c1", 7)), (0, vec![(proto::Class::Logs, 7)]));
}

#[tokio::test]
async fn a_list_of_partitions_is_read_and_no_other() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    for partition in 0..3 {
        broker.put(partition, &logs(&format!("c{partition}"), 1, 1)).await;
    }
    let these = Partitions::These([1, 9].into());
    let server = Server::start(&broker, config(&dir), |s| s.partitions = these).await;
    server.until("read", |s| s.status.numbers().messages == 1).await;
    let expected = BTreeMap::from([(1, 1)]);
    server.until("stored", |s| s.store.durable("c1", 7) == [(proto::Class::Logs, 1)]).await;
    let next: BTreeMap<u32, u64> = server.status.numbers().partitions.iter().map(|(n, p)| (*n, p.next)).collect();
    assert_eq!((next, server.rows(Table::Logs).await), (expected, 1));
    server.stop().await;
}

#[tokio::test]
async fn what_can_never_be_stored_goes_to_the_dead_letter_topic_and_stops_nothing() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    let mut damaged = logs("c1", 2, 1);
    *damaged.last_mut().unwrap() ^= 0xff;
    let forbidden = events("c1", 1, Table::AlertEvents, 1, "");
    for value in [logs("c1", 1, 1), b"garbage".to_vec(), damaged.clone(), forbidden.clone(), logs("c1", 3, 1)] {
        broker.put(0, &value).await;
    }
    let server = Server::start(&broker, config(&dir), |_| {}).await;
    server.until_read(&[5]).await;
    let numbers = server.status.numbers();
    assert_eq!((numbers.dead_letters, numbers.dead_letter_errors), (3, 0));
    assert_eq!(numbers.refused, BTreeMap::from([(Refusal::Malformed, 2), (Refusal::Forbidden, 1)]));
    server.until("landed", |s| s.store.durable("c1", 7) == [(proto::Class::Logs, 3)]).await;
    assert_eq!((server.rows(Table::Logs).await, server.rows(Table::Gaps).await), (2, 3));
    assert_eq!(server.admission.counters().value("tidewatch_ingest_missing_batches_total", &[]), 0);
    server.stop().await;

    let server = Server::start(&broker, config(&dir), |_| {}).await;
    broker.put(0, &logs("c1", 4, 1)).await;
    server.until_read(&[6]).await;
    assert_eq!(server.status.numbers().messages, 1, "no refused message is read again");
    let letter = |value: &[u8], reason: &str, offset: &str| (value.to_vec(), reason.to_owned(), offset.to_owned());
    let expected = [
        letter(b"garbage", "malformed", "1"),
        letter(&damaged, "malformed", "2"),
        letter(&forbidden, "forbidden", "3"),
    ];
    assert_eq!(broker.dead_letters(), expected);
    server.stop().await;
}

#[tokio::test]
async fn a_dead_letter_topic_that_takes_nothing_or_is_none_stops_nothing() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    broker.put(0, b"garbage").await;
    broker.put(0, &logs("c1", 1, 1)).await;
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    broker.cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let server = Server::start(&broker, config(&dir), |_| {}).await;
    server.until_read(&[2]).await;
    let numbers = server.status.numbers();
    assert_eq!((numbers.dead_letters, numbers.dead_letter_errors), (0, 1));
    server.stop().await;

    broker.put(0, b"garbage again").await;
    broker.put(0, &logs("c1", 2, 1)).await;
    let server = Server::start(&broker, config(&dir), |s| s.dead_letter_topic = None).await;
    server.until_read(&[4]).await;
    let numbers = server.status.numbers();
    assert_eq!((numbers.dead_letters, numbers.dead_letter_errors, numbers.refused.len()), (0, 0, 1));
    server.until("stored", |s| s.store.durable("c1", 7) == [(proto::Class::Logs, 2)]).await;
    assert_eq!((server.rows(Table::Logs).await, server.rows(Table::Gaps).await), (2, 2));
    server.stop().await;
}

#[tokio::test]
async fn a_full_store_makes_its_partitions_wait_and_loses_nothing() {
    const BATCHES: u64 = 40;
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    let body = "b".repeat(4 << 10);
    for sequence in 1..=BATCHES {
        broker.put(0, &events("c1", sequence, Table::Logs, 64, &body)).await;
        broker.put(1, &events("c2", sequence, Table::Logs, 64, &body)).await;
    }
    let small = StoreConfig { head_bytes_max: 4 << 20, ..config(&dir) };
    let server = Server::start(&broker, small, |_| {}).await;
    let mut flushes = 0;
    let all_read = |s: &Server| s.status.numbers().partitions.values().map(|p| p.next).sum::<u64>() == 2 * BATCHES;
    while !all_read(&server) {
        server
            .until("waits or done", |s| s.status.numbers().partitions.values().any(|p| p.paused) || all_read(s))
            .await;
        server.store.flush(NOW_MS).await.unwrap();
        flushes += 1;
    }
    let numbers = server.status.numbers();
    assert!(flushes > 3 && numbers.pauses > 3, "{flushes} {numbers:?}");
    assert_eq!(server.rows(Table::Logs).await as u64, 2 * BATCHES * 64);
    assert_eq!((server.rows(Table::Gaps).await, numbers.refused.len()), (0, 0));
    assert!(server.count("tidewatch_ingest_refused_batches_total") > 0);
    server.stop().await;
}

#[tokio::test]
async fn brokers_that_are_away_are_waited_for() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    broker.put(0, &logs("c1", 1, 1)).await;
    broker.cluster.broker_down(1).unwrap();
    let server = Server::start(&broker, config(&dir), |_| {}).await;
    server.until("noticed", |s| s.status.numbers().errors > 0).await;
    assert!(!server.status.numbers().connected);
    broker.cluster.broker_up(1).unwrap();
    server.until_read(&[1]).await;
    broker.cluster.broker_down(1).unwrap();
    broker.cluster.broker_up(1).unwrap();
    broker.put(0, &logs("c1", 2, 1)).await;
    server.until_read(&[2]).await;
    server.until("connected again", |s| s.status.numbers().connected).await;
    server.stop().await;
}
