//! A disk that fails at every operation in turn, then loses power: what was acknowledged is there once, and what was not
//! can be sent again and is then there once.

use super::*;
use crate::{
    ExemplarRow, ObjectStoreConfig,
    disk::{
        Disk,
        faulty::{Fault, FaultyDisk},
    },
    part::PartStore,
};

/// How often a sender tries before the test lets it give up.
const ATTEMPTS: usize = 5;
/// By when a disk with room again must be written to again.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

async fn open(dir: &Path, disk: &FaultyDisk) -> Result<Store, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let parts = PartStore::open(&ObjectStoreConfig::Local, dir, disk.clone())?;
    Store::open_with(config(dir), disk, parts, None, T0).await
}

/// What is sent, in order; a number stands for a flush, with upkeep behind it if it is odd.
fn script() -> Vec<Result<Sent, u32>> {
    let sent = |n: u64| {
        let rows = match n % 2 {
            0 => SentRows::Samples(
                (0..40).map(|i| (i % 7 * 4, T0 + n as i64 * 1000 + i64::from(i / 7), n * 100 + u64::from(i))).collect(),
            ),
            _ => SentRows::Logs((0..30).map(|i| (i % 3, T0 + n as i64, i64::from(i) + n as i64 * 100)).collect()),
        };
        Ok(Sent { tenant: "0", collector: "c".into(), sequence: n / 2 + 1, rows })
    };
    vec![
        sent(0),
        sent(1),
        Err(0),
        sent(2),
        sent(3),
        sent(4),
        Err(0),
        sent(5),
        Err(0),
        sent(6),
        sent(7),
        Err(1),
        sent(8),
        sent(9),
    ]
}

/// Runs the script until the end or until nothing works any more; which of the sent were acknowledged.
pub(super) async fn run(store: &Store) -> Vec<bool> {
    let (mut acknowledged, mut stuck) = (Vec::new(), [false; 2]);
    for step in script() {
        match step {
            Ok(sent) => {
                // as every sender does: a sequence is sent again before the next of its class is
                let stuck = &mut stuck[usize::from(matches!(sent.rows, SentRows::Logs(_)))];
                let mut taken = false;
                for _ in 0..ATTEMPTS {
                    taken = taken || (!*stuck && sent.send(store, T0 + DAY_MS).await.is_ok());
                }
                *stuck = !taken;
                acknowledged.push(taken);
            }
            Err(upkeep) => {
                // a failure here is part of the test: nothing may be lost by it
                let _ = store.flush(T0).await;
                if upkeep % 2 == 1 {
                    let _ = store.maintain(T0 + 2 * DAY_MS).await;
                }
            }
        }
    }
    acknowledged
}

pub(super) fn sent() -> Vec<Sent> {
    script().into_iter().filter_map(Result::ok).collect()
}

fn expected(of: &[Sent]) -> (Metrics, Vec<(String, i64, i64)>) {
    let (mut metrics, mut logs) = (Metrics::new(), Vec::new());
    for sent in of {
        match &sent.rows {
            SentRows::Samples(rows) => {
                for (series, ts, bits) in rows {
                    put(metrics.entry(series_labels(*series)).or_default(), *series, *ts, *bits);
                }
            }
            SentRows::Logs(rows) => logs.extend(rows.iter().map(|(i, ts, pid)| (format!("db{i}"), *ts, *pid))),
        }
    }
    logs.sort();
    (metrics, logs)
}

/// Nothing of what was acknowledged is missing, nothing is there that was not sent, nothing twice.
pub(super) async fn check(store: &Store, acknowledged: &[bool], what: &str) {
    let all = sent();
    let promised: Vec<Sent> = all.iter().zip(acknowledged).filter(|(_, ok)| **ok).map(|(s, _)| s.clone()).collect();
    let ((promised_samples, promised_logs), (all_expected, all_expected_logs)) = (expected(&promised), expected(&all));
    let (samples, logs) = (all_samples(store, "0").await, all_logs(store, "0").await);
    for (labels, of) in &promised_samples {
        for (ts, bits) in of {
            assert_eq!(samples.get(labels).and_then(|s| s.get(ts)), Some(bits), "{what}: {labels} at {ts}");
        }
    }
    for (labels, of) in &samples {
        for (ts, bits) in of {
            assert_eq!(all_expected.get(labels).and_then(|s| s.get(ts)), Some(bits), "{what}: {labels} at {ts}");
        }
    }
    assert!(promised_logs.iter().all(|row| logs.binary_search(row).is_ok()), "{what}: logs are missing");
    assert!(logs.iter().all(|row| all_expected_logs.binary_search(row).is_ok()), "{what}: logs nobody sent");
    assert!(logs.windows(2).all(|w| w[0] != w[1]), "{what}: logs twice");
}

async fn with_fault(at: u64, fault: Fault) -> u64 {
    let what = format!("{fault:?} at operation {at}");
    let dir = directory();
    let mut random = fastrand::Rng::with_seed(at);
    let disk = FaultyDisk::with_fault(at, fault);
    let mut acknowledged = vec![false; sent().len()];
    if let Ok(store) = open(dir.path(), &disk).await {
        acknowledged = run(&store).await;
        if fault == Fault::Full {
            // room again: it goes on by itself, and takes what it had refused
            let all_again = async {
                for (sent, ok) in sent().iter().zip(&mut acknowledged) {
                    while !*ok && store.stats().poisoned.is_none() {
                        *ok = sent.send(&store, T0 + DAY_MS).await.is_ok();
                        tokio::task::yield_now().await;
                    }
                }
            };
            tokio::time::timeout(DEADLINE, all_again).await.unwrap_or_else(|_| panic!("{what}: {:?}", store.stats()));
        }
        check(&store, &acknowledged, &format!("{what}, still running")).await;
        drop(store);
    }
    let operations = disk.operations();
    disk.crash(dir.path(), &mut random).unwrap();
    let store = open(dir.path(), &FaultyDisk::default()).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    check(&store, &acknowledged, &format!("{what}, after the crash")).await;
    for sent in sent() {
        // stored now, or a duplicate: the sequence tells
        sent.send(&store, T0 + DAY_MS).await.unwrap();
    }
    check(&store, &vec![true; acknowledged.len()], &format!("{what}, sent again")).await;
    store.flush(T0).await.unwrap();
    check(&store, &vec![true; acknowledged.len()], &format!("{what}, flushed")).await;
    operations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_may_fail() {
    let operations = with_fault(u64::MAX, Fault::Eio).await;
    assert!(operations > 60, "{operations} operations");
    for at in 0..operations {
        for fault in [Fault::Eio, Fault::Full, Fault::Crash] {
            with_fault(at, fault).await;
        }
    }
}

/// Appends an exemplar of `up` at each of these times, flushing after every third, until nothing works any more; which were
/// acknowledged.
async fn run_exemplars(store: &Store, times: &[i64]) -> Vec<bool> {
    let up = Labels::from_pairs([("__name__", "up")]);
    let of = Labels::from_pairs([("trace_id", "m")]);
    let mut acknowledged = Vec::new();
    for (n, at) in times.iter().enumerate() {
        let series = [up.as_bytes()];
        let rows = SampleRows {
            labels: &series,
            series: &[0],
            timestamps_ms: &[*at],
            values: &[1.0],
            ..SampleRows::default()
        };
        let append = Append { tenant: "0", origin: None, rows: Rows::Samples(rows), now_ms: T0 };
        let _ = store.append(append).map(drop); // the exemplar behind it waits for both
        let row = ExemplarRow { series: 0, timestamp_ms: *at, value: 1.0, labels: Ok(of.as_bytes()) };
        acknowledged.push(match store.append_exemplars("0", &series, &[row], T0 + DAY_MS) {
            Ok((_, Some(pending))) => pending.await.is_ok(),
            _ => false,
        });
        if n % 3 == 2 {
            let _ = store.flush(T0).await; // a failure here is part of the test: nothing may be lost by it
        }
    }
    acknowledged
}

/// Operations, and how many acknowledged exemplars were found again after a crash: all, whatever failed before it.
async fn exemplars_with_fault(at: u64, fault: Fault) -> (u64, usize) {
    let what = format!("{fault:?} at operation {at}");
    let times: Vec<i64> = (0..8).map(|n| T0 + n * 1000).collect();
    let dir = directory();
    let disk = FaultyDisk::with_fault(at, fault);
    let mut acknowledged = Vec::new();
    if let Ok(store) = open(dir.path(), &disk).await {
        acknowledged = run_exemplars(&store, &times).await;
        drop(store);
    }
    let operations = disk.operations();
    disk.crash(dir.path(), &mut fastrand::Rng::with_seed(at)).unwrap();
    let store = open(dir.path(), &FaultyDisk::default()).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = store.exemplars("0", |_| true, i64::MIN, i64::MAX);
    let found: Vec<i64> = found.iter().flat_map(|of| &of.exemplars).map(|e| e.timestamp_ms).collect();
    let promised: Vec<&i64> = times.iter().zip(&acknowledged).filter(|(_, ok)| **ok).map(|(time, _)| time).collect();
    assert!(promised.iter().all(|time| found.contains(time)), "{what}: {promised:?} are not all of {found:?}");
    assert!(found.iter().all(|time| times.contains(time)) && found.is_sorted_by(|a, b| a < b), "{what}: {found:?}");
    (operations, promised.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_may_fail_under_exemplars() {
    let (operations, kept) = exemplars_with_fault(u64::MAX, Fault::Eio).await;
    assert!(operations > 20 && kept == 8, "{operations} operations, {kept} kept");
    let mut kept = 0;
    for at in 0..operations {
        for fault in [Fault::Eio, Fault::Full, Fault::Crash] {
            kept += exemplars_with_fault(at, fault).await.1;
        }
    }
    assert!(kept > 100, "{kept}");
}
