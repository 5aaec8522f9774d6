//! The collectors' door as a collector meets it: a tonic client over loopback against a real store.
#![allow(clippy::unwrap_used)]

use std::{fmt::Write, path::Path, time::Duration};

use futures::StreamExt;
use ingest::{Admission, Collectors, ReadNowError, grpc};
use proto::{
    Batch, Class, Events, EventsBuilder, Labels, Payload, Table,
    batch::{ENCODED_BYTES_MAX, Source},
    samples::SamplesBuilder,
    wire::{self, collector_message, ingest_client::IngestClient, server_message},
};
use storage::{EventQuery, Matcher, SeriesQuery, Store, StoreConfig};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Status, Streaming};

/// The only time there is in these tests, milliseconds.
const NOW_MS: i64 = 1_800_000_000_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

struct Door {
    store: Store,
    admission: Admission,
    collectors: Collectors,
    url: String,
    dir: tempfile::TempDir,
}

impl Door {
    async fn open() -> Door {
        Door::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut StoreConfig)) -> Door {
        let dir = tempfile::tempdir().unwrap();
        let mut config = StoreConfig { segment_bytes: 1 << 20, ..StoreConfig::at(dir.path()) };
        change(&mut config);
        let store = Store::open(config, NOW_MS).await.unwrap();
        let admission = Admission::new(store.clone(), || NOW_MS);
        let collectors = Collectors::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = grpc::service(admission.clone(), collectors.clone());
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        Door { store, admission, collectors, url, dir }
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.admission.counters().value(name, labels)
    }

    /// Values of `metric`, in the order of their times.
    async fn values(&self, metric: &str) -> Vec<f64> {
        let matchers = [Matcher::equal("__name__", metric)];
        let query = SeriesQuery {
            matchers: &matchers,
            min_ms: i64::MIN / 2,
            max_ms: i64::MAX / 2,
            series_max: 1000,
            samples_max: 1_000_000,
        };
        let series = self.store.snapshot("0").select(&query).await.unwrap();
        series.into_iter().flat_map(|s| s.values).collect()
    }

    async fn rows(&self, table: Table) -> usize {
        let mut batches = self.store.snapshot("0").scan(table, &EventQuery::default()).await.unwrap();
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            rows += batch.unwrap().num_rows();
        }
        rows
    }

    async fn connect(&self) -> Collector {
        self.connect_as("c1", 7).await.unwrap()
    }

    async fn connect_as(&self, collector: &str, epoch: u64) -> Result<Collector, Status> {
        let mut client = IngestClient::connect(self.url.clone()).await.unwrap();
        let (sender, messages) = mpsc::channel(1024);
        let hello = wire::Hello {
            source: Some(wire::Source { collector: collector.into(), epoch }),
            version: "test".into(),
            tenant: String::new(),
            host: "h1".into(),
        };
        send(&sender, collector_message::Message::Hello(hello)).await;
        let inbound = client.stream(ReceiverStream::new(messages)).await?.into_inner();
        let mut connected = Collector { sender, inbound, durable: Vec::new() };
        match connected.next().await? {
            server_message::Message::Welcome(welcome) => connected.durable = welcome.durable,
            other => panic!("{other:?}"),
        }
        Ok(connected)
    }
}

async fn send(sender: &mpsc::Sender<wire::CollectorMessage>, message: collector_message::Message) {
    sender.send(wire::CollectorMessage { message: Some(message) }).await.unwrap();
}

struct Collector {
    sender: mpsc::Sender<wire::CollectorMessage>,
    inbound: Streaming<wire::ServerMessage>,
    durable: Vec<wire::Durable>,
}

/// What acknowledgements said until what was waited for.
#[derive(Default)]
struct Said {
    refusals: Vec<wire::Refusal>,
    slow_down_ms: u32,
}

impl Collector {
    async fn bytes(&self, bytes: Vec<u8>) {
        send(&self.sender, collector_message::Message::Batch(bytes.into())).await;
    }

    async fn batch(&self, batch: &Batch) {
        self.bytes(batch.encode()).await;
    }

    async fn next(&mut self) -> Result<server_message::Message, Status> {
        let message = tokio::time::timeout(PATIENCE, self.inbound.message()).await.expect("an answer in time")?;
        Ok(message.expect("the stream goes on").message.expect("a message"))
    }

    /// Reads acknowledgements until `class` is durable up to `sequence` at least.
    async fn until_durable(&mut self, class: Class, sequence: u64) -> Said {
        self.until(|ack| ack.durable.iter().any(|d| d.class == class as i32 && d.sequence >= sequence)).await
    }

    async fn until_refused(&mut self, sequence: u64) -> Said {
        self.until(|ack| ack.refusals.iter().any(|r| r.sequence == sequence)).await
    }

    async fn until(&mut self, enough: impl Fn(&wire::Ack) -> bool) -> Said {
        let mut said = Said::default();
        loop {
            let server_message::Message::Ack(ack) = self.next().await.unwrap() else { continue };
            let is_enough = enough(&ack);
            said.refusals.extend(ack.refusals);
            said.slow_down_ms = said.slow_down_ms.max(ack.slow_down_ms);
            if is_enough {
                return said;
            }
        }
    }

    /// The status that ends the stream.
    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

fn batch(sequence: u64, payload: Payload) -> Batch {
    Batch {
        source: Source { collector: "c1".into(), epoch: 7 },
        sequence,
        tenant: "0".into(),
        sent_at_ms: NOW_MS,
        resource: Labels::from_pairs([("instance", "db1")]),
        payload,
    }
}

/// One sample of `m` whose value and second are its sequence.
fn samples(sequence: u64) -> Batch {
    let mut samples = SamplesBuilder::default();
    samples.push(&Labels::from_pairs([("__name__", "m")]), NOW_MS + sequence as i64, sequence as f64);
    batch(sequence, Payload::Samples(samples.build()))
}

fn logs(rows: usize, body: &str) -> Events {
    let mut events = EventsBuilder::new(Table::Logs);
    for row in 0..rows {
        events.row("db1", NOW_MS + row as i64, [("stream", "s".into()), ("body", body.into())]);
    }
    events.build()
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn every_acknowledgement_is_of_what_is_on_disk() {
    let door = Door::with(|c| c.fsync_interval_ms = 20).await;
    let mut collector = door.connect().await;
    assert_eq!(collector.durable, []);
    for sequence in 1..=200 {
        collector.batch(&samples(sequence)).await;
    }
    let (mut last, mut looked) = (0, 0);
    while last < 200 {
        let server_message::Message::Ack(ack) = collector.next().await.unwrap() else { continue };
        assert_eq!(ack.refusals, []);
        for durable in ack.durable {
            assert!(durable.sequence > last, "acknowledged in order");
            last = durable.sequence;
        }
        if looked < 3 || last == 200 {
            // What a store finds that starts from the files as they are at this moment.
            let copy = tempfile::tempdir().unwrap();
            copy_dir(door.dir.path(), copy.path());
            let store = Store::open(StoreConfig { segment_bytes: 1 << 20, ..StoreConfig::at(copy.path()) }, NOW_MS);
            let on_disk = store.await.unwrap().durable("c1", 7)[0].1;
            assert!(last <= on_disk, "#{last} was acknowledged, on disk is #{on_disk}");
            looked += 1;
        }
    }
    assert!(looked > 1, "all were acknowledged at once: nothing was in flight");
    assert_eq!(door.values("m").await, (1..=200).map(f64::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_sent_again_counts_once_also_on_a_new_stream() {
    let door = Door::open().await;
    let mut collector = door.connect().await;
    collector.batch(&batch(1, Payload::Events(logs(3, "x")))).await;
    collector.until_durable(Class::Logs, 1).await;
    collector.batch(&batch(1, Payload::Events(logs(3, "x")))).await;
    collector.until_durable(Class::Logs, 1).await; // told again
    drop(collector);
    let mut collector = door.connect().await;
    assert_eq!(collector.durable, [wire::Durable { class: Class::Logs as i32, sequence: 1 }]);
    collector.batch(&batch(1, Payload::Events(logs(3, "x")))).await;
    collector.batch(&batch(2, Payload::Events(logs(2, "y")))).await;
    let said = collector.until_durable(Class::Logs, 2).await;
    assert_eq!(said.refusals, []);
    assert_eq!(door.rows(Table::Logs).await, 5);
    assert_eq!(door.count("tidewatch_ingest_duplicates_total", &[("door", "grpc")]), 2);
    assert_eq!(door.count("tidewatch_ingest_missing_batches_total", &[]), 0);
    // The same numbers in another life of the spool are other batches.
    let mut again = door.connect_as("c1", 8).await.unwrap();
    let mut other = batch(1, Payload::Events(logs(1, "z")));
    other.source.epoch = 8;
    again.batch(&other).await;
    again.until_durable(Class::Logs, 1).await;
    assert_eq!(door.rows(Table::Logs).await, 6);
}

#[tokio::test]
async fn a_damaged_batch_is_refused_by_its_number_and_leaves_no_gap() {
    let door = Door::open().await;
    let mut collector = door.connect().await;
    collector.batch(&samples(1)).await;
    let mut damaged = samples(2).encode();
    *damaged.last_mut().unwrap() ^= 0xff;
    collector.bytes(damaged).await;
    collector.batch(&samples(3)).await;
    let said = collector.until_durable(Class::Samples, 3).await;
    let [refusal] = &said.refusals[..] else { panic!("{:?}", said.refusals) };
    assert_eq!((refusal.sequence, refusal.reason.as_str(), refusal.r#final), (2, "malformed", true));
    assert_eq!(door.values("m").await, [1.0, 3.0]);
    drop(collector);
    let mut collector = door.connect().await;
    assert_eq!(collector.durable[0].sequence, 3);
    collector.batch(&samples(2)).await; // sent again by one that does not believe it
    collector.until_durable(Class::Samples, 3).await;
    assert_eq!(door.values("m").await, [1.0, 3.0]);
    assert_eq!(door.count("tidewatch_ingest_missing_batches_total", &[]), 0);
    assert_eq!(door.count("tidewatch_ingest_refused_batches_total", &[("reason", "malformed")]), 1);
}

#[tokio::test]
async fn bytes_that_do_not_say_what_they_are_end_the_stream() {
    let door = Door::open().await;
    for bytes in [&b"nothing"[..], b"TWB1nothing", b""] {
        let mut collector = door.connect().await;
        collector.bytes(bytes.to_vec()).await;
        let status = collector.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with("bytes that are no batch: "), "{status}");
    }
    let mut collector = door.connect().await;
    collector.batch(&samples(1)).await;
    collector.until_durable(Class::Samples, 1).await;
}

#[tokio::test]
async fn a_batch_too_large_is_refused_and_the_next_is_taken() {
    let door = Door::open().await;
    let mut collector = door.connect().await;
    let mut body = String::new(); // hardly compressible: hexadecimal digits of a multiplicative sequence
    let mut x = 1u64;
    while body.len() < 2 * ENCODED_BYTES_MAX + (4 << 20) {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = write!(body, "{:08x}", x >> 32);
    }
    let large = batch(1, Payload::Events(logs(1, &body))).encode();
    assert!(large.len() > ENCODED_BYTES_MAX && large.len() < grpc::MESSAGE_BYTES_MAX, "{}", large.len());
    collector.bytes(large).await;
    collector.batch(&batch(2, Payload::Events(logs(1, "small")))).await;
    let said = collector.until_durable(Class::Logs, 2).await;
    let [refusal] = &said.refusals[..] else { panic!("{:?}", said.refusals) };
    assert_eq!((refusal.sequence, refusal.reason.as_str(), refusal.r#final), (1, "too_large", true));
    assert_eq!(door.rows(Table::Logs).await, 1);
}

#[tokio::test]
async fn missing_numbers_are_counted_and_kept_as_a_gap() {
    let door = Door::open().await;
    let mut collector = door.connect().await;
    collector.batch(&samples(1)).await;
    collector.batch(&samples(5)).await;
    collector.until_durable(Class::Samples, 5).await;
    assert_eq!(door.values("m").await, [1.0, 5.0]);
    assert_eq!(door.count("tidewatch_ingest_missing_batches_total", &[]), 3);
    assert_eq!(door.rows(Table::Gaps).await, 1);
}

#[tokio::test]
async fn a_full_store_holds_a_class_back_until_the_refused_batch_came_again() {
    let door = Door::with(|c| c.head_bytes_max = 2 << 20).await;
    let mut collector = door.connect().await;
    let body = "b".repeat(4 << 10);
    let large = |sequence| batch(sequence, Payload::Events(logs(64, &body)));
    let mut refused = 0;
    for sequence in 1..100 {
        collector.batch(&large(sequence)).await;
        let said =
            collector.until(|ack| !ack.refusals.is_empty() || ack.durable.iter().any(|d| d.sequence >= sequence)).await;
        if let [refusal] = &said.refusals[..] {
            assert_eq!((refusal.sequence, refusal.reason.as_str(), refusal.r#final), (sequence, "full", false));
            assert!(said.slow_down_ms > 0);
            refused = sequence;
            break;
        }
    }
    assert!(refused > 1, "the head never was full");
    let stored = door.rows(Table::Logs).await;
    door.store.flush(NOW_MS).await.unwrap();
    collector.batch(&large(refused + 1)).await; // there is room, but it must not overtake
    let said = collector.until_refused(refused + 1).await;
    assert!(!said.refusals[0].r#final, "{:?}", said.refusals);
    collector.batch(&large(refused)).await;
    collector.batch(&large(refused + 1)).await;
    collector.until_durable(Class::Logs, refused + 1).await;
    assert_eq!(door.rows(Table::Logs).await, stored + 128);
}

#[tokio::test]
async fn forbidden_is_what_only_the_server_writes_and_what_another_sent() {
    let door = Door::open().await;
    let mut collector = door.connect().await;
    let mut events = EventsBuilder::new(Table::AlertEvents);
    events.row("db1", NOW_MS, [("event", "resolved".into())]);
    collector.batch(&batch(1, Payload::Events(events.build()))).await;
    let said = collector.until_refused(1).await;
    assert_eq!((said.refusals[0].reason.as_str(), said.refusals[0].r#final), ("forbidden", true));
    let mut of_tenant = samples(1);
    of_tenant.tenant = "other".into();
    collector.batch(&of_tenant).await;
    let said = collector.until_refused(1).await;
    assert_eq!((said.refusals[0].reason.as_str(), said.refusals[0].r#final), ("forbidden", true));
    let mut of_another = samples(2);
    of_another.source.collector = "c2".into();
    collector.batch(&of_another).await;
    assert_eq!(collector.end().await.code(), Code::PermissionDenied);
    assert_eq!((door.rows(Table::AlertEvents).await, door.values("m").await.len()), (0, 0));
}

#[tokio::test]
async fn a_newer_stream_of_the_same_collector_ends_the_older() {
    let door = Door::open().await;
    let mut old = door.connect().await;
    let mut new = door.connect().await;
    assert_eq!(old.end().await.code(), Code::Aborted);
    new.batch(&samples(1)).await;
    new.until_durable(Class::Samples, 1).await;
    let list = door.collectors.list();
    assert_eq!((list.len(), list[0].connected, list[0].batches), (1, true, 1));
    assert_eq!(list[0].instances.iter().collect::<Vec<_>>(), ["db1"]);
    door.collectors.close();
    assert_eq!(new.end().await.code(), Code::Unavailable);
}

#[tokio::test]
async fn the_first_message_must_be_hello() {
    let door = Door::open().await;
    let mut client = IngestClient::connect(door.url.clone()).await.unwrap();
    let (sender, messages) = mpsc::channel(4);
    send(&sender, collector_message::Message::Batch(samples(1).encode().into())).await;
    let mut inbound = client.stream(ReceiverStream::new(messages)).await.unwrap().into_inner();
    assert_eq!(inbound.message().await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn what_is_read_now_is_visible_when_the_answer_comes() {
    let door = Door::with(|c| c.fsync_interval_ms = 50).await;
    let mut collector = door.connect().await;
    collector.batch(&samples(1)).await;
    collector.until_durable(Class::Samples, 1).await;
    let collectors = door.collectors.clone();
    let asked = tokio::spawn(async move { collectors.read_now("db1", &["activity"], None, PATIENCE).await });
    let server_message::Message::ReadNow(request) = collector.next().await.unwrap() else { panic!("a request") };
    assert_eq!((request.instance.as_str(), &request.what[..]), ("db1", &["activity".to_owned()][..]));
    collector.batch(&batch(1, Payload::Events(logs(4, "now")))).await;
    let done = wire::Answer { request: request.request, error: String::new() };
    send(&collector.sender, collector_message::Message::Answer(done)).await;
    assert_eq!(asked.await.unwrap(), Ok(()));
    assert_eq!(door.rows(Table::Logs).await, 4);
    assert_eq!(door.store.durable("c1", 7), [(Class::Samples, 1), (Class::Logs, 1)]);

    let collectors = door.collectors.clone();
    let asked = tokio::spawn(async move { collectors.read_now("db1", &["plan"], Some("f"), PATIENCE).await });
    let request = loop {
        if let server_message::Message::ReadNow(request) = collector.next().await.unwrap() {
            break request;
        }
    };
    let failed = wire::Answer { request: request.request, error: "no such statement".into() };
    send(&collector.sender, collector_message::Message::Answer(failed)).await;
    assert_eq!(asked.await.unwrap(), Err(ReadNowError::Collector("no such statement".into())));
}
