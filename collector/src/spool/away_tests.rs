//! The server is away for an hour while everything goes on at full rate, on a clock that is a number: the spool keeps its
//! bound, the newest of what matters most stays, each lost row is in a gap, and after the return what was kept arrives
//! once, over connections that break and acknowledgements that get lost.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use proto::{EventsBuilder, LabelsBuilder, Table, Value, samples::SamplesBuilder, tables::class_name};

use super::*;

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_795_608_000_000;
/// Rows come so often.
const STEP_MS: i64 = 10_000;
const BYTES_MAX: u64 = 6 << 20;
const INSTANCES: [&str; 3] = ["orders", "billing", "host"];

/// A row by which it can be told again: its class, whose it is, when, and its number among those of that moment.
type Row = (Class, String, i64, i64);

fn options(directory: &Path) -> SpoolOptions {
    SpoolOptions {
        data_dir: directory.into(),
        batch_bytes_max: proto::batch::ENCODED_BYTES_MAX,
        bytes_max: BYTES_MAX,
        id: None,
        tenant: "0".into(),
        resource: Labels::empty(),
        host: "host".into(),
        boot: "boot".into(),
        now_ms: START_MS,
    }
}

/// What three busy instances give in one step: text that hardly compresses, so that an hour is several times the bound.
struct Sources {
    rng: fastrand::Rng,
    written: BTreeMap<Class, Vec<Row>>,
}

impl Sources {
    fn text(&mut self, bytes: usize) -> String {
        std::iter::repeat_with(|| self.rng.alphanumeric()).take(bytes).collect()
    }

    fn events(
        &mut self,
        table: Table,
        number: &str,
        text: &str,
        per_instance: usize,
        bytes: usize,
        now_ms: i64,
    ) -> Payload {
        let mut builder = EventsBuilder::new(table);
        for instance in INSTANCES {
            for i in 0..per_instance as i64 {
                let words = self.text(bytes);
                builder.row(instance, now_ms, [(number, Value::Int(i)), (text, words.as_str().into())]);
                self.written.entry(table.class()).or_default().push((table.class(), instance.into(), now_ms, i));
            }
        }
        Payload::Events(builder.build())
    }

    fn samples(&mut self, now_ms: i64) -> Payload {
        let mut builder = SamplesBuilder::default();
        for instance in INSTANCES {
            for i in 0..200 {
                let mut labels = LabelsBuilder::default();
                labels.set("__name__", "m").set("instance", instance).set("n", &i.to_string());
                builder.push(&labels.build(), now_ms, f64::from(self.rng.u32(..) % 10_000));
                self.written.entry(Class::Samples).or_default().push((Class::Samples, instance.into(), now_ms, i));
            }
        }
        Payload::Samples(builder.build())
    }

    /// Everything of one moment, in the order of its sources.
    fn step(&mut self, now_ms: i64) -> Vec<Payload> {
        let since = now_ms - START_MS;
        let mut payloads = vec![
            self.samples(now_ms),
            self.events(Table::Activity, "pid", "text", 12, 120, now_ms),
            self.events(Table::Logs, "pid", "body", 40, 160, now_ms),
            self.events(Table::StatementSamples, "pid", "text", 20, 160, now_ms),
        ];
        if since % 60_000 == 0 {
            payloads.push(self.events(Table::StatementStats, "calls", "fingerprint", 100, 16, now_ms));
            payloads.push(self.events(Table::Plans, "total_cost", "plan", 0, 0, now_ms));
        }
        if since % 600_000 == 0 {
            payloads.push(self.events(Table::Objects, "rows", "value", 200, 100, now_ms));
        }
        payloads.retain(|p| rows_of(p) > 0);
        payloads
    }
}

/// A server that takes each number of a class once, in order, and keeps what it took.
#[derive(Default)]
struct Server {
    durable: BTreeMap<Class, u64>,
    rows: Vec<Row>,
    gaps: Vec<(Class, String, i64, i64, u64, String)>,
    repeated: usize,
}

impl Server {
    fn take(&mut self, out: &Outgoing) {
        let batch = Batch::decode(&out.bytes).unwrap();
        let durable = self.durable.entry(out.class).or_insert(0);
        if batch.sequence <= *durable {
            self.repeated += 1;
            return;
        }
        *durable = batch.sequence;
        match batch.payload {
            Payload::Samples(samples) => {
                for (i, &series) in samples.series.iter().enumerate() {
                    let labels = &samples.labels[series as usize];
                    let number = labels.get("n").unwrap().parse().unwrap();
                    let instance = labels.get("instance").unwrap().to_owned();
                    self.rows.push((Class::Samples, instance, samples.timestamps_ms[i], number));
                }
            }
            Payload::Events(events) if events.table == Table::Gaps => {
                for row in 0..events.rows() {
                    let int = |column: &str| match events.get(row, column) {
                        Value::Int(value) => value,
                        other => panic!("{column} is {other:?}"),
                    };
                    let text = |column: &str| match events.get(row, column) {
                        Value::Text(text) => text.to_string(),
                        other => panic!("{column} is {other:?}"),
                    };
                    let class = CLASSES_BY_IMPORTANCE.into_iter().find(|c| class_name(*c) == text("class")).unwrap();
                    let instance = events.instance(row).to_owned();
                    self.gaps.push((class, instance, int("from_ts"), int("to_ts"), int("rows") as u64, text("reason")));
                }
            }
            Payload::Events(events) => {
                let number = if events.table == Table::StatementStats {
                    "calls"
                } else if events.table == Table::Objects {
                    "rows"
                } else {
                    "pid"
                };
                for row in 0..events.rows() {
                    let Value::Int(i) = events.get(row, number) else { panic!("{number} is a number") };
                    self.rows.push((out.class, events.instance(row).to_owned(), events.ts_ms(row), i));
                }
            }
        }
    }
}

/// Sends all that waits: connections end after some batches, and most acknowledgements get lost.
fn send_all(spool: &mut Spool, server: &mut Server, rng: &mut fastrand::Rng, now_ms: i64) {
    while !spool.is_drained() {
        // what a connection tells as durable may be less than there is: what is on its way there is sent twice
        let told: Vec<_> = server.durable.iter().map(|(&c, &s)| (c, s)).filter(|_| rng.bool()).collect();
        assert!(spool.connected(&told).unwrap());
        for _ in 0..rng.usize(5..60) {
            let Some(out) = spool.next_unsent(8, now_ms).unwrap() else {
                for (class, sequence) in server.durable.clone() {
                    spool.acknowledged(class, sequence).unwrap();
                }
                if spool.is_drained() {
                    return;
                }
                continue;
            };
            server.take(&out);
            if rng.u8(..4) == 0 {
                spool.acknowledged(out.class, server.durable[&out.class]).unwrap();
            }
        }
    }
}

#[test]
fn an_hour_away_at_full_rate() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    let mut sources = Sources { rng: fastrand::Rng::with_seed(11), written: BTreeMap::new() };
    let mut rng = fastrand::Rng::with_seed(12);
    let mut server = Server::default();
    let mut now_ms = START_MS;
    let mut peak = 0;
    // some minutes with a server, then an hour without, a kill in the middle of it
    let (leaves_ms, returns_ms) = (START_MS + 120_000, START_MS + 120_000 + HOUR_MS);
    while now_ms < returns_ms {
        for payload in sources.step(now_ms) {
            spool.append(payload, now_ms).unwrap();
        }
        if now_ms < leaves_ms {
            send_all(&mut spool, &mut server, &mut rng, now_ms);
        }
        if now_ms == leaves_ms + HOUR_MS / 2 {
            spool = Spool::open(options(directory.path())).unwrap();
        }
        peak = peak.max(spool.bytes());
        now_ms += STEP_MS;
    }
    let on_disk: u64 = std::fs::read_dir(directory.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(
        peak <= BYTES_MAX + (1 << 20) && on_disk <= BYTES_MAX + (1 << 20),
        "{peak} and {on_disk} of {BYTES_MAX} bytes"
    );
    send_all(&mut spool, &mut server, &mut rng, now_ms);

    let arrived: BTreeSet<&Row> = server.rows.iter().collect();
    assert_eq!(arrived.len(), server.rows.len(), "every row once");
    assert!(server.repeated > 0, "some batches were sent twice");
    let mut some_lost = Vec::new();
    for (class, written) in &sources.written {
        let lost: Vec<&Row> = written.iter().filter(|row| !arrived.contains(row)).collect();
        let kept: Vec<&Row> = written.iter().filter(|row| arrived.contains(row) && row.2 >= leaves_ms).collect();
        println!("{}: {} written, {} lost", class_name(*class), written.len(), lost.len());
        assert_eq!(arrived.iter().filter(|row| row.0 == *class).count() + lost.len(), written.len());
        // the newest stay
        if let (Some(last_lost), Some(first_kept)) = (lost.last(), kept.first()) {
            assert!(last_lost.2 <= first_kept.2, "{class:?}: {last_lost:?} is lost, {first_kept:?} is not");
        }
        // to the row, per instance, within the times told
        for instance in INSTANCES {
            let gaps: Vec<_> = server.gaps.iter().filter(|g| g.0 == *class && g.1 == instance).collect();
            let of_instance: Vec<_> = lost.iter().filter(|row| row.1 == instance).collect();
            assert_eq!(gaps.iter().map(|g| g.4).sum::<u64>(), of_instance.len() as u64, "{class:?} of {instance}");
            assert!(of_instance.iter().all(|row| gaps.iter().any(|g| g.2 <= row.2 && row.2 <= g.3)), "{class:?}");
            assert!(gaps.iter().all(|g| g.5 == "spool_full"), "{gaps:?}");
        }
        if !lost.is_empty() {
            some_lost.push((*class, kept.is_empty()));
        }
    }
    // the least important go first: whatever lost a row, all classes before it lost everything they had of the hour
    let order: Vec<Class> = CLASSES_BY_IMPORTANCE.into_iter().filter(|c| sources.written.contains_key(c)).collect();
    let worst = some_lost.iter().map(|(c, _)| order.iter().position(|o| o == c).unwrap()).max().unwrap();
    assert!(some_lost.len() >= 3, "several classes had to give way: {some_lost:?}");
    for class in [Class::Samples, Class::StatementStats] {
        assert!(some_lost.iter().all(|(c, _)| *c != class), "{class:?} matters most and is complete");
    }
    assert!(worst < order.len() - 2, "{some_lost:?}");
}
