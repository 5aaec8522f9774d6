//! `tidewatch-collector check`: tries everything the configuration names and says what works and what is missing.

use std::{fmt, path::Path, time::Duration};

use tokio::time::timeout;

use crate::{
    config::{Config, Destination, KafkaConfig, ServerConfig},
    databases, kafka, logs, scrape, sender,
};

const SERVER_TIMEOUT: Duration = Duration::from_secs(10);

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The server, the spool, or a database.
    pub target: String,
    /// Whether it works.
    pub works: bool,
    /// What was tried, and what came of it.
    pub what: String,
    /// What to do about it, e.g. the statement that grants a right.
    pub remedy: Option<String>,
}

/// Everything that was tried.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the configuration.
    pub lines: Vec<Line>,
}

impl Report {
    /// Whether everything works.
    pub fn works(&self) -> bool {
        self.lines.iter().all(|l| l.works)
    }

    fn add(&mut self, target: &str, result: Result<String, String>) {
        let (works, what) = result.map_or_else(|e| (false, e), |text| (true, text));
        self.lines.push(Line { target: target.into(), works, what, remedy: None });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let word = if line.works { "ok     " } else { "MISSING" };
            writeln!(f, "{word} {}: {}", line.target, line.what)?;
            if let Some(remedy) = &line.remedy {
                writeln!(f, "          {remedy}")?;
            }
        }
        Ok(())
    }
}

/// Tries everything.
pub async fn check(config: &Config) -> Report {
    let mut report = Report::default();
    match &config.destination {
        Destination::Grpc(server) => report.add(&format!("server {}", server.address), try_server(server).await),
        Destination::Kafka(to) => {
            report.add(&format!("kafka {} topic {}", to.connection.brokers.join(","), to.topic), try_kafka(to).await);
        }
    }
    report.add(&format!("data_dir {}", config.data_dir.display()), try_data_dir(config));
    for database in &config.databases {
        let (_, tried) = databases::attempt(database).await;
        let name = database.display_name();
        for one in tried {
            let (works, text) = one.outcome.map_or_else(|e| (false, e), |text| (true, text));
            let (target, what) = (format!("{} {name}", database.engine), format!("{}: {text}", one.what));
            report.lines.push(Line { target, works, what, remedy: one.remedy });
        }
    }
    for log in &config.logs {
        report.add(&format!("log {}", log.path.display()), try_log(&log.path));
    }
    for job in &config.scrapes {
        for (url, result) in scrape::attempt(job).await {
            report.add(&format!("job {} {url}", job.job_name), result);
        }
    }
    report
}

/// Whether the files of a pattern can be read.
pub(crate) fn try_log(pattern: &Path) -> Result<String, String> {
    let files = logs::tailer::matching_files(pattern).map_err(|e| e.to_string())?;
    for file in &files {
        std::fs::File::open(file).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    match files.len() {
        0 => Err("no file has this name".into()),
        count => Ok(format!("{count} files can be read")),
    }
}

async fn try_kafka(config: &KafkaConfig) -> Result<String, String> {
    let config = config.clone();
    let look = move || {
        let client = kafka::open_probe(&config)?;
        kafka::look(&client, &config.topic)
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(looked) => looked.map(|n| format!("{n} partitions")).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}

async fn try_server(server: &ServerConfig) -> Result<String, String> {
    let endpoint = sender::channel(server).map_err(|e| e.to_string())?;
    match timeout(SERVER_TIMEOUT, endpoint.connect()).await {
        Ok(Ok(_)) => Ok("accepts connections".into()),
        Ok(Err(e)) => Err(sender::SendError::from(e).to_string()),
        Err(_) => Err(format!("no answer within {} s", SERVER_TIMEOUT.as_secs())),
    }
}

fn try_data_dir(config: &Config) -> Result<String, String> {
    let probe = config.data_dir.join("check.tmp");
    std::fs::create_dir_all(&config.data_dir)
        .and_then(|()| std::fs::write(&probe, b"x"))
        .and_then(|()| std::fs::remove_file(&probe))
        .map(|()| "can be written".to_owned())
        .map_err(|e| e.to_string())
}
