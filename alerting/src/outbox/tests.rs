//! The outbox on a real folder, on a virtual clock.

use super::*;
use crate::message::Why;

fn parcel(receiver: &str, key: &str, made_at_ms: i64) -> (Parcel, FlushKey, ToldEntry) {
    let message = Message {
        receiver: receiver.into(),
        group_key: "{}".into(),
        group_labels: BTreeMap::new(),
        why: Why::First,
        alerts: Vec::new(),
        external_url: String::new(),
        made_at_ms,
        digest: None,
    };
    let parcel = Parcel::new(key, 0, "webhook", message);
    let flush_key = FlushKey { receiver: receiver.into(), channel: 0, group_key: "{}".into() };
    (parcel, flush_key, ToldEntry { at_ms: made_at_ms, ..ToldEntry::default() })
}

fn of_group(receiver: &str, group: &str, key: &str, made_at_ms: i64) -> (Parcel, FlushKey, ToldEntry) {
    let (mut parcel, flush_key, told) = parcel(receiver, key, made_at_ms);
    parcel.message.group_key = group.into();
    (parcel, flush_key, told)
}

fn keys(parcels: &[Parcel]) -> Vec<&str> {
    parcels.iter().map(|p| p.key.as_str()).collect()
}

#[test]
fn one_at_a_time_a_lane_in_order_with_pauses() {
    let folder = tempfile::tempdir().expect("a folder");
    let (outbox, told) = Outbox::open(folder.path()).expect("opens");
    assert!(told.is_empty());
    for (receiver, key, at) in [("a", "1", 10), ("a", "2", 20), ("b", "3", 30)] {
        let (p, k, t) = parcel(receiver, key, at);
        assert_eq!(outbox.put(p, k, t), Ok(true));
    }
    let first = outbox.take_due(100);
    assert_eq!(keys(&first), ["1", "3"]);
    assert!(outbox.take_due(100).is_empty(), "both lanes are busy");
    assert_eq!(outbox.settle(&first[0], &Receipt::again("busy", Some(5_000)), 100), Settled::Retry(5_100));
    assert_eq!(outbox.settle(&first[1], &Receipt::taken(""), 100), Settled::Sent);
    assert!(outbox.take_due(5_099).is_empty());
    assert_eq!(outbox.next_due_ms(), Some(5_100));
    let again = outbox.take_due(5_100);
    assert_eq!(keys(&again), ["1"], "the second waits behind the first");
    assert_eq!(outbox.settle(&again[0], &Receipt::refused("no"), 5_100), Settled::Failed);
    let second = outbox.take_due(5_100);
    assert_eq!(keys(&second), ["2"]);
    let late = 20 + AGE_MS_MAX + 1;
    assert_eq!(outbox.settle(&second[0], &Receipt::again("busy", None), late), Settled::Failed, "too old");
    assert_eq!(outbox.len(), 3, "settled ones stay until they are forgotten");
    let (left, _) = Outbox::open(folder.path()).expect("opens");
    assert_eq!(left.len(), 3, "and are sent again, under their keys, if nobody got to that");
    ["1", "2", "3"].iter().for_each(|key| outbox.forget(key));
    assert!(outbox.is_empty());
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
}

#[test]
fn what_was_put_is_there_after_a_restart_and_remembers_what_it_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (outbox, _) = Outbox::open(folder.path()).expect("opens");
    for key in ["1", "2", "1"] {
        let (p, k, t) = parcel("a", key, 10);
        assert_eq!(outbox.put(p, k, t), Ok(true));
    }
    assert_eq!(outbox.len(), 2, "the same message again is the same file");
    drop(outbox);
    fs::write(folder.path().join("half.part"), "{").expect("written");
    fs::write(folder.path().join("0-bad.json"), "{").expect("written");
    drop(Outbox::open(folder.path()).expect("opens"));
    let (outbox, told) = Outbox::open(folder.path()).expect("opens");
    assert_eq!((outbox.len(), told.len()), (2, 2));
    assert!(folder.path().join("0-bad.damaged").exists() && !folder.path().join("half.part").exists());
    assert_eq!(keys(&outbox.take_due(0)), ["1"]);
}

#[test]
fn a_disk_that_refuses_does_not_stop_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let (outbox, _) = Outbox::open(&folder.path().join("outbox")).expect("opens");
    fs::remove_dir_all(folder.path().join("outbox")).expect("removed");
    let (p, k, t) = parcel("a", "1", 10);
    assert_eq!(outbox.put(p, k, t), Ok(false), "kept in memory, and said so");
    let due = outbox.take_due(10);
    assert_eq!(keys(&due), ["1"]);
    assert_eq!(outbox.settle(&due[0], &Receipt::taken(""), 10), Settled::Sent);
}

#[test]
fn other_groups_pass_a_message_that_waits_and_a_peers_wish_holds_all_for_a_minute() {
    let folder = tempfile::tempdir().expect("a folder");
    let (outbox, _) = Outbox::open(folder.path()).expect("opens");
    for (group, key, at) in [("g", "1", 10), ("g", "2", 20), ("h", "3", 30), ("h", "4", 40)] {
        let (p, k, t) = of_group("a", group, key, at);
        assert_eq!(outbox.put(p, k, t), Ok(true));
    }
    let settle = |receipt: &Receipt, now_ms: i64| {
        let due = outbox.take_due(now_ms);
        assert_eq!(due.len(), 1, "one of a lane at a time");
        (due[0].key.clone(), outbox.settle(&due[0], receipt, now_ms))
    };
    let key = |key: &str| key.to_string();
    let (first, settled) = settle(&Receipt::again("broken", None), 100);
    let Settled::Retry(at_ms) = settled else { panic!("{settled:?}") };
    assert_eq!(first, "1");
    assert_eq!(settle(&Receipt::taken(""), 200), (key("3"), Settled::Sent), "of the other group");
    assert_eq!(settle(&Receipt::again("429", Some(600_000)), 300), (key("4"), Settled::Retry(600_300)));
    assert!(outbox.take_due(at_ms).is_empty(), "the peer asked for a pause");
    assert_eq!(outbox.next_due_ms(), Some(300 + QUIET_MS_MAX));
    assert_eq!(settle(&Receipt::taken(""), 60_300), (key("1"), Settled::Sent));
    assert_eq!(settle(&Receipt::taken(""), 60_400), (key("2"), Settled::Sent), "in its group's order");
    assert_eq!(outbox.next_due_ms(), Some(600_300));
}

#[test]
fn attempts_and_progress_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (outbox, _) = Outbox::open(folder.path()).expect("opens");
    let (p, k, t) = parcel("a", "1", 10);
    assert_eq!(outbox.put(p, k, t), Ok(true));
    let progress: Progress =
        serde_json::from_str(r#"{"+8613800000000":{"taken":["x","id"],"refused":{},"unclear":{}}}"#).expect("progress");
    let receipt = Receipt { progress: Some(progress.clone()), ..Receipt::again("busy", None) };
    let mut now_ms = 100;
    for _ in 0..3 {
        let due = outbox.take_due(now_ms);
        let Settled::Retry(at_ms) = outbox.settle(&due[0], &receipt, now_ms) else { panic!("to be tried again") };
        now_ms = at_ms;
    }
    drop(outbox);
    let (outbox, _) = Outbox::open(folder.path()).expect("opens");
    assert_eq!(outbox.next_due_ms(), Some(now_ms), "the pause goes on where it was");
    let due = outbox.take_due(now_ms);
    assert_eq!(due[0].progress, progress);
    let Settled::Retry(at_ms) = outbox.settle(&due[0], &receipt, now_ms) else { panic!("to be tried again") };
    assert!(at_ms - now_ms >= 8_000, "the fourth pause, not the first: {}", at_ms - now_ms);
}

#[test]
fn attempts_are_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (outbox, _) = Outbox::open(folder.path()).expect("opens");
    let (p, k, t) = parcel("a", "1", i64::MAX / 2);
    assert_eq!(outbox.put(p, k, t), Ok(true));
    let (mut now_ms, mut attempts) = (0, 0);
    loop {
        let due = outbox.take_due(now_ms);
        attempts += 1;
        match outbox.settle(&due[0], &Receipt::again("broken", None), now_ms) {
            Settled::Retry(at_ms) => now_ms = at_ms,
            settled => break assert_eq!(settled, Settled::Failed),
        }
    }
    assert_eq!(attempts, ATTEMPTS_MAX);
}
