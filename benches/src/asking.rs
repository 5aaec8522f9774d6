//! Asking: every question to every server in turn, answers compared with Prometheus', times as medians.

use anyhow::Result;
use tokio::time::Instant;

use crate::{
    answer::Answer,
    measure::{Span, cpu_s, forget_peak, median, memory_bytes},
    questions::{Form, QUESTIONS, Question},
    server::{Maker, Server},
    size::Size,
};

/// Timed runs of a question, after one whose answer is compared.
const RUNS: usize = 5;
/// No further run of a question to a server once it has taken this long there, seconds; if the first took longer, it counts.
const RUNS_SECONDS_MAX: f64 = 1.0;

/// What one server needed for one question.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Median wall clock, seconds.
    pub median_s: f64,
    /// Mean CPU, seconds: the kernel counts hundredths.
    pub cpu_s: f64,
}

/// One question, all servers.
pub struct Row {
    /// Which.
    pub question: &'static Question,
    /// One for each server, in their order.
    pub asked: Vec<Asked>,
    /// How each server's answer differs from Prometheus', if it does.
    pub differences: Vec<Option<String>>,
    /// Points of Prometheus' answer.
    pub points: usize,
}

/// All questions of a size.
pub struct Asking {
    /// One a question.
    pub rows: Vec<Row>,
    /// Most memory while asked, bytes, one for each server.
    pub peaks: Vec<u64>,
}

impl Asking {
    /// Sum of medians of a server, seconds.
    pub fn sum_s(&self, server: usize) -> f64 {
        self.rows.iter().map(|row| row.asked[server].median_s).sum()
    }

    /// Sum of mean CPU of a server, seconds.
    pub fn cpu_s(&self, server: usize) -> f64 {
        self.rows.iter().map(|row| row.asked[server].cpu_s).sum()
    }

    /// How many answers of a server differ.
    pub fn different(&self, server: usize) -> usize {
        self.rows.iter().filter(|row| row.differences[server].is_some()).count()
    }
}

/// Asks one question once.
pub async fn ask_once(server: &Server, question: &Question, size: &Size, now_ms: i64) -> Result<Vec<u8>> {
    let rhythm = size.rhythm(now_ms);
    ask_at(server, question, size, (rhythm.start_ms, rhythm.end_ms())).await
}

/// The same about another time.
pub async fn ask_at(
    server: &Server,
    question: &Question,
    size: &Size,
    (start_ms, end_ms): (i64, i64),
) -> Result<Vec<u8>> {
    let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
    let text = question.text(&size.windows());
    let (start, end, step) = (seconds(start_ms + size.step_ms()), seconds(end_ms), seconds(size.step_ms()));
    // VictoriaMetrics keeps answers and gives them again: here it is to compute, as the others do
    let form: Vec<(&str, &str)> = match question.form {
        Form::Range => vec![("query", &text), ("start", &start), ("end", &end), ("step", &step), ("nocache", "1")],
        Form::Instant => vec![("query", &text), ("time", &end), ("nocache", "1")],
    };
    let path = if question.form == Form::Range { "/api/v1/query_range" } else { "/api/v1/query" };
    server.get(path, &form).await
}

/// Asks everything.
pub async fn ask(servers: &[Server], size: &Size, now_ms: i64) -> Result<Asking> {
    for server in servers {
        forget_peak(&server.pid())?;
    }
    let mut rows = Vec::with_capacity(QUESTIONS.len());
    for question in QUESTIONS {
        let (mut answers, mut firsts) = (Vec::with_capacity(servers.len()), Vec::with_capacity(servers.len()));
        for server in servers {
            let span = Span::begin(&server.pid())?;
            let body = ask_once(server, question, size, now_ms).await?;
            firsts.push(span.end()?);
            answers.push(Answer::read(&body)?);
        }
        let right = servers.iter().position(|s| s.maker == Maker::Prometheus);
        let differences = answers.iter().map(|a| right.and_then(|right| a.difference(&answers[right]))).collect();
        let points = right.map_or(0, |right| answers[right].points());
        drop(answers);
        let mut asked = Vec::with_capacity(servers.len());
        for (server, (first_s, first_cpu_s)) in servers.iter().zip(firsts) {
            if first_s >= RUNS_SECONDS_MAX {
                asked.push(Asked { median_s: first_s, cpu_s: first_cpu_s });
                continue;
            }
            let (mut times, before) = (Vec::with_capacity(RUNS), cpu_s(&server.pid())?);
            let all = Instant::now();
            while times.len() < RUNS && (times.is_empty() || all.elapsed().as_secs_f64() < RUNS_SECONDS_MAX) {
                let begin = Instant::now();
                ask_once(server, question, size, now_ms).await?;
                times.push(begin.elapsed().as_secs_f64());
            }
            let cpu_s = (cpu_s(&server.pid())? - before) / times.len() as f64;
            asked.push(Asked { median_s: median(&mut times), cpu_s });
        }
        rows.push(Row { question, asked, differences, points });
    }
    let peaks = servers.iter().map(|s| memory_bytes(&s.pid(), "VmHWM:")).collect::<Result<_>>()?;
    Ok(Asking { rows, peaks })
}
