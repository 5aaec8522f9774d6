//! A log in systemd's journal: a real journald of its own namespace takes lines as a server's unit writes them; each becomes
//! part of one row, through a collector that is gone without a word and begins again. Needs root.

use std::{os::unix::net::UnixDatagram, path::Path, process::Command, sync::Arc};

use collector::{
    clock::Clock,
    config::{JournalConfig, JournalMatch, LogConfig, LogFormat, LogRows, LogStart, Unmasked},
    logs::journal,
    outlet::{Outlet, Way},
    source::{Context, Desk},
    spool::{Spool, SpoolOptions},
};
use proto::{Batch, Class, Labels, Payload, Value};
use rustix::process::Signal;
use tests::process::{Guard, is_root};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;

const JOURNALD: [&str; 2] = ["/lib/systemd/systemd-journald", "/usr/lib/systemd/systemd-journald"];
const AT: &str = "2026-11-25 12:00:00.123 UTC [77] ann@shop";

/// A journald of one namespace; its files go with it.
struct Journal {
    _guard: Guard,
    namespace: String,
}

impl Journal {
    async fn start(program: &str) -> Journal {
        let namespace = format!("tw{}", std::process::id());
        let mut command = Command::new(program);
        command.arg(&namespace).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let journal = Journal { _guard: Guard::start(&mut command, Signal::TERM).unwrap(), namespace };
        let socket = journal.socket();
        until(LIMIT, async || Path::new(&socket).exists().then_some(())).await.expect("journald listens");
        journal
    }

    fn socket(&self) -> String {
        format!("/run/systemd/journal.{}/socket", self.namespace)
    }

    fn line(&self, text: &str) {
        let datagram = format!("PRIORITY=6\nSYSLOG_IDENTIFIER=postgres-test\nMESSAGE={text}\n");
        UnixDatagram::unbound().unwrap().send_to(datagram.as_bytes(), self.socket()).unwrap();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(format!("/run/systemd/journal.{}", self.namespace));
        for parent in ["/var/log/journal", "/run/log/journal"] {
            for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().ends_with(&format!(".{}", self.namespace)) {
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
    }
}

fn way(folder: &Path) -> Way {
    let options = SpoolOptions {
        data_dir: folder.into(),
        bytes_max: 64 << 20,
        batch_bytes_max: proto::batch::ENCODED_BYTES_MAX,
        id: None,
        tenant: "0".into(),
        resource: Labels::empty(),
        host: "test".into(),
        boot: "".into(),
        now_ms: 1,
    };
    Way::new(Spool::open(options).unwrap(), Clock::new(|| 1))
}

/// Bodies of every row in the spool.
fn bodies(way: &Way) -> Vec<String> {
    let mut spool = way.spool.lock();
    spool.send_all_again();
    let mut bodies = Vec::new();
    while let Some(out) = spool.next_unsent(usize::MAX, 1).unwrap() {
        let Payload::Events(events) = Batch::decode(&out.bytes).unwrap().payload else { continue };
        for row in (0..events.rows()).filter(|_| out.class == Class::Logs) {
            let Value::Text(body) = events.get(row, "body") else { panic!("a body") };
            bodies.push(body.to_string());
        }
    }
    bodies
}

fn follow(way: &Way, namespace: &str) -> tokio::task::JoinHandle<()> {
    let log = LogConfig {
        path: "journal:postgres-test".into(),
        instance: "db".into(),
        engine: Engine::Postgresql,
        format: LogFormat::Stderr(Some("%m [%p] %q%u@%d ".into())),
        start: LogStart::End,
        rows: LogRows::Records,
        unmasked: Unmasked::default(),
    };
    let matches = JournalMatch::Identifier("postgres-test".into());
    let config = JournalConfig { matches, namespace: Some(namespace.into()), log };
    let context = Context {
        outlet: Outlet::new(way.clone()),
        clock: Clock::new(|| 1),
        shutdown: CancellationToken::new(),
        host: Arc::from("test"),
        desk: Desk::default(),
        log_files: mpsc::channel(1).0,
    };
    tokio::spawn(journal::watch(config, context))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_units_lines_are_rows_and_none_is_lost_or_doubled_by_a_kill() {
    let program = JOURNALD.into_iter().find(|p| Path::new(p).exists());
    let (Some(program), true) = (program, is_root()) else {
        println!("skipped: no systemd-journald here, or not root");
        return;
    };
    let journal = Journal::start(program).await;
    journal.line(&format!("{AT} LOG:  history"));
    let folder = tempfile::tempdir().unwrap();
    let first = way(folder.path());
    let task = follow(&first, &journal.namespace);
    // where it begins is in the spool before any row
    until(LIMIT, async || (!first.spool.lock().marks(Class::Logs).is_empty()).then_some(()))
        .await
        .expect("a beginning");
    for line in ["ERROR:  duplicate key", "DETAIL:  Key (id)=(4711) already exists.", "STATEMENT:  insert into t"] {
        journal.line(&format!("{AT} {line}"));
    }
    journal.line("\tvalues (4711, 'hush')");
    journal.line(&format!("{AT} LOG:  second"));
    let found = until(LIMIT, async || Some(bodies(&first)).filter(|b| b.len() >= 2)).await.expect("two records");
    assert_eq!(
        found,
        ["duplicate key\nDETAIL: Key (id)=(?) already exists.\nSTATEMENT: insert into t\nvalues (?, ?)", "second"]
    );
    // gone without a word, and lines come meanwhile
    task.abort();
    assert!(task.await.is_err_and(|e| e.is_cancelled()));
    drop(first);
    journal.line(&format!("{AT} LOG:  while away"));
    let second = way(folder.path());
    let task = follow(&second, &journal.namespace);
    journal.line(&format!("{AT} LOG:  last"));
    let found = until(LIMIT, async || Some(bodies(&second)).filter(|b| b.len() >= 4)).await.expect("four records");
    assert_eq!(found[2..], ["while away", "last"]);
    task.abort();
}
