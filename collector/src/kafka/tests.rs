//! Against librdkafka's mock cluster: what is spooled is in the topic, in order, once for each number, whatever fails.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proto::{Batch, EventsBuilder, Labels, Table, Value, kafka::Connection};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::time::Instant;

use super::{route::Route, *};
use crate::{
    config::{Compression, Destination, ServerConfig},
    outlet::Outlet,
    spool::{Spool, SpoolOptions},
};

const PATIENCE: Duration = Duration::from_secs(40);
const TOPIC: &str = "tidewatch";
const PARTITIONS: i32 = 4;

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

fn config(cluster: &MockCluster<'static, DefaultProducerContext>) -> KafkaConfig {
    KafkaConfig {
        connection: Connection { brokers: vec![cluster.bootstrap_servers()], tls: None, sasl: None },
        topic: TOPIC.into(),
        value_bytes_max: 100_000,
        compression: Compression::None,
    }
}

/// A collector's road without its sources.
struct Road {
    outlet: Outlet,
    way: Way,
    numbers: Arc<Numbers>,
    shutdown: CancellationToken,
    sending: tokio::task::JoinHandle<()>,
}

fn open(data_dir: PathBuf) -> Spool {
    let options = SpoolOptions {
        data_dir,
        bytes_max: 64 << 20,
        batch_bytes_max: 100_000,
        id: Some("c1".into()),
        tenant: "0".into(),
        resource: Labels::empty(),
        host: "h".into(),
        boot: "b".into(),
        now_ms: 1000,
    };
    Spool::open(options).unwrap()
}

fn start(config: KafkaConfig, directory: &tempfile::TempDir) -> Road {
    let clock = Clock::new(|| 1000);
    let way = Way::new(open(directory.path().into()), clock.clone());
    let (numbers, shutdown): (Arc<Numbers>, _) = (Arc::default(), CancellationToken::new());
    let sender = KafkaSender {
        config,
        way: way.clone(),
        clock,
        data_dir: directory.path().into(),
        numbers: numbers.clone(),
        shutdown: shutdown.clone(),
    };
    let sending = tokio::spawn(sender.run());
    Road { outlet: Outlet::new(way.clone()), way, numbers, shutdown, sending }
}

impl Road {
    fn send(&self, table: Table, ts_ms: i64) {
        let mut builder = EventsBuilder::new(table);
        builder.row("db", ts_ms, [("pid", Value::from(ts_ms))]);
        self.outlet.send_events(builder.build());
    }

    async fn drained(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.way.spool.lock().is_drained() {
            assert!(Instant::now() < deadline, "{:?} {:?}", self.numbers, self.way.spool.lock().counters());
            tokio::time::sleep(Duration::from_millis(2)).await; // poll interval
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.sending.await.unwrap();
        self.way.spool.lock().close().unwrap();
    }
}

/// Every batch in the topic with its partition; each key is the collector's id.
fn found(cluster: &MockCluster<'static, DefaultProducerContext>) -> Vec<(i32, Batch)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config.set("group.id", "test").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut found, mut ends) = (Vec::new(), 0);
    while ends < PARTITIONS {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => {
                assert_eq!(message.key().unwrap(), b"c1");
                found.push((message.partition(), Batch::decode(message.payload().unwrap()).unwrap()));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
            other => panic!("{other:?}"),
        }
    }
    found
}

/// The numbers of a class in the order of the topic.
fn sequences(found: &[(i32, Batch)], table: Table) -> Vec<u64> {
    found.iter().filter(|(_, b)| b.class() == table.class()).map(|(_, b)| b.sequence).collect()
}

#[tokio::test]
async fn all_classes_go_to_one_partition_in_order() {
    let (cluster, directory) = (cluster(), tempfile::tempdir().unwrap());
    let road = start(config(&cluster), &directory);
    for ts in 1..=50 {
        road.send(Table::Logs, ts);
        road.send(Table::Activity, ts);
    }
    road.drained().await;
    assert!(road.numbers.is_connected());
    assert_eq!((road.numbers.delivered_batches(), road.numbers.errors()), (100, 0));
    let source = road.way.spool.lock().source();
    road.stop().await;
    let found = found(&cluster);
    for table in [Table::Logs, Table::Activity] {
        assert_eq!(sequences(&found, table), (1..=50).collect::<Vec<_>>());
    }
    let route = route::read(directory.path()).unwrap().unwrap();
    assert_eq!(route, Route::choose(TOPIC, source.epoch, "c1", PARTITIONS as u32));
    assert!(found.iter().all(|(partition, batch)| *partition == route.partition && batch.source == source));
}

#[tokio::test]
async fn a_partition_once_chosen_stays_and_a_way_that_is_left_begins_a_new_epoch() {
    let (cluster, directory) = (cluster(), tempfile::tempdir().unwrap());
    let road = start(config(&cluster), &directory);
    road.send(Table::Logs, 1);
    road.drained().await;
    let epoch = road.way.spool.lock().source().epoch;
    road.stop().await;
    // as if there had been more or fewer partitions at the time of the choice
    let chosen = route::read(directory.path()).unwrap().unwrap();
    let other = Route { partition: (chosen.partition + 1) % PARTITIONS, ..chosen.clone() };
    other.write(directory.path()).unwrap();
    let road = start(config(&cluster), &directory);
    road.send(Table::Logs, 2);
    road.drained().await;
    road.stop().await;
    let partitions: Vec<i32> = found(&cluster).iter().map(|(partition, _)| *partition).collect();
    assert!(partitions.contains(&chosen.partition) && partitions.contains(&other.partition), "{partitions:?}");

    let epoch_on = |destination: &Destination| {
        let mut spool = open(directory.path().into());
        route::leave_other(directory.path(), destination, &mut spool, 2000).unwrap();
        assert!(spool.is_drained(), "nothing was lost, so there is no gap to tell");
        let epoch = spool.source().epoch;
        spool.close().unwrap();
        epoch
    };
    assert_eq!(epoch_on(&Destination::Kafka(config(&cluster))), epoch);
    let grpc = Destination::Grpc(ServerConfig { address: "http://127.0.0.1:1".into(), tls: None });
    let later = epoch_on(&grpc);
    assert!(later > epoch);
    assert_eq!(epoch_on(&grpc), later, "once is enough");
    assert_eq!(epoch_on(&Destination::Kafka(config(&cluster))), later, "what gRPC took is in order already");
}

#[tokio::test]
async fn errors_and_lost_answers_leave_every_number_in_order() {
    let (cluster, directory) = (cluster(), tempfile::tempdir().unwrap());
    let road = start(config(&cluster), &directory);
    road.send(Table::Logs, 1);
    road.drained().await;
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, // tried again by the client
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, // ends the client
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error, error]);
        for _ in 0..5 {
            let next = road.way.spool.lock().last_sequence(Class::Logs) as i64 + 1;
            road.send(Table::Logs, next);
            road.send(Table::Activity, next);
        }
        road.drained().await;
    }
    assert!(road.numbers.errors() > 0);
    road.stop().await;
    let found = found(&cluster);
    for (table, last) in [(Table::Logs, 16), (Table::Activity, 15)] {
        let mut numbers = sequences(&found, table);
        assert!(numbers.is_sorted(), "{numbers:?}");
        numbers.dedup();
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn brokers_that_are_away_are_waited_for() {
    let (cluster, directory) = (cluster(), tempfile::tempdir().unwrap());
    cluster.broker_down(1).unwrap();
    let road = start(config(&cluster), &directory);
    (1..=20).for_each(|ts| road.send(Table::Logs, ts));
    let deadline = Instant::now() + PATIENCE;
    while road.numbers.errors() == 0 {
        assert!(Instant::now() < deadline, "{:?}", road.numbers);
        tokio::time::sleep(Duration::from_millis(2)).await; // poll interval
    }
    assert!(!road.numbers.is_connected() && !road.way.spool.lock().is_drained());
    cluster.broker_up(1).unwrap();
    road.drained().await;
    road.stop().await;
    assert_eq!(sequences(&found(&cluster), Table::Logs), (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_are_cut_to_what_the_topic_takes_and_what_does_not_fit_becomes_a_gap() {
    let (cluster, directory) = (cluster(), tempfile::tempdir().unwrap());
    let road = start(config(&cluster), &directory);
    let mut builder = EventsBuilder::new(Table::Logs);
    let mut random = fastrand::Rng::with_seed(7);
    for ts in 0..40 {
        let body: String = (0..20_000).map(|_| random.alphanumeric()).collect();
        builder.row("db", ts, [("body", Value::from(body))]);
    }
    road.outlet.send_events(builder.build());
    road.drained().await;
    let batches = road.numbers.delivered_batches();
    assert!(batches >= 8, "{batches}");
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    road.send(Table::Logs, 100);
    road.drained().await;
    road.stop().await;
    let found = found(&cluster);
    let rows: usize = found.iter().filter(|(_, b)| b.class() == Class::Logs).map(|(_, b)| b.rows()).sum();
    assert_eq!((rows, sequences(&found, Table::Gaps)), (40, vec![1]));
    assert!(found.iter().all(|(_, b)| b.encode().len() <= 100_000));
}
