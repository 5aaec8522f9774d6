//! Log records: ingest through the collectors' port, disk, and the search for a needle, beside grep over the same lines.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::{
    log_lines::{NEEDLE, record, send},
    measure::{Span, directory_bytes, forget_peak, median, memory_bytes},
    server::{Maker, Server, Settings},
    table::{Table, short},
};

/// Searches; the median counts.
const SEARCHES: usize = 5;
const HOUR_MS: i64 = 3_600_000;

/// Records for about so many bytes of lines.
fn records_of(bytes: u64) -> Result<u64> {
    const SAMPLE: u64 = 10_000;
    let mut text = Vec::new();
    for n in 0..SAMPLE {
        record(n, SAMPLE, 0, HOUR_MS).write_line(&mut text)?;
    }
    Ok((bytes * SAMPLE / text.len() as u64).max(SAMPLE))
}

async fn search(server: &Server) -> Result<f64> {
    let begin = Instant::now();
    let query = format!("SELECT count(*) FROM logs WHERE body LIKE '%{NEEDLE}%'");
    let body = server.get("/api/v1/sql", &[("q", &query)]).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    let found = &answer["data"]["rows"][0][0];
    ensure!(found.as_i64() == Some(1) || found.as_str() == Some("1"), "the needle was found {found} times");
    Ok(seconds)
}

async fn searches(server: &Server) -> Result<(f64, f64)> {
    let span = Span::begin(&server.pid())?;
    let mut times = Vec::new();
    for _ in 0..SEARCHES {
        times.push(search(server).await?);
    }
    Ok((median(&mut times), span.end()?.1 / SEARCHES as f64))
}

/// Seconds a command needs; it must succeed.
fn timed(command: &mut Command) -> Result<f64> {
    let begin = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(begin.elapsed().as_secs_f64())
}

/// Measures with about `bytes` of lines; gives the report, Markdown.
pub async fn run(dir: &Path, bytes: u64, now_ms: i64) -> Result<String> {
    let all = records_of(bytes)?;
    let times = (now_ms - 30 * HOUR_MS, HOUR_MS);
    let path = dir.join("lines.log");
    std::fs::create_dir_all(dir)?;
    let mut file = BufWriter::new(File::create(&path)?);
    for n in 0..all {
        record(n, all, times.0, times.1).write_line(&mut file)?;
    }
    file.flush()?;
    let size = std::fs::metadata(&path)?.len();
    let megabytes = size as f64 / 1e6;

    let mut server = Server::start(Maker::Tidewatch, &dir.join("Tidewatch"), Settings::default()).await?;
    forget_peak(&server.pid())?;
    let (begin, before) = (Instant::now(), server.cpu_s()?);
    send(&server.grpc, all, times).await?;
    let (wall_s, cpu_s) = (begin.elapsed().as_secs_f64(), server.cpu_s()? - before);
    let peak = memory_bytes(&server.pid(), "VmHWM:")?;
    let fresh = searches(&server).await?;
    let before = server.cpu_s()?;
    server.settle(Settings::default()).await?;
    let settle_cpu_s = server.cpu_s()? - before;
    let cold_s = search(&server).await?;
    let settled = searches(&server).await?;
    let disk = directory_bytes(&dir.join("Tidewatch/data/parts"))?;
    server.remove()?;

    let mut rows = Table::new(&["what", "measured", "budget or beside it"]);
    let mut row = |what: &str, measured: String, beside: String| rows.row(vec![what.into(), measured, beside]);
    let budget = |is_kept: bool| if is_kept { "kept" } else { "**missed**" };
    row("lines", format!("{:.0} MB, {:.2} M records", megabytes, all as f64 / 1e6), String::new());
    let rate = megabytes / cpu_s;
    row(
        "ingest, durable",
        format!("{} MB per CPU-s, {} MB/s", short(rate), short(megabytes / wall_s)),
        format!("≥ 50 MB/s per core: {}", budget(rate >= 50.0)),
    );
    let rate = megabytes / (cpu_s + settle_cpu_s);
    row("with flush and merge", format!("{} MB per CPU-s", short(rate)), String::new());
    row("most memory meanwhile", format!("{} MiB", short(peak as f64 / 1_048_576.0)), String::new());
    let search = |(wall, cpu): (f64, f64)| format!("{} ms, {} CPU-ms", short(wall * 1e3), short(cpu * 1e3));
    row("needle, what has just come", search(fresh), String::new());
    row("needle, settled, first time", format!("{} ms", short(cold_s * 1e3)), String::new());
    let ten_gb = settled.0 * 1e4 / megabytes;
    row(
        "needle, settled",
        search(settled),
        format!("10 GB at this rate: {} s; ≤ 1 s: {}", short(ten_gb), budget(ten_gb <= 1.0)),
    );
    row(
        "parts",
        format!("{:.1} MB = {} of the lines", disk as f64 / 1e6, short(disk as f64 / size as f64)),
        String::new(),
    );
    let grep = timed(Command::new("grep").args(["-c", NEEDLE]).arg(&path))?;
    row("grep", format!("{} ms", short(grep * 1e3)), "the file in the page cache".into());
    let packed = dir.join("lines.log.zst");
    let packing = timed(Command::new("zstd").args(["-q", "-3", "-f"]).arg(&path).arg("-o").arg(&packed));
    match packing.and_then(|s| Ok((s, timed(Command::new("zstdgrep").args(["-c", NEEDLE]).arg(&packed))?))) {
        Ok((zstd_s, grep_s)) => {
            let packed = std::fs::metadata(&packed)?.len();
            row(
                "zstd -3",
                format!(
                    "{} s, {:.1} MB = {} of the lines",
                    short(zstd_s),
                    packed as f64 / 1e6,
                    short(packed as f64 / size as f64)
                ),
                String::new(),
            );
            row("zstdgrep", format!("{} ms", short(grep_s * 1e3)), String::new());
        }
        Err(e) => row("zstdgrep", "not measured".into(), e.to_string()),
    }
    std::fs::remove_dir_all(dir)?;
    Ok(format!(
        "\n### Logs\n\nSent as a collector sends them; VictoriaLogs is not in Debian, so beside us stand grep and zstdgrep.\n\n{}",
        rows.text()
    ))
}
