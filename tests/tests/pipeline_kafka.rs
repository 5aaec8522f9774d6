//! What is collected is stored, each once, on the road through a real Apache Kafka, while `tidewatch`, the collector and the
//! broker are killed at random moments, by TLS and SASL; what can never be stored is put aside; new partitions are read.
//!
//! Two collectors send. `tidewatch-collector`, a process of its own that is killed too, follows a log file: its spool keeps
//! position and rows in one record, so that every line comes once. The other's outlet, spool and sender run in this test and
//! carry samples and statements, which are added up on both sides. Short by default; `SOAK=1` kills more often.
#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use collector::{
    Clock, Outlet,
    config::{Compression, KafkaConfig},
    kafka::{KafkaSender, Numbers},
    outlet::Way,
    spool::{Spool, SpoolOptions},
};
use proto::{
    Batch, EventsBuilder, Labels, Payload, Table,
    batch::Source,
    kafka::{Connection, Mechanism, Sasl, Tls},
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
};
use tests::{
    kafka::{self, Kafka},
    load::{produce, stored},
    postgres::StartError,
    process::free_port,
    program::{Api, Program},
    tls::Identity,
    wait,
};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "tidewatch";
const DEAD: &str = "tidewatch.dead-letter";
const PARTITIONS: i32 = 3;
/// The instance of the log that the killed collector follows.
const LOGGED: &str = "followed";
/// Time between two writes to the log, milliseconds, and lines a write.
const WRITE_MS: u64 = 20;
const LINES_PER_WRITE: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(120);

/// The folders and ports that every life of the programs shares.
struct Site {
    folder: tempfile::TempDir,
    http: u16,
    grpc: u16,
}

impl Site {
    fn new(kafka: &Kafka) -> Site {
        let site =
            Site { folder: tempfile::tempdir().unwrap(), http: free_port().unwrap(), grpc: free_port().unwrap() };
        let (tls_broker, (reader, password)) = (kafka.tls_broker(), kafka::READER);
        let identity = kafka.identity();
        let tls = format!(
            "{{ca_file: {}, cert_file: {}, key_file: {}}}",
            kafka.ca_file().display(),
            identity.cert_file.display(),
            identity.key_file.display()
        );
        std::fs::write(site.path("reader.password"), format!("{password}\n")).unwrap();
        std::fs::write(site.path("sender.password"), kafka::SENDER.1).unwrap();
        let server = format!(
            "kafka:\n  brokers: ['{tls_broker}']\n  topic: {TOPIC}\n  tls: {tls}\n  \
             sasl: {{mechanism: plain, username: {reader}, password_file: reader.password}}\n"
        );
        std::fs::write(site.path("tidewatch.yaml"), server).unwrap();
        let collector = format!(
            "kafka: {{brokers: ['{tls_broker}'], topic: {TOPIC}, tls: {tls}, sasl: {{mechanism: scram-sha-512, \
             username: {}, password_file: {}}}}}\n\
             id: killed\ndata_dir: {}\nhost: {{enabled: false}}\n\
             logs: [{{path: {}, instance: {LOGGED}, engine: postgresql, format: stderr, line_prefix: '%m [%p] ', \
             start: beginning}}]\n",
            kafka::SENDER.0,
            site.path("sender.password").display(),
            site.path("killed").display(),
            site.path("followed.log").display(),
        );
        std::fs::write(site.path("collector.yaml"), collector).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn server(&self) -> Program {
        let words = [
            "serve".into(),
            "--config".into(),
            self.path("tidewatch.yaml").display().to_string(),
            "--data-dir".into(),
            self.path("data").display().to_string(),
            "--http-listen".into(),
            format!("127.0.0.1:{}", self.http),
            "--grpc-listen".into(),
            format!("127.0.0.1:{}", self.grpc),
        ];
        let mut program = Program::start("tidewatch", words, &[], &self.path("server.log")).unwrap();
        program.ready(self.api().base()).await.unwrap();
        program
    }

    fn collector(&self) -> Program {
        let words = ["--config".into(), self.path("collector.yaml").display().to_string()];
        Program::start("tidewatch-collector", words, &[], &self.path("collector.log")).unwrap()
    }

    fn api(&self) -> Api {
        Api::new(format!("http://127.0.0.1:{}", self.http))
    }

    /// The sum of a metric of the server over its labels, as `/metrics` tells it.
    async fn metric(&self, name: &str) -> f64 {
        let page = reqwest::get(format!("{}/metrics", self.api().base())).await.unwrap().text().await.unwrap();
        let of =
            |line: &str| line.strip_prefix(name)?.strip_prefix(['{', ' '])?.rsplit(' ').next()?.parse::<f64>().ok();
        page.lines().filter_map(of).sum()
    }

    /// Rows, distinct numbers and the highest number of the followed log.
    async fn followed(&self) -> Result<[f64; 3], String> {
        let query = format!("SELECT count(*), count(DISTINCT pid), max(pid) FROM logs WHERE instance = '{LOGGED}'");
        let rows = self.api().sql(&query).await?;
        Ok([0, 1, 2].map(|i| rows[0][i].as_f64().unwrap_or(0.0)))
    }

    async fn gaps(&self) -> Vec<String> {
        let rows = self.api().sql("SELECT reason, detail FROM gaps").await.unwrap();
        rows.iter().map(|row| format!("{}: {}", row[0], row[1])).collect()
    }

    fn tail(&self) -> String {
        ["server.log", "collector.log"]
            .map(|name| std::fs::read_to_string(self.path(name)).unwrap_or_default())
            .join("\n")
    }
}

/// Writes numbered lines until told to stop; how many there are.
async fn write_log(path: PathBuf, stop: Arc<AtomicBool>) -> u64 {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(WRITE_MS));
    let mut lines = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let now = chrono::DateTime::from_timestamp_millis(Clock::system().now_ms()).unwrap();
        let now = now.format("%Y-%m-%d %H:%M:%S%.3f UTC");
        let mut text = String::new();
        for _ in 0..LINES_PER_WRITE {
            lines += 1;
            text.push_str(&format!("{now} [{lines}] LOG:  checkpoint starting: time\n"));
        }
        file.write_all(text.as_bytes()).unwrap();
    }
    lines
}

/// A collector's road in this process.
struct Road {
    outlet: Outlet,
    way: Way,
    shutdown: CancellationToken,
}

fn road(site: &Site, kafka: &Kafka) -> Road {
    let (clock, data_dir) = (Clock::system(), site.path("collector"));
    let options = SpoolOptions {
        data_dir: data_dir.clone(),
        bytes_max: 256 << 20,
        batch_bytes_max: proto::kafka::VALUE_BYTES_DEFAULT,
        id: None,
        tenant: "0".into(),
        resource: Labels::empty(),
        host: "test".into(),
        boot: "".into(),
        now_ms: clock.now_ms(),
    };
    let way = Way::new(Spool::open(options).unwrap(), clock.clone());
    let (shutdown, numbers): (_, Arc<Numbers>) = (CancellationToken::new(), Arc::default());
    let config = KafkaConfig {
        connection: Connection { brokers: vec![kafka.broker()], tls: None, sasl: None },
        topic: TOPIC.into(),
        value_bytes_max: proto::kafka::VALUE_BYTES_DEFAULT,
        compression: Compression::None,
    };
    let sender = KafkaSender { config, way: way.clone(), clock, data_dir, numbers, shutdown: shutdown.clone() };
    tokio::spawn(sender.run());
    Road { outlet: Outlet::new(way.clone()), way, shutdown }
}

/// Every record of a topic: partition, value, reason in its headers.
fn records(kafka: &Kafka, topic: &str, partitions: i32) -> Vec<(i32, Vec<u8>, Option<String>)> {
    let mut config = kafka.client();
    config.set("group.id", "test").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut found, mut ends) = (Vec::new(), 0);
    while ends < partitions {
        match consumer.poll(PATIENCE).expect("records or an end in time") {
            Ok(message) => {
                let reason = message.headers().and_then(|headers| {
                    let header = headers.iter().find(|h| h.key == "tidewatch-reason")?;
                    Some(String::from_utf8_lossy(header.value?).into_owned())
                });
                found.push((message.partition(), message.payload().unwrap().to_vec(), reason));
            }
            Err(KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

/// What a client of the listener with TLS is told that trusts `ca_file` (`None`: the system's authorities) and shows a certificate, or none.
fn refused(kafka: &Kafka, ca_file: Option<PathBuf>, identity: Option<Identity>) -> String {
    let connection = Connection {
        brokers: vec![kafka.tls_broker()],
        tls: Some(Tls { ca_file, identity: identity.map(|i| (i.cert_file, i.key_file)) }),
        sasl: Some(Sasl {
            mechanism: Mechanism::Plain,
            username: kafka::READER.0.into(),
            password_file: PathBuf::new(), // not read here
        }),
    };
    let properties = connection.properties(kafka::READER.1);
    let config: ClientConfig = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let consumer: BaseConsumer = config.create().unwrap();
    let asked = consumer.fetch_metadata(Some(TOPIC), Duration::from_secs(5));
    asked.map_or_else(|e| e.to_string(), |_| String::new())
}

/// Neither a broker of another authority nor a client without a certificate is taken.
fn strangers_are_refused(kafka: &Kafka) {
    let (ca_file, identity) = (Some(kafka.ca_file()), Some(kafka.identity()));
    assert_eq!(refused(kafka, ca_file.clone(), identity), "", "a known client is taken");
    assert_ne!(refused(kafka, None, Some(kafka.identity())), "", "a broker that nobody known has signed");
    assert_ne!(refused(kafka, ca_file, None), "", "a client without a certificate");
}

/// Kills one of the three at a random moment, and starts it again.
async fn kill_at_random(
    random: &mut fastrand::Rng,
    site: &Site,
    kafka: &mut Kafka,
    server: Program,
    collector: Program,
    what: &str,
) -> (Program, Program) {
    tokio::time::sleep(Duration::from_millis(random.u64(100..1_500))).await; // the random moment, not a poll interval
    println!("kill {what}");
    match what {
        "server" => {
            server.kill();
            (site.server().await, collector)
        }
        "collector" => {
            collector.kill();
            (server, site.collector())
        }
        _ => {
            if random.bool() {
                kafka.kill();
            } else {
                kafka.stop();
            }
            kafka.run().await.unwrap();
            (server, collector)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_road_through_kafka() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped @ StartError::NotInstalled(_)) => {
            println!("{skipped}; the mock cluster covers the reader (ingest) and the sender (collector) alone");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let rounds = if std::env::var_os("SOAK").is_some() { 10 } else { 2 };
    let seed = fastrand::u64(..);
    println!("seed {seed}, {rounds} rounds");
    let mut random = fastrand::Rng::with_seed(seed);
    kafka.create_topic(TOPIC, PARTITIONS).await.unwrap();
    kafka.create_topic(DEAD, 1).await.unwrap();
    strangers_are_refused(&kafka);

    let site = Site::new(&kafka);
    let (mut server, mut collector) = (site.server().await, site.collector());
    let road = road(&site, &kafka);
    let stop = Arc::new(AtomicBool::new(false));
    let producing = tokio::spawn(produce(road.outlet.clone(), stop.clone()));
    let writing = tokio::spawn(write_log(site.path("followed.log"), stop.clone()));
    for _ in 0..rounds {
        let mut victims = ["server", "server", "collector", "collector", "broker"];
        random.shuffle(&mut victims);
        for victim in victims {
            (server, collector) = kill_at_random(&mut random, &site, &mut kafka, server, collector, victim).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (sent, lines) = (producing.await.unwrap(), writing.await.unwrap());
    println!("sent: {sent:?}, {lines} lines");

    let all = [lines as f64; 3];
    let arrived = wait::until(PATIENCE, async || {
        let drained = road.way.spool.lock().is_drained();
        (drained && stored(&site.api()).await.ok()? == sent && site.followed().await.ok()? == all).then_some(())
    });
    if arrived.await.is_none() {
        let found = (stored(&site.api()).await, site.followed().await);
        panic!("not all arrived once: {found:?}\n{}", site.tail());
    }
    server.kill();
    server = site.server().await;
    assert_eq!(
        (stored(&site.api()).await.unwrap(), site.followed().await.unwrap()),
        (sent, all),
        "after one more kill"
    );
    assert_eq!(site.gaps().await, Vec::<String>::new(), "nothing is missing");

    put_aside_and_read_on(&site, &kafka).await;
    let said = std::fs::read_to_string(site.path("server.log")).unwrap();
    let said: Vec<&str> =
        said.lines().filter(|line| line.contains("WARN ingest::kafka") && !line.contains("message refused")).collect();
    // an outage may be met by two lives of the server, and noticed again while the broker comes up
    assert!(said.len() <= 4 * rounds, "an outage is said once, not {} times: {said:#?}", said.len());
    road.shutdown.cancel();
    collector.stop();
    server.stop();
}

/// A poison message, one sent again, and a batch in a new partition.
async fn put_aside_and_read_on(site: &Site, kafka: &Kafka) {
    let before = site.followed().await.unwrap();
    let (partition, again) =
        records(kafka, TOPIC, PARTITIONS).into_iter().map(|(p, value, _)| (p, value)).next().unwrap();
    kafka.put(TOPIC, partition, "test", b"garbage").await.unwrap();
    kafka.put(TOPIC, partition, "test", &again).await.unwrap();
    kafka.grow_topic(TOPIC, PARTITIONS as usize + 1).await.unwrap();
    let mut events = EventsBuilder::new(Table::Logs);
    events.row("late", Clock::system().now_ms(), [("body", "in a new partition".into())]);
    let batch = Batch {
        source: Source { collector: "late".into(), epoch: 1 },
        sequence: 1,
        tenant: "0".into(),
        sent_at_ms: 0,
        resource: Labels::empty(),
        payload: Payload::Events(events.build()),
    };
    let put = wait::until(PATIENCE, async || kafka.put(TOPIC, PARTITIONS, "late", &batch.encode()).await.ok());
    put.await.expect("the new partition takes a record");
    let read = wait::until(PATIENCE, async || {
        let late = site.api().sql("SELECT count(*) FROM logs WHERE instance = 'late'").await.ok()?;
        let settled = site.metric("tidewatch_kafka_lag").await == 0.0
            && site.metric("tidewatch_ingest_duplicates_total").await >= 1.0;
        (late[0][0].as_f64() == Some(1.0) && settled).then_some(())
    });
    assert!(read.await.is_some(), "{}", site.tail());
    assert_eq!(site.followed().await.unwrap(), before, "what was sent again is not counted again");
    let gaps = site.gaps().await;
    assert!(gaps.len() == 1 && gaps[0].contains("refused_malformed"), "{gaps:?}");
    let letters = records(kafka, DEAD, 1);
    assert_eq!(letters, [(0, b"garbage".to_vec(), Some("malformed".to_owned()))]);
    for (name, value) in [
        ("tidewatch_kafka_connected", 1.0),
        ("tidewatch_kafka_dead_letters_total", 1.0),
        ("tidewatch_kafka_refused_total", 1.0),
        ("tidewatch_kafka_paused", 0.0),
        ("tidewatch_kafka_lost_offsets_total", 0.0),
    ] {
        assert_eq!(site.metric(name).await, value, "{name}");
    }
}
