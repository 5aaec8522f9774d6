//! One promise a test.

use super::{places::places, *};

fn samples(sequence: u64, rows: &[(u32, i64, f64)]) -> Sent {
    let rows = rows.iter().map(|(s, t, v)| (*s, *t, v.to_bits())).collect();
    Sent { tenant: "0", collector: "c".into(), sequence, rows: SentRows::Samples(rows) }
}

fn logs(sequence: u64, rows: &[(u32, i64, i64)]) -> Sent {
    Sent { tenant: "0", collector: "c".into(), sequence, rows: SentRows::Logs(rows.to_vec()) }
}

#[tokio::test]
async fn rows_are_there_at_once_after_a_flush_and_after_a_kill() {
    for place in places() {
        let dir = directory();
        let store = Store::open(place.config(dir.path()), T0).await.unwrap();
        stored(&store, &samples(1, &[(0, T0, 1.0), (0, T0 + 1000, 2.0), (1, T0, f64::NAN)])).await;
        stored(&store, &logs(1, &[(1, T0, 7), (0, T0 + DAY_MS, 8)])).await;
        let (metrics, lines) = (all_samples(&store, "0").await, all_logs(&store, "0").await);
        assert_eq!((metrics.len(), lines.len()), (2, 2));
        assert!(all_samples(&store, "other").await.is_empty());
        drop(store);
        let store = Store::open(place.config(dir.path()), T0).await.unwrap();
        assert_eq!(store.stats().replayed_records, 2);
        assert_eq!((all_samples(&store, "0").await, all_logs(&store, "0").await), (metrics.clone(), lines.clone()));
        let report = store.flush(T0).await.unwrap();
        assert_eq!(report.parts, 3, "metrics, and logs of two days");
        assert_eq!((all_samples(&store, "0").await, all_logs(&store, "0").await), (metrics.clone(), lines.clone()));
        assert_eq!(store.flush(T0).await.unwrap().parts, 0);
        store.close().await;
        let store = Store::open(place.config(dir.path()), T0).await.unwrap();
        assert_eq!(store.stats().replayed_records, 0);
        assert_eq!((all_samples(&store, "0").await, all_logs(&store, "0").await), (metrics, lines));
    }
}

#[tokio::test]
async fn a_resend_is_a_duplicate_before_and_after_flush_and_reopen() {
    for place in places() {
        let dir = directory();
        let mut store = Store::open(place.config(dir.path()), T0).await.unwrap();
        for round in 0..3 {
            let sent = logs(round + 1, &[(1, T0, 7)]);
            stored(&store, &sent).await;
            assert_eq!(sent.send(&store, T0).await.unwrap(), Outcome::Duplicate);
            if round == 1 {
                store.flush(T0).await.unwrap();
            }
            drop(store);
            store = Store::open(place.config(dir.path()), T0).await.unwrap();
            assert_eq!(sent.send(&store, T0).await.unwrap(), Outcome::Duplicate);
            assert_eq!(store.durable("c", 1), [(Class::Logs, round + 1)]);
            assert_eq!(store.durable("c", 2), []);
        }
        assert_eq!(all_logs(&store, "0").await.len(), 3);
    }
}

#[tokio::test]
async fn rows_refused_of_a_batch_do_not_come_back_with_it() {
    let dir = directory();
    let limits = Limits { age_ms_max: 1000, ..Limits::default() };
    let config = StoreConfig { limits, ..config(dir.path()) };
    let store = Store::open(config.clone(), T0).await.unwrap();
    for (sequence, rows) in [(1, [(1, T0, 7), (0, T0 - 5000, 8)]), (3, [(1, T0, 9), (0, T0 - 1, 10)])] {
        logs(sequence, &rows).send(&store, T0).await.unwrap();
    }
    let before = all_logs(&store, "0").await;
    assert_eq!(before.len(), 3);
    drop(store);
    let store = Store::open(config, T0).await.unwrap();
    assert_eq!(all_logs(&store, "0").await, before);
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_and_counted() {
    let dir = directory();
    let limits = Limits { series_max: 3, series_per_source_max: 2, age_ms_max: 1000, ..Limits::default() };
    let store = Store::open(StoreConfig { limits, ..config(dir.path()) }, T0).await.unwrap();
    let outcome = |sent: Sent| {
        let store = store.clone();
        async move { sent.send(&store, T0).await.unwrap() }
    };
    let refused = |rows, reason, n| Outcome::Stored { rows, refused: vec![(reason, n)] };
    assert_eq!(outcome(samples(1, &[(0, T0 - 1001, 1.0), (0, T0, 1.0)])).await, refused(1, Refusal::TooOld, 1));
    assert_eq!(outcome(samples(2, &[(0, T0 + DAY_MS, 1.0)])).await, refused(0, Refusal::TooNew, 1));
    assert_eq!(outcome(samples(3, &[(1, T0, 1.0), (2, T0, 1.0)])).await, refused(1, Refusal::SeriesLimit, 1));
    let of_another = Sent { collector: "d".into(), ..samples(1, &[(2, T0, 1.0), (3, T0, 1.0)]) };
    assert_eq!(outcome(of_another).await, refused(1, Refusal::SeriesLimit, 1));
    assert_eq!(outcome(logs(1, &[(0, T0 - 5000, 1), (0, T0, 2)])).await, refused(1, Refusal::TooOld, 1));
    let counted = store.stats().refused;
    assert_eq!(counted[&Refusal::TooOld], 2);
    assert_eq!(counted[&Refusal::SeriesLimit], 2);
    let bad = Append {
        tenant: "../x",
        origin: None,
        rows: Rows::Samples(SampleRows {
            labels: &[],
            series: &[],
            timestamps_ms: &[],
            values: &[],
            histograms: &[],
            families: &[],
        }),
        now_ms: T0,
    };
    assert!(matches!(store.append(bad), Err(AppendError::Malformed(_))));
    let bad =
        SampleRows { labels: &[], series: &[0], timestamps_ms: &[T0], values: &[1.0], histograms: &[], families: &[] };
    let bad = Append { tenant: "0", origin: None, rows: Rows::Samples(bad), now_ms: T0 };
    assert!(matches!(store.append(bad), Err(AppendError::Malformed(_))));
}

#[tokio::test]
async fn a_full_head_refuses_until_it_is_flushed() {
    for place in places() {
        let dir = directory();
        let store =
            Store::open(StoreConfig { head_bytes_max: 64 << 10, ..place.config(dir.path()) }, T0).await.unwrap();
        let mut sequence = 0;
        let refused = loop {
            sequence += 1;
            let rows: Vec<_> = (0..500).map(|n| (n as u32 % 50, T0 + n, 1)).collect();
            if let Err(e) = logs(sequence, &rows).send(&store, T0).await {
                break e;
            }
            assert!(sequence < 100);
        };
        assert_eq!(refused.refusal(), Refusal::Full);
        let report = store.maintain(T0).await.unwrap();
        assert_eq!(report.flushed, Some(crate::FlushReason::HeadBytes));
        stored(&store, &logs(sequence, &[(1, T0, 1)])).await;
    }
}

#[tokio::test]
async fn a_flood_of_logs_leaves_room_for_samples() {
    let dir = directory();
    let store = Store::open(StoreConfig { head_bytes_max: 1 << 20, ..config(dir.path()) }, T0).await.unwrap();
    let rows: Vec<_> = (0..500).map(|n| (n as u32 % 50, T0 + n, 1)).collect();
    let mut sequence = 1;
    while logs(sequence, &rows).send(&store, T0).await.is_ok() {
        sequence += 1;
        assert!(sequence < 1000);
    }
    let held = store.stats().head_bytes;
    assert!(held < 1 << 20, "{held}");
    let refused = logs(sequence, &rows).send(&store, T0).await.unwrap_err();
    assert_eq!(refused.refusal(), Refusal::Full);
    assert!(refused.to_string().contains("are not for logs"), "{refused}");
    for n in 0..10 {
        stored(&store, &samples(n + 1, &[(0, T0 + n as i64, 1.0)])).await;
    }
    let again = logs(sequence - 1, &rows).send(&store, T0).await.unwrap();
    assert_eq!(again, Outcome::Duplicate, "what was taken is said to be there though there is no room");
    store.flush(T0).await.unwrap();
    stored(&store, &logs(sequence, &rows)).await;
}

#[tokio::test]
async fn a_day_that_is_over_is_not_merged_for_good_while_rows_for_it_press() {
    let dir = directory();
    let store = Store::open(StoreConfig { head_bytes_max: 256 << 10, ..config(dir.path()) }, T0).await.unwrap();
    let rows: Vec<_> = (0..500).map(|n| (n as u32 % 50, T0 + n, 1)).collect();
    let (now_ms, mut sequence) = (T0 + 3 * DAY_MS, 0);
    let parts = || store.stats().tables["logs"].parts;
    for round in 1..=3 {
        let report = loop {
            sequence += 1;
            logs(sequence, &rows).send(&store, now_ms).await.unwrap();
            let report = store.maintain(now_ms + round).await.unwrap();
            if report.flushed.is_some() {
                break report;
            }
        };
        assert_eq!((report.flushed, report.compacted_parts), (Some(crate::FlushReason::HeadBytes), 0));
        assert_eq!((store.maintain(now_ms + round).await.unwrap().compacted_parts, parts()), (0, round as u64));
    }
    assert_eq!(store.maintain(now_ms + 60_000).await.unwrap().compacted_parts, 0);
    let of_today: Vec<_> = (0..500).map(|n| (n as u32 % 50, now_ms + n, 1)).collect();
    let report = loop {
        sequence += 1;
        logs(sequence, &of_today).send(&store, now_ms).await.unwrap();
        let report = store.maintain(now_ms + 100).await.unwrap();
        if report.flushed.is_some() {
            break report;
        }
    };
    assert_eq!((report.compacted_parts, parts()), (3, 2), "rows of another day do not hold it up");
}

#[tokio::test]
async fn days_are_compacted_expire_and_are_not_deleted_while_read() {
    for place in places() {
        let dir = directory();
        let retention = Retention { metrics: Keep { age_ms: Some(3 * DAY_MS), bytes: None }, ..Retention::default() };
        let store = Store::open(StoreConfig { retention, ..place.config(dir.path()) }, T0).await.unwrap();
        for n in 0..6 {
            stored(&store, &samples(n + 1, &[(0, T0 + n as i64 * 1000, n as f64), (n as u32, T0, 1.0)])).await;
            stored(&store, &logs(n + 1, &[(n as u32, T0 + n as i64, 1)])).await;
            store.flush(T0).await.unwrap();
        }
        let before = (all_samples(&store, "0").await, all_logs(&store, "0").await);
        assert_eq!(store.stats().tables["metrics"].parts, 6);
        let snapshot = store.snapshot("0");
        while store.maintain(T0 + DAY_MS).await.unwrap().compacted_parts > 0 {}
        assert_eq!((store.stats().tables["metrics"].parts, store.stats().tables["logs"].parts), (1, 1));
        assert_eq!((all_samples(&store, "0").await, all_logs(&store, "0").await), before.clone());
        let files = || files(&store);
        assert_eq!(files().await, 14, "the snapshot's twelve and the two new ones");
        let old = snapshot.scan(Table::Logs, &EventQuery::default()).await.unwrap();
        drop(snapshot);
        assert_eq!(store.maintain(T0 + DAY_MS).await.unwrap().deleted_files, 0, "the stream holds them");
        assert_eq!(old.try_fold(0, |n, b| async move { Ok(n + b.num_rows()) }).await.unwrap(), 6);
        assert_eq!(store.maintain(T0 + DAY_MS).await.unwrap().deleted_files, 12);
        assert_eq!(files().await, 2);

        let report = store.maintain(T0 + 4 * DAY_MS).await.unwrap();
        assert_eq!(report.expired_parts, 1, "metrics are kept three days, logs thirty");
        assert!(all_samples(&store, "0").await.is_empty());
        assert_eq!(all_logs(&store, "0").await.len(), 6);
    }
}

/// Files of parts, named or not.
async fn files(store: &Store) -> usize {
    let found = store.inner.parts.objects.list(Some(&object_store::path::Path::from("v1")));
    found.try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap()
}

#[tokio::test]
async fn a_store_is_opened_once_and_never_without_its_manifest() {
    let dir = directory();
    let store = Store::open(config(dir.path()), T0).await.unwrap();
    assert!(matches!(Store::open(config(dir.path()), T0).await, Err(OpenError::InUse { .. })));
    stored(&store, &logs(1, &[(1, T0, 1)])).await;
    store.flush(T0).await.unwrap();
    drop(store);
    let manifest = dir.path().join("manifest");
    let bytes = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    assert!(matches!(Store::open(config(dir.path()), T0).await, Err(OpenError::Damaged { .. })));
    std::fs::write(&manifest, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(Store::open(config(dir.path()), T0).await, Err(OpenError::Damaged { .. })));
    std::fs::write(&manifest, &bytes).unwrap();
    assert_eq!(all_logs(&Store::open(config(dir.path()), T0).await.unwrap(), "0").await.len(), 1);
}

#[tokio::test]
async fn subscribers_hear_of_rows_and_of_what_they_missed() {
    let dir = directory();
    let store = Store::open(config(dir.path()), T0).await.unwrap();
    let mut subscription = store.subscribe();
    stored(&store, &logs(1, &[(1, T0, 1), (2, T0, 1)])).await;
    let notice = subscription.next().await.unwrap();
    assert_eq!((&*notice.tenant, notice.class, notice.rows), ("0", Class::Logs, 2));
    for n in 0..2000 {
        stored(&store, &logs(n + 2, &[(1, T0, 1)])).await;
    }
    subscription.next().await.unwrap();
    assert!(subscription.lost() > 0);
}

#[tokio::test]
async fn families_survive_flush_and_reopen() {
    for place in places() {
        let dir = directory();
        let family = Family { name: "up".into(), kind: "gauge".into(), help: "Whether.".into(), unit: String::new() };
        for round in 0..3 {
            let store = Store::open(place.config(dir.path()), T0).await.unwrap();
            if round == 0 {
                let families = [family.clone()];
                let rows = SampleRows {
                    labels: &[],
                    series: &[],
                    timestamps_ms: &[],
                    values: &[],
                    histograms: &[],
                    families: &families,
                };
                let append = Append { tenant: "0", origin: None, rows: Rows::Samples(rows), now_ms: T0 };
                store.append(append).unwrap().await.unwrap();
            }
            assert_eq!(store.snapshot("0").families(), std::slice::from_ref(&family), "round {round}");
            if round == 1 {
                store.flush(T0).await.unwrap();
            }
        }
    }
}
