//! Real files, written, cut, rotated and truncated at random places, read by tailers that are killed at random moments: every
//! record once.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, io::Write};

use proptest::prelude::*;
use proto::Value;

use super::*;
use crate::config::{Engine, LogFormat, Unmasked};

/// Keeps what the spool would: rows and marks, together.
#[derive(Default)]
struct Kept {
    bodies: Vec<String>,
    marks: BTreeMap<String, String>,
    refuse: bool,
}

impl Kept {
    fn take(&mut self, events: Events, marks: Vec<Mark>) -> Result<(), SpoolError> {
        if self.refuse {
            return Err(SpoolError::TooLarge { class: "logs", bytes: 1, max: 0 });
        }
        for row in 0..events.rows() {
            let Value::Text(body) = events.get(row, "body") else { panic!("every row has a body") };
            self.bodies.push(body.to_string());
        }
        for mark in marks {
            match mark.value.is_empty() {
                true => drop(self.marks.remove(&mark.key)),
                false => drop(self.marks.insert(mark.key, mark.value)),
            }
        }
        Ok(())
    }

    fn marks(&self) -> Vec<Mark> {
        self.marks.iter().map(|(key, value)| Mark { key: key.clone(), value: value.clone() }).collect()
    }
}

fn config(path: PathBuf, start: LogStart) -> LogConfig {
    LogConfig {
        path,
        instance: "db".into(),
        engine: Engine::Postgresql,
        format: LogFormat::Stderr(Some("%p ".into())),
        start,
        rows: LogRows::Records,
        unmasked: Unmasked::default(),
    }
}

struct Bench {
    directory: tempfile::TempDir,
    tailer: Tailer,
    kept: Kept,
    config: LogConfig,
}

impl Bench {
    fn new(pattern: &str, start: LogStart) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path().join(pattern), start);
        Bench { tailer: Tailer::new(config.clone(), &[]), kept: Kept::default(), config, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let mut file = File::options().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn poll(&mut self) {
        let kept = &mut self.kept;
        while self.tailer.poll(1000, &mut |events, marks| kept.take(events, marks)).unwrap() {}
    }

    /// Kill -9: what was not kept is gone.
    fn kill(&mut self) {
        self.tailer = Tailer::new(self.config.clone(), &self.kept.marks());
    }
}

#[test]
fn growth_continuation_lines_and_half_lines() {
    let mut bench = Bench::new("pg.log", LogStart::Beginning);
    bench.write("pg.log", "1 LOG:  a\n\tmore\n2 LOG:  ha");
    bench.poll();
    assert!(bench.kept.bodies.is_empty(), "a continuation may follow");
    bench.poll();
    assert_eq!(bench.kept.bodies, ["a\nmore"], "half a line waits");
    bench.write("pg.log", "lf\n");
    bench.poll();
    assert_eq!(bench.kept.bodies.len(), 1, "a continuation may follow");
    bench.poll();
    assert_eq!(bench.kept.bodies, ["a\nmore", "half"]);
}

#[test]
fn history_is_left_alone_and_the_time_away_is_not() {
    let mut bench = Bench::new("pg.log", LogStart::End);
    bench.write("pg.log", "1 LOG:  history\n");
    bench.poll();
    bench.kill();
    bench.write("pg.log", "1 LOG:  while away\n");
    bench.poll();
    bench.poll();
    assert_eq!(bench.kept.bodies, ["while away"]);
}

#[test]
fn a_rename_is_read_to_its_end_and_the_new_file_from_its_beginning() {
    let mut bench = Bench::new("pg.log", LogStart::End);
    bench.write("pg.log", "1 LOG:  history\n");
    bench.poll();
    bench.write("pg.log", "1 LOG:  last of the old\n");
    std::fs::rename(bench.path("pg.log"), bench.path("pg.log.1")).unwrap();
    bench.write("pg.log.1", "1 LOG:  still written to the old\n");
    bench.write("pg.log", "1 LOG:  first of the new\n");
    for _ in 0..QUIET_POLLS_MAX + 3 {
        bench.poll();
    }
    assert_eq!(bench.kept.bodies.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    assert_eq!(bench.kept.bodies.len(), 3, "{:?}", bench.kept.bodies);
    assert_eq!(bench.tailer.files.len(), 1, "the old one was let go");
    assert_eq!(bench.kept.marks.len(), 1);
}

#[test]
fn a_rename_while_away_is_found_by_its_inode() {
    let mut bench = Bench::new("pg.log", LogStart::End);
    bench.write("pg.log", "1 LOG:  history\n");
    bench.poll();
    bench.kill();
    bench.write("pg.log", "1 LOG:  a\n");
    std::fs::rename(bench.path("pg.log"), bench.path("pg.log.1")).unwrap();
    bench.write("pg.log", "1 LOG:  b\n");
    bench.poll();
    bench.poll();
    bench.kept.bodies.sort();
    assert_eq!(bench.kept.bodies, ["a", "b"]);
}

#[test]
fn truncation_begins_anew_even_when_the_file_has_grown_past_the_old_place() {
    let mut bench = Bench::new("pg.log", LogStart::Beginning);
    bench.write("pg.log", "1 LOG:  a\n");
    bench.poll();
    bench.poll();
    File::create(bench.path("pg.log")).unwrap();
    bench.write("pg.log", "2 LOG:  b, longer than what stood here before\n");
    bench.poll();
    bench.poll();
    assert_eq!(bench.kept.bodies, ["a", "b, longer than what stood here before"]);
}

#[test]
fn rows_the_spool_did_not_take_come_again() {
    let mut bench = Bench::new("pg.log", LogStart::Beginning);
    bench.write("pg.log", "1 LOG:  a\n2 LOG:  b\n");
    bench.poll();
    bench.kept.refuse = true;
    let kept = &mut bench.kept;
    assert!(bench.tailer.poll(1000, &mut |e, m| kept.take(e, m)).is_err());
    bench.kept.refuse = false;
    bench.poll();
    bench.poll();
    assert_eq!(bench.kept.bodies, ["a", "b"]);
}

#[derive(Clone, Debug)]
enum Step {
    /// So many records, cut off after so many bytes; the rest follows with the next.
    Write(u8, u16),
    Poll,
    Kill,
    Rename,
    Refuse,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..6, 0u16..200).prop_map(|(n, cut)| Step::Write(n, cut)),
        4 => Just(Step::Poll),
        1 => Just(Step::Kill),
        1 => Just(Step::Rename),
        1 => Just(Step::Refuse),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_record_once_whatever_happens(steps in proptest::collection::vec(step(), 1..50)) {
        let mut bench = Bench::new("pg*.log", LogStart::Beginning);
        let (mut written, mut pending, mut rotated) = (0u32, String::new(), 0);
        bench.write("pg.log", "");
        bench.poll();
        for step in steps {
            match step {
                Step::Write(records, cut) => {
                    for _ in 0..records {
                        pending.push_str(&format!("{written} LOG:  record {written}\n\twith more\n"));
                        written += 1;
                    }
                    let cut = (cut as usize).min(pending.len());
                    bench.write("pg.log", &pending[..cut]);
                    pending.drain(..cut);
                }
                Step::Poll => {
                    // two quiet polls take a record for ended, so only whole ones may stand at the end then
                    bench.write("pg.log", &pending);
                    pending.clear();
                    bench.poll();
                }
                Step::Kill => bench.kill(),
                Step::Rename => {
                    bench.write("pg.log", &pending); // servers rotate between records
                    pending.clear();
                    rotated += 1;
                    std::fs::rename(bench.path("pg.log"), bench.path(&format!("old.{rotated}"))).unwrap();
                    bench.write("pg.log", "");
                    bench.poll(); // polls are more frequent than rotations
                }
                Step::Refuse => {
                    bench.kept.refuse = true;
                    let kept = &mut bench.kept;
                    let _ = bench.tailer.poll(1000, &mut |e, m| kept.take(e, m));
                    bench.kept.refuse = false;
                }
            }
        }
        bench.write("pg.log", &pending);
        for _ in 0..QUIET_POLLS_MAX + 2 {
            bench.poll();
        }
        let mut numbers: Vec<u32> =
            bench.kept.bodies.iter().map(|b| b.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..written).collect::<Vec<_>>());
        prop_assert!(bench.kept.bodies.iter().all(|b| b.ends_with("with more")), "{:?}", bench.kept.bodies);
    }
}
