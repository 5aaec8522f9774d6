//! kill -9 of a process that puts messages into the outbox: what it said was put is there afterwards, whole and once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use alerting::dispatch::FlushKey;
use alerting::message::{Message, Why};
use alerting::outbox::{Outbox, Parcel};
use alerting::told::ToldEntry;

const FOLDER: &str = "TIDEWATCH_TEST_OUTBOX";
const KILLS: u64 = 5;

fn parcel(n: u64) -> (Parcel, FlushKey, ToldEntry) {
    let receiver = format!("receiver{n}");
    let message = Message {
        receiver: receiver.clone(),
        group_key: "{}".into(),
        group_labels: BTreeMap::from([("text".to_string(), "x".repeat(2000))]),
        why: Why::First,
        alerts: Vec::new(),
        external_url: String::new(),
        made_at_ms: n as i64,
        digest: None,
    };
    let flush_key = FlushKey { receiver, channel: 0, group_key: "{}".into() };
    let parcel = Parcel::new(format!("{n:016x}"), 0, "webhook", message);
    (parcel, flush_key, ToldEntry { at_ms: n as i64, ..ToldEntry::default() })
}

/// Runs as the process that is killed; does nothing in an ordinary run.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let (outbox, _) = Outbox::open(folder.as_ref()).unwrap();
    let mut out = std::io::stdout();
    for n in outbox.len() as u64.. {
        let (parcel, key, told) = parcel(n);
        assert_eq!(outbox.put(parcel, key, told), Ok(true));
        writeln!(out, "put {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_put_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut promised = BTreeSet::new();
    for kill in 1..=KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["outbox_kill::child", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            // the test harness writes its own words before the first
            if let Some(n) = line.split("put ").nth(1).and_then(|n| n.trim().parse::<u64>().ok()) {
                promised.insert(n);
                seen += 1;
            }
            if seen == 20 + kill * 7 {
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        let (outbox, told) = Outbox::open(folder.path()).unwrap();
        let there: BTreeSet<u64> =
            outbox.take_due(i64::MAX).iter().map(|p| u64::from_str_radix(&p.key, 16).unwrap()).collect();
        assert!(promised.is_subset(&there), "lost: {:?}", promised.difference(&there).collect::<Vec<_>>());
        assert_eq!(told.len(), there.len());
        assert_eq!(seen, 20 + kill * 7, "the process wrote before it was killed");
    }
}
