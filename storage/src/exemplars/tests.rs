//! What the ring keeps, beside a list that is searched from end to end.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;

use super::*;
use crate::{
    Append, Rows, SampleRows, StoreConfig,
    log::record::{self, RecordRows},
};

const NOW_MS: i64 = 1_000_000;

fn labels(name: &str, value: &str) -> Labels {
    Labels::from_pairs([(name, value)])
}

fn exemplar(timestamp_ms: i64, value: f64, trace: &str) -> Exemplar {
    Exemplar { labels: labels("trace_id", trace), timestamp_ms, value }
}

fn no_log(_: &[u8]) -> Result<Position, Failure> {
    Ok(Position::default())
}

fn push(ring: &Exemplars, series: &Labels, of: &Exemplar) -> Result<(), NotKept> {
    let row =
        ExemplarRow { series: 0, timestamp_ms: of.timestamp_ms, value: of.value, labels: Ok(of.labels.as_bytes()) };
    let (outcome, _) = ring.append("0", &[series.as_bytes()], &[row], NOW_MS, |_| true, no_log);
    match outcome.not_kept.into_iter().next() {
        Some((why, count)) => {
            assert_eq!((count, outcome.kept), (1, 0));
            Err(why)
        }
        None => {
            assert_eq!(outcome.kept, 1);
            Ok(())
        }
    }
}

/// What comes after an exemplar of 5 at 100 with trace `m`, and what becomes of it.
#[test]
fn what_follows_what() {
    for (next, expected) in [
        (exemplar(100, 5.0, "m"), Err(NotKept::Duplicate)),
        (exemplar(99, 9.0, "z"), Err(NotKept::OutOfOrder)),
        (exemplar(100, 4.0, "z"), Err(NotKept::OutOfOrder)),
        (exemplar(100, 5.0, "a"), Err(NotKept::OutOfOrder)),
        (exemplar(100, 5.0, "z"), Ok(())),
        (exemplar(100, 6.0, "a"), Ok(())),
        (exemplar(100, f64::NAN, "a"), Ok(())),
        (exemplar(101, 5.0, "m"), Ok(())),
        (exemplar(NOW_MS, 5.0, "m"), Ok(())),
        (exemplar(NOW_MS + 1, 5.0, "m"), Err(NotKept::TooNew)),
        (exemplar(101, 5.0, &"ü".repeat(LABEL_CHARS_MAX - "trace_id".len())), Ok(())),
        (exemplar(101, 5.0, &"x".repeat(LABEL_CHARS_MAX - "trace_id".len() + 1)), Err(NotKept::LabelsTooLong)),
        (Exemplar { labels: Labels::empty(), timestamp_ms: 101, value: 0.0 }, Ok(())),
    ] {
        let ring = Exemplars::new(10);
        let series = labels("__name__", "a");
        push(&ring, &series, &exemplar(100, 5.0, "m")).unwrap();
        assert_eq!(push(&ring, &series, &next), expected, "{next:?}");
        if next.value.is_nan() {
            assert_eq!(push(&ring, &series, &next), Err(NotKept::Duplicate), "a NaN sent again");
        }
        let kept = ring.select("0", |_| true, i64::MIN, i64::MAX).remove(0).exemplars.len();
        assert_eq!(kept, if expected.is_ok() { 2 } else { 1 }, "{next:?}");
    }
}

#[test]
fn none_are_kept_where_none_may_be() {
    let ring = Exemplars::new(0);
    assert_eq!(push(&ring, &labels("__name__", "a"), &exemplar(1, 1.0, "m")), Err(NotKept::Disabled));
    assert_eq!(ring.select("0", |_| true, i64::MIN, i64::MAX), []);
    let stats = ring.stats();
    assert_eq!((stats.exemplars, stats.oldest_ms, &stats.not_kept), (0, 0, &[(NotKept::Disabled, 1)].into()));
}

#[test]
fn what_can_be_no_labels_is_counted() {
    let ring = Exemplars::new(10);
    let series = labels("__name__", "a");
    let row = |labels| ExemplarRow { series: 0, timestamp_ms: 1, value: 1.0, labels };
    let rows = [row(Err(NotKept::BadLabels)), row(Ok(b"\x01b\x011\x01a\x011")), row(Ok(b"\x09"))];
    let (outcome, _) = ring.append("0", &[series.as_bytes()], &rows, NOW_MS, |_| true, no_log);
    assert_eq!((outcome.kept, outcome.not_kept), (0, [(NotKept::BadLabels, 3)].into()));
}

/// Random exemplars of few series in rings of every small size: after each, the ring answers what the list answers.
#[test]
fn the_ring_answers_what_a_list_would() {
    let mut dice = fastrand::Rng::with_seed(3);
    for max in [1, 2, 3, 7, 20] {
        let ring = Exemplars::new(max);
        let mut list: VecDeque<(Labels, Exemplar)> = VecDeque::new();
        let (mut kept, mut evicted) = (0, 0);
        for time in 0..400 {
            let series = labels("__name__", ["a", "b", "c", "d"][dice.usize(..4)]);
            let next = exemplar(time / 3 + dice.i64(-2..3), f64::from(dice.u8(..3)), ["x", "y"][dice.usize(..2)]);
            let newest = list.iter().rev().find(|(of, _)| *of == series).map(|(_, newest)| newest);
            let expected = newest.and_then(|newest| refuse(newest, &next)).map_or(Ok(()), Err);
            assert_eq!(push(&ring, &series, &next), expected);
            if expected.is_ok() {
                list.push_back((series, next));
                kept += 1;
                if list.len() > max {
                    list.pop_front();
                    evicted += 1;
                }
            }
            let (start, end) = (time / 3 - 4, time / 3 + dice.i64(-2..2));
            let mut expected: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
            for (series, of) in list.iter().filter(|(_, of)| (start..=end).contains(&of.timestamp_ms)) {
                expected.entry(series.clone()).or_default().push(of.clone());
            }
            expected.remove(&labels("__name__", "d"));
            let matches = |series: &Labels| series.metric_name() != "d";
            let found: Vec<_> =
                ring.select("0", matches, start, end).into_iter().map(|of| (of.series, of.exemplars)).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
        let stats = ring.stats();
        let series: std::collections::BTreeSet<_> = list.iter().map(|(series, _)| series).collect();
        assert_eq!((stats.kept, stats.evicted, stats.exemplars), (kept, evicted, list.len() as u64));
        assert_eq!((stats.series, stats.oldest_ms), (series.len() as u64, list[0].1.timestamp_ms));
        assert!(evicted > 100, "{evicted}");
    }
}

#[tokio::test]
async fn series_must_be_known_and_tenants_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig { exemplars_max: 5, ..StoreConfig::at(dir.path()) }, NOW_MS).await.unwrap();
    let (known, unknown) = (labels("__name__", "up"), labels("__name__", "down"));
    let series = [unknown.as_bytes(), known.as_bytes()];
    let samples = SampleRows {
        labels: &series[1..],
        series: &[0],
        timestamps_ms: &[NOW_MS],
        values: &[1.0],
        ..SampleRows::default()
    };
    let append = Append { tenant: "0", origin: None, rows: Rows::Samples(samples), now_ms: NOW_MS };
    store.append(append).unwrap().await.unwrap();
    let of = exemplar(NOW_MS, 0.5, "m");
    let row = |series| ExemplarRow { series, timestamp_ms: NOW_MS, value: 0.5, labels: Ok(of.labels.as_bytes()) };
    let (outcome, pending) = store.append_exemplars("0", &series, &[row(0), row(1), row(2)], NOW_MS).unwrap();
    pending.unwrap().await.unwrap();
    assert_eq!((outcome.kept, outcome.not_kept), (1, [(NotKept::UnknownSeries, 2)].into()));
    let (outcome, pending) = store.append_exemplars("1", &series, &[row(1)], NOW_MS).unwrap();
    assert!(pending.is_none());
    assert_eq!((outcome.kept, outcome.not_kept), (0, [(NotKept::UnknownSeries, 1)].into()));
    let all = |tenant| store.exemplars(tenant, |_| true, i64::MIN, i64::MAX);
    assert_eq!(all("0"), [SeriesExemplars { series: known, exemplars: vec![of.clone()] }]);
    assert_eq!(all("1"), []);
    let stats = store.stats().exemplars;
    assert_eq!((stats.exemplars, stats.exemplars_max, stats.kept), (1, 5, 1));
    assert_eq!(stats.not_kept, [(NotKept::UnknownSeries, 3)].into());
    store.close().await;
}

/// Random exemplars of two tenants in a small ring, flushes, and restarts, some of them with another size of the ring: after
/// each restart it holds what it held.
#[tokio::test]
async fn a_restart_finds_them_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = |max| StoreConfig { exemplars_max: max, fsync_interval_ms: 0, ..StoreConfig::at(dir.path()) };
    let all = |store: &Store| ["0", "1"].map(|tenant| store.exemplars(tenant, |_| true, i64::MIN, i64::MAX));
    let names = ["a", "b", "c"].map(|name| labels("__name__", name));
    let series: Vec<&[u8]> = names.iter().map(Labels::as_bytes).collect();
    let mut dice = fastrand::Rng::with_seed(5);
    let mut store = Store::open(config(7), NOW_MS).await.unwrap();
    let (mut restarts, mut flushes, mut time) = (0, 0, 0);
    while restarts < 12 || flushes < 12 {
        time += dice.i64(0..3);
        let tenant = ["0", "1"][dice.usize(..2)];
        let samples = SampleRows {
            labels: &series,
            series: &[0, 1, 2],
            timestamps_ms: &[NOW_MS; 3],
            values: &[1.0; 3],
            ..SampleRows::default()
        };
        let append = Append { tenant, origin: None, rows: Rows::Samples(samples), now_ms: NOW_MS };
        store.append(append).unwrap().await.unwrap();
        let of: Vec<Exemplar> = (0..dice.i64(0..4))
            .map(|n| exemplar(time + n, [0.5, f64::NAN][dice.usize(..2)], ["x", "y"][dice.usize(..2)]))
            .collect();
        let mut rows = Vec::new();
        for of in &of {
            let Exemplar { labels, timestamp_ms, value } = of;
            let (series, labels) = (dice.u32(..3), Ok(labels.as_bytes()));
            rows.push(ExemplarRow { series, timestamp_ms: *timestamp_ms, value: *value, labels });
        }
        let (_, pending) = store.append_exemplars(tenant, &series, &rows, NOW_MS).unwrap();
        if let Some(pending) = pending {
            pending.await.unwrap();
        }
        if dice.u8(..12) == 0 {
            store.flush(NOW_MS).await.unwrap();
            flushes += 1;
        }
        if dice.u8(..12) == 0 {
            let (before, stats) = (format!("{:?}", all(&store)), store.stats().exemplars);
            store.close().await;
            store = Store::open(config(7), NOW_MS).await.unwrap();
            let again = store.stats().exemplars;
            assert_eq!(format!("{:?}", all(&store)), before);
            assert_eq!((again.oldest_ms, again.series), (stats.oldest_ms, stats.series));
            assert_eq!((again.kept, again.evicted), (0, 0));
            restarts += 1;
        }
    }
    assert_eq!(store.stats().exemplars.exemplars, 7);
    // a smaller ring takes the newest
    let oldest_ms = store.stats().exemplars.oldest_ms;
    store.close().await;
    let store = Store::open(config(3), NOW_MS).await.unwrap();
    let stats = store.stats().exemplars;
    assert!(stats.exemplars == 3 && stats.oldest_ms >= oldest_ms, "{stats:?}");
    store.close().await;
    // their records are no rows that a check or a restore would miss
    let found = crate::verify(&config(3)).await.unwrap();
    assert!(found.is_sound() && found.log_exemplar_records > 0, "{found:?}");
    let store = Store::open(config(0), NOW_MS).await.unwrap();
    assert_eq!(all(&store), [vec![], vec![]]);
    store.close().await;
}

/// What the log refused is in the next record that it takes, though the ring has it and takes it for a duplicate by then.
#[test]
fn what_the_log_refused_is_logged_with_the_next() {
    let ring = Exemplars::new(5);
    let series = labels("__name__", "a");
    push(&ring, &series, &exemplar(1, 1.0, "m")).unwrap();
    let send = |of: &Exemplar, log: &mut dyn FnMut(&[u8]) -> Result<Position, Failure>| {
        let labels = Ok(of.labels.as_bytes());
        let row = ExemplarRow { series: 0, timestamp_ms: of.timestamp_ms, value: of.value, labels };
        ring.append("0", &[series.as_bytes()], &[row], NOW_MS, |_| true, log)
    };
    let full = || Failure::Full("no room".into());
    let (outcome, at) = send(&exemplar(2, 1.0, "m"), &mut |_| Err(full()));
    assert_eq!((outcome.kept, at), (1, Err(full())));
    let mut logged = Vec::new();
    let mut log = |payload: &[u8]| {
        logged.push(record::decode(FrameKind::Exemplars, payload).unwrap().rows);
        no_log(payload)
    };
    let (outcome, at) = send(&exemplar(2, 1.0, "m"), &mut log);
    assert_eq!((outcome.not_kept, at), ([(NotKept::Duplicate, 1)].into(), Ok(Some(Position::default()))));
    assert_eq!(send(&exemplar(2, 1.0, "m"), &mut log).1, Ok(None), "now it is in the log");
    send(&exemplar(3, 1.0, "m"), &mut log).1.unwrap();
    let of: Vec<(bool, Vec<i64>)> = logged
        .iter()
        .map(|rows| match rows {
            RecordRows::Exemplars(of) => (of.is_whole, of.rows.iter().map(|row| row.exemplar.timestamp_ms).collect()),
            _ => panic!("{rows:?}"),
        })
        .collect();
    assert_eq!(of, [(true, vec![1, 2]), (false, vec![3])]);
}

/// What does not fit is left out from the oldest on.
#[test]
fn the_newest_are_carried_over() {
    let ring = Exemplars::new(5);
    let series = labels("__name__", "a");
    assert_eq!(ring.carry(1000, |_| panic!("there is nothing to write")), Ok(None));
    (0..7).for_each(|n| push(&ring, &series, &exemplar(n, 1.0, "m")).unwrap());
    let row = ExemplarsWriter::row_bytes_max("0", series.as_bytes(), &exemplar(0, 1.0, "m")) as u64;
    for (bytes_max, expected) in [(u64::MAX, 2..7), (5 * row, 2..7), (5 * row - 1, 3..7), (row, 6..7), (row - 1, 7..7)]
    {
        let mut times = Vec::new();
        let carried = ring.carry(bytes_max, |payload| {
            let RecordRows::Exemplars(of) = record::decode(FrameKind::Exemplars, payload).unwrap().rows else {
                panic!()
            };
            assert!(of.is_whole);
            times.extend(of.rows.iter().map(|row| row.exemplar.timestamp_ms));
            no_log(payload)
        });
        assert_eq!((times, carried.unwrap().is_some()), (expected.clone().collect(), !expected.is_empty()));
    }
}
