//! systemd's journal as a log: the lines of one unit or identifier, as `journalctl` gives them, put together like those of a file.
//!
//! The program is asked, not the journal's files: their format may change, its JSON is promised (systemd's "Journal JSON
//! Format"). Rows and the cursor of their last line are one record of the spool, so a restart goes on behind exactly that line.

use std::{ops::Range, process::Stdio, time::Duration};

use futures::StreamExt;
use proto::{Class, EventsBuilder, Table};
use serde_json::Value;
use tokio::{
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use super::{
    class_of, execution,
    row::{self, Origin},
    stitch::Stitch,
};
use crate::{
    config::{JournalConfig, JournalMatch, LogRows, LogStart},
    latency::{Latencies, of_rows},
    source::Context,
    spool::Mark,
};

/// Longest line taken from the program, bytes of JSON; longer ones are left out and counted.
const ENTRY_BYTES_MAX: usize = 2 << 20;
/// A last record is taken when so long nothing followed it.
const QUIET: Duration = Duration::from_secs(1);
/// So much text is put together before rows are made of it, bytes.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// First wait after the program ended; doubled up to the last.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

const _: () = assert!(PENDING_BYTES_MAX > 3 * super::stitch::RECORD_BYTES_MAX);

/// One line of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it stands.
    pub cursor: String,
    /// When the journal took it, milliseconds.
    pub ts_ms: i64,
    /// Its text.
    pub message: Vec<u8>,
}

/// Reads an entry; text that is no UTF-8 comes as a list of bytes.
pub fn entry(json: &str) -> Option<Entry> {
    let value: Value = serde_json::from_str(json).ok()?;
    let message = match value.get("MESSAGE") {
        Some(Value::String(text)) => text.as_bytes().to_vec(),
        Some(Value::Array(bytes)) => bytes.iter().filter_map(|b| u8::try_from(b.as_u64()?).ok()).collect(),
        _ => Vec::new(),
    };
    let micros: i64 = value.get("__REALTIME_TIMESTAMP")?.as_str()?.parse().ok()?;
    Some(Entry { cursor: value.get("__CURSOR")?.as_str()?.to_owned(), ts_ms: micros / 1000, message })
}

/// Lines whose records are not in the spool yet.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// End of each line, its cursor and its time.
    lines: Vec<(usize, String, i64)>,
}

/// Records that are complete, and the cursor of the last line among them.
#[derive(Debug, PartialEq)]
struct Complete {
    records: Vec<(Range<usize>, i64)>,
    end: usize,
    cursor: String,
}

impl Pending {
    fn push(&mut self, entry: Entry) {
        self.bytes.extend(entry.message.into_iter().map(|b| if b == 0 { b' ' } else { b }));
        self.bytes.push(b'\n');
        self.lines.push((self.bytes.len(), entry.cursor, entry.ts_ms));
    }

    /// What is complete; with `is_all` nothing follows for now.
    fn complete(&self, stitch: &Stitch, is_all: bool) -> Option<Complete> {
        let ranges = stitch.records(&self.bytes, is_all, false);
        let end = ranges.last()?.end;
        let line_at = |at: usize| self.lines.partition_point(|(line_end, _, _)| *line_end <= at);
        let time_of = |range: &Range<usize>| self.lines.get(line_at(range.start)).map_or(0, |l| l.2);
        let records = ranges.into_iter().map(|range| (range.clone(), time_of(&range))).collect();
        let last = self.lines.get(line_at(end).checked_sub(1)?)?;
        Some(Complete { records, end, cursor: last.1.clone() })
    }

    fn forget(&mut self, end: usize) {
        self.bytes.drain(..end);
        let lines = self.lines.partition_point(|(line_end, _, _)| *line_end <= end);
        self.lines.drain(..lines);
        self.lines.iter_mut().for_each(|(line_end, _, _)| *line_end -= end);
    }
}

/// Follows a unit until shutdown.
pub async fn watch(config: JournalConfig, context: Context) {
    let shutdown = context.shutdown.clone();
    let mut reader = Reader::new(config, context);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = reader.run() => {}
    }
}

struct Reader {
    config: JournalConfig,
    context: Context,
    stitch: Stitch,
    origin: Origin,
    key: String,
    told: String,
    latencies: Latencies,
}

impl Reader {
    fn new(config: JournalConfig, context: Context) -> Reader {
        let log = &config.log;
        let origin = Origin {
            instance: log.instance.clone(),
            engine: log.engine,
            stream: log.path.display().to_string().into(),
            unmasked: log.unmasked,
        };
        let key = format!("journal:{}", log.path.display());
        let (stitch, latencies) = (Stitch::of(log, ""), Latencies::default());
        Reader { stitch, origin, key, told: String::new(), latencies, config, context }
    }

    fn class(&self) -> Class {
        class_of(&self.config.log)
    }

    fn cursor(&self) -> Option<String> {
        self.context.outlet.marks(self.class()).into_iter().find(|m| m.key == self.key).map(|m| m.value)
    }

    async fn run(&mut self) {
        let mut wait = RETRY_MIN;
        loop {
            let begun = Instant::now();
            let why = match self.follow().await {
                Ok(()) => "journalctl ended".to_owned(),
                Err(e) => format!("journalctl: {e}"),
            };
            if why != self.told {
                tracing::warn!(stream = %self.origin.stream, error = why, "journal can't be read; trying again");
                self.told = why;
            }
            wait = if begun.elapsed() > RETRY_MAX { RETRY_MIN } else { (wait * 2).min(RETRY_MAX) };
            sleep(wait).await;
        }
    }

    /// The program with what is common to all its uses.
    fn program(&self) -> Command {
        let mut command = Command::new("journalctl");
        command.args(["--output=json", "--all", "--no-pager", "--quiet"]);
        if let Some(namespace) = &self.config.namespace {
            command.arg(format!("--namespace={namespace}"));
        }
        match &self.config.matches {
            JournalMatch::Unit(unit) => command.arg(format!("--unit={unit}")),
            JournalMatch::Identifier(identifier) => command.arg(format!("--identifier={identifier}")),
        };
        command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Where to begin if this journal was never read: behind its last line, which is kept before any row.
    async fn first_cursor(&self) -> std::io::Result<Option<String>> {
        if self.config.log.start == LogStart::Beginning {
            return Ok(None);
        }
        let output = self.program().arg("--lines=1").output().await?;
        let last = String::from_utf8_lossy(&output.stdout).lines().next_back().and_then(entry);
        let Some(last) = last else { return Ok(None) };
        let mark = Mark { key: self.key.clone(), value: last.cursor.clone() };
        let nothing = EventsBuilder::new(self.table()).build();
        self.context.outlet.send_marked(nothing, vec![mark]).map_err(std::io::Error::other)?;
        Ok(Some(last.cursor))
    }

    fn table(&self) -> Table {
        match self.config.log.rows {
            LogRows::Records => Table::Logs,
            LogRows::Executions => Table::StatementSamples,
        }
    }

    async fn follow(&mut self) -> std::io::Result<()> {
        let cursor = match self.cursor() {
            Some(cursor) => Some(cursor),
            None => self.first_cursor().await?,
        };
        let mut command = self.program();
        command.args(["--follow", "--no-tail"]).stdout(Stdio::piped());
        if let Some(cursor) = cursor {
            command.arg(format!("--after-cursor={cursor}"));
        }
        let mut child: Child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?;
        let mut lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(ENTRY_BYTES_MAX));
        let mut pending = Pending::default();
        loop {
            let ended = self.collect(&mut lines, &mut pending).await?;
            let is_all = pending.bytes.len() < PENDING_BYTES_MAX;
            if let Some(complete) = pending.complete(&self.stitch, is_all) {
                self.emit(&pending, &complete)?;
                pending.forget(complete.end);
            }
            self.latencies.publish(self.context.clock.now_ms(), &self.context.outlet);
            if ended {
                return Ok(());
            }
        }
    }

    /// Reads until nothing came for a while or there is enough; `true`: the program ended.
    async fn collect(
        &mut self,
        lines: &mut FramedRead<ChildStdout, LinesCodec>,
        pending: &mut Pending,
    ) -> std::io::Result<bool> {
        while pending.bytes.len() < PENDING_BYTES_MAX {
            let line = match timeout_at(Instant::now() + QUIET, lines.next()).await {
                Err(_) => return Ok(false),
                Ok(None) => return Ok(true),
                Ok(Some(line)) => line,
            };
            match line {
                Ok(line) => {
                    if let Some(entry) = entry(&line) {
                        self.told.clear();
                        pending.push(entry);
                    }
                }
                Err(LinesCodecError::MaxLineLengthExceeded) => {
                    tracing::warn!(stream = %self.origin.stream, max = ENTRY_BYTES_MAX, "a line of the journal is too long; left out");
                }
                Err(LinesCodecError::Io(e)) => return Err(e),
            }
        }
        Ok(false)
    }

    fn emit(&mut self, pending: &Pending, complete: &Complete) -> std::io::Result<()> {
        let mut builder = EventsBuilder::new(self.table());
        for (range, ts_ms) in &complete.records {
            let raw = String::from_utf8_lossy(&pending.bytes[range.clone()]);
            if raw.trim().is_empty() {
                continue;
            }
            match self.config.log.rows {
                LogRows::Records => row::add(&mut builder, &self.origin, &row::read(&self.stitch, &raw), *ts_ms),
                LogRows::Executions => {
                    if let Some(execution) = execution::of_record(&row::read(&self.stitch, &raw)) {
                        execution::add(&mut builder, &self.origin, &execution, *ts_ms);
                    }
                }
            }
        }
        let mark = Mark { key: self.key.clone(), value: complete.cursor.clone() };
        let rows = builder.build();
        let executions = of_rows(&rows);
        self.context.outlet.send_marked(rows, vec![mark]).map_err(std::io::Error::other)?;
        let now_ms = self.context.clock.now_ms();
        for execution in &executions {
            self.latencies.observe(&self.origin.instance, self.origin.engine, execution, now_ms);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::logs::postgres_stderr::Prefix;

    fn line(cursor: &str, ts_ms: i64, message: &str) -> Entry {
        Entry { cursor: cursor.into(), ts_ms, message: message.into() }
    }

    #[test]
    fn entries_with_text_and_with_bytes() {
        let json = r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1795608000123456","MESSAGE":"a","_PID":"7"}"#;
        assert_eq!(entry(json), Some(line("s=1;i=2", 1_795_608_000_123, "a")));
        let bytes = json.replace("\"a\"", "[97,10,255]");
        assert_eq!(entry(&bytes).unwrap().message, [97, 10, 255]);
        assert_eq!(entry(&json.replace("\"a\"", "null")).unwrap().message, [0u8; 0]);
        assert_eq!(entry("{}"), None);
    }

    #[test]
    fn records_of_several_lines_end_where_the_next_begins_and_take_its_cursor_along() {
        let stitch = Stitch::Stderr(Prefix::known("%p "));
        let mut pending = Pending::default();
        for entry in [line("a", 1, "7 ERROR:  no"), line("b", 2, "\tmore"), line("c", 3, "7 STATEMENT:  select 1")] {
            pending.push(entry);
        }
        assert_eq!(pending.complete(&stitch, false), None, "more may follow");
        pending.push(line("d", 4, "8 LOG:  next"));
        let complete = pending.complete(&stitch, false).unwrap();
        assert_eq!((complete.cursor.as_str(), complete.records[0].1, complete.records.len()), ("c", 1, 1));
        pending.forget(complete.end);
        let complete = pending.complete(&stitch, true).unwrap();
        assert_eq!((complete.cursor.as_str(), complete.records[0].clone()), ("d", (0..13, 4)));
        pending.forget(complete.end);
        assert!(pending.bytes.is_empty() && pending.lines.is_empty());
    }
}
