//! What operators do: a check that finds what was damaged and says where, snapshots, restores, deletions, looking into parts.

use super::*;
use crate::{BackupError, Damage, VerifyReport, inspect, restore, verify};

fn samples(sequence: u64, rows: &[(u32, i64, f64)]) -> Sent {
    let rows = rows.iter().map(|(s, t, v)| (*s, *t, v.to_bits())).collect();
    Sent { tenant: "0", collector: "c".into(), sequence, rows: SentRows::Samples(rows) }
}

fn logs(sequence: u64, rows: &[(u32, i64, i64)]) -> Sent {
    Sent { tenant: "0", collector: "c".into(), sequence, rows: SentRows::Logs(rows.to_vec()) }
}

/// A store with parts of both kinds and a log, closed.
async fn filled(dir: &Path) -> StoreConfig {
    let config = config(dir);
    let store = Store::open(config.clone(), T0).await.unwrap();
    for n in 0..3u64 {
        let rows: Vec<_> = (0..400).map(|i| (i % 20, T0 + i64::from(i / 20) * 1000, f64::from(i * i) * 0.37)).collect();
        stored(&store, &samples(n * 2 + 1, &rows)).await;
        stored(
            &store,
            &logs(n * 2 + 1, &(0..200).map(|i| (i % 3, T0 + i64::from(i), i64::from(i))).collect::<Vec<_>>()),
        )
        .await;
        store.flush(T0).await.unwrap();
        stored(&store, &samples(n * 2 + 2, &[(1, T0 + 50_000, 1.0)])).await;
        stored(&store, &logs(n * 2 + 2, &[(1, T0 + 50_000, 1)])).await;
    }
    store.close().await;
    config
}

fn files(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

fn parts(config: &StoreConfig, table: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    files(&config.data_dir.join("parts/v1/0").join(table), &mut found);
    found.sort();
    found
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

async fn damages(config: &StoreConfig) -> Vec<Damage> {
    verify(config).await.unwrap().damages
}

#[tokio::test]
async fn a_sound_store_is_called_sound_and_nothing_in_it_changes() {
    let dir = directory();
    let config = filled(dir.path()).await;
    let mut before = Vec::new();
    files(dir.path(), &mut before);
    let bytes: Vec<_> = before.iter().map(|f| std::fs::read(f).unwrap()).collect();
    let report = verify(&config).await.unwrap();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    let VerifyReport { parts, samples, log_records, .. } = report;
    assert_eq!((parts, samples, log_records), (6, 1202, 2), "{report:?}");
    assert_eq!(before.iter().map(|f| std::fs::read(f).unwrap()).collect::<Vec<_>>(), bytes);
    let store = Store::open(config.clone(), T0).await.unwrap();
    assert!(matches!(verify(&config).await, Err(OpenError::InUse { .. })));
    drop(store);
}

/// Each kind of damage is found, alone, in the file where it was made.
#[tokio::test]
async fn each_damage_is_told_with_its_place() {
    type Break = fn(&StoreConfig) -> String;
    let cases: &[(&str, Break)] = &[
        ("the checksum of bytes 0..", |c| {
            let part = parts(c, "metrics").remove(0);
            flip(&part, 100);
            part.display().to_string()
        }),
        ("is damaged", |c| {
            let part = parts(c, "metrics").remove(1);
            let len = std::fs::metadata(&part).unwrap().len() as usize;
            flip(&part, len - 400);
            part.display().to_string()
        }),
        ("it is not there", |c| {
            let part = parts(c, "logs").remove(0);
            std::fs::remove_file(&part).unwrap();
            part.display().to_string()
        }),
        ("but the manifest says", |c| {
            let part = parts(c, "logs").remove(1);
            let bytes = std::fs::read(&part).unwrap();
            std::fs::write(&part, &bytes[..bytes.len() - 1]).unwrap();
            part.display().to_string()
        }),
        ("but the manifest says", |c| {
            let [a, b] = [0, 1].map(|n| parts(c, "metrics").remove(n));
            std::fs::copy(&b, &a).unwrap();
            a.display().to_string()
        }),
        ("checksum differs", |c| {
            flip(&c.data_dir.join("manifest"), 200);
            "manifest".into()
        }),
    ];
    for (number, (what, broken)) in cases.iter().enumerate() {
        let dir = directory();
        let config = filled(dir.path()).await;
        let file = broken(&config);
        let found = damages(&config).await;
        assert!(!found.is_empty() && found.iter().any(|d| d.what.contains(what)), "{number}: {found:?}");
        assert!(found.iter().all(|d| file.ends_with(&d.file)), "{number}: {file}: {found:?}");
    }
}

#[tokio::test]
async fn damage_in_promised_log_is_told_with_file_and_bytes_and_a_tail_is_only_a_note() {
    let dir = directory();
    let config = config(dir.path());
    let store = Store::open(config.clone(), T0).await.unwrap();
    for n in 0..4 {
        stored(&store, &logs(n + 1, &[(1, T0 + n as i64, 1)])).await;
    }
    store.close().await;
    let segment = std::fs::read_dir(dir.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read(&segment).unwrap();
    flip(&segment, 70);
    let found = damages(&config).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].file.starts_with("log/") && found[0].what.starts_with("bytes "), "{found:?}");
    let torn = [&sound[..], b"torn"].concat();
    std::fs::write(&segment, torn).unwrap();
    let report = verify(&config).await.unwrap();
    assert!(report.is_sound() && report.notes.len() == 1, "{report:?}");
}

#[tokio::test]
async fn a_snapshot_holds_what_was_acknowledged_and_later_rows_are_not_in_it() {
    let dir = directory();
    let beside = dir.path().join("alerting");
    std::fs::create_dir_all(beside.join("outbox")).unwrap();
    std::fs::write(beside.join("outbox/1"), b"message").unwrap();
    let config = filled(&dir.path().join("data")).await;
    let store = Store::open(config.clone(), T0).await.unwrap();
    let before = (all_samples(&store, "0").await, all_logs(&store, "0").await);
    let to = dir.path().join("snapshot");
    let report = store.back_up(&to, std::slice::from_ref(&beside)).await.unwrap();
    assert_eq!((report.parts, report.files), (8, 1));
    assert_eq!(store.stats().snapshots, 1);
    assert!(store.back_up(&to, &[]).await.is_err(), "a snapshot is never written over");
    stored(&store, &logs(7, &[(2, T0, 1)])).await;
    while store.maintain(T0 + 2 * DAY_MS).await.unwrap() != crate::MaintainReport::default() {}
    // linked, not moved: what the running store merges away stays in the snapshot
    let restored = StoreConfig { data_dir: dir.path().join("restored"), ..config.clone() };
    let report = restore(&to, &restored, &["alerting"]).await.unwrap();
    assert_eq!((report.parts, report.files), (8, 1));
    assert!(matches!(restore(&to, &restored, &["alerting"]).await, Err(BackupError::NotEmpty { .. })));
    assert_eq!(std::fs::read(restored.data_dir.join("alerting/outbox/1")).unwrap(), b"message");
    let copy = Store::open(restored, T0).await.unwrap();
    assert_eq!((all_samples(&copy, "0").await, all_logs(&copy, "0").await), before);
    assert_eq!(logs(6, &[(1, T0, 1)]).send(&copy, T0).await.unwrap(), Outcome::Duplicate, "sequences come with it");
    stored(&copy, &logs(7, &[(2, T0, 1)])).await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_not_restored() {
    let dir = directory();
    let store = Store::open(filled(&dir.path().join("data")).await, T0).await.unwrap();
    let to = dir.path().join("snapshot");
    store.back_up(&to, &[]).await.unwrap();
    flip(&parts(&config(&to), "metrics").remove(0), 50);
    let target = config(&dir.path().join("restored"));
    let refused = restore(&to, &target, &["alerting"]).await.unwrap_err();
    assert!(matches!(&refused, BackupError::Damaged { file, .. } if file.contains("metrics")), "{refused}");
    assert!(!target.data_dir.exists());
}

#[tokio::test]
async fn deleted_samples_are_gone_from_memory_and_parts_and_stay_gone() {
    let dir = directory();
    let config = filled(dir.path()).await;
    let store = Store::open(config.clone(), T0).await.unwrap();
    let of = |m: &str| vec![Matcher::equal("__name__", m)];
    let mut expected = all_samples(&store, "0").await;
    let report = store.delete_series("0", &[of("metric_1")], T0 + 3000, i64::MAX).await.unwrap();
    assert_eq!((report.parts, report.emptied_parts), (4, 1), "one of them holds nothing but a late sample");
    for (labels, samples) in &mut expected {
        samples.retain(|ts, _| labels.metric_name() != "metric_1" || *ts < T0 + 3000);
    }
    assert_eq!(all_samples(&store, "0").await, expected);
    assert_eq!(store.delete_series("0", &[of("metric_1")], T0 + 3000, i64::MAX).await.unwrap().parts, 0);
    assert_eq!(store.delete_series("other", &[of("metric_1")], i64::MIN, i64::MAX).await.unwrap().parts, 0);
    assert_eq!(store.stats().deletions, 1);
    while store.maintain(T0 + 2 * DAY_MS).await.unwrap() != crate::MaintainReport::default() {}
    drop(store);
    let store = Store::open(config.clone(), T0).await.unwrap();
    assert_eq!(all_samples(&store, "0").await, expected);
    let both = [of("metric_1"), of("metric_2")];
    store.delete_series("0", &both, i64::MIN, i64::MAX).await.unwrap();
    expected.retain(|labels, _| !matches!(labels.metric_name(), "metric_1" | "metric_2"));
    assert_eq!(all_samples(&store, "0").await, expected);
    store.close().await;
    assert!(verify(&config).await.unwrap().is_sound());
}

#[tokio::test]
async fn a_part_is_looked_into() {
    let dir = directory();
    let config = filled(dir.path()).await;
    let found = inspect(&parts(&config, "metrics")[0]).await.unwrap();
    assert_eq!((found.format.as_str(), found.series_samples), ("metrics/3", Some((20, 400))), "{found}");
    assert_eq!(found.columns.len(), 14);
    assert!(found.to_string().ends_with("\nsound\n"), "{found}");
    let found = inspect(&parts(&config, "logs")[0]).await.unwrap();
    assert_eq!((found.table.as_str(), found.rows), ("logs", 200), "{found}");
    flip(&parts(&config, "metrics")[0], 60);
    let found = inspect(&parts(&config, "metrics")[0]).await.unwrap();
    assert!(found.to_string().contains("damaged: the checksum of bytes 0.."), "{found}");
    assert!(inspect(&dir.path().join("manifest")).await.is_err());
}
