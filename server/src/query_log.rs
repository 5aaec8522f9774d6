//! The query log: one JSON object a line for each question that has ended, in the fields of Prometheus' query log, which
//! `query.log_file` turns on. A file that has grown to its bound is kept beside the new one as `<file>.1`.

use std::{io, path::PathBuf, time::Duration};

use ingest::admission::Clock;
use query::{Asker, Question, Told};
use serde_json::{Value, json};
use tokio::{
    fs::{File, OpenOptions},
    io::AsyncWriteExt,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::api::{query_stats, time::format_ms};

/// A file this long makes room for the next, bytes; two are kept.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Questions written at once.
const LINES_AT_ONCE: usize = 256;

/// A query log that is open.
pub struct QueryLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    clock: Clock,
}

impl QueryLog {
    /// Opens `path` to append to it.
    pub async fn open(path: PathBuf, clock: Clock) -> io::Result<QueryLog> {
        let file = OpenOptions::new().create(true).append(true).open(&path).await?;
        let bytes = file.metadata().await?.len();
        Ok(QueryLog { path, file, bytes, bytes_max: FILE_BYTES_MAX, clock })
    }

    /// Writes what is told until the server stops; a disk that refuses costs lines, not questions.
    pub async fn run(mut self, mut told: mpsc::Receiver<Told>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(LINES_AT_ONCE);
        let mut well = true;
        loop {
            let count = tokio::select! {
                count = told.recv_many(&mut batch, LINES_AT_ONCE) => count,
                () = stop.cancelled() => {
                    told.close(); // what was told before is still received
                    told.recv_many(&mut batch, LINES_AT_ONCE).await
                }
            };
            if count == 0 {
                return;
            }
            let written = self.write(&batch).await;
            if let (Err(error), true) = (&written, well) {
                tracing::warn!(%error, file = %self.path.display(), "the query log can't be written");
            }
            well = written.is_ok();
            batch.clear();
        }
    }

    async fn write(&mut self, batch: &[Told]) -> io::Result<()> {
        if self.bytes >= self.bytes_max {
            let mut before = self.path.clone().into_os_string();
            before.push(".1");
            tokio::fs::rename(&self.path, before).await?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path).await?;
            self.bytes = 0;
        }
        let now_ms = (self.clock)();
        let text: String = batch.iter().map(|told| format!("{}\n", line(told, now_ms))).collect();
        self.file.write_all(text.as_bytes()).await?;
        self.file.flush().await?;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// One line of the log.
fn line(told: &Told, now_ms: i64) -> Value {
    let params = match &told.question {
        Question::Promql { query, when } => {
            let (start_ms, end_ms, step_ms) = when.times();
            json!({
                "query": query, "start": format_ms(start_ms), "end": format_ms(end_ms), "step": step_ms as f64 / 1000.0,
            })
        }
        Question::Sql(text) => json!({"sql": text}),
    };
    let stats = match &told.stats {
        Some(stats) => query_stats::of(stats, Duration::ZERO, told.took, false),
        None => json!({"timings": {"execTotalTime": told.took.as_secs_f64()}}),
    };
    let mut line = json!({"ts": format_ms(now_ms), "params": params, "stats": stats});
    match &*told.asker {
        Asker::Own => {}
        Asker::Http { client, method, path } => {
            line["httpRequest"] = json!({"clientIP": client, "method": method, "path": path});
        }
        Asker::Rules { file, group } => line["ruleGroup"] = json!({"file": file, "name": group}),
    }
    if let Some(error) = &told.error {
        line["error"] = json!(error);
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use query::When;

    fn told(query: &str) -> Told {
        let question = Question::Promql { query: query.into(), when: When::At(1_500) };
        let asker = Asker::Rules { file: "a.yml".into(), group: "g".into() };
        Told { asker: asker.into(), question, took: Duration::from_millis(250), stats: None, error: Some("no".into()) }
    }

    #[tokio::test]
    async fn lines_are_written_and_files_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queries.log");
        let mut log = QueryLog::open(path.clone(), || 2_000).await.unwrap();
        log.bytes_max = 1;
        for query in ["up", "down"] {
            log.write(&[told(query)]).await.unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let expected = |query: &str| {
            format!(
                "{{\"ts\":\"1970-01-01T00:00:02.000Z\",\"params\":{{\"query\":\"{query}\",\"start\":\"1970-01-01T00:00:01.500Z\",\
                 \"end\":\"1970-01-01T00:00:01.500Z\",\"step\":0.0}},\"stats\":{{\"timings\":{{\"execTotalTime\":0.25}}}},\
                 \"ruleGroup\":{{\"file\":\"a.yml\",\"name\":\"g\"}},\"error\":\"no\"}}\n"
            )
        };
        assert_eq!(read("queries.log.1"), expected("up"));
        assert_eq!(read("queries.log"), expected("down"));
    }
}
