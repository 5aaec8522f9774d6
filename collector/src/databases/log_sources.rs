//! Where a server writes its log, asked by SQL and looked up in /proc, so that it can be followed without configuration.

use std::path::{Path, PathBuf};

use super::{connection::Connection, reading::Reading};
use crate::{
    config::{DatabaseConfig, Engine, LogChoice, LogConfig, LogFormat, LogRows, LogStart},
    logs::tailer::matching_files,
};

const POSTGRES_SQL: &str = "select /* tidewatch */ current_setting('logging_collector', true) as collector, current_setting('log_directory', true) as directory,
  current_setting('log_filename', true) as filename, current_setting('log_destination', true) as destination,
  current_setting('log_line_prefix', true) as prefix, current_setting('data_directory', true) as data, pg_backend_pid() as pid";
const MYSQL_SQL: &str = "SELECT @@log_error AS log_error, @@datadir AS datadir, @@pid_file AS pid_file, \
  @@global.slow_query_log AND FIND_IN_SET('FILE', @@global.log_output) AS slow, @@global.slow_query_log_file AS slow_file";

/// The files this server writes and this host can read. Nothing if the configuration says so, or the server is elsewhere.
pub async fn read(
    connection: &mut Connection,
    config: &DatabaseConfig,
    instance: &str,
    engine: Engine,
) -> Vec<LogConfig> {
    let found = match &config.logs {
        LogChoice::Off => return Vec::new(),
        LogChoice::Files(paths) => {
            let format = if engine == Engine::Postgresql { LogFormat::Auto } else { LogFormat::ErrorLog };
            paths.iter().map(|p| (p.clone(), format.clone())).collect()
        }
        LogChoice::Auto if engine == Engine::Postgresql => match connection.read(POSTGRES_SQL).await {
            Ok(reading) => postgres(&reading),
            Err(_) => Vec::new(),
        },
        LogChoice::Auto => match connection.read(MYSQL_SQL).await {
            Ok(reading) => mysql(&reading),
            Err(_) => Vec::new(),
        },
    };
    let log = |path: PathBuf, format: LogFormat, rows: LogRows| LogConfig {
        path,
        instance: instance.into(),
        engine,
        format,
        start: LogStart::End,
        rows,
        unmasked: config.unmasked,
    };
    let mut logs = Vec::new();
    for (path, format) in found {
        match (engine, &format) {
            (_, LogFormat::SlowLog) => logs.push(log(path, format, LogRows::Executions)),
            (Engine::Postgresql, _) => {
                logs.push(log(path.clone(), format.clone(), LogRows::Records));
                logs.push(log(path, format, LogRows::Executions));
            }
            _ => logs.push(log(path, format, LogRows::Records)),
        }
    }
    logs
}

fn postgres(reading: &Reading) -> Vec<(PathBuf, LogFormat)> {
    let Some(row) = reading.first() else { return Vec::new() };
    let prefix = row.string("prefix");
    if row.truth("collector") != Some(true) {
        // stderr of the postmaster: the parent of our own backend, if it runs here.
        let path = row.int("pid").and_then(|pid| parent(pid, "postgres")).and_then(stderr_of);
        return path.into_iter().map(|p| (p, LogFormat::Stderr(prefix.clone()))).collect();
    }
    let (Some(directory), Some(filename)) = (row.text("directory"), row.text("filename")) else { return Vec::new() };
    let directory = Path::new(row.text("data").unwrap_or("")).join(directory);
    if !directory.is_dir() {
        return Vec::new();
    }
    let destination = row.text("destination").unwrap_or("stderr");
    // The richest format is enough.
    let (ending, format) = if destination.contains("jsonlog") {
        (Some(".json"), LogFormat::Jsonlog)
    } else if destination.contains("csvlog") {
        (Some(".csv"), LogFormat::Csvlog)
    } else {
        (None, LogFormat::Stderr(prefix))
    };
    vec![(directory.join(glob_of(filename, ending)), format)]
}

/// A `log_filename` with its strftime escapes as `*`; csv and json logs have their own ending.
fn glob_of(filename: &str, ending: Option<&str>) -> String {
    let mut glob = String::new();
    let mut chars = filename.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                chars.next();
                if !glob.ends_with('*') {
                    glob.push('*');
                }
            }
            c => glob.push(c),
        }
    }
    match ending {
        Some(ending) => format!("{}{ending}", glob.strip_suffix(".log").unwrap_or(&glob)),
        None => glob,
    }
}

fn mysql(reading: &Reading) -> Vec<(PathBuf, LogFormat)> {
    let Some(row) = reading.first() else { return Vec::new() };
    let data = Path::new(row.text("datadir").unwrap_or(""));
    let path = match row.text("log_error").filter(|p| !p.is_empty() && *p != "stderr") {
        Some(path) => Some(data.join(path)),
        None => row
            .text("pid_file")
            .and_then(|p| std::fs::read_to_string(data.join(p)).ok())
            .and_then(|t| t.trim().parse().ok())
            .and_then(stderr_of),
    };
    let error_log = path.map(|p| (json_beside(&p).unwrap_or(p), LogFormat::ErrorLog));
    let slow_log = row.text("slow_file").filter(|_| row.truth("slow") == Some(true));
    let slow_log = slow_log.map(|p| (data.join(p), LogFormat::SlowLog));
    let is_there = |path: &Path| matching_files(path).is_ok_and(|files| !files.is_empty());
    error_log.into_iter().chain(slow_log).filter(|(p, _)| is_there(p)).collect()
}

/// MySQL's JSON sink writes `<log_error>.00.json`: the pattern of its files, if they are what is written to now.
fn json_beside(log_error: &Path) -> Option<PathBuf> {
    let pattern = PathBuf::from(format!("{}.*.json", log_error.display()));
    let newest = matching_files(&pattern).ok()?.pop()?;
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    (modified(&newest) > modified(log_error)).then_some(pattern)
}

/// The parent of a process, if both bear the name.
fn parent(pid: i64, name: &str) -> Option<i64> {
    let process = procfs::process::Process::new(pid as i32).ok()?;
    let stat = process.stat().ok()?;
    let above = procfs::process::Process::new(stat.ppid).ok()?.stat().ok()?;
    (stat.comm.contains(name) && above.comm.contains(name)).then_some(i64::from(stat.ppid))
}

/// The file a process has as its stderr.
fn stderr_of(pid: i64) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/{pid}/fd/2")).ok()?;
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_names_become_patterns() {
        assert_eq!(glob_of("postgresql-%Y-%m-%d_%H%M%S.log", None), "postgresql-*-*-*_*.log");
        assert_eq!(glob_of("postgresql-%a.log", Some(".csv")), "postgresql-*.csv");
        assert_eq!(glob_of("pg", Some(".json")), "pg.json");
    }
}
