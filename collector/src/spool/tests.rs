//! The spool against a model that keeps everything in memory: through kills, torn ends, acknowledgements in any order of
//! classes, and a bound that is too small.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;
use proto::{EventsBuilder, Table, Value};

use super::*;

fn options(directory: &Path) -> SpoolOptions {
    SpoolOptions {
        data_dir: directory.into(),
        batch_bytes_max: proto::batch::ENCODED_BYTES_MAX,
        bytes_max: 64 << 20,
        id: None,
        tenant: "0".into(),
        resource: Labels::empty(),
        host: "h".into(),
        boot: "boot1".into(),
        now_ms: 1000,
    }
}

fn logs(instance: &str, ts_ms: i64, rows: usize, body: &str) -> Payload {
    let mut builder = EventsBuilder::new(Table::Logs);
    for i in 0..rows {
        builder.row(instance, ts_ms + i as i64, [("body", Value::from(body))]);
    }
    Payload::Events(builder.build())
}

fn activity(ts_ms: i64) -> Payload {
    let mut builder = EventsBuilder::new(Table::Activity);
    builder.row("db", ts_ms, [("pid", Value::from(ts_ms))]);
    Payload::Events(builder.build())
}

/// Text that does not compress, the same for the same seed.
fn noise(seed: u64, bytes: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.alphanumeric()).take(bytes).collect()
}

/// Everything the spool would send now, by class: (sequence, first timestamp).
fn sent(spool: &mut Spool) -> BTreeMap<Class, Vec<(u64, i64)>> {
    let mut sent: BTreeMap<Class, Vec<(u64, i64)>> = BTreeMap::new();
    while let Some(out) = spool.next_unsent(usize::MAX, 2000).unwrap() {
        let batch = Batch::decode(&out.bytes).unwrap();
        assert_eq!((batch.class(), batch.sequence, &batch.source), (out.class, out.sequence, &spool.source()));
        let (from_ms, _) = time_range(&batch.payload).unwrap();
        sent.entry(out.class).or_default().push((out.sequence, from_ms));
    }
    sent
}

fn gap_rows(spool: &mut Spool) -> Vec<(String, String, u64, String)> {
    let mut gaps = Vec::new();
    spool.send_again(Class::Gaps);
    while let Some(out) = spool.next_unsent(usize::MAX, 2000).unwrap() {
        if out.class != Class::Gaps {
            continue;
        }
        let Payload::Events(events) = Batch::decode(&out.bytes).unwrap().payload else { panic!("gaps are events") };
        for row in 0..events.rows() {
            let text = |column: &str| match events.get(row, column) {
                Value::Text(text) => text.to_string(),
                other => panic!("{column} is {other:?}"),
            };
            let Value::Int(rows) = events.get(row, "rows") else { panic!("rows are counted") };
            gaps.push((events.instance(row).to_owned(), text("class"), rows as u64, text("reason")));
        }
    }
    gaps
}

#[derive(Clone, Debug)]
enum Step {
    Logs(u8),
    MarkedLogs,
    Activity,
    Send(u8),
    Ack(u8),
    Kill,
    /// Kill in the middle of a write: this many bytes of a next record are on disk.
    Tear(u8),
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u8..5).prop_map(Step::Logs),
        Just(Step::MarkedLogs),
        Just(Step::Activity),
        (1u8..6).prop_map(Step::Send),
        (0u8..4).prop_map(Step::Ack),
        Just(Step::Kill),
        (1u8..60).prop_map(Step::Tear),
        Just(Step::Reconnect),
    ]
}

#[derive(Default)]
struct Model {
    appended: BTreeMap<Class, Vec<i64>>,
    durable: BTreeMap<Class, u64>,
    sent: BTreeMap<Class, u64>,
    mark: Option<String>,
}

impl Model {
    /// What must still be sent: (sequence, timestamp).
    fn waiting(&self) -> BTreeMap<Class, Vec<(u64, i64)>> {
        let mut waiting = BTreeMap::new();
        for (&class, timestamps) in &self.appended {
            let durable = self.durable.get(&class).copied().unwrap_or(0);
            let rest: Vec<_> = timestamps
                .iter()
                .enumerate()
                .map(|(i, &ts)| (i as u64 + 1, ts))
                .filter(|(s, _)| *s > durable)
                .collect();
            if !rest.is_empty() {
                waiting.insert(class, rest);
            }
        }
        waiting
    }
}

fn tear(directory: &Path, class: Class, bytes: u8) {
    let spool = directory.join("spool");
    let number = *segment::numbers_of(&spool, class).unwrap().last().unwrap();
    let path = segment::path_of(&spool, class, number);
    let mut record = Vec::new();
    let entry = Entry { sequence: 999, rows: 1, from_ms: 0, to_ms: 0, marks: Vec::new(), bytes: vec![7; 80] };
    record::Record::Batch(entry).write(&mut record);
    let mut contents = std::fs::read(&path).unwrap();
    contents.extend_from_slice(&record[..bytes as usize]);
    std::fs::write(&path, contents).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_batch_is_there_once_and_in_order_whatever_happens(steps in proptest::collection::vec(step(), 1..60)) {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(options(directory.path())).unwrap();
        let mut model = Model::default();
        let mut ts_ms = 0;
        for step in steps {
            ts_ms += 10;
            match step {
                Step::Logs(rows) => {
                    spool.append(logs("db", ts_ms, rows as usize, &noise(ts_ms as u64, 40_000)), 1000).unwrap();
                    model.appended.entry(Class::Logs).or_default().push(ts_ms);
                }
                Step::MarkedLogs => {
                    let mark = Mark { key: "file".into(), value: ts_ms.to_string() };
                    model.mark = Some(mark.value.clone());
                    spool.append_marked(&logs("db", ts_ms, 1, "x"), vec![mark], 1000).unwrap();
                    model.appended.entry(Class::Logs).or_default().push(ts_ms);
                }
                Step::Activity => {
                    spool.append(activity(ts_ms), 1000).unwrap();
                    model.appended.entry(Class::Activity).or_default().push(ts_ms);
                }
                Step::Send(window) => {
                    while let Some(out) = spool.next_unsent(window as usize, 2000).unwrap() {
                        let sent = model.sent.entry(out.class).or_insert(0);
                        let durable = model.durable.get(&out.class).copied().unwrap_or(0);
                        prop_assert_eq!(out.sequence, (*sent).max(durable) + 1);
                        *sent = out.sequence;
                    }
                }
                Step::Ack(behind) => {
                    for (&class, &sent) in &model.sent {
                        let durable = model.durable.entry(class).or_insert(0);
                        *durable = (*durable).max(sent.saturating_sub(u64::from(behind)));
                        spool.acknowledged(class, *durable).unwrap();
                    }
                }
                Step::Kill => spool = Spool::open(options(directory.path())).unwrap(),
                Step::Tear(bytes) => {
                    tear(directory.path(), Class::Logs, bytes);
                    tear(directory.path(), Class::Activity, bytes);
                    spool = Spool::open(options(directory.path())).unwrap();
                }
                Step::Reconnect => {
                    let durable: Vec<_> = model.durable.iter().map(|(&c, &s)| (c, s)).collect();
                    prop_assert!(spool.connected(&durable).unwrap());
                }
            }
            if matches!(step, Step::Kill | Step::Tear(_) | Step::Reconnect) {
                model.sent.clear();
            }
        }
        prop_assert_eq!(spool.mark(Class::Logs, "file"), model.mark.as_deref());
        let durable: Vec<_> = model.durable.iter().map(|(&c, &s)| (c, s)).collect();
        prop_assert!(spool.connected(&durable).unwrap());
        prop_assert_eq!(sent(&mut spool), model.waiting());
    }
}

#[test]
fn a_full_spool_drops_the_least_important_and_sends_the_gap_to_the_row() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(SpoolOptions { bytes_max: 3 << 20, ..options(directory.path()) }).unwrap();
    spool.append(activity(5), 1000).unwrap();
    let mut rows_written = 0;
    for i in 0..200 {
        let instance = if i % 2 == 0 { "db1" } else { "db2" };
        spool.append(logs(instance, i, 2, &noise(i as u64, 40_000)), 1000 + i).unwrap();
        rows_written += 2;
        assert!(spool.bytes() <= (3 << 20) + (1 << 20), "{} bytes", spool.bytes());
    }
    let gaps = gap_rows(&mut spool);
    assert_eq!(gaps[0], ("db".into(), "activity".into(), 1, "spool_full".into()), "least important first");
    let lost: u64 = gaps.iter().filter(|g| g.1 == "logs").map(|g| g.2).sum();
    assert!(gaps.iter().any(|g| g.0 == "db1") && gaps.iter().any(|g| g.0 == "db2"));
    spool.connected(&[]).unwrap();
    let mut kept = 0;
    while let Some(out) = spool.next_unsent(usize::MAX, 0).unwrap() {
        if out.class == Class::Logs {
            kept += rows_of(&Batch::decode(&out.bytes).unwrap().payload);
        }
    }
    assert_eq!(kept + lost, rows_written, "what is not kept is told");
    assert_eq!(spool.counters().by_class[&Class::Logs].dropped_rows, lost);
}

#[test]
fn what_was_refused_is_forgotten_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    for ts in 1..=3 {
        spool.append(logs("db", ts, 2, "x"), 1000).unwrap();
    }
    sent(&mut spool);
    spool.refused(Class::Logs, 2, 0, "too_old", "older than retention", 1000).unwrap();
    spool.connected(&[(Class::Logs, 0)]).unwrap();
    assert_eq!(sent(&mut spool)[&Class::Logs], [(1, 1), (3, 3)]);
    assert_eq!(gap_rows(&mut spool), [("db".into(), "logs".into(), 2, "refused_too_old".into())]);
    let mut reopened = Spool::open(options(directory.path())).unwrap();
    assert_eq!(sent(&mut reopened)[&Class::Logs], [(1, 1), (3, 3)], "also after a kill");
}

#[test]
fn a_power_failure_never_reuses_a_number() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    spool.append(activity(1), 1000).unwrap();
    drop(spool);
    let other_boot = SpoolOptions { boot: "boot2".into(), ..options(directory.path()) };
    let mut spool = Spool::open(other_boot.clone()).unwrap();
    spool.append(activity(2), 1000).unwrap();
    assert_eq!(sent(&mut spool)[&Class::Activity], [(1, 1), (2 + SEQUENCES_SKIPPED, 2)]);
    let gaps = gap_rows(&mut spool);
    assert!(gaps.iter().any(|g| g.1 == "activity" && g.3 == "power_loss"), "{gaps:?}");
    spool.close().unwrap();
    let mut spool = Spool::open(SpoolOptions { boot: "boot3".into(), ..other_boot }).unwrap();
    spool.append(activity(3), 1000).unwrap();
    let numbers: Vec<u64> = sent(&mut spool)[&Class::Activity].iter().map(|(s, _)| *s).collect();
    assert_eq!(numbers, [1, 2 + SEQUENCES_SKIPPED, 3 + SEQUENCES_SKIPPED], "a clean end loses nothing");
}

#[test]
fn a_lost_lane_begins_a_new_epoch_and_keeps_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    spool.append(activity(1), 1000).unwrap();
    let mark = Mark { key: "file".into(), value: "7".into() };
    spool.append_marked(&logs("db", 2, 1, "x"), vec![mark], 1000).unwrap();
    let before = spool.source();
    drop(spool);
    let number = segment::numbers_of(&directory.path().join("spool"), Class::Activity).unwrap()[0];
    std::fs::remove_file(segment::path_of(&directory.path().join("spool"), Class::Activity, number)).unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    assert_eq!(spool.source().collector, before.collector);
    assert!(spool.source().epoch > before.epoch);
    let sent = sent(&mut spool);
    assert_eq!(sent[&Class::Logs], [(1, 2)]);
    assert!(!sent.contains_key(&Class::Activity) && sent.contains_key(&Class::Gaps));
    assert_eq!(spool.mark(Class::Logs, "file"), Some("7"));
}

#[test]
fn a_server_that_knows_more_than_we_do_gets_a_new_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    spool.append(activity(1), 1000).unwrap();
    assert!(!spool.connected(&[(Class::Activity, 17)]).unwrap());
    let before = spool.source().epoch;
    spool.renew_epoch(5000).unwrap();
    assert!(spool.source().epoch > before);
    assert_eq!(sent(&mut spool)[&Class::Activity], [(1, 1)]);
}

#[test]
fn spent_segments_leave_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    for i in 0..50 {
        spool.append(logs("db", i, 1, &noise(i as u64, 100_000)), 1000).unwrap();
    }
    assert!(spool.bytes() > 3 << 20);
    sent(&mut spool);
    spool.acknowledged(Class::Logs, 50).unwrap();
    assert!(spool.bytes() < 10_000, "{} bytes", spool.bytes());
    assert!(spool.is_drained());
    let files = std::fs::read_dir(directory.path().join("spool")).unwrap().count();
    assert_eq!(files, CLASSES_BY_IMPORTANCE.len() + 1, "one segment a class and the identity");
}

#[test]
fn damage_in_an_old_segment_is_told_and_the_rest_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    for i in 0..30 {
        spool.append(logs("db", i, 1, &noise(i as u64, 100_000)), 1000).unwrap();
    }
    drop(spool);
    let path = segment::path_of(&directory.path().join("spool"), Class::Logs, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    let mut spool = Spool::open(options(directory.path())).unwrap();
    let first_time = sent(&mut spool);
    let numbers: Vec<u64> = first_time[&Class::Logs].iter().map(|(s, _)| *s).collect();
    assert!(numbers.len() > 15 && numbers.len() < 30, "{numbers:?}");
    assert_eq!((numbers[0], numbers[numbers.len() - 1]), (1, 30));
    spool.connected(&[]).unwrap();
    sent(&mut spool);
    assert_eq!(gap_rows(&mut spool), [("h".into(), "logs".into(), 0, "spool_damaged".into())], "told once");
}
